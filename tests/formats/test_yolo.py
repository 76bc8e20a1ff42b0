import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shapely import box

from noise_mm.errors import InputError
from noise_mm.formats.yolo import read_yolo, read_yolo_rows, write_yolo
from noise_mm.geometry.outline import Outline

NAMES = ('osteoclast', 'nucleus')


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(data=st.data())
def test_round_trip(data, tmp_path, outline_lists, assert_same_geometry):
    outlines = [outline for outline in data.draw(outline_lists) if not outline.ignored]
    path = tmp_path / 'labels.txt'
    write_yolo(path, outlines, (400, 500), NAMES)
    back = read_yolo(path, (400, 500), NAMES)
    for one, other in zip(outlines, back, strict=True):
        assert one.label == other.label
        assert_same_geometry(one.geometry, other.geometry, area_px2=1e-3)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(data=st.data())
def test_round_trip_of_boxes(data, tmp_path, outline_lists, assert_same_geometry):
    outlines = [outline for outline in data.draw(outline_lists) if not outline.ignored]
    path = tmp_path / 'labels.txt'
    write_yolo(path, outlines, (400, 500), NAMES, boxes=True)
    for one, other in zip(outlines, read_yolo(path, (400, 500), NAMES), strict=True):
        assert_same_geometry(box(*one.geometry.bounds), other.geometry, area_px2=1e-3)


def test_five_values_are_a_box_and_seven_a_triangle(tmp_path):
    path = tmp_path / 'a.txt'
    path.write_text('0 0.5 0.5 0.2 0.4\n\n1 0 0 1 0 1 1\n')
    rectangle, triangle = read_yolo(path, (100, 50), NAMES)
    assert rectangle.geometry.bounds == pytest.approx((40, 15, 60, 35))
    assert (triangle.geometry.area, triangle.label) == (2500, 'nucleus')
    assert [row.line for row in read_yolo_rows(path)] == [1, 3]


def test_an_empty_file_has_no_outline(tmp_path):
    path = tmp_path / 'a.txt'
    path.write_text('')
    assert read_yolo(path, (100, 100)) == []


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('0', '1 values; a box has 5'),
        ('0 0.1 0.1 0.2', '4 values'),
        ('0 0.1 0.1 0.2 0.2 0.9', '6 values'),
        ('0 0.1 0.1 0.2 0.1 0.2 0.2 0.3', '8 values'),
        ('0 0.1 0.1 0.2 x', 'not a class index and numbers'),
        ('cell 0.1 0.1 0.2 0.2', 'not a class index and numbers'),
        ('0.0 0.1 0.1 0.2 0.2', 'not a class index and numbers'),
        ('0 0.1 0.1 nan 0.2', 'not a finite number'),
        ('1 0.1 0.1 0.2 0.2', 'class 1, but the classes are 0 to 0'),
        ('0 10 10 20 10 20 20', 'coordinates outside 0 to 1'),
        ('0 0.1 0.1 0.2 0.2 0.3 0.3', 'no area'),
    ],
)
def test_bad_lines_are_named(tmp_path, line, message):
    path = tmp_path / 'a.txt'
    path.write_text(f'0 0.5 0.5 0.2 0.4\n{line}\n')
    with pytest.raises(InputError, match=rf'a\.txt: line 2: .*{message}'):
        read_yolo(path, (100, 100))


def test_what_the_format_cannot_say_is_refused(tmp_path):
    square = box(0, 0, 1, 1)
    with pytest.raises(InputError, match='to be ignored'):
        write_yolo(tmp_path / 'a.txt', [Outline(square, ignored=True)], (9, 9))
    with pytest.raises(InputError, match="of class 'debris'"):
        write_yolo(tmp_path / 'a.txt', [Outline(square, label='debris')], (9, 9))
