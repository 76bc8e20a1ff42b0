"""Which cut views belong together across a border that no other view looks across. Pure.

Tiles without overlap meet in a line. Nothing is seen twice there, so all that is left is shape: the runs of pixels in
which cells meet the line from both sides. Runs are matched one to one, best overlap first; a run whose match is taken
ends at the line. Two cells that happen to touch each other at the line are told by their waist: both widen away from
it. The same holds where a tile looks across but its network missed the cell.

Networks let masks end some pixels short of the border. Where hardly any cut view of the two tiles reaches the line,
what lies within `border_px` of it counts as meeting it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import shapely

from noise_mm.wells.merging.views import BOTTOM, LEFT, RIGHT, TOP, Agreement, Box, View, common, is_empty, window

ROUNDS = 3  # of matching: a fixed number keeps what a match depends on nearby
SEEN = 0.25  # share of an end that another view has to show to tell what lies beyond
WAIST = 0.5  # a meeting is a waist below this share of the lesser width a little away from the line
LEAST_ENDS, REACHING = 4, 0.33  # masks end short if so many come near the line, and no more than this share reaches it


class BorderEnds(NamedTuple):
    """How the cut views of a tile end at its inner borders."""

    near: int
    exact: int


class _Run(NamedTuple):
    """Pixels of a view along a line, from `low` up to but without `high`."""

    low: int
    high: int
    key: int


def border_ends(views: Sequence[View], border_px: int) -> BorderEnds:
    """Counts the ends of one tile's views near its inner borders, and those that reach them."""
    gaps = [gap for view in views for gap in view.gaps if gap is not None and gap <= border_px]
    return BorderEnds(len(gaps), gaps.count(0))


class Lines:
    """Finds ties across lines among views that are pending.

    Args:
        agreement: Thresholds.

    Attributes:
        ends: For each tile, by its box, how its views end.
    """

    def __init__(self, agreement: Agreement) -> None:
        self.agreement = agreement
        self.ends: dict[Box, BorderEnds] = {}
        self._seen: set[tuple[int, int]] = set()  # keys and sides of views that others show further

    def forget(self, keys: set[int], above_px: float) -> None:
        """Leaves out views that are done, and tiles that end above a row."""
        self._seen = {it for it in self._seen if it[0] not in keys}
        self.ends = {box: ends for box, ends in self.ends.items() if box[BOTTOM] >= above_px}

    def ties(self, views: Mapping[int, View], shared: Mapping[int, Mapping[int, int]]) -> list[tuple[int, int]]:
        """Pairs of cut views that continue each other.

        Args:
            views: The pending ones, by their keys.
            shared: For each the views that share pixels with it.
        """
        found = []
        for near, far in ((RIGHT, LEFT), (BOTTOM, TOP)):
            first, second = ([key for key in views if self._is_open(key, side, views, shared)] for side in (near, far))
            for keys in self._facing(first, second, views, near):
                found += self._matches(*keys, views, shared, near)
        return found

    def _is_open(
        self, key: int, side: int, views: Mapping[int, View], shared: Mapping[int, Mapping[int, int]]
    ) -> bool:
        """Whether a view ends at a side of its tile, and not all of that end is shown further by others."""
        view, near_px = views[key], self.agreement.border_px
        if view.gaps[side] is None or view.gaps[side] > near_px or (key, side) in self._seen:
            return False
        if self._runs(key, side, near_px + 1, views, shared):
            return True
        self._seen.add((key, side))
        return False

    def _facing(
        self, first: list[int], second: list[int], views: Mapping[int, View], side: int
    ) -> Iterator[tuple[list[int], list[int]]]:
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
        for a, b in groups.values():
            yield list(a), list(b)

    def _matches(
        self,
        first: list[int],
        second: list[int],
        views: Mapping[int, View],
        shared: Mapping[int, Mapping[int, int]],
        side: int,
    ) -> list[tuple[int, int]]:
        """Matches the runs of two tiles' views along the line between them."""
        is_exact = self._masks_reach_borders(views[first[0]].tile_box, views[second[0]].tile_box)
        depth = 1 if is_exact else self.agreement.border_px + 1
        ours = [run for key in first for run in self._runs(key, side, depth, views, shared)]
        theirs = [run for key in second for run in self._runs(key, side - 2, depth, views, shared)]
        ranked = [
            (-_iou(a, b), a.low, a.high, views[a.key].order, b.low, b.high, views[b.key].order, a, b)
            for a in ours
            for b in theirs
            if a.low < b.high and b.low < a.high and views[a.key].found.label == views[b.key].found.label
        ]
        ranked = [it[-2:] for it in sorted(ranked, key=lambda it: it[:-2])]
        matched = []
        for _ in range(ROUNDS if is_exact else 1):
            met: set[_Run] = set()
            taken = {run for pair in matched for run in pair}
            for a, b in ranked:
                if a not in met and b not in met and a not in taken and b not in taken:
                    matched.append((a, b))
                if a not in taken and b not in taken:
                    met |= {a, b}
        if not is_exact:
            return [(a.key, b.key) for a, b in matched if _iou(a, b) >= self.agreement.strip_iou]
        matched = [(a, b) for a, b in matched if not self._is_waist(a, b, views, side)]
        taken = {run for pair in matched for run in pair}
        matched += [(a, b) for a, b in ranked if self._is_fork(a, b, theirs, taken) or self._is_fork(b, a, ours, taken)]
        return [(a.key, b.key) for a, b in matched]

    def _masks_reach_borders(self, one: Box, other: Box) -> bool:
        """Whether cut views of two tiles reach the border, as far as can be told."""
        near, exact = (a + b for a, b in zip(self.ends[one], self.ends[other], strict=True))
        return near < LEAST_ENDS or exact > REACHING * near

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
        mask = window(view.found, zone)
        start = zone[1] if side in (LEFT, RIGHT) else zone[0]
        edges = np.flatnonzero(np.diff(mask.any(axis=1 if side in (LEFT, RIGHT) else 0), prepend=False, append=False))
        runs = [_Run(start + low, start + high, key) for low, high in edges.reshape(-1, 2).tolist()]
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
        own = window(view.found, box)
        line, least = view.tile_box[side], SEEN * np.count_nonzero(own)
        for other in shared[run.key]:
            tile = views[other].tile_box
            if tile[side % 2] < line < tile[side % 2 + 2]:
                both = common(box, views[other].box)
                if not is_empty(both):
                    shown = np.count_nonzero(window(view.found, both) & window(views[other].found, both))
                    if shown >= least:
                        return True
        return False

    def _is_waist(self, a: _Run, b: _Run, views: Mapping[int, View], side: int) -> bool:
        """Whether both views widen away from where they meet."""
        away_px = self.agreement.border_px // 2
        contact = min(a.high, b.high) - max(a.low, b.low)
        widths = []
        for run, own_side in ((a, side), (b, side - 2)):
            view = views[run.key]
            line = view.tile_box[own_side]
            at = line - 1 - away_px if own_side == side else line + away_px
            low, high = run.low - 2 * away_px, run.high + 2 * away_px
            box = (at, low, at + 1, high) if side == RIGHT else (low, at, high, at + 1)
            box = common(box, view.box)
            widths.append(0 if is_empty(box) else np.count_nonzero(window(view.found, box)))
        return contact < WAIST * min(widths)

    def _is_fork(self, run: _Run, stem: _Run, runs: Sequence[_Run], taken: set[_Run]) -> bool:
        """Whether a run without match is a branch of one that has a match: apart from all others on its side."""
        if run in taken or stem not in taken:
            return False
        shared = min(run.high, stem.high) - max(run.low, stem.low)
        others = (other for other in runs if other is not run)
        apart = all(other.low > run.high or other.high < run.low for other in others)
        return apart and shared >= self.agreement.part * (run.high - run.low)


def _iou(a: _Run, b: _Run) -> float:
    shared = min(a.high, b.high) - max(a.low, b.low)
    return shared / (a.high - a.low + b.high - b.low - shared)


def _border(view: View, side: int, depth_px: int) -> Box:
    """The pixels of a view's rows or columns within a depth of a border of its tile."""
    x1, y1, x2, y2 = view.box
    line = view.tile_box[side]
    low, high = (line, line + depth_px) if side in (LEFT, TOP) else (line - depth_px, line)
    return (low, y1, high, y2) if side in (LEFT, RIGHT) else (x1, low, x2, high)
