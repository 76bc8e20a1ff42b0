import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from noise_mm.geometry.pixels import fill_pixels
from noise_mm.geometry.windows import area_um2, clipped, scaled

RING = shapely.box(2, 2, 12, 12).difference(shapely.box(4, 4, 10, 10))
COMB = shapely.Polygon([(0, 0), (9, 0), (9, 8), (6, 8), (6, 2), (3, 2), (3, 8), (0, 8)])


def test_an_outline_inside_the_window_is_left_as_it_is():
    assert clipped(RING, 0, 0, 20, 20) is RING


def test_cutting_through_a_hole_opens_it():
    part = clipped(RING, 0, 0, 7, 20)
    assert part.area == 10 * 5 - 6 * 3
    assert part.bounds == (2, 2, 7, 12)
    assert not part.interiors


def test_an_outline_that_enters_twice_gives_two_parts():
    parts = clipped(COMB, 0, 4, 20, 20)
    assert sorted(part.bounds for part in parts.geoms) == [(0, 4, 3, 8), (6, 4, 9, 8)]


@pytest.mark.parametrize('x', [12, 12.0000000001, 40])
def test_what_only_touches_the_window_is_gone(x):
    assert clipped(RING, x, 0, 5, 20).is_empty


def test_crumbs_of_rounding_are_left_out():
    assert clipped(shapely.union_all([COMB, shapely.box(20, 0, 20.00001, 0.01)]), 5, -5, 30, 30).bounds[2] == 9


@given(st.integers(0, 2**32 - 1), st.integers(-5, 25), st.integers(-5, 25), st.integers(1, 20), st.integers(1, 20))
def test_clip_and_draw_is_draw_and_crop(seed, x, y, width, height):
    """Against masks: the pixels of the clipped outline are the crop of the pixels of the whole one."""
    angles = np.sort(np.random.default_rng(seed).uniform(0, 2 * np.pi, 9))
    radii = np.random.default_rng(seed + 1).uniform(3, 12, 9)
    cell = shapely.Polygon(np.stack([14 + radii * np.cos(angles), 13 + radii * np.sin(angles)], axis=1)).buffer(0)
    whole = fill_pixels(cell, -10, -10, 60, 60)
    mask = fill_pixels(clipped(cell, x, y, width, height), x, y, width, height)
    np.testing.assert_array_equal(mask, whole[y + 10 : y + 10 + height, x + 10 : x + 10 + width])


def test_scaling_keeps_the_origin_and_squares_areas():
    double = scaled(RING, 2)
    assert double.bounds == (4, 4, 24, 24)
    assert double.area == 4 * RING.area
    assert scaled(RING, 1) is RING


def test_area_in_square_micrometres():
    assert area_um2(100, um_per_px=0.5) == 25
