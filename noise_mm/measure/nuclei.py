"""Merges the nuclei found in tiles, and assigns each to the cell that it lies in. Pure.

Nuclei are points, the centres of their boxes. They are small against the overlap of tiles, so nothing has to be joined
from parts as cells are (`noise_mm.inference.merge.merge`).

The count of a cell is the number of nuclei seen in its outline from above. Nuclei of cells over or under it are counted
too (over-counting); nuclei hidden behind others are not. Where outlines overlap, a nucleus counts for one cell only, so
that counts add up to the number of nuclei.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import KDTree

from noise_mm.geometry.distinct_nuclei import distinct_nuclei
from noise_mm.geometry.outline import Outline
from noise_mm.geometry.tiles import Window, tile_starts

SAME_PX = 9.0
"""Largest distance of the centres that two tiles give one nucleus, each up to 3 px off in x and y (8.5 px together).
Different nuclei may be only 7 px apart; one-to-one pairing keeps them apart."""

SEAM_PX = 6.0
"""The same where only one of two tiles shows the place, as at the border of tiles without overlap: less than the
distance of different nuclei, because there is nothing to pair with."""

CUT_PX = 18.0
"""A nucleus nearer than this to an inner border of its tile may be cut there (half of the paper's box of 36 px);
another tile shows it whole where tiles overlap enough."""

CELLS_AT_A_TIME = 10_000
"""Geometries that are in memory at the same time: 50 MB."""


@dataclass(frozen=True, eq=False)
class Nuclei:
    """The nuclei of one well.

    Attributes:
        xy_px: Centres (n, 2) float64, x and y, in pixels of the well image.
        scores: Confidences (n,) from 0 to 1.
    """

    xy_px: NDArray[np.float64]
    scores: NDArray[np.float64]

    @classmethod
    def in_well(cls, found: ArrayLike, scale: float, size_px: tuple[int, int]) -> 'Nuclei':
        """Convert the result of `NucleiMerger`, at the resolution of the tiles, to pixels of the well image.

        Args:
            found: (n, 3) x, y and score.
            scale: Pixels of the tiles per pixel of the well image, as `scale_to_reference` gives it.
            size_px: Width and height of the well image. Centres in the last pixel of a resampled well, which may
                reach beyond it, are moved to its border.
        """
        found = np.asarray(found, dtype=np.float64).reshape(-1, 3)
        return cls(np.minimum(found[:, :2] / scale, size_px), found[:, 2])

    def __len__(self) -> int:
        """Return their number."""
        return len(self.scores)


class NucleiMerger:
    """Collects the nuclei of a well's tiles and counts each once.

    Duplicates within a tile are removed (`distinct_nuclei`). The detections of each tile are then paired one to one
    with the nuclei of the tiles before it, nearest pairs first, up to `SAME_PX` apart. Detections within `CUT_PX` of
    inner borders are left out where overlapping tiles show the place better. A nucleus counts if at least half of the
    tiles that show its place have found it. Its place and score are those of the tile in which it lies farthest from
    the inner borders. At the end duplicates within the whole well are removed.

    The result does not depend on the order of tiles or nuclei. Memory: 24 bytes per detection, with about four
    detections per nucleus at a stride of half a tile.

    Args:
        width_px: Width of the well at the resolution of the tiles.
        height_px: Its height.
        tile_px: Side of a tile, as given to `window_grid`.
        stride_px: Distance between neighbouring tiles, as given to `window_grid`.

    Raises:
        ValueError: As `tile_starts` does.
    """

    def __init__(self, width_px: int, height_px: int, tile_px: int, stride_px: int) -> None:
        self.size_px = np.array([width_px, height_px])
        self.tile_px = tile_px
        self._columns = tile_starts(width_px, tile_px, stride_px)
        self._rows = tile_starts(height_px, tile_px, stride_px)
        # Every place is then seen by some tile `SAME_PX` away from where its views begin to count: none falls between.
        self._cut_px = min(max((tile_px - stride_px) / 2 - SAME_PX, 0.0), CUT_PX)
        self._views: dict[tuple[int, int], NDArray[np.float64]] = {}

    def add_tile(self, window: Window, found: ArrayLike) -> None:
        """Add the nuclei of one tile, or replace them.

        Tiles that are never added, such as skipped background, have no vote.

        Args:
            window: A window of the grid.
            found: (n, 3) x, y and score, in pixels of the tile.

        Raises:
            ValueError: If the window is none of the grid.
        """
        if window.x not in self._columns or window.y not in self._rows:
            raise ValueError(f'{window} is none of the windows of this grid.')
        views = np.asarray(found, dtype=np.float64).reshape(-1, 3) + np.array([window.x, window.y, 0])
        inside = ((views[:, :2] >= 0) & (views[:, :2] <= self.size_px)).all(axis=1)  # small wells are padded
        if self._cut_px:
            inside &= self._depth_px(views, window.x, window.y) >= self._cut_px
        views = views[inside]
        views = views[distinct_nuclei(views[:, :2], views[:, 2])]
        self._views[window.y, window.x] = views[np.lexsort(views.T)]  # by score, y, x: whatever order they came in

    def close(self) -> NDArray[np.float64]:
        """Return the nuclei, each once: (n, 3) x, y and score, in pixels of the well, from top to bottom."""
        finished = []
        known = np.empty((0, 5))  # x, y, score and depth of the best view of each, and how many tiles have shown it
        for y in self._rows:
            is_open = known[:, 1] >= y - SAME_PX  # the others no further tile shows
            finished.append(self._counted(known[~is_open]))
            known = known[is_open]
            for x in self._columns:
                if (y, x) in self._views:
                    known = self._with_tile(known, self._views[y, x], x, y)
        nuclei = np.concatenate([*finished, self._counted(known)])
        nuclei = nuclei[distinct_nuclei(nuclei[:, :2], nuclei[:, 2])]
        return nuclei[np.lexsort((nuclei[:, 2], nuclei[:, 0], nuclei[:, 1]))]

    def _with_tile(self, known: NDArray[np.float64], views: NDArray[np.float64], x: int, y: int) -> NDArray[np.float64]:
        """Pair the views of the tile at (x, y) with known nuclei, and add those that are new."""
        start, end = np.array([x, y]), np.array([x, y]) + self.tile_px
        places = known[:, :2]
        near = np.flatnonzero(((places >= start - SAME_PX) & (places <= end + SAME_PX)).all(axis=1))
        is_shown = ((places[near] >= start) & (places[near] <= end)).all(axis=1)
        old, new = paired(places[near], views[:, :2], np.where(is_shown, SAME_PX, SEAM_PX))
        seen = np.column_stack([views, self._depth_px(views, x, y), np.ones(len(views))])
        again = near[old]
        known[again, 4] += 1
        is_better = seen[new, 3] > known[again, 3]
        known[again[is_better], :4] = seen[new[is_better], :4]
        return np.concatenate([known, np.delete(seen, new, axis=0)])

    def _depth_px(self, views: NDArray[np.float64], x: int, y: int) -> NDArray[np.float64]:
        """Return how far places (n, 2 or more) lie from the inner borders of the tile at (x, y), (n,)."""
        start = np.array([x, y])
        to_low = np.where(start > 0, views[:, :2] - start, np.inf)
        to_high = np.where(start + self.tile_px < self.size_px, start + self.tile_px - views[:, :2], np.inf)
        return np.minimum(to_low, to_high).min(axis=1)

    def _counted(self, known: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return those that at least half of the tiles have found that show their places, (n, 3)."""
        added = np.array([[(y, x) in self._views for x in self._columns] for y in self._rows])
        # Tiles that show a place have neighbouring columns and rows; sums over rectangles of `added` count them.
        sums = np.pad(added.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
        left, right = self._span(known[:, 0], self._columns, int(self.size_px[0]))
        top, bottom = self._span(known[:, 1], self._rows, int(self.size_px[1]))
        showing = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
        return known[2 * known[:, 4] >= showing, :3]

    def _span(self, places: NDArray, starts: Sequence[int], length_px: int) -> tuple[NDArray, NDArray]:
        """Return first and end index, along one axis, of the tiles whose views of `places` (n,) count."""
        starts = np.asarray(starts, dtype=np.float64)
        first = np.where(starts > 0, starts + self._cut_px, -np.inf)
        last = np.where(starts + self.tile_px < length_px, starts + self.tile_px - self._cut_px, np.inf)
        return np.searchsorted(last, places, side='left'), np.searchsorted(first, places, side='right')


def paired(
    one: NDArray[np.float64], other: NDArray[np.float64], within_px: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pair points one to one, nearest pairs first; return indices into both sets, each at most once.

    Args:
        one: Points (n, 2).
        other: Points (m, 2).
        within_px: For each point of `one` how far its partner may be, (n,); at most `SAME_PX`.
    """
    if not len(one) or not len(other):
        return np.empty(0, dtype=np.intp), np.empty(0, dtype=np.intp)
    near = KDTree(one).sparse_distance_matrix(KDTree(other), SAME_PX, output_type='ndarray')
    near = near[near['v'] <= within_px[near['i']]]
    near = near[np.lexsort((near['j'], near['i'], near['v']))]
    free_one, free_other = [True] * len(one), [True] * len(other)
    pairs = []
    for i, j in zip(near['i'].tolist(), near['j'].tolist(), strict=True):
        if free_one[i] and free_other[j]:
            free_one[i] = free_other[j] = False
            pairs.append((i, j))
    first, second = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
    return first, second


def assign_nuclei(outlines: Sequence[Outline], xy_px: ArrayLike) -> NDArray[np.int64]:
    """Return the cell in whose outline the centre of each nucleus lies.

    Where cells overlap it is the smallest, because a small cell over a large one is seen whole; of equal ones the
    first. A centre exactly on an outline lies in the cell; a hole is not part of the cell.

    Args:
        outlines: The cells, in the same pixels as the centres.
        xy_px: Centres (n, 2), x and y.

    Returns:
        For each nucleus the index of its cell in `outlines`, or -1; (n,).
    """
    points = shapely.points(np.asarray(xy_px, dtype=np.float64).reshape(-1, 2))
    cell_of = np.full(len(points), -1, dtype=np.int64)
    tree = shapely.STRtree(points)
    best_px2 = np.full(len(cell_of), np.inf)  # area of the cell that each nucleus has so far
    for first in range(0, len(outlines), CELLS_AT_A_TIME):
        geometries = np.array([outline.geometry for outline in outlines[first : first + CELLS_AT_A_TIME]], dtype=object)
        # Cells ask for points, and not points for cells: GEOS prepares the side that asks, once for all of its points.
        cells, nuclei = tree.query(geometries, predicate='intersects')
        areas_px2 = shapely.area(geometries)[cells]
        is_smaller = areas_px2 < best_px2[nuclei]
        cells, nuclei, areas_px2 = cells[is_smaller], nuclei[is_smaller], areas_px2[is_smaller]
        # Larger cells first and of equal ones the last first, so that what is written last stays.
        order = np.lexsort((-cells, -areas_px2))
        cell_of[nuclei[order]] = first + cells[order]
        best_px2[nuclei[order]] = areas_px2[order]
    return cell_of
