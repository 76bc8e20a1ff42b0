import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely import MultiPolygon, Polygon

from noise_mm.geometry.outline import parts_of, ring_vertices
from noise_mm.geometry.pixels import trace
from noise_mm.geometry.rings import crosses_itself, geometry_of_ring, keyholed


def single_ring(geometry):
    """All of a geometry as one closed ring, as ImageJ's tables have it: parts are joined by bridges, too."""
    first, *others = [keyholed(part) for part in parts_of(geometry)]
    for ring in others:
        distances = np.hypot(*(first[:, None] - ring[None]).transpose(2, 0, 1))
        start, end = np.unravel_index(distances.argmin(), distances.shape)
        ring = np.roll(ring, -end, axis=0)
        first = np.concatenate([first[: start + 1], ring, ring[:1], first[start:]])
    return ring_vertices(first)


@given(data=st.data())
def test_a_single_ring_keeps_the_shape(data, geometries, assert_same_geometry):
    geometry = data.draw(geometries)
    ring = single_ring(geometry)
    back, crossing = geometry_of_ring(ring)
    assert not crossing
    assert Polygon(ring).area == pytest.approx(geometry.area)
    assert_same_geometry(geometry, back)


@given(st.lists(st.lists(st.booleans(), min_size=7, max_size=7), min_size=1, max_size=7))
def test_a_single_ring_keeps_any_set_of_pixels(rows):
    """Pixels give the hard cases: borders on one line with bridges, parts and holes that touch at corners."""
    mask = np.array(rows)
    if not mask.any():
        return
    geometry = trace(mask)
    back, crossing = geometry_of_ring(single_ring(geometry))
    assert not crossing
    assert back.equals(geometry)


def test_keyhole_of_a_square_in_a_square():
    ring = keyholed(Polygon([(0, 0), (9, 0), (9, 9), (0, 9)], [[(3, 3), (6, 3), (6, 6), (3, 6)]]))
    assert Polygon(ring).area == 81 - 9
    assert len(ring) == 4 + 4 + 3  # both squares, the hole's first vertex again, and the bridge's foot twice
    assert [0, 3] in ring.tolist()


def test_a_polygon_without_holes_is_its_border():
    assert keyholed(shapely.box(0, 0, 2, 1)).tolist() == [[2, 0], [2, 1], [0, 1], [0, 0]]


def test_a_self_crossing_ring_is_told_from_a_bridge():
    geometry, crossing = geometry_of_ring([(0, 0), (4, 4), (4, 0), (0, 4)])
    assert crossing
    assert geometry.area == 8


def test_crosses_itself_is_false_for_what_is_valid():
    both = MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(5, 5, 6, 6)])
    assert not crosses_itself(both, both)


def test_a_ring_without_area_is_refused():
    with pytest.raises(ValueError, match='no area'):
        geometry_of_ring([(0, 0), (1, 1), (2, 2)])
