"""The shape of one region of pixels by the definitions of scikit-image's `regionprops`, many times as fast. Pure.

scikit-image takes 1.2 ms for a cell 60 px wide and 22 ms for one of 300 px, mostly for the convex hull; a well may have
300,000 cells. The numbers here are the same (the tests compare them), the ways to them shorter: moments are summed over
runs of pixels, and the convex hull is counted row by row in whole numbers instead of being drawn.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from noise_mm.geometry.pixels import row_runs

# Weights of border pixels by what lies around them; see `perimeter_px`.
NEIGHBOURS = np.array([[10, 2, 10], [2, 1, 2], [10, 2, 10]], dtype=np.float32)
BORDER_WEIGHTS = np.zeros(50)
BORDER_WEIGHTS[[5, 7, 15, 17, 25, 27]] = 1
BORDER_WEIGHTS[[21, 33]] = math.sqrt(2)
BORDER_WEIGHTS[[13, 23]] = (1 + math.sqrt(2)) / 2
CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


@dataclass(frozen=True)
class RegionShape:
    """What `regionprops` calls by the same names; lengths and areas in pixels of the mask.

    Attributes:
        area_px2: Number of pixels (`area`).
        centroid_px: Mean x and y of the pixels' centres; the centre of the first pixel is at 0.5 (`centroid` + 0.5).
        perimeter_px: See `perimeter_px` (`perimeter`).
        convex_area_px2: Number of pixels of the convex hull (`area_convex`).
        eccentricity: Of the ellipse with the same second moments, from 0, a circle, to 1 (`eccentricity`).
    """

    area_px2: int
    centroid_px: tuple[float, float]
    perimeter_px: float
    convex_area_px2: int
    eccentricity: float

    @property
    def equivalent_diameter_px(self) -> float:
        """Diameter of the circle of the same area (`equivalent_diameter_area`)."""
        return math.sqrt(4 * self.area_px2 / math.pi)

    @property
    def solidity(self) -> float:
        """Share of the convex hull that is region (`solidity`)."""
        return self.area_px2 / self.convex_area_px2


def shape_of(mask: NDArray[np.bool_]) -> RegionShape:
    """The shape of the true pixels of a mask (height, width), which may be of several parts and have holes.

    Raises:
        ValueError: If no pixel is true.
    """
    _, rows, starts, ends = row_runs(mask)
    if not len(rows):
        raise ValueError('the mask has no pixel')
    area = int((ends - starts).sum())
    x, y, eccentricity = _moments(rows, starts, ends, area)
    return RegionShape(area, (x + 0.5, y + 0.5), perimeter_px(mask), convex_area_px2(rows, starts, ends), eccentricity)


def perimeter_px(mask: NDArray[np.bool_]) -> float:
    """Length of a region's borders, of holes too, as `skimage.measure.perimeter` with 4 neighbours estimates it.

    Border pixels are those with a side neighbour outside; each counts 1, sqrt(2) or the mean of both, by how the border
    pixels around it lie (Benkrid and Crookes, Design and FPGA implementation of a perimeter estimator, 2000).
    """
    region = np.pad(mask, 1).astype(np.uint8)
    border = region - cv2.erode(region, CROSS)
    around = cv2.filter2D(border, cv2.CV_8U, NEIGHBOURS, borderType=cv2.BORDER_CONSTANT)
    return float(BORDER_WEIGHTS[around[border > 0]].sum())


def convex_area_px2(rows: NDArray[np.int64], starts: NDArray[np.int64], ends: NDArray[np.int64]) -> int:
    """Number of pixels whose centres lie in, or on the border of, the convex hull of a region.

    As in `skimage.morphology.convex_hull_image`, the hull is that of the middles of the pixels' four sides.

    Args:
        rows: Row of each run of pixels, as `row_runs` gives them.
        starts: First column of each run.
        ends: Column after the last of each run.
    """
    # In half pixels all corners of the hull and all centres (2 * column, 2 * row) are whole numbers.
    first, last, y = 2 * starts, 2 * (ends - 1), 2 * rows
    sides = [(first - 1, y), (last + 1, y), (first, y - 1), (first, y + 1), (last, y - 1), (last, y + 1)]
    points = np.concatenate([np.stack(side, axis=1) for side in sides]).astype(np.int32)
    hull = cv2.convexHull(points)[:, 0].astype(np.int64)
    lines = np.arange(2 * rows.min(), 2 * rows.max() + 1, 2)
    left, right = _chains(hull)
    # Columns are half of x, rounded into the hull: up on the left, down on the right.
    first_column = -_halves_at(-left[:, 0], left[:, 1], lines)
    last_column = _halves_at(right[:, 0], right[:, 1], lines)
    return int((last_column - first_column + 1).sum())


def _moments(
    rows: NDArray[np.int64], starts: NDArray[np.int64], ends: NDArray[np.int64], area: int
) -> tuple[float, float, float]:
    """Mean column and row of the pixels, and the eccentricity."""
    lengths = ends - starts
    x_sums = (starts + ends - 1) * lengths // 2  # of the columns of each run
    x2_sums = _sum_of_squares(ends) - _sum_of_squares(starts)
    x, y = int(x_sums.sum()) / area, int((rows * lengths).sum()) / area
    xx = int(x2_sums.sum()) / area - x**2
    yy = int((rows**2 * lengths).sum()) / area - y**2
    xy = int((rows * x_sums).sum()) / area - x * y
    middle, half_gap = (xx + yy) / 2, math.hypot((xx - yy) / 2, xy)
    major, minor = middle + half_gap, max(middle - half_gap, 0.0)
    return x, y, math.sqrt(1 - minor / major) if major > 0 else 0.0


def _sum_of_squares(n: NDArray[np.int64]) -> NDArray[np.int64]:
    """0 + 1 + 4 + ... + (n - 1)^2."""
    return (n - 1) * n * (2 * n - 1) // 6


def _chains(hull: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The left and the right border of a convex polygon (n, 2) from its top to its bottom."""
    hull = np.roll(hull, -int(np.lexsort((hull[:, 0], hull[:, 1]))[0]), axis=0)
    bottom = int(np.lexsort((-hull[:, 0], hull[:, 1]))[-1])  # of the lowest points the first to the left
    one, other = hull[: bottom + 1], np.concatenate([hull[bottom:], hull[:1]])[::-1]
    # Which of them is the left one depends on the sense in which the polygon runs.
    middle = (hull[0, 1] + hull[bottom, 1]) / 2
    at_middle = [np.interp(middle, chain[:, 1], chain[:, 0]) for chain in (one, other)]
    return (one, other) if at_middle[0] < at_middle[1] else (other, one)


def _halves_at(x: NDArray[np.int64], y: NDArray[np.int64], lines: NDArray[np.int64]) -> NDArray[np.int64]:
    """Half of the x of a chain of points at the heights `lines`, rounded down; in whole numbers, hence exact.

    Args:
        x: The points' x, (n,).
        y: Their y, (n,), not falling; all `lines` lie strictly between the first and the last.
        lines: Heights (m,).
    """
    edge = np.searchsorted(y, lines, side='right') - 1
    dx, dy = x[edge + 1] - x[edge], y[edge + 1] - y[edge]
    return (x[edge] * dy + (lines - y[edge]) * dx) // (2 * dy)
