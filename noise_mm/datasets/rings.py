"""Outlines of many instances in one array: moving, clipping and measuring them without a loop over vertices.

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
        rings: (R,) shapely's linear rings, those of the first instance first.
        instances: (R,) int64 the instance of each ring, ascending.
        count: n; an instance of which nothing is left has no ring.
    """

    rings: np.ndarray
    instances: np.ndarray
    count: int

    @classmethod
    def from_lists(cls, masks: Sequence[Sequence[np.ndarray]]) -> 'Rings':
        """From the form of `mmdet.structures.mask.PolygonMasks.masks`: for each instance arrays x1, y1, x2, y2, ..."""
        flat = [np.asarray(ring, dtype=np.float64).reshape(-1, 2) for instance in masks for ring in instance]
        numbers = np.repeat(np.arange(len(flat)), [len(ring) for ring in flat])
        rings = shapely.linearrings(np.concatenate([*flat, np.zeros((0, 2))]), indices=numbers)
        return cls(rings, np.repeat(np.arange(len(masks)), [len(instance) for instance in masks]), len(masks))

    def to_lists(self) -> list[list[np.ndarray]]:
        """The opposite of `from_lists`."""
        lists: list[list[np.ndarray]] = [[] for _ in range(self.count)]
        for instance, ring in zip(self.instances, self.rings, strict=True):
            lists[instance].append(shapely.get_coordinates(ring)[:-1].reshape(-1))
        return lists

    def __len__(self) -> int:
        """Number of instances."""
        return self.count

    @property
    def instance_sizes(self) -> np.ndarray:
        """(n,) rings of each instance; 0 where nothing of it is left."""
        return np.bincount(self.instances, minlength=self.count)

    def edges(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(V, 2) where each edge begins, (V, 2) where it ends, and (V,) the ring that it is of."""
        points, ring = shapely.get_coordinates(self.rings, return_index=True)
        is_edge = ring[1:] == ring[:-1]
        return points[:-1][is_edge], points[1:][is_edge], ring[:-1][is_edge]

    def boxes(self) -> np.ndarray:
        """(n, 4) x1, y1, x2, y2 of each instance; zeros where it has no ring."""
        boxes = np.tile([np.inf, np.inf, -np.inf, -np.inf], (self.count, 1))
        bounds = shapely.bounds(self.rings).reshape(-1, 4)
        np.minimum.at(boxes[:, :2], self.instances, bounds[:, :2])
        np.maximum.at(boxes[:, 2:], self.instances, bounds[:, 2:])
        return np.where(np.isfinite(boxes), boxes, 0)

    def areas(self) -> np.ndarray:
        """(n,) area of each instance in px^2, the sum over its rings; a keyholed hole counts as empty."""
        areas = shapely.area(shapely.polygons(self.rings))
        return np.bincount(self.instances, weights=areas, minlength=self.count)

    def moved(self, matrix: np.ndarray) -> 'Rings':
        """Transformed by an affine `matrix` (2, 3): columns for x, for y, and the offset."""
        rings = shapely.transform(self.rings, lambda points: points @ matrix[:, :2].T + matrix[:, 2])
        return Rings(rings, self.instances, self.count)

    def selected(self, indices: np.ndarray) -> 'Rings':
        """The instances `indices`, in that order."""
        first = np.searchsorted(self.instances, indices)
        counts = np.searchsorted(self.instances, indices, side='right') - first
        chosen = np.repeat(first, counts) + count_up(counts)
        return Rings(self.rings[chosen], np.repeat(np.arange(len(indices)), counts), len(indices))

    @classmethod
    def joined(cls, parts: Sequence['Rings']) -> 'Rings':
        """All instances of `parts`, one after the other."""
        ends = np.cumsum([part.count for part in parts])
        instances = [part.instances + end - part.count for part, end in zip(parts, ends, strict=True)]
        return cls(np.concatenate([part.rings for part in parts]), np.concatenate(instances), int(ends[-1]))

    def clipped(self, width: float, height: float) -> 'Rings':
        """The part inside the frame from (0, 0) to (width, height); instances outside keep their place, without rings.

        The area is cut exactly: edges that cross the border end on it, several parts stay several rings, and
        corners of the frame that the outline does not contain do not enter it. So `boxes()` are those of the visible
        part. (Taking them from the vertices that lie inside would shrink them at the border.)
        """
        bounds = shapely.bounds(self.rings).reshape(-1, 4)
        inside = (bounds[:, :2] >= 0).all(1) & (bounds[:, 2] <= width) & (bounds[:, 3] <= height)
        if inside.all():
            return self
        outside = (bounds[:, 2:] <= 0).any(1) | (bounds[:, 0] >= width) | (bounds[:, 1] >= height)
        crossing = np.flatnonzero(~inside & ~outside)
        cut, cut_from = _cut(self.rings[crossing], width, height)
        instances = np.concatenate([self.instances[inside], self.instances[crossing[cut_from]]])
        order = np.argsort(instances, kind='stable')
        return Rings(np.concatenate([self.rings[inside], cut])[order], instances[order], self.count)


def count_up(counts: np.ndarray) -> np.ndarray:
    """0, 1, ... for each entry of `counts`, one after the other: [2, 3] gives [0, 1, 0, 1, 2]."""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)


def _cut(rings: np.ndarray, width: float, height: float) -> tuple[np.ndarray, np.ndarray]:
    """The parts of rings inside the frame, as rings (R,), and the old ring of each (R,)."""
    shapes = shapely.polygons(rings)
    for index in np.flatnonzero(~shapely.is_valid(shapes)):  # keyholes and self-crossings
        shapes[index] = _repaired_or_empty(shapes[index])
    parts, origin = shapely.get_parts(shapely.intersection(shapes, shapely.box(0, 0, width, height)), return_index=True)
    parts, inner = shapely.get_parts(parts, return_index=True)  # a collection may hold a MultiPolygon
    is_area = shapely.area(parts) > 0  # not the points and lines where an outline only touches the frame
    parts = parts[is_area]
    cut = shapely.get_exterior_ring(parts)
    for index in np.flatnonzero(shapely.get_num_interior_rings(parts)):
        cut[index] = shapely.LinearRing(keyholed(parts[index]))
    # An intersection ends within rounding of the border; the limits make that exact.
    return shapely.transform(cut, lambda points: np.clip(points, 0, [width, height])), origin[inner[is_area]]


def _repaired_or_empty(polygon: Polygon) -> shapely.Geometry:
    """A valid geometry of the same area; an empty one for a ring that is only a line."""
    try:
        return repaired(polygon)
    except ValueError:
        return Polygon()
