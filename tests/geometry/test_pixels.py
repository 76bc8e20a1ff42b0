import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from shapely import MultiPolygon, Point

from noise_mm.geometry.outline import parts_of
from noise_mm.geometry.pixels import fill_pixels, mask_of_runs, row_runs, trace

MASKS = arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))


@given(MASKS, st.integers(-5, 5), st.integers(0, 5))
def test_trace_is_the_union_of_the_pixels(mask, x, y):
    if not mask.any():
        return
    traced = trace(mask, x, y)
    rows, columns = np.nonzero(mask)
    pixels = shapely.union_all(shapely.box(columns + x, rows + y, columns + x + 1, rows + y + 1))
    assert traced.is_valid
    assert traced.area == mask.sum()
    assert traced.equals(pixels)


@given(MASKS)
def test_filling_a_traced_mask_gives_the_mask(mask):
    if mask.any():
        height, width = mask.shape
        np.testing.assert_array_equal(fill_pixels(trace(mask, 3, 4), 3, 4, width, height), mask)


@given(data=st.data())
def test_fill_takes_the_pixels_whose_centres_are_inside(data, geometries):
    geometry = data.draw(geometries)
    x, y = int(geometry.bounds[0]) + 7, int(geometry.bounds[1]) + 5  # a window that cuts the outline
    filled = fill_pixels(geometry, x, y, 60, 40)
    rows, columns = np.mgrid[:40, :60]
    centres = shapely.points(columns + x + 0.5, rows + y + 0.5)
    far_from_border = shapely.distance(centres, geometry.boundary) > 1e-9
    expected = shapely.contains(geometry, centres)
    np.testing.assert_array_equal(filled[far_from_border], expected[far_from_border])


@given(st.integers(0, 20), st.integers(1, 20))
def test_neighbours_share_no_pixel_and_leave_none(offset, tilt):
    """A line through pixel centres divides a square: each pixel goes to exactly one side."""
    line = [(0.5 + offset, 0), (0.5 + (offset + tilt) % 20, 20)]
    left = shapely.Polygon([(-30, 0), line[0], line[1], (-30, 20)])
    right = shapely.Polygon([line[0], (60, 0), (60, 20), line[1]])
    both = fill_pixels(left, 0, 0, 30, 20).astype(int) + fill_pixels(right, 0, 0, 30, 20)
    assert (both == 1).all()


def test_checkerboard_gives_separate_squares():
    squares = trace(np.eye(2))
    assert isinstance(squares, MultiPolygon)
    assert [part.area for part in parts_of(squares)] == [1, 1]


def test_a_hole_closed_by_touching_corners_stays_a_hole():
    mask = np.ones((4, 4), dtype=bool)
    mask[1, 1] = mask[2, 2] = False
    outline = trace(mask)
    assert len(outline.interiors) == 2
    assert not outline.contains(Point(1.5, 1.5))


def test_an_empty_mask_is_refused():
    with pytest.raises(ValueError, match='no pixel'):
        trace(np.zeros((3, 3)))


@given(arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.integers(0, 3)))
def test_runs_of_each_label_give_its_mask(labels):
    values, rows, starts, ends = row_runs(labels)
    assert set(values) == set(np.unique(labels)) - {0}
    for value in set(values.tolist()):
        mine = values == value
        mask, x, y = mask_of_runs(rows[mine], starts[mine], ends[mine])
        whole = np.zeros(labels.shape, dtype=bool)
        whole[y : y + mask.shape[0], x : x + mask.shape[1]] = mask
        np.testing.assert_array_equal(whole, labels == value)
