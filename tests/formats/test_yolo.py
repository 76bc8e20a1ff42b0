import numpy as np
import pytest

from noise_mm.errors import InputError
from noise_mm.formats.yolo import read_yolo_rows


def test_five_values_are_a_box_and_seven_a_triangle(tmp_path):
    path = tmp_path / 'a.txt'
    path.write_text('0 0.5 0.5 0.2 0.4\n\n1 0 0 1 0 1 1\n')
    rectangle, triangle = read_yolo_rows(path)
    assert rectangle.is_box and not triangle.is_box
    np.testing.assert_allclose(rectangle.vertices(), [[0.4, 0.3], [0.6, 0.3], [0.6, 0.7], [0.4, 0.7]])
    np.testing.assert_array_equal(triangle.vertices(), [[0, 0], [1, 0], [1, 1]])
    assert [(row.line, row.class_index) for row in (rectangle, triangle)] == [(1, 0), (3, 1)]


def test_an_empty_file_has_no_object(tmp_path):
    path = tmp_path / 'a.txt'
    path.write_text('')
    assert read_yolo_rows(path) == []


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
    ],
)
def test_bad_lines_are_named(tmp_path, line, message):
    path = tmp_path / 'a.txt'
    path.write_text(f'0 0.5 0.5 0.2 0.4\n{line}\n')
    with pytest.raises(InputError, match=rf'a\.txt: line 2: .*{message}'):
        read_yolo_rows(path)
