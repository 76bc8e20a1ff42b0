"""Which cut detections belong together across a border that no other detection looks across. Pure.

Tiles without overlap meet in a line. Nothing is seen twice there, so all that is left is shape: the runs of pixels in
which detections meet the line from both sides. Runs are matched one to one, so that as many match as well as possible;
a run that is left over ends at the line. Two cells that happen to touch each other at the line are told by their waist:
both widen away from it. The same holds where a tile looks across but its network missed the cell.

Networks let masks end some pixels short of the border. Where hardly any cut detection of the two tiles reaches the
line, what lies within `border_px` of it counts as meeting it; and so it does, of detections without a match, where a
tile looks
across: had two cells ended there, that tile would have shown them.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import shapely
from scipy.optimize import linear_sum_assignment

from noise_mm.inference.detection import BOTTOM, LEFT, RIGHT, TOP, Box, common, is_empty
from noise_mm.inference.merge.merge_graph import MergeGraph
from noise_mm.inference.merge.tile_detection import TileDetection

SEEN = 0.25  # share of an end that another detection has to show to tell what lies beyond
WAIST = 0.4  # a meeting is a waist below this share of the lesser width a little away from the line
MATCH = 0.5  # what one more match is worth, in intersection over union of the others
LEAST_ENDS, REACHING = 4, 0.33  # masks end short if so many come near the line, and no more than this share reaches it


class _Run(NamedTuple):
    """Pixels of a detection along a line, from `low` up to but without `high`."""

    low: int
    high: int
    order: tuple
    key: int


class LineMatcher:
    """Finds matches across lines, each line once, as soon as all tiles that look there are known."""

    def __init__(self, graph: MergeGraph) -> None:
        self.graph, self.thresholds = graph, graph.thresholds
        self._shown: set[tuple[int, int]] = set()  # keys and sides of detections that others show further
        self._done: set[tuple[Box, Box]] = set()  # tiles between which matches were found

    def forget(self) -> None:
        """Leave out what the graph has forgotten."""
        self._shown = {it for it in self._shown if it[0] in self.graph.detections}
        self._done = {tiles for tiles in self._done if tiles[0] in self.graph.ends or tiles[1] in self.graph.ends}

    def matches(self, y_px: float) -> tuple[list[tuple[int, int]], set[int]]:
        """Return pairs of cut detections that continue each other.

        Args:
            y_px: No tile that begins above this row is to come.

        Returns:
            The pairs that were not found before; and the detections that may be in one later.
        """
        detections = self.graph.detections
        found, waiting = [], set()
        for side in (RIGHT, BOTTOM):
            first, second = ([key for key in detections if self._ends_at(key, it)] for it in (side, side - 2))
            waiting |= {key for key in first if detections[key].tile_box[BOTTOM] >= y_px}
            waiting |= {key for key in second if self._line_of(detections[key].tile_box, side) >= y_px}
            for tiles, ours, theirs in self._facing(first, second, side):
                last_px = max(tiles[0][BOTTOM], self._line_of(tiles[1], side))
                if last_px < y_px and tiles not in self._done:
                    self._done.add(tiles)
                    found += self._line_matches(tiles, ours, theirs, side)
        return found, waiting

    def _line_of(self, tile: Box, side: int) -> int:
        """Return the last row that has to be known for the line at a tile's left (others' RIGHT) or top border."""
        return tile[BOTTOM] if side == RIGHT else tile[TOP] + 2 * self.thresholds.border_px

    def _ends_at(self, key: int, side: int) -> bool:
        """Return whether a detection ends at a side of its tile, and not all of that end is shown further by others."""
        detection, near_px = self.graph.detections[key], self.thresholds.border_px
        if detection.gaps[side] is None or detection.gaps[side] > near_px or (key, side) in self._shown:
            return False
        if self._runs(key, side, near_px + 1):
            return True
        self._shown.add((key, side))
        return False

    def _facing(
        self, first: list[int], second: list[int], side: int
    ) -> Iterator[tuple[tuple[Box, Box], list[int], list[int]]]:
        """Yield detections of two tiles that meet in a line or in a strip too narrow to compare detections in."""
        if not first or not second:
            return
        reach_px, detections = 2 * self.thresholds.border_px, self.graph.detections
        starts = shapely.box(*np.array([_border(detections[key], side - 2, 0) for key in second], dtype=float).T)
        ends = shapely.box(*np.array([_border(detections[key], side, reach_px) for key in first], dtype=float).T)
        groups: dict[tuple[Box, Box], tuple[set[int], set[int]]] = {}
        for i, j in shapely.STRtree(starts).query(ends).T.tolist():
            one, other = detections[first[i]], detections[second[j]]
            if one.tile_box[side - 2] < other.tile_box[side - 2]:
                group = groups.setdefault((one.tile_box, other.tile_box), (set(), set()))
                group[0].add(first[i])
                group[1].add(second[j])
        for tiles, (ours, theirs) in groups.items():
            yield tiles, list(ours), list(theirs)

    def _line_matches(
        self, tiles: tuple[Box, Box], ours: list[int], theirs: list[int], side: int
    ) -> list[tuple[int, int]]:
        """Match the runs of two tiles' detections along the line between them."""
        near, exact = map(sum, zip(*(self.graph.ends[tile] for tile in tiles), strict=True))
        if near >= LEAST_ENDS and exact <= REACHING * near:
            first, second = self._facing_runs(ours, theirs, side, is_exact=False)
            return self._paired_runs(first, second, side, is_exact=False)
        first, second = self._facing_runs(ours, theirs, side, is_exact=True)
        pairs = self._paired_runs(first, second, side, is_exact=True)
        ours, theirs = set(ours) - {a for a, _ in pairs}, set(theirs) - {b for _, b in pairs}
        first, second = self._facing_runs(ours, theirs, side, is_exact=False)
        first = [run for run in first if self._is_seen_across(run, side)]
        return pairs + self._paired_runs(first, second, side, is_exact=False)

    def _facing_runs(
        self, ours: Iterable[int], theirs: Iterable[int], side: int, is_exact: bool
    ) -> tuple[list[_Run], list[_Run]]:
        """Return the runs of detections on both sides of a line: of what reaches it, or of all that lies near it."""
        depth_px = 1 if is_exact else self.thresholds.border_px + 1
        first = sorted(run for key in ours for run in self._runs(key, side, depth_px))
        return first, sorted(run for key in theirs for run in self._runs(key, side - 2, depth_px))

    def _is_seen_across(self, run: _Run, side: int) -> bool:
        """Return whether a tile looks across the line at a run, although it shows nothing there."""
        line, middle = self.graph.detections[run.key].tile_box[side], (run.low + run.high) // 2
        x, y = (line, middle) if side == RIGHT else (middle, line)
        near_px = self.thresholds.border_px
        tiles = self.graph.tiles_meeting((x, y, x + 1, y + 1))
        return any(
            left + near_px * (side == RIGHT) <= x < right - near_px * (side == RIGHT)
            and top + near_px * (side == BOTTOM) <= y < bottom - near_px * (side == BOTTOM)
            for left, top, right, bottom in tiles
        )

    def _paired_runs(self, first: list[_Run], second: list[_Run], side: int, is_exact: bool) -> list[tuple[int, int]]:
        """Return pairs of detections whose runs meet, one to one."""
        if not first or not second:
            return []
        contact = np.array([[_contact(a, b) for b in second] for a in first], dtype=float)
        length = np.add.outer([a.high - a.low for a in first], [b.high - b.low for b in second])
        fits = contact > 0
        for i, j in np.argwhere(fits).tolist():
            a, b = first[i].key, second[j].key
            met = np.ix_([run.key == a for run in first], [run.key == b for run in second])
            is_same_class = self.graph.detections[a].found.label == self.graph.detections[b].found.label
            fits[i, j] = is_same_class and not self._is_waist(first[i], second[j], contact[met].sum(), side)
        iou = contact / (length - contact)
        if not is_exact:
            fits &= iou >= self.thresholds.strip_iou
        pairs = np.stack(linear_sum_assignment(np.where(fits, MATCH + iou, 0), maximize=True), axis=1)
        pairs = [(first[i].key, second[j].key) for i, j in pairs.tolist() if fits[i, j]]
        return pairs + (self._forks(first, second, fits, contact, pairs) if is_exact else [])

    def _forks(
        self, first: list[_Run], second: list[_Run], fits: np.ndarray, contact: np.ndarray, pairs: list[tuple[int, int]]
    ) -> list[tuple[int, int]]:
        """Return further pairs: runs without match that branch off a matched one, apart from all on their side."""
        taken = ({a for a, _ in pairs}, {b for _, b in pairs})
        found = []
        for i, j in np.argwhere(fits).tolist():
            for run, stem, own, runs in ((first[i], second[j], 0, first), (second[j], first[i], 1, second)):
                others = (other for other in runs if other != run)
                is_apart = all(other.low > run.high or other.high < run.low for other in others)
                lies_in = contact[i, j] >= self.thresholds.part * (run.high - run.low)
                if run.key not in taken[own] and stem.key in taken[1 - own] and is_apart and lies_in:
                    found.append((first[i].key, second[j].key))
        return found

    def _runs(self, key: int, side: int, depth_px: int) -> list[_Run]:
        """Return a detection's runs along a border of its tile, within a depth, that no other shows further."""
        detection = self.graph.detections[key]
        zone = common(_border(detection, side, depth_px), detection.box)
        if is_empty(zone):
            return []
        axis = 1 if side in (LEFT, RIGHT) else 0
        along = detection.found.window(zone).any(axis=axis)
        edges = np.flatnonzero(np.diff(along, prepend=False, append=False)) + zone[axis]
        runs = [_Run(low, high, detection.order, key) for low, high in edges.reshape(-1, 2).tolist()]
        return [run for run in runs if not self._is_shown_further(run, zone, side)]

    def _is_shown_further(self, run: _Run, zone: Box, side: int) -> bool:
        """Return whether a detection in a tile that looks across the line shows a good part of a run."""
        detections = self.graph.detections
        detection = detections[run.key]
        x1, y1, x2, y2 = zone
        box = (x1, run.low, x2, run.high) if side in (LEFT, RIGHT) else (run.low, y1, run.high, y2)
        line, least = detection.tile_box[side], SEEN * np.count_nonzero(detection.found.window(box))
        for other in self.graph.shared[run.key]:
            tile = detections[other].tile_box
            both = common(box, detections[other].box)
            if not tile[side % 2] < line < tile[side % 2 + 2] or is_empty(both):
                continue
            if np.count_nonzero(detection.found.window(both) & detections[other].found.window(both)) >= least:
                return True
        return False

    def _is_waist(self, a: _Run, b: _Run, contact_px: float, side: int) -> bool:
        """Return whether both detections widen away from where they meet."""
        away_px = self.thresholds.border_px // 2
        widths = []
        for run, own_side in ((a, side), (b, side - 2)):
            detection = self.graph.detections[run.key]
            line = detection.tile_box[own_side]
            at = line - 1 - away_px if own_side == side else line + away_px
            low, high = run.low - 2 * away_px, run.high + 2 * away_px
            box = (at, low, at + 1, high) if side == RIGHT else (low, at, high, at + 1)
            box = common(box, detection.box)
            widths.append(0 if is_empty(box) else np.count_nonzero(detection.found.window(box)))
        return contact_px < WAIST * min(widths)


def _contact(a: _Run, b: _Run) -> int:
    return max(min(a.high, b.high) - max(a.low, b.low), 0)


def _border(detection: TileDetection, side: int, depth_px: int) -> Box:
    """The pixels of a detection's rows or columns within a depth of a border of its tile."""
    x1, y1, x2, y2 = detection.box
    line = detection.tile_box[side]
    low, high = (line, line + depth_px) if side in (LEFT, TOP) else (line - depth_px, line)
    return (low, y1, high, y2) if side in (LEFT, RIGHT) else (x1, low, x2, high)
