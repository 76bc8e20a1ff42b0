"""Which cut views belong together across a border that no other view looks across. Pure.

Tiles without overlap meet in a line. Nothing is seen twice there, so all that is left is shape: the runs of pixels in
which views meet the line from both sides. Runs are matched one to one, so that as many match as well as possible; a
run that is left over ends at the line. Two cells that happen to touch each other at the line are told by their waist:
both widen away from it. The same holds where a tile looks across but its network missed the cell.

Networks let masks end some pixels short of the border. Where hardly any cut view of the two tiles reaches the line,
what lies within `border_px` of it counts as meeting it; and so it does, of views without a match, where a tile looks
across: had two cells ended there, that tile would have shown them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import shapely
from scipy.optimize import linear_sum_assignment

from noise_mm.inference.merge.views import BOTTOM, LEFT, RIGHT, TOP, Agreement, Box, View, common, is_empty, window

SEEN = 0.25  # share of an end that another view has to show to tell what lies beyond
WAIST = 0.4  # a meeting is a waist below this share of the lesser width a little away from the line
MATCH = 0.5  # what one more match is worth, in intersection over union of the others
LEAST_ENDS, REACHING = 4, 0.33  # masks end short if so many come near the line, and no more than this share reaches it


class BorderEnds(NamedTuple):
    """How the cut views of a tile end at its inner borders: how many come near, how many of them reach the border."""

    near: int
    exact: int


class _Run(NamedTuple):
    """Pixels of a view along a line, from `low` up to but without `high`."""

    low: int
    high: int
    order: tuple
    key: int


def border_ends(views: Sequence[View], border_px: int) -> BorderEnds:
    """Counts the ends of one tile's views at its inner borders."""
    gaps = [gap for view in views for gap in view.gaps if gap is not None and gap <= border_px]
    return BorderEnds(len(gaps), gaps.count(0))


class Lines:
    """Finds ties across lines, each line once, as soon as all tiles that look there are known.

    Args:
        agreement: Thresholds.

    Attributes:
        ends: For each tile, by its box, how its views end.
    """

    def __init__(self, agreement: Agreement) -> None:
        self.agreement = agreement
        self.ends: dict[Box, BorderEnds] = {}
        self._shown: set[tuple[int, int]] = set()  # keys and sides of views that others show further
        self._done: set[tuple[Box, Box]] = set()  # tiles between which ties were found

    def forget(self, keys: set[int], above_px: float) -> None:
        """Leaves out views that are done, and tiles that end above a row."""
        self._shown = {it for it in self._shown if it[0] not in keys}
        self.ends = {box: ends for box, ends in self.ends.items() if box[BOTTOM] >= above_px}
        self._done = {tiles for tiles in self._done if max(tiles[0][BOTTOM], tiles[1][BOTTOM]) >= above_px}

    def ties(
        self, views: Mapping[int, View], shared: Mapping[int, Mapping[int, int]], y_px: float
    ) -> tuple[list[tuple[int, int]], set[int]]:
        """Pairs of cut views that continue each other.

        Args:
            views: The pending ones, by their keys.
            shared: For each the views that share pixels with it.
            y_px: No tile that begins above this row is to come.

        Returns:
            The pairs that were not found before; and the views that may be in one later.
        """
        found, waiting = [], set()
        for side in (RIGHT, BOTTOM):
            first, second = ([key for key in views if self._ends_at(key, it, views, shared)] for it in (side, side - 2))
            waiting |= {key for key in first if views[key].tile_box[BOTTOM] >= y_px}
            waiting |= {key for key in second if self._line_of(views[key].tile_box, side) >= y_px}
            for tiles, ours, theirs in self._facing(first, second, views, side):
                last_px = max(tiles[0][BOTTOM], self._line_of(tiles[1], side))
                if last_px < y_px and tiles not in self._done:
                    self._done.add(tiles)
                    found += self._matches(tiles, ours, theirs, views, shared, side)
        return found, waiting

    def _line_of(self, tile: Box, side: int) -> int:
        """The last row that has to be known for the line at a tile's left (side RIGHT of others) or top border."""
        return tile[BOTTOM] if side == RIGHT else tile[TOP] + 2 * self.agreement.border_px

    def _ends_at(self, key: int, side: int, views: Mapping[int, View], shared: Mapping[int, Mapping[int, int]]) -> bool:
        """Whether a view ends at a side of its tile, and not all of that end is shown further by others."""
        view, near_px = views[key], self.agreement.border_px
        if view.gaps[side] is None or view.gaps[side] > near_px or (key, side) in self._shown:
            return False
        if self._runs(key, side, near_px + 1, views, shared):
            return True
        self._shown.add((key, side))
        return False

    def _facing(
        self, first: list[int], second: list[int], views: Mapping[int, View], side: int
    ) -> Iterator[tuple[tuple[Box, Box], list[int], list[int]]]:
        """Views of two tiles that meet in a line or in a strip too narrow to compare views in."""
        if not first or not second:
            return
        reach_px = 2 * self.agreement.border_px
        starts = shapely.box(*np.array([_border(views[key], side - 2, 0) for key in second], dtype=float).T)
        ends = shapely.box(*np.array([_border(views[key], side, reach_px) for key in first], dtype=float).T)
        groups: dict[tuple[Box, Box], tuple[set[int], set[int]]] = {}
        for i, j in shapely.STRtree(starts).query(ends).T.tolist():
            one, other = views[first[i]], views[second[j]]
            if one.tile_box[side - 2] < other.tile_box[side - 2]:
                group = groups.setdefault((one.tile_box, other.tile_box), (set(), set()))
                group[0].add(first[i])
                group[1].add(second[j])
        for tiles, (ours, theirs) in groups.items():
            yield tiles, list(ours), list(theirs)

    def _matches(
        self,
        tiles: tuple[Box, Box],
        ours: list[int],
        theirs: list[int],
        views: Mapping[int, View],
        shared: Mapping[int, Mapping[int, int]],
        side: int,
    ) -> list[tuple[int, int]]:
        """Matches the runs of two tiles' views along the line between them."""
        near, exact = (a + b for a, b in zip(self.ends[tiles[0]], self.ends[tiles[1]], strict=True))
        if near >= LEAST_ENDS and exact <= REACHING * near:
            first, second = self._facing_runs(ours, theirs, views, shared, side, is_exact=False)
            return self._matched(first, second, views, side, is_exact=False)
        first, second = self._facing_runs(ours, theirs, views, shared, side, is_exact=True)
        pairs = self._matched(first, second, views, side, is_exact=True)
        ours, theirs = set(ours) - {a for a, _ in pairs}, set(theirs) - {b for _, b in pairs}
        first, second = self._facing_runs(ours, theirs, views, shared, side, is_exact=False)
        first = [run for run in first if self._is_looked_across(run, views, side)]
        return pairs + self._matched(first, second, views, side, is_exact=False)

    def _facing_runs(
        self,
        ours: Iterable[int],
        theirs: Iterable[int],
        views: Mapping[int, View],
        shared: Mapping[int, Mapping[int, int]],
        side: int,
        is_exact: bool,
    ) -> tuple[list[_Run], list[_Run]]:
        """The runs of views on both sides of a line: of what reaches it, or of all that lies near it."""
        depth_px = 1 if is_exact else self.agreement.border_px + 1
        first = sorted(run for key in ours for run in self._runs(key, side, depth_px, views, shared))
        return first, sorted(run for key in theirs for run in self._runs(key, side - 2, depth_px, views, shared))

    def _is_looked_across(self, run: _Run, views: Mapping[int, View], side: int) -> bool:
        """Whether a tile looks across the line at a run, although it shows nothing there."""
        line, middle = views[run.key].tile_box[side], (run.low + run.high) // 2
        x, y = (line, middle) if side == RIGHT else (middle, line)
        x_px, y_px = (self.agreement.border_px, 0) if side == RIGHT else (0, self.agreement.border_px)
        return any(
            left + x_px <= x < right - x_px and top + y_px <= y < bottom - y_px
            for left, top, right, bottom in self.ends
        )

    def _matched(
        self, first: list[_Run], second: list[_Run], views: Mapping[int, View], side: int, is_exact: bool
    ) -> list[tuple[int, int]]:
        """Pairs of views whose runs meet, one to one."""
        if not first or not second:
            return []
        contact = np.array([[_contact(a, b) for b in second] for a in first], dtype=float)
        length = np.add.outer([a.high - a.low for a in first], [b.high - b.low for b in second])
        fits = contact > 0
        for i, j in np.argwhere(fits).tolist():
            a, b = first[i].key, second[j].key
            met = np.ix_([run.key == a for run in first], [run.key == b for run in second])
            is_same_class = views[a].found.label == views[b].found.label
            fits[i, j] = is_same_class and not self._is_waist(first[i], second[j], contact[met].sum(), views, side)
        iou = contact / (length - contact)
        if not is_exact:
            fits &= iou >= self.agreement.strip_iou
        pairs = np.stack(linear_sum_assignment(np.where(fits, MATCH + iou, 0), maximize=True), axis=1)
        pairs = [(first[i].key, second[j].key) for i, j in pairs.tolist() if fits[i, j]]
        return pairs + (self._forks(first, second, fits, contact, pairs) if is_exact else [])

    def _forks(
        self, first: list[_Run], second: list[_Run], fits: np.ndarray, contact: np.ndarray, pairs: list[tuple[int, int]]
    ) -> list[tuple[int, int]]:
        """Further pairs: runs without match that are a branch of one that has a match, apart from all on their side."""
        taken = ({a for a, _ in pairs}, {b for _, b in pairs})
        found = []
        for i, j in np.argwhere(fits).tolist():
            for run, stem, own, runs in ((first[i], second[j], 0, first), (second[j], first[i], 1, second)):
                others = (other for other in runs if other != run)
                is_apart = all(other.low > run.high or other.high < run.low for other in others)
                lies_in = contact[i, j] >= self.agreement.part * (run.high - run.low)
                if run.key not in taken[own] and stem.key in taken[1 - own] and is_apart and lies_in:
                    found.append((first[i].key, second[j].key))
        return found

    def _runs(
        self,
        key: int,
        side: int,
        depth_px: int,
        views: Mapping[int, View],
        shared: Mapping[int, Mapping[int, int]],
    ) -> list[_Run]:
        """Runs of a view along a border of its tile, of what lies within a depth, unless others show them further."""
        view = views[key]
        zone = common(_border(view, side, depth_px), view.box)
        if is_empty(zone):
            return []
        axis = 1 if side in (LEFT, RIGHT) else 0
        along = window(view.found, zone).any(axis=axis)
        edges = np.flatnonzero(np.diff(along, prepend=False, append=False)) + zone[axis]
        runs = [_Run(low, high, view.order, key) for low, high in edges.reshape(-1, 2).tolist()]
        return [run for run in runs if not self._is_shown_further(run, zone, side, views, shared)]

    def _is_shown_further(
        self,
        run: _Run,
        zone: Box,
        side: int,
        views: Mapping[int, View],
        shared: Mapping[int, Mapping[int, int]],
    ) -> bool:
        """Whether a view in a tile that looks across the line shows a good part of a run."""
        view = views[run.key]
        x1, y1, x2, y2 = zone
        box = (x1, run.low, x2, run.high) if side in (LEFT, RIGHT) else (run.low, y1, run.high, y2)
        line, least = view.tile_box[side], SEEN * np.count_nonzero(window(view.found, box))
        for other in shared[run.key]:
            tile = views[other].tile_box
            both = common(box, views[other].box)
            if not tile[side % 2] < line < tile[side % 2 + 2] or is_empty(both):
                continue
            if np.count_nonzero(window(view.found, both) & window(views[other].found, both)) >= least:
                return True
        return False

    def _is_waist(self, a: _Run, b: _Run, contact_px: float, views: Mapping[int, View], side: int) -> bool:
        """Whether both views widen away from where they meet."""
        away_px = self.agreement.border_px // 2
        widths = []
        for run, own_side in ((a, side), (b, side - 2)):
            view = views[run.key]
            line = view.tile_box[own_side]
            at = line - 1 - away_px if own_side == side else line + away_px
            low, high = run.low - 2 * away_px, run.high + 2 * away_px
            box = (at, low, at + 1, high) if side == RIGHT else (low, at, high, at + 1)
            box = common(box, view.box)
            widths.append(0 if is_empty(box) else np.count_nonzero(window(view.found, box)))
        return contact_px < WAIST * min(widths)


def _contact(a: _Run, b: _Run) -> int:
    return max(min(a.high, b.high) - max(a.low, b.low), 0)


def _border(view: View, side: int, depth_px: int) -> Box:
    """The pixels of a view's rows or columns within a depth of a border of its tile."""
    x1, y1, x2, y2 = view.box
    line = view.tile_box[side]
    low, high = (line, line + depth_px) if side in (LEFT, TOP) else (line - depth_px, line)
    return (low, y1, high, y2) if side in (LEFT, RIGHT) else (x1, low, x2, high)
