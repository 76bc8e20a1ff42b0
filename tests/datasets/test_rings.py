"""Flat outlines against shapely, one outline at a time."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from noise_mm.datasets.rings import Rings
from noise_mm.geometry.rings import keyholed

WIDTH, HEIGHT = 40.0, 30.0
FRAME = shapely.box(0, 0, WIDTH, HEIGHT)
SQUARE = [0.0, 0.0, 4.0, 0.0, 4.0, 4.0, 0.0, 4.0]


def rings_of(*instances: list) -> Rings:
    return Rings.from_lists([[np.array(ring, dtype=float) for ring in instance] for instance in instances])


def star(seed: int) -> shapely.Polygon:
    """A concave outline somewhere around the frame; every third has a hole."""
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 17))
    radii = rng.uniform(3, 18, 17)
    centre = rng.uniform([-5, -5], [WIDTH + 5, HEIGHT + 5])
    outline = centre + np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)
    polygon = shapely.Polygon(outline).buffer(0)
    polygon = max(shapely.get_parts(polygon), key=lambda part: part.area)
    if seed % 3 == 0:
        polygon = polygon.difference(polygon.representative_point().buffer(1.5, quad_segs=3))
        polygon = max(shapely.get_parts(polygon), key=lambda part: part.area)
    return polygon


def covered(rings: Rings, index: int) -> shapely.Geometry:
    """The region of one instance, by the odd-even rule of each ring; slits have no area."""
    parts = [shapely.make_valid(shapely.Polygon(ring.reshape(-1, 2))) for ring in rings.to_lists()[index]]
    return shapely.union_all(parts)


def test_lists_come_back_as_they_were() -> None:
    lists = [[np.array(SQUARE), np.array(SQUARE) + 10], [], [np.arange(6.0)]]
    back = Rings.from_lists(lists).to_lists()
    assert [len(instance) for instance in back] == [2, 0, 1]
    for one, other in zip(lists, back, strict=True):
        np.testing.assert_array_equal(np.array(one), np.array(other))


def test_nothing_at_all() -> None:
    empty = Rings.from_lists([])
    assert len(empty) == 0
    assert empty.to_lists() == []
    assert empty.boxes().shape == (0, 4)
    assert empty.areas().shape == (0,)
    assert len(empty.clipped(5, 5).moved(np.eye(2, 3)).selected(np.arange(0))) == 0


def test_boxes_and_areas_are_of_all_rings_of_an_instance() -> None:
    rings = rings_of([SQUARE, [10, 10, 12, 10, 12, 12]], [], [SQUARE])
    np.testing.assert_array_equal(rings.boxes(), [[0, 0, 12, 12], [0, 0, 0, 0], [0, 0, 4, 4]])
    np.testing.assert_array_equal(rings.areas(), [18, 0, 16])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=6))
def test_clipping_is_exact(seeds: list[int]) -> None:
    polygons = [star(seed) for seed in seeds]
    clipped = Rings.from_lists([[keyholed(polygon).reshape(-1)] for polygon in polygons]).clipped(WIDTH, HEIGHT)
    assert len(clipped) == len(polygons)
    for index, polygon in enumerate(polygons):
        expected = polygon.intersection(FRAME)
        assert clipped.areas()[index] == pytest.approx(expected.area, abs=1e-9)
        if expected.area > 0:
            np.testing.assert_allclose(clipped.boxes()[index], expected.bounds, atol=1e-9)
            region = covered(clipped, index)
            assert region.symmetric_difference(expected).area < 1e-6
            assert min(clipped.boxes()[index]) >= 0
        else:
            assert clipped.instance_sizes[index] == 0


def test_inside_stays_untouched_and_outside_keeps_its_place() -> None:
    rings = rings_of([SQUARE], [[-9, -9, -5, -9, -5, -5]], [SQUARE])
    clipped = rings.clipped(4, 4)
    np.testing.assert_array_equal(clipped.instance_sizes, [1, 0, 1])
    np.testing.assert_array_equal(clipped.boxes(), [[0, 0, 4, 4], [0, 0, 0, 0], [0, 0, 4, 4]])


def test_an_outline_around_a_corner_of_the_frame_does_not_contain_that_corner() -> None:
    # An L around the upper left corner: it enters at the left and at the top. Clipping edge by edge, as is often done,
    # would let the box reach the corner.
    angle = [-5, 12, 8, 12, 8, 8, -3, 8, -3, -3, 8, -3, 8, 4, 12, 4, 12, -5, -5, -5]
    clipped = rings_of([angle]).clipped(WIDTH, HEIGHT)
    np.testing.assert_array_equal(clipped.instance_sizes, [2])
    np.testing.assert_array_equal(clipped.boxes(), [[0, 0, 12, 12]])
    assert clipped.areas()[0] == 8 * 4 + 4 * 4
    only_left = rings_of([[*angle[:8], -3, 40, -5, 40]]).clipped(WIDTH, HEIGHT)
    assert only_left.boxes()[0, 1] == 8


def test_what_only_touches_the_frame_is_not_inside() -> None:
    touching = rings_of([[-4, 2, 0, 2, 0, 6]], [[40, 3, 44, 3, 44, 5]], [[-4, -4, 0, 0, -4, 0]])
    np.testing.assert_array_equal(touching.clipped(WIDTH, HEIGHT).instance_sizes, [0, 0, 0])


def test_a_line_across_the_border_disappears() -> None:
    assert rings_of([[-4, 2, 10, 2, 3, 2]]).clipped(WIDTH, HEIGHT).instance_sizes[0] == 0


def test_two_parts_in_the_frame_stay_two_rings() -> None:
    u_shape = [5, -5, 25, -5, 25, 10, 20, 10, 20, -2, 10, -2, 10, 10, 5, 10]
    clipped = rings_of([SQUARE], [u_shape], [SQUARE]).clipped(WIDTH, HEIGHT)
    np.testing.assert_array_equal(clipped.instance_sizes, [1, 2, 1])
    np.testing.assert_array_equal(clipped.areas(), [16, 100, 16])


def test_selecting_and_joining() -> None:
    rings = rings_of([SQUARE, [1, 1, 2, 1, 2, 2]], [], [[5, 5, 9, 5, 9, 9]])
    both = Rings.joined([rings.selected(np.array([2, 0])), rings])
    np.testing.assert_array_equal(both.instance_sizes, [1, 2, 2, 0, 1])
    np.testing.assert_array_equal(both.areas(), [8, 16.5, 16.5, 0, 8])


def test_moving_by_a_matrix() -> None:
    turned = rings_of([SQUARE]).moved(np.array([[0.0, -2.0, 10.0], [1.0, 0.0, 3.0]]))
    np.testing.assert_array_equal(turned.boxes(), [[2, 3, 10, 7]])
