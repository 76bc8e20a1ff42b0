import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely import GeometryCollection, LineString, MultiPolygon, Point, Polygon

from noise_mm.geometry.outline import even_odd, parts_of, polygonal_parts, repaired, ring_vertices

SQUARE = [(0, 0), (4, 0), (4, 4), (0, 4)]
BOW_TIE = [(0, 0), (4, 4), (4, 0), (0, 4)]


def test_ring_vertices_leaves_out_repetitions():
    assert ring_vertices([(0, 0), (0, 0), (4, 0), (4, 4), (0, 0)]).tolist() == [[0, 0], [4, 0], [4, 4]]


@pytest.mark.parametrize('points', [[], [(0, 0)], [(0, 0), (1, 1), (0, 0), (1, 1)]])
def test_ring_vertices_refuses_fewer_than_three(points):
    with pytest.raises(ValueError, match='fewer than three'):
        ring_vertices(points)


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_ring_vertices_refuses_what_is_not_finite(value):
    with pytest.raises(ValueError, match='not a finite number'):
        ring_vertices([(0, 0), (1, 0), (1, value)])


def test_polygonal_parts_keeps_areas_only():
    mixed = GeometryCollection([Point(0, 0), LineString([(0, 0), (1, 1)]), MultiPolygon([Polygon(SQUARE)])])
    assert polygonal_parts(mixed).equals(Polygon(SQUARE))
    assert polygonal_parts(LineString([(0, 0), (1, 1)])).is_empty


def test_a_bow_tie_becomes_two_triangles():
    valid = repaired(Polygon(BOW_TIE))
    assert valid.is_valid
    assert [part.area for part in parts_of(valid)] == [4, 4]


def test_overlapping_parts_are_merged():
    overlapping = MultiPolygon([shapely.box(0, 0, 4, 4), shapely.box(2, 0, 6, 4)])
    assert repaired(overlapping).equals(shapely.box(0, 0, 6, 4))


@pytest.mark.parametrize('flat', [[(0, 0), (1, 1), (2, 2)], [(0, 0), (3, 0), (1, 0), (2, 0)]])
def test_what_has_no_area_is_refused(flat):
    with pytest.raises(ValueError, match='no area'):
        repaired(Polygon(flat))
    with pytest.raises(ValueError, match='no area'):
        even_odd([flat])


def test_a_valid_polygon_of_no_area_is_refused():
    with pytest.raises(ValueError, match='no area'):
        repaired(Polygon())


def test_even_odd_makes_holes_and_islands():
    rings = [shapely.get_coordinates(shapely.box(k, k, 10 - k, 10 - k)) for k in range(3)]
    assert even_odd(rings).area == 100 - 64 + 36


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=3, max_size=10))
def test_even_odd_agrees_with_counting_crossings(points):
    """Reference: the even-odd rule at a grid of places that lie on no edge, by Shapely's own line intersections."""
    ring = Polygon(points).exterior
    try:
        region = even_odd([points])
    except ValueError:
        region = Polygon()
    for x, y in [(0.413, 0.287), (1.713, 2.191), (3.137, 3.659), (4.711, 1.373), (5.271, 5.519)]:
        ray = LineString([(-1, y - 0.0137), (x, y)])
        crossings = sum(ray.intersects(LineString(edge)) for edge in zip(ring.coords, ring.coords[1:], strict=False))
        assert region.contains(Point(x, y)) == (crossings % 2 == 1)
