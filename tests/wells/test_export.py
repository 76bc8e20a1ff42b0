import cv2
import numpy as np
import pytest
from shapely import box

from noise_mm.annotations.outline import Outline
from noise_mm.wells.export import COLOURS, cell_rows, well_row, write_overlay, write_table, write_well
from noise_mm.wells.slide import open_slide


def cell(x1, y1, x2, y2, name='cell_0007', label='cell'):
    return Outline(box(x1, y1, x2, y2), name=name, label=label, score=0.87654)


@pytest.fixture
def slide(tmp_path):
    path = tmp_path / 'well.png'
    cv2.imwrite(str(path), np.full((80, 120, 3), 255, np.uint8))
    with open_slide(path) as opened:
        yield opened


def test_row_of_a_cell():
    (row,) = cell_rows([cell(10, 20, 30, 50)], (120, 80), 0.5)
    assert row == {
        'name': 'cell_0007',
        'class': 'cell',
        'score': '0.8765',
        'area_px2': '600.0',
        'area_um2': '150.0',
        'centroid_x_px': '20.0',
        'centroid_y_px': '35.0',
        'touches_edge': 0,
    }


@pytest.mark.parametrize(
    ('bounds', 'touches'),
    [
        ((0, 9, 9, 20), 1),
        ((9, 0, 20, 9), 1),
        ((100, 9, 120 - 1e-12, 20), 1),
        ((9, 60, 20, 80), 1),
        ((1, 1, 119, 79), 0),
    ],
)
def test_cells_at_the_edge(bounds, touches):
    assert cell_rows([cell(*bounds)], (120, 80), 0.5)[0]['touches_edge'] == touches


def test_row_of_a_well():
    row = well_row('A1', [cell(0, 0, 10, 10), cell(20, 20, 40, 30)], 0.5)
    assert row['count'] == 2
    assert (row['total_area_px2'], row['total_area_um2'], row['mean_area_um2']) == ('300.0', '75.0', '37.5')
    assert well_row('A1', [], 0.5)['mean_area_um2'] == ''


def test_overlay_shows_outlines_in_their_colour(slide, tmp_path):
    path = tmp_path / 'overlay.png'
    path.write_text('older')
    write_overlay(path, slide, [cell(10, 20, 110, 70, label='a'), cell(40, 2, 60, 18, label='b')])
    picture = cv2.imread(str(path))[..., ::-1]
    assert picture.shape == (80, 120, 3)
    assert tuple(picture[45, 10]) == COLOURS[0]
    assert tuple(picture[10, 40]) == COLOURS[1]
    assert (picture[30, 20] == 255).all()


def test_overlay_has_the_number_in_the_cell(tmp_path):
    cv2.imwrite(str(tmp_path / 'well.png'), np.full((1000, 1000, 3), 128, np.uint8))
    with open_slide(tmp_path / 'well.png') as slide:
        write_overlay(tmp_path / 'overlay.png', slide, [cell(300, 400, 700, 600)])
    inside = cv2.imread(str(tmp_path / 'overlay.png'))[450:550, 400:600]
    assert inside.min() < 80  # black below white
    assert inside.max() > 200


def test_overlay_is_written_whole_or_not_at_all(slide, tmp_path, monkeypatch):
    path = tmp_path / 'overlay.png'
    path.write_bytes(b'older')

    def fail(pixels):
        raise OSError('no')

    monkeypatch.setattr('noise_mm.wells.export.png_bytes', fail)
    with pytest.raises(OSError, match='no'):
        write_overlay(path, slide, [])
    assert path.read_bytes() == b'older'


def test_only_the_formats_asked_for_are_written(slide, tmp_path):
    for formats, names in ((('csv',), {'A1_cells.csv'}), (('coco', 'overlay'), {'A1.json', 'A1_overlay.png'})):
        out = tmp_path / formats[0]
        write_well(out, 'A1', slide, [cell(0, 0, 9, 9)], 0.7784, formats)
        assert {path.name for path in out.iterdir()} == names


def test_table(tmp_path):
    write_table(tmp_path / 'a.csv', ('x', 'y'), [{'x': 1, 'y': 'a,b'}])
    assert (tmp_path / 'a.csv').read_text() == 'x,y\n1,"a,b"\n'
