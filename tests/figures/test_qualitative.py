import cv2
import numpy as np
import pytest
import shapely
from matplotlib.text import Text

from noise_mm.errors import InputError
from noise_mm.figures.qualitative import (
    ANNOTATED,
    IGNORED,
    RIGHT,
    WRONG,
    FigureRow,
    compose_figure,
    draw_figure,
    judge,
    scale_bar_um,
)
from noise_mm.geometry.outline import Outline

SIZE = 200, 150
GROUND = 100  # of the patch; none of the colours


def square(x, y, side=40, **more):
    return Outline(shapely.box(x, y, x + side, y + side), **more)


OBJECTS = [square(10, 10), square(100, 10), square(10, 100, ignored=True)]
FOUND = [square(12, 12, score=0.9), square(150, 100, score=0.8), square(15, 105, 20, score=0.7)]


def test_cells_are_judged_by_their_masks():
    assert judge(FOUND, OBJECTS, SIZE) == ([RIGHT, WRONG, IGNORED], [False, True, False])
    assert judge([], OBJECTS, SIZE) == ([], [True, True, False])
    assert judge(FOUND, [], SIZE) == ([WRONG] * 3, [])
    doubled = [square(10, 10, score=0.5), square(11, 11, score=0.9)]
    assert judge(doubled, OBJECTS[:1], SIZE) == ([WRONG, RIGHT], [False])


@pytest.mark.parametrize(
    ('width_um', 'expected'), [(647.6, 100), (1000, 200), (240, 20), (26, 5), (10, 2), (3, 0.5), (9.99, 1)]
)
def test_scale_bars_have_round_lengths(width_um, expected):
    assert scale_bar_um(width_um) == expected


def row(found=FOUND, objects=OBJECTS, um_per_px=0.7784, n_methods=1):
    pixels = np.full((SIZE[1], SIZE[0], 3), GROUND, np.uint8)
    return FigureRow('M1/a_0_0', pixels, um_per_px, objects, [found] * n_methods)


def panels(path, rows, methods):
    """Draws the figure, reads it again and cuts out its panels: (height, width, 3) RGB each, frames left out."""
    draw_figure(path, rows, methods)
    picture = cv2.imread(str(path))[..., ::-1]
    ground = (picture == GROUND).all(axis=2)
    columns, lines = (np.flatnonzero(ground.sum(axis=axis) > 50) for axis in (0, 1))
    parts = np.split(columns, np.flatnonzero(np.diff(columns) > 5) + 1)
    assert len(parts) == len(methods) + 1
    return [picture[lines[0] : lines[-1] + 1, part[0] : part[-1] + 1] for part in parts]


def n_of(pixels, colour):
    """How many pixels have exactly this colour, such as '#0050C8'."""
    rgb = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
    return int((pixels == rgb).all(axis=2).sum())


def test_each_column_shows_what_it_should(tmp_path):
    annotated, _, found = panels(tmp_path / 'a.png', [row(n_methods=2)], ('YOLOv8', 'NOISe'))
    assert n_of(annotated, ANNOTATED) > 500
    assert n_of(annotated, RIGHT) == n_of(annotated, WRONG) == 0
    assert min(n_of(found, colour) for colour in (RIGHT, WRONG, IGNORED)) > 300
    assert 0 < n_of(found, ANNOTATED) < n_of(annotated, ANNOTATED)  # one dashed line for the missed cell


def test_outlines_lie_where_the_cells_are(tmp_path):
    """The middle of the line around a cell is at the cell's border, to a third of a pixel of the patch."""
    (panel,) = panels(tmp_path / 'a.png', [row(objects=[square(60, 50)], um_per_px=None, n_methods=0)], ())
    line = (panel == [0x00, 0x50, 0xC8]).all(axis=2)
    for axis, (first, last), size in ((1, (50, 90), SIZE[1]), (0, (60, 100), SIZE[0])):
        at = np.flatnonzero(line.sum(axis=axis) > line.sum(axis=axis).max() / 2)
        lower, upper = np.split(at, np.flatnonzero(np.diff(at) > 5) + 1)
        scale = size / panel.shape[1 - axis]
        assert (lower.mean() + 0.5) * scale == pytest.approx(first, abs=0.3)
        assert (upper.mean() + 0.5) * scale == pytest.approx(last, abs=0.3)


def test_cells_of_several_parts_and_with_holes_are_drawn(tmp_path):
    parts = shapely.union_all([shapely.box(20, 20, 60, 60), shapely.box(120, 20, 160, 60)])
    ringed = shapely.box(20, 20, 80, 80).difference(shapely.box(40, 40, 60, 60))
    shown = {}
    for name, geometry in (('one', shapely.box(20, 20, 60, 60)), ('parts', parts), ('ringed', ringed)):
        first, _ = panels(tmp_path / f'{name}.png', [row(objects=[Outline(geometry)], found=[])], ('NOISe',))
        shown[name] = n_of(first, ANNOTATED)
    assert shown['parts'] == pytest.approx(2 * shown['one'], rel=0.1)
    assert shown['ringed'] == pytest.approx(2 * shown['one'], rel=0.1)


def texts(*rows):
    return [each for each in compose_figure(rows, ('NOISe',)).findobj(Text) if each.get_text()]


def test_names_confidences_and_the_scale_bar(tmp_path):
    shown = {each.get_text() for each in texts(row())}
    assert {'0.90', '0.80', '0.70', 'annotated', 'NOISe', 'M1/a_0_0', '20 µm', 'missed'} <= shown
    assert not any('µm' in each.get_text() for each in texts(row(um_per_px=None)))
    without_score = [square(10, 10)]
    assert not any(each.get_text().startswith('0.') for each in texts(row(found=without_score)))


def test_numbers_of_cells_at_the_border_can_be_read():
    cells = [square(-2, 20, 6, score=0.11), Outline(shapely.box(150, 145, 200, 150), score=0.22)]
    places = {each.get_text(): each.get_position() for each in texts(row(found=cells))}
    assert places['0.11'] == (8, 23)
    assert places['0.22'][1] == 146


def test_pdf_svg_and_other_suffixes(tmp_path):
    for name, beginning in (('a.pdf', b'%PDF'), ('a.svg', b'<?xml')):
        draw_figure(tmp_path / name, [row(), row()], ('NOISe',))
        assert (tmp_path / name).read_bytes().startswith(beginning)
    with pytest.raises(InputError, match=r'a.jpg: cannot be drawn as .jpg'):
        draw_figure(tmp_path / 'a.jpg', [row()], ('NOISe',))
    with pytest.raises(InputError, match='cannot write here'):
        draw_figure(tmp_path / 'a.pdf' / 'b.png', [row()], ('NOISe',))
