import numpy as np
import pytest
from shapely import box

from noise_mm.geometry.outline import Outline
from noise_mm.measure.cells import PRE_OSTEOCLAST
from noise_mm.measure.well_disc import Disc
from noise_mm.report.overlay import (
    COLOURS,
    DISC_COLOUR,
    OTHER_COLOURS,
    class_colours,
    draw_overlay,
)

WHITE = np.full((80, 120, 3), 255, np.uint8)


def cell(x1, y1, x2, y2, label='osteoclast'):
    return Outline(box(x1, y1, x2, y2), name=f'{label}_0007', label=label, score=0.9)


def has(picture, colour, near=30):
    """Which pixels have a colour, as far as smoothing leaves it."""
    return np.abs(picture.astype(int) - colour).max(axis=2) <= near


def test_outlines_lie_where_the_cells_are_in_their_colour():
    outlines = [cell(10, 20, 110, 70), cell(40, 2, 60, 18, PRE_OSTEOCLAST)]
    picture = draw_overlay(WHITE, (120, 80), outlines, has_numbers=False)
    y, x = np.nonzero(has(picture, COLOURS['osteoclast'], near=140))
    assert (x.min(), y.min()) == pytest.approx((9.5, 19.5), abs=0.51)
    assert (x.max(), y.max()) == pytest.approx((109.5, 69.5), abs=0.51)
    assert has(picture, COLOURS[PRE_OSTEOCLAST], near=140)[10, 39:41].any()
    assert (picture[30, 20] == 255).all()
    assert (WHITE == 255).all()


def test_a_reduced_picture_has_reduced_outlines():
    picture = draw_overlay(WHITE, (1200, 800), [cell(100, 200, 1100, 700)], has_numbers=False)
    y, x = np.nonzero((picture < 255).any(axis=2))
    assert (x.min(), y.min(), x.max(), y.max()) == pytest.approx((9.5, 19.5, 109.5, 69.5), abs=2)


def test_holes_are_outlined():
    ring = Outline(box(10, 10, 110, 70) - box(40, 30, 80, 50), 'a_1')
    picture = draw_overlay(WHITE, (120, 80), [ring], has_numbers=False)
    assert (picture[40, 39:41] < 255).any() and (picture[40, 60] == 255).all()


def test_number_in_the_cell():
    grey = np.full((1000, 1000, 3), 128, np.uint8)
    inside = draw_overlay(grey, (1000, 1000), [cell(300, 400, 700, 600)])[450:550, 400:600]
    assert inside.min() < 80  # black below white
    assert inside.max() > 200


def test_numbers_fit_into_small_cells():
    grey = np.full((1000, 1000, 3), 128, np.uint8)
    outlines = [cell(20 + 50 * i, 20 + 50 * j, 55 + 50 * i, 55 + 50 * j) for i in range(10) for j in range(10)]
    white = has(draw_overlay(grey, (1000, 1000), outlines), (255, 255, 255), near=40)
    assert white.any()
    for outline in outlines:
        left, top, right, bottom = (int(value) for value in outline.geometry.bounds)
        white[top:bottom, left:right] = False
    assert not white.any()


def test_cells_too_small_for_numbers_have_none():
    grey = np.full((1000, 1000, 3), 128, np.uint8)
    outlines = [cell(20 + 20 * i, 20 + 20 * j, 26 + 20 * i, 26 + 20 * j) for i in range(48) for j in range(48)]
    assert not has(draw_overlay(grey, (1000, 1000), outlines), (255, 255, 255), near=40).any()
    assert has(draw_overlay(grey, (1000, 1000), outlines), COLOURS['osteoclast'], near=90)[-40:].any()


def test_nuclei_and_the_border_of_the_well():
    nuclei = np.array([[30.0, 40.0], [90.5, 20.5]])
    picture = draw_overlay(WHITE, (120, 80), [], nuclei_px=nuclei, disc=Disc(60, 40, 30))
    assert has(picture, COLOURS['nucleus'], near=120)[19:22, 89:92].any()
    assert has(picture, COLOURS['nucleus'], near=120)[39:41, 29:31].any()
    assert has(picture, DISC_COLOUR, near=130)[69:71, 59:61].any()


def test_nuclei_and_the_border_of_the_well_are_seen_in_dark_places():
    dark = np.full((200, 300, 3), (70, 40, 90), np.uint8)
    picture = draw_overlay(dark, (300, 200), [], nuclei_px=np.array([[50.0, 60.0]]), disc=Disc(200, 100, 60))
    assert has(picture, (255, 255, 255), near=60)[53:67, 43:57].any()
    assert has(picture, COLOURS['nucleus'], near=30)[58:62, 48:52].all()
    assert has(picture, DISC_COLOUR, near=60)[159:161, 199:201].any()


def test_dots_of_nuclei_do_not_cover_a_reduced_well():
    small = draw_overlay(WHITE, (12000, 8000), [], nuclei_px=np.array([[6000.0, 4000.0]]))
    assert (small != WHITE).any(axis=2).sum() < 25


def test_classes_have_colours_of_their_own():
    colours = class_colours(['osteoclast', 'b', 'a', 'b'])
    assert colours['osteoclast'] == COLOURS['osteoclast']
    assert (colours['a'], colours['b']) == OTHER_COLOURS[:2]
