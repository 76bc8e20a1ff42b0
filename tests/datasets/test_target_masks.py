"""Drawn masks against point-in-polygon tests, cell by cell."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from noise_mm.datasets.rings import Rings
from noise_mm.datasets.target_masks import index_map, mask_stack
from noise_mm.geometry.rings import keyholed

GRID = (12, 16)
STRIDE = 4


def blob(seed: int, radius: float = 14.0, extent: tuple[float, float] = (64, 48)) -> shapely.Polygon:
    """A concave outline clipped to the frame, with a hole if there is room for one."""
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 13))
    radii = rng.uniform(0.2, 1, 13) * radius
    outline = rng.uniform(0, extent) + np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)
    polygon = shapely.Polygon(outline).buffer(0)
    hole = polygon.representative_point().buffer(radius / 6, quad_segs=2)
    polygon = polygon.difference(hole).intersection(shapely.box(0, 0, *extent))
    parts = [part for part in shapely.get_parts(polygon) if part.area > 0]
    return max(parts, key=lambda part: part.area, default=shapely.Polygon())


def rings_of(polygons: list[shapely.Polygon]) -> Rings:
    return Rings.from_lists([[keyholed(polygon).reshape(-1)] for polygon in polygons])


def cell_centres(grid: tuple[int, int]) -> np.ndarray:
    rows, columns = np.mgrid[: grid[0], : grid[1]]
    return shapely.points((columns + 0.5) * STRIDE, (rows + 0.5) * STRIDE)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=5))
def test_a_cell_is_set_where_its_centre_is_inside(seeds: list[int]) -> None:
    polygons = [polygon for polygon in map(blob, seeds) if not polygon.is_empty]
    for polygon, mask in zip(polygons, mask_stack(rings_of(polygons), GRID), strict=True):
        expected = shapely.contains(polygon, cell_centres(GRID))
        if expected.any():
            np.testing.assert_array_equal(mask, expected)
        else:
            assert mask.sum() == 1


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 10_000), min_size=0, max_size=30))
def test_the_map_is_the_stack_painted_in_order(seeds: list[int]) -> None:
    polygons = [polygon for polygon in map(blob, seeds) if not polygon.is_empty]
    rings = rings_of(polygons)
    painted = np.zeros(GRID, dtype=np.int32)
    for number, mask in enumerate(mask_stack(rings, GRID), start=1):
        painted[mask > 0] = number
    np.testing.assert_array_equal(index_map(rings, GRID), painted)


@pytest.mark.parametrize('count', [255, 256, 513, 1500])
def test_any_number_of_instances(count: int) -> None:
    side = 40
    corners = [(4.0 * (i % side), 4.0 * (i // side)) for i in range(count)]
    rings = rings_of([shapely.box(x, y, x + 4, y + 4) for x, y in corners])
    drawn = index_map(rings, (side, side))
    assert drawn.dtype == np.int32
    np.testing.assert_array_equal(drawn.reshape(-1)[:count], np.arange(1, count + 1))
    assert not drawn.reshape(-1)[count:].any()
    stack = mask_stack(rings, (side, side))
    assert stack.shape == (count, side, side)
    np.testing.assert_array_equal(stack.sum((1, 2)), 1)


def test_no_instances() -> None:
    empty = Rings.from_lists([])
    assert not index_map(empty, GRID).any()
    assert mask_stack(empty, GRID).shape == (0, *GRID)


def test_an_instance_without_rings_has_no_cell() -> None:
    rings = Rings.from_lists([[], [np.array([0, 0, 8, 0, 8, 8, 0, 8.0])]])
    assert set(np.unique(index_map(rings, GRID))) == {0, 2}


@pytest.mark.parametrize('place', [(0.2, 0.1), (5.0, 9.0), (63.0, 47.2), (63.9, 0.0)])
def test_a_tiny_instance_has_the_cell_it_lies_in(place: tuple[float, float]) -> None:
    x, y = place
    rings = rings_of([shapely.box(0, 0, 64, 48), shapely.box(x, y, x + 0.05, y + 0.05)])
    drawn = index_map(rings, GRID)
    assert np.argwhere(drawn == 2).tolist() == [[int(y // 4), int(x // 4)]]


def test_a_keyhole_is_a_hole() -> None:
    ring = keyholed(shapely.box(0, 0, 40, 40).difference(shapely.box(12, 12, 28, 28)))
    mask = mask_stack(Rings.from_lists([[ring.reshape(-1)]]), GRID)[0]
    expected = np.zeros(GRID, dtype=np.uint8)
    expected[:10, :10] = 1
    expected[3:7, 3:7] = 0
    np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize('radius', [8.0, 20.0, 60.0])
def test_areas_are_kept_on_average(radius: float) -> None:
    polygons = [blob(seed, radius, extent=(416, 416)) for seed in range(300)]
    polygons = [polygon for polygon in polygons if not polygon.is_empty]
    drawn = mask_stack(rings_of(polygons), (104, 104)).sum() * 16
    # Filling every cell that the line touches, as cv2.fillPoly does, would be far off for small cells.
    assert drawn == pytest.approx(sum(polygon.area for polygon in polygons), rel=0.03)
