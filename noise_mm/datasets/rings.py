"""Outlines of many instances as flat arrays: moving, clipping and measuring them without a loop over vertices.

Coordinates are continuous pixels with pixel corners at whole numbers (see `noise_mm.geometry.outline`). A ring is a
closed polygon without its repeated last point. A hole is part of its ring, joined to the outer line by a slit (a
keyhole), as in COCO files; inside is where a ray crosses the ring an odd number of times, as in COCO's own masks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from shapely import Polygon

from noise_mm.geometry.outline import repaired
from noise_mm.geometry.rings import keyholed


@dataclass(frozen=True)
class Rings:
    """The outlines of n instances, each of any number of rings.

    Attributes:
        points: (V, 2) float64 x, y; all rings one after the other.
        ring_sizes: (R,) int64 vertices of each ring, at least 3.
        instance_sizes: (n,) int64 rings of each instance; 0 where nothing of it is left.
    """

    points: np.ndarray
    ring_sizes: np.ndarray
    instance_sizes: np.ndarray

    @classmethod
    def from_lists(cls, masks: Sequence[Sequence[np.ndarray]]) -> 'Rings':
        """From the form of `mmdet.structures.mask.PolygonMasks.masks`: for each instance arrays x1, y1, x2, y2, ..."""
        rings = [np.asarray(ring, dtype=np.float64) for instance in masks for ring in instance]
        points = np.concatenate(rings).reshape(-1, 2) if rings else np.zeros((0, 2))
        return cls(
            points,
            np.array([ring.size // 2 for ring in rings], dtype=np.int64),
            np.array([len(instance) for instance in masks], dtype=np.int64),
        )

    def to_lists(self) -> list[list[np.ndarray]]:
        """The opposite of `from_lists`."""
        flat = np.split(self.points.reshape(-1), 2 * np.cumsum(self.ring_sizes)[:-1]) if len(self.ring_sizes) else []
        ends = np.cumsum(self.instance_sizes)
        return [flat[end - size : end] for size, end in zip(self.instance_sizes, ends, strict=True)]

    def __len__(self) -> int:
        """Number of instances."""
        return len(self.instance_sizes)

    @property
    def ring_starts(self) -> np.ndarray:
        """(R,) index of the first vertex of each ring."""
        return np.cumsum(self.ring_sizes) - self.ring_sizes

    @property
    def ring_instances(self) -> np.ndarray:
        """(R,) the instance of each ring."""
        return np.repeat(np.arange(len(self)), self.instance_sizes)

    def next_points(self) -> np.ndarray:
        """(V, 2) the vertex that follows each vertex on its ring."""
        following = np.arange(1, len(self.points) + 1)
        following[self.ring_starts + self.ring_sizes - 1] = self.ring_starts
        return self.points[following]

    def ring_boxes(self) -> np.ndarray:
        """(R, 4) x1, y1, x2, y2 of each ring."""
        if len(self.ring_sizes) == 0:
            return np.zeros((0, 4))
        starts = self.ring_starts
        return np.hstack([np.minimum.reduceat(self.points, starts), np.maximum.reduceat(self.points, starts)])

    def boxes(self) -> np.ndarray:
        """(n, 4) x1, y1, x2, y2 of each instance; zeros where it has no ring."""
        boxes = np.zeros((len(self), 4))
        some = self.instance_sizes > 0
        if some.any():
            starts = (np.cumsum(self.instance_sizes) - self.instance_sizes)[some]
            rings = self.ring_boxes()
            boxes[some, :2] = np.minimum.reduceat(rings[:, :2], starts)
            boxes[some, 2:] = np.maximum.reduceat(rings[:, 2:], starts)
        return boxes

    def areas(self) -> np.ndarray:
        """(n,) area of each instance in px^2, the sum over its rings; a keyholed hole counts as empty."""
        if len(self.ring_sizes) == 0:
            return np.zeros(len(self))
        # From each ring's first vertex, so that the products stay small and lose no digits.
        origin = np.repeat(self.points[self.ring_starts], self.ring_sizes, axis=0)
        here, there = self.points - origin, self.next_points() - origin
        doubled = np.add.reduceat(here[:, 0] * there[:, 1] - there[:, 0] * here[:, 1], self.ring_starts)
        return np.bincount(self.ring_instances, weights=np.abs(doubled) / 2, minlength=len(self))

    def moved(self, matrix: np.ndarray) -> 'Rings':
        """Transformed by an affine `matrix` (2, 3): columns for x, for y, and the offset."""
        return Rings(self.points @ matrix[:, :2].T + matrix[:, 2], self.ring_sizes, self.instance_sizes)

    def selected(self, indices: np.ndarray) -> 'Rings':
        """The instances `indices`, in that order."""
        rings = _ranges(np.cumsum(self.instance_sizes) - self.instance_sizes, self.instance_sizes, indices)
        return Rings(*_take_rings(self.points, self.ring_sizes, rings), self.instance_sizes[indices])

    @classmethod
    def joined(cls, parts: Sequence['Rings']) -> 'Rings':
        """All instances of `parts`, one after the other."""
        return cls(
            np.concatenate([part.points for part in parts]),
            np.concatenate([part.ring_sizes for part in parts]),
            np.concatenate([part.instance_sizes for part in parts]),
        )

    def clipped(self, width: float, height: float) -> 'Rings':
        """The part inside the frame from (0, 0) to (width, height); instances outside keep their place, without rings.

        The area is cut exactly: edges that cross the border end on it, several parts stay several rings, and
        corners of the frame that the outline does not contain do not enter it. So `boxes()` are those of the visible
        part. (Taking them from the vertices that lie inside would shrink them at the border.)
        """
        boxes = self.ring_boxes()
        inside = (boxes[:, :2] >= 0).all(1) & (boxes[:, 2] <= width) & (boxes[:, 3] <= height)
        if inside.all():
            return self
        outside = (boxes[:, 2:] <= 0).any(1) | (boxes[:, 0] >= width) | (boxes[:, 1] >= height)
        crossing = np.flatnonzero(~inside & ~outside)
        whole = np.flatnonzero(inside)

        cut_points, cut_sizes, cut_from = _cut(*_take_rings(self.points, self.ring_sizes, crossing), width, height)
        whole_points, whole_sizes = _take_rings(self.points, self.ring_sizes, whole)
        origin = np.concatenate([whole, crossing[cut_from]])  # for each new ring the old one
        order = np.argsort(origin, kind='stable')
        points, sizes = np.concatenate([whole_points, cut_points]), np.concatenate([whole_sizes, cut_sizes])
        instances = np.bincount(self.ring_instances[origin], minlength=len(self)).astype(np.int64)
        return Rings(*_take_rings(points, sizes, order), instances)


def count_up(counts: np.ndarray) -> np.ndarray:
    """0, 1, ... for each entry of `counts`, one after the other: [2, 3] gives [0, 1, 0, 1, 2]."""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)


def _ranges(starts: np.ndarray, sizes: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """start, start + 1, ... of each of the ranges `indices`, one after the other."""
    return np.repeat(starts[indices], sizes[indices]) + count_up(sizes[indices])


def _take_rings(points: np.ndarray, sizes: np.ndarray, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points and sizes of the rings `indices`, in that order."""
    return points[_ranges(np.cumsum(sizes) - sizes, sizes, indices)], sizes[indices]


def _cut(
    points: np.ndarray, sizes: np.ndarray, width: float, height: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The parts of rings inside the frame: points (V, 2), ring sizes (R,), and the old ring of each new one (R,)."""
    if len(sizes) == 0:
        return points, sizes, sizes
    shapes = shapely.polygons(shapely.linearrings(points, indices=np.repeat(np.arange(len(sizes)), sizes)))
    for index in np.flatnonzero(~shapely.is_valid(shapes)):  # keyholes and self-crossings
        shapes[index] = _repaired_or_empty(shapes[index])
    parts, origin = shapely.get_parts(shapely.intersection(shapes, shapely.box(0, 0, width, height)), return_index=True)
    parts, inner = shapely.get_parts(parts, return_index=True)  # a collection may hold a MultiPolygon
    areas = np.flatnonzero(shapely.area(parts) > 0)  # not the points and lines where an outline only touches the frame
    rings = [_ring_of(part) for part in parts[areas]]
    # An intersection ends within rounding of the border; the limits make that exact.
    new_points = np.clip(np.concatenate([*rings, np.zeros((0, 2))]), 0, [width, height])
    return new_points, np.array([len(ring) for ring in rings], dtype=np.int64), origin[inner[areas]]


def _ring_of(polygon: Polygon) -> np.ndarray:
    """A polygon as one ring (k, 2)."""
    if shapely.get_num_interior_rings(polygon):
        return keyholed(polygon)
    return shapely.get_coordinates(polygon)[:-1]


def _repaired_or_empty(polygon: Polygon) -> shapely.Geometry:
    """A valid geometry of the same area; an empty one for a ring that is only a line."""
    try:
        return repaired(polygon)
    except ValueError:
        return Polygon()
