import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from noise_mm.errors import InputError
from noise_mm.formats.imagej import read_imagej
from noise_mm.formats.roi_csv import read_roi_csv
from noise_mm.geometry.outline import parts_of
from tests.fixtures.files import write_roi_csv

ROW = '0,10,20,4,6,10,20,14,20,14,26,10,26'


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(data=st.data())
def test_round_trip(data, tmp_path, outline_lists, assert_same_geometry):
    outlines = [outline for outline in data.draw(outline_lists) if len(parts_of(outline.geometry)) == 1]
    path = tmp_path / 'rois.csv'
    write_roi_csv(path, outlines)
    back = read_roi_csv(path, size_px=(400, 400))
    assert [outline.name for outline in back] == [str(index) for index in range(len(outlines))]
    for one, other in zip(outlines, back, strict=True):
        assert_same_geometry(one.geometry, other.geometry)


@pytest.mark.real
def test_real_table_holds_the_vertices_of_the_roi_set(shared_dir):
    folder = shared_dir / 'data' / 'real_trap'
    table = read_roi_csv(folder / 'oc_finder_example_rois.csv', size_px=(1920, 1440))
    rois = read_imagej(folder / 'oc_finder_example_RoiSet.zip', size_px=(1920, 1440))
    assert len(table) == 13
    assert all(one.geometry.equals_exact(other.geometry) for one, other in zip(table, rois, strict=True))


@pytest.mark.parametrize('header', ['', 'index,bb_x,bb_y,bb_w,bb_h,x1,y1\n'])
@pytest.mark.parametrize('end', ['', ',,'])
def test_header_and_empty_cells_are_optional(tmp_path, header, end):
    path = tmp_path / 'rois.csv'
    path.write_text(header + ROW + end + '\n')
    (outline,) = read_roi_csv(path)
    assert outline.name == '0'
    assert outline.geometry.bounds == (10, 20, 14, 26)


@pytest.mark.parametrize(
    ('row', 'message'),
    [
        ('0,10,20,4,6,10,20,14,20', '9 cells; expected'),
        ('0,10,20,4,6,10,20,14,20,14,26,10', '12 cells; expected'),
        ('0,10,20,4,6,10,20,14,20,14', '10 cells; expected'),
        (ROW.removesuffix(',14,26,10,26') + ',14,22', 'the row may be cut short'),
        (ROW.replace('26', 'x'), 'a cell is not a number'),
        (ROW.replace('14', 'nan'), 'bounding box is not'),
        ('0,10,20,4,4,10,20,12,22,14,24', 'no area'),
    ],
)
def test_bad_rows_are_named(tmp_path, row, message):
    path = tmp_path / 'rois.csv'
    path.write_text(f'{ROW}\n{row}\n')
    with pytest.raises(InputError, match=rf'rois\.csv: line 2: .*{message}'):
        read_roi_csv(path)


def test_all_bad_rows_are_counted(tmp_path):
    path = tmp_path / 'rois.csv'
    path.write_text('1,2\n' * 5)
    with pytest.raises(InputError, match=r'line 3: .* and 2 more'):
        read_roi_csv(path)
