"""One annotated cell in memory, and the pixel convention that every file format is converted to.

Coordinates are continuous well pixels, x to the right and y down, with pixel CORNERS at whole numbers: the pixel in
column i and row j covers the square from (i, j) to (i + 1, j + 1), and its centre is (i + 0.5, j + 0.5). A rectangle
from (0, 0) to (3, 2) therefore has an area of exactly six pixels. ImageJ ROIs, COCO polygons and QuPath GeoJSON
use the same convention.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from shapely import MultiPolygon, Polygon

LARGEST_PX = 10_000_000
"""Coordinates beyond this are of no image (well images end at some 200,000 px), and arithmetic on them is not exact."""

MOST_CROSSINGS, MOST_FACES_BY_EDGES = 200_000, 10**9
"""Bounds on an outline that has to be repaired: pairs of edges that may meet, and faces x edges. Beyond them, a file is
damaged (random vertices) and repairing it would take minutes."""


@dataclass(frozen=True)
class Outline:
    """The outline of one cell, or of one region that is to be ignored.

    Attributes:
        geometry: A valid polygon, possibly with holes, or several of them; in the convention of this module.
        name: The name that the file gives to the object; empty where it gives none.
        label: The class name.
        score: Confidence from 0 to 1 where a model made the outline, else None.
        ignored: True for a region in which detections are neither right nor wrong (COCO's `iscrowd`).
        marks: What is in doubt about a predicted outline: `cut_at_box` if it ends straight along its box, `joined` if
            it was put together from several tiles, `unvoted` if a single tile should have seen it.
    """

    geometry: Polygon | MultiPolygon
    name: str = ''
    label: str = 'osteoclast'
    score: float | None = None
    ignored: bool = False
    marks: frozenset[str] = frozenset()


def ring_vertices(points: ArrayLike) -> NDArray[np.float64]:
    """The vertices of a closed ring as an array (n, 2), without repeated neighbours and without a repeated last point.

    Raises:
        ValueError: If a coordinate is not a finite number or beyond `LARGEST_PX`, or fewer than three different
            vertices are left.
    """
    try:
        vertices = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    except OverflowError as error:  # a JSON integer of hundreds of digits
        raise ValueError('a coordinate is too large a number') from error
    if not np.isfinite(vertices).all():
        raise ValueError('a coordinate is not a finite number')
    if len(vertices) and np.abs(vertices).max() > LARGEST_PX:
        raise ValueError(f'a coordinate is {np.abs(vertices).max():g}, which no image has')
    vertices = vertices[(vertices != np.roll(vertices, -1, axis=0)).any(axis=1)]
    if len(np.unique(vertices, axis=0)) < 3:
        raise ValueError('fewer than three different vertices')
    return vertices


def polygonal_parts(geometry: shapely.Geometry) -> Polygon | MultiPolygon:
    """The areas in `geometry`, as one polygon or several; points and lines in it are left out.

    The result is empty where there is no area.
    """
    parts = shapely.get_parts(shapely.get_parts(geometry))  # twice: a collection may hold a MultiPolygon
    areas = [part for part in parts if isinstance(part, Polygon) and part.area > 0]
    return areas[0] if len(areas) == 1 else MultiPolygon(areas)


def repaired(geometry: Polygon | MultiPolygon) -> Polygon | MultiPolygon:
    """A valid geometry from the same rings, by the even-odd rule; parts of a MultiPolygon that overlap are merged.

    Raises:
        ValueError: If no area is left.
    """
    if geometry.is_valid:
        valid = polygonal_parts(geometry)
    elif isinstance(geometry, MultiPolygon):
        valid = polygonal_parts(shapely.union_all([repaired(part) for part in geometry.geoms]))
    else:
        valid = even_odd([shapely.get_coordinates(ring) for ring in shapely.get_rings(geometry)])
    if valid.is_empty:
        raise ValueError('the outline has no area')
    return valid


def even_odd(rings: Sequence[ArrayLike]) -> Polygon | MultiPolygon:
    """The region inside an odd number of `rings`: outer borders and holes are told apart by nesting alone.

    How it works: the rings' lines cut the plane into faces, and each face is in or out as a whole, so one point of
    each decides. `shapely.make_valid` does not serve: it takes in notches that a bridge between two parts closes off.

    Args:
        rings: Arrays (n, 2) of vertices, with or without the repeated last point.

    Raises:
        ValueError: If a ring has fewer than three different vertices, nothing is inside, or edges cross too often.
    """
    closed = [np.concatenate([ring, ring[:1]]) for ring in map(ring_vertices, rings)]
    edges = np.concatenate([np.hstack([ring[:-1], ring[1:]]) for ring in closed])
    if _meeting_edges(edges) > MOST_CROSSINGS:
        raise ValueError('the outline crosses itself too often to be repaired')
    lines = shapely.union_all([shapely.LineString(ring) for ring in closed])
    faces = shapely.get_parts(shapely.polygonize([lines]))
    if len(faces) * len(edges) > MOST_FACES_BY_EDGES:
        raise ValueError('the outline crosses itself too often to be repaired')
    points = shapely.get_coordinates(shapely.point_on_surface(faces))
    inside = [_crossings_to_the_left(point, edges) % 2 == 1 for point in points]
    region = polygonal_parts(shapely.union_all(faces[np.array(inside, dtype=bool)]))
    if region.is_empty:
        raise ValueError('the outline has no area')
    return region


def _meeting_edges(edges: NDArray[np.float64]) -> float:
    """Estimate how many pairs of the edges (n, 4), each x1, y1, x2, y2, have boxes that meet, from 200 of them."""
    low, high = np.minimum(edges[:, :2], edges[:, 2:]), np.maximum(edges[:, :2], edges[:, 2:])
    sample = np.unique(np.linspace(0, len(edges) - 1, 200).astype(int))
    met = [((low <= high[edge]) & (high >= low[edge])).all(axis=1).sum() for edge in sample]
    return float(np.mean(met)) * len(edges) / 2


def _crossings_to_the_left(point: NDArray[np.float64], edges: NDArray[np.float64]) -> int:
    """How many of the edges (n, 4), each x1, y1, x2, y2, a ray from `point` to the left crosses."""
    x1, y1, x2, y2 = edges[(edges[:, 1] <= point[1]) != (edges[:, 3] <= point[1])].T
    return int((x1 + (point[1] - y1) * (x2 - x1) / (y2 - y1) < point[0]).sum())


def parts_of(geometry: Polygon | MultiPolygon) -> list[Polygon]:
    """The polygons that `geometry` consists of."""
    return list(geometry.geoms) if isinstance(geometry, MultiPolygon) else [geometry]
