"""Tile predictions -> each cell once. Pure.

Tiles overlap, so most cells are seen several times: whole in one tile, cut off at a border in its neighbours. Cells
longer than the overlap may be whole in none.

How it works, module by module:

- `strip_matches`: detections of two tiles are matched if each is what the other agrees with best in the strip that both
  tiles see, mask by mask. So touching neighbours stay apart, and a small cell on a big one is not taken for it.
- `line_matches`: cut detections that nobody shows further are matched across the line where their tiles meet, by shape.
- `cells`: matched whole detections are one cell, of which the best detection is kept. Cut detections join the cell that
  they are matched to or lie in. Those left over are matched to one another and make a cell by vote of their tiles.
  Fragments and repeats of other cells are left out.

The result does not depend on the order in which tiles or detections were added, nor on when finished cells are taken
out. What becomes of a cell depends only on detections a few steps of overlap away (`merge_graph.HOPS`), so cells above
the tiles to come are final, and detections that nothing pending depends on are forgotten: memory is that of a band of
tiles, one byte a pixel of each detection's box.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from noise_mm.geometry.tiles import Window
from noise_mm.inference.detection import JOINED, SCORE_THR, UNVOTED, Detection
from noise_mm.inference.merge.cells import cells_of
from noise_mm.inference.merge.fragments import Cell
from noise_mm.inference.merge.graph_builder import GraphBuilder
from noise_mm.inference.merge.line_matches import LineMatcher, border_ends
from noise_mm.inference.merge.merge_graph import MergeGraph
from noise_mm.inference.merge.tile_detection import (
    BOTTOM,
    TOP,
    MergeThresholds,
    TileDetection,
    box_of,
    box_of_tile,
    common,
    core_of,
    is_empty,
)
from noise_mm.inference.merge.votes import vote_on

__all__ = ['MergeThresholds', 'Merger', 'SeamReport']


@dataclass
class SeamReport:
    """How many cells met a seam.

    Attributes:
        on_seam: Cells of which some detection is cut off at an inner tile border.
        joined: Cells put together from cut detections, because no tile shows them whole.
        unresolved: Centres (x, y) of cells that only one detection shows, cut off, although a neighbour looks there,
            too.
        dropped: Cells left out by vote: their score, lowered, is below the threshold; see `votes`.
        lowered: Cells whose score was lowered by vote, and that were kept.
        unvoted: Cells that a single tile should have seen, so that no other could confirm or deny them.
    """

    on_seam: int = 0
    joined: int = 0
    unresolved: tuple[tuple[int, int], ...] = ()
    dropped: int = 0
    lowered: int = 0
    unvoted: int = 0

    def columns(self) -> dict[str, int]:
        """Return what the table of wells says of the vote."""
        return {'cells_dropped': self.dropped, 'cells_lowered': self.lowered, 'cells_unvoted': self.unvoted}

    def __str__(self) -> str:
        """Return one line for the log."""
        return (
            f'{self.on_seam} cells on seams, {self.joined} joined, {len(self.unresolved)} unresolved; by vote of the '
            f'tiles {self.dropped} dropped and {self.lowered} lowered in score, {self.unvoted} seen by one tile only'
        )


class Merger:
    """Collects the detections of a well's tiles and merges them.

    Args:
        width_px: Width of the well at the resolution of the tiles.
        height_px: Its height.
        thresholds: Thresholds.
        score_thr: Cells whose score falls below it because most tiles do not show them are left out.

    Attributes:
        report: What was found at the seams, among the cells that were taken out so far.
    """

    def __init__(
        self, width_px: int, height_px: int, thresholds: MergeThresholds | None = None, score_thr: float = SCORE_THR
    ) -> None:
        self.size_px, self.score_thr = (width_px, height_px), score_thr
        self.thresholds = thresholds or MergeThresholds()
        self.report = SeamReport()
        self._count = 0
        self._detections: dict[int, TileDetection] = {}  # pending, by numbers in the order of adding
        self._new: list[int] = []  # those not compared with others yet
        self._given: set[int] = set()  # those whose cells were taken out, while others depend on them
        self._builder = GraphBuilder(self.thresholds)
        self._line_matcher = LineMatcher(self.thresholds)

    def add_tile(self, tile: Window, detections: Sequence[Detection]) -> None:
        """Add what was found in one tile, in pixels of the well; all of it at once. What reaches over is cut off."""
        inside = (_clipped(found, tile, *self.size_px) for found in detections)
        detections = [
            TileDetection(found, tile, *self.size_px, self.thresholds.border_px)
            for found in inside
            if found is not None
        ]
        self._line_matcher.ends[box_of_tile(tile, *self.size_px)] = border_ends(detections, self.thresholds.border_px)
        for detection in detections:
            self._detections[self._count] = detection
            self._new.append(self._count)
            self._count += 1

    def finish_above(self, y_px: float) -> list[Detection]:
        """Take out the cells that tiles from `y_px` on cannot change.

        Args:
            y_px: No tile that begins above this row is to come.

        Returns:
            Cells that were not taken out before, largest score first.
        """
        detections, builder = self._detections, self._builder
        if self._new:
            builder.add(detections, self._new)
            self._new = []
        pairs, waiting = self._line_matcher.matches(detections, builder.shared, y_px)
        builder.add_matches(pairs)
        reach_px = 2 * self.thresholds.border_px + 1
        near = {key for key, detection in detections.items() if detection.box[BOTTOM] + reach_px > y_px}
        cores = [core_of(tile, *self.size_px, self.thresholds.border_px) for tile in self._line_matcher.ends]
        cores = np.array(cores).reshape(-1, 4)
        graph = MergeGraph(detections, builder.shared, builder.matches, cores, self.size_px, self.thresholds)
        settled, needed = graph.settled_and_needed(near | waiting)
        done = [
            cell for cell in cells_of(graph) if cell.detections[0] in settled and cell.detections[0] not in self._given
        ]
        done = self._voted(done, graph)
        self._note(done)
        self._given |= settled
        self._forget(set(detections) - needed)
        return [cell.found for cell in sorted(done, key=lambda cell: _order(cell.found))]

    def close(self) -> list[Detection]:
        """Return all cells that were not taken out before, largest score first."""
        return self.finish_above(float('inf'))

    def _voted(self, cells: Sequence[Cell], graph: MergeGraph) -> list[Cell]:
        """Lower the scores of cells that most tiles deny, and leave out those that end below the threshold."""
        kept = []
        for cell in cells:
            vote = vote_on(cell, graph)
            if vote.looked == 1:
                self.report.unvoted += 1
                cell.found = cell.found.marked(UNVOTED)
            if vote.factor < 1:
                score = cell.found.score * vote.factor
                if score < min(self.score_thr, cell.found.score):
                    self.report.dropped += 1
                    continue
                self.report.lowered += 1
                cell.found = replace(cell.found, score=score)
            marks = {'joined': not cell.is_whole and len(cell.detections) > 1, 'unvoted': vote.looked == 1}
            cell.found = replace(cell.found, marks=cell.found.marks | {mark for mark, holds in marks.items() if holds})
            kept.append(cell)
        return kept

    def _forget(self, keys: set[int]) -> None:
        self._builder.forget(keys)
        for key in keys:
            del self._detections[key]
        self._given -= keys
        top = min((detection.tile_box[TOP] for detection in self._detections.values()), default=float('inf'))
        self._line_matcher.forget(keys, top)

    def _note(self, cells: Sequence[Cell]) -> None:
        """Add cells to the report, and mark those that were joined."""
        unresolved = list(self.report.unresolved)
        for cell in cells:
            detections = [self._detections[key] for key in (*cell.detections, *cell.fragments)]
            self.report.on_seam += any(detection.is_cut for detection in detections)
            if not cell.is_whole and len(detections) > 1:
                self.report.joined += 1
                cell.found = cell.found.marked(JOINED)
            if len(detections) == 1 and detections[0].is_cut and self._is_seen_by_others(detections[0]):
                left, top, right, bottom = detections[0].box
                unresolved.append(((left + right) // 2, (top + bottom) // 2))
        self.report.unresolved = tuple(sorted(unresolved))

    def _is_seen_by_others(self, detection: TileDetection) -> bool:
        """Return whether another tile looks at a part of a detection."""
        tiles = (tile for tile in self._line_matcher.ends if tile != detection.tile_box)
        return any(not is_empty(common(tile, detection.box)) for tile in tiles)


def _order(found: Detection) -> tuple:
    return -found.score, found.y, found.x, found.mask.shape, found.label, found.mask.tobytes()


def _clipped(found: Detection, tile: Window, width_px: int, height_px: int) -> Detection | None:
    """Return what of a detection lies inside its tile and the well."""
    box = common(box_of(found), box_of_tile(tile, width_px, height_px))
    if is_empty(box):
        return None
    if box == box_of(found):
        return found
    left, top, right, bottom = box
    mask = found.mask[top - found.y : bottom - found.y, left - found.x : right - found.x]
    clipped = Detection.from_bitmap(mask, left, top, found.score, found.label)
    return clipped and clipped.marked(*found.marks)
