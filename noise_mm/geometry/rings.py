"""Outlines as single closed rings, for formats that know neither holes nor several parts (COCO).

How it works: the ring runs along the outer border, crosses to a hole, runs around the hole in the opposite sense and
comes back along the same way. This bridge has no width and is passed once in each direction, so the shoelace area, the
even-odd rule and the winding rule all see the hole, whatever the bridge crosses. Parts are joined in the same way.
"""

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from shapely import MultiPolygon, Polygon

from noise_mm.geometry.outline import repaired, ring_vertices


def keyholed(polygon: Polygon) -> NDArray[np.float64]:
    """One closed ring (n, 2), without the repeated last point, with the area of `polygon`, holes taken out.

    A polygon without holes gives its border. Of a polygon with holes, each hole is bridged to what lies left of
    its leftmost vertex; holes are taken from left to right, so that this is always a part of the ring already.
    """
    border = _oriented(polygon.exterior, clockwise=False)
    holes = [_oriented(hole, clockwise=True) for hole in polygon.interiors]
    holes = [np.roll(hole, -np.lexsort((hole[:, 1], hole[:, 0]))[0], axis=0) for hole in holes]  # leftmost vertex first
    for hole in sorted(holes, key=lambda vertices: (vertices[0, 0], vertices[0, 1])):
        edge, foot = _first_border_to_the_left(border, hole[0])
        way_there_and_back = np.concatenate([foot[None], hole, hole[:1], foot[None]])
        border = np.concatenate([border[: edge + 1], way_there_and_back, border[edge + 1 :]])
    return ring_vertices(border)


def geometry_of_ring(ring: ArrayLike) -> tuple[Polygon | MultiPolygon, bool]:
    """The valid geometry that a ring stands for, and whether the ring crosses itself; the opposite of `keyholed`.

    Args:
        ring: Vertices (n, 2), with or without the repeated last point. Bridges to holes and parts are taken out.

    Returns:
        The geometry, and True if the ring runs around some region in a wrong sense or more than once. Such a ring
        is an annotator's slip and is repaired by the even-odd rule; a bridge is none.

    Raises:
        ValueError: If the ring has fewer than three different vertices or encloses nothing.
    """
    polygon = Polygon(ring_vertices(ring))
    valid = repaired(polygon)
    return valid, crosses_itself(polygon, valid)


def crosses_itself(polygon: Polygon | MultiPolygon, valid: Polygon | MultiPolygon) -> bool:
    """Whether repairing `polygon` to `valid` changed what it covers, and not only how its border is written.

    The area of a polygon by the shoelace formula counts regions as often as the border runs around them, negative
    where it does so in the wrong sense. It differs from the repaired area by more than rounding (1e-6) only then.
    """
    return not np.isclose(polygon.area, valid.area, rtol=1e-6, atol=0)


def _oriented(ring: shapely.LinearRing, *, clockwise: bool) -> NDArray[np.float64]:
    """The vertices of `ring` without the repeated last one, in the given sense."""
    vertices = shapely.get_coordinates(ring)[:-1]
    return vertices if ring.is_ccw != clockwise else vertices[::-1]


def _first_border_to_the_left(border: NDArray[np.float64], point: NDArray[np.float64]) -> tuple[int, NDArray]:
    """Where a ray from `point` to the left first meets the ring `border`: the edge's index and the place (2,)."""
    x, y = point
    x1, y1 = border.T
    x2, y2 = np.roll(border, -1, axis=0).T
    flat = y1 == y2
    share = np.divide(y - y1, y2 - y1, out=np.zeros_like(y1), where=~flat)
    # A share of exactly 0 or 1 must give exactly the vertex, or the ring would get a spur there.
    crossing = np.where(share == 1, x2, x1 + share * (x2 - x1))
    crossing = np.where(flat, np.where(np.maximum(x1, x2) <= x, np.maximum(x1, x2), np.minimum(x1, x2)), crossing)
    met = (np.minimum(y1, y2) <= y) & (np.maximum(y1, y2) >= y) & (crossing <= x)
    edge = int(np.argmax(np.where(met, crossing, -np.inf)))
    return edge, np.array([crossing[edge], y])
