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

from noise_mm.geometry.tiles import Window
from noise_mm.inference.detection import BOTTOM, JOINED, SCORE_THR, UNVOTED, Detection
from noise_mm.inference.merge.cells import cells_of
from noise_mm.inference.merge.fragments import Cell
from noise_mm.inference.merge.line_matches import LineMatcher
from noise_mm.inference.merge.merge_graph import MergeGraph
from noise_mm.inference.merge.tile_detection import MergeThresholds
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
        self.score_thr = score_thr
        self.report = SeamReport()
        self._graph = MergeGraph((width_px, height_px), thresholds or MergeThresholds())
        self._line_matcher = LineMatcher(self._graph)
        self._unresolved: list[tuple[int, int]] = []
        self._given: set[int] = set()  # detections whose cells were taken out, while others depend on them

    def add_tile(self, tile: Window, detections: Sequence[Detection]) -> None:
        """Add what was found in one tile, in pixels of the well; all of it at once. What reaches over is cut off."""
        self._graph.add_tile(tile, detections)

    def finish_above(self, y_px: float) -> list[Detection]:
        """Take out the cells that tiles from `y_px` on cannot change.

        Args:
            y_px: No tile that begins above this row is to come.

        Returns:
            Cells that were not taken out before, largest score first.
        """
        graph = self._graph
        graph.compare()
        pairs, waiting = self._line_matcher.matches(y_px)
        graph.add_matches(pairs)
        reach_px = 2 * graph.thresholds.border_px + 1
        near = {key for key, detection in graph.detections.items() if detection.box[BOTTOM] + reach_px > y_px}
        settled, needed = graph.settled_and_needed(near | waiting)
        new = settled - self._given
        done = [cell for cell in cells_of(graph) if cell.detections[0] in new and self._is_kept(cell)]
        self.report.unresolved = tuple(sorted(self._unresolved))
        self._given = (self._given | settled) & needed
        graph.forget(set(graph.detections) - needed)
        self._line_matcher.forget()
        return sorted((cell.found for cell in done), key=_order)

    def close(self) -> list[Detection]:
        """Return all cells that were not taken out before, largest score first."""
        return self.finish_above(float('inf'))

    def _is_kept(self, cell: Cell) -> bool:
        """Lower the score of a cell that most tiles deny, add it to the report, and return whether it is kept."""
        vote, report = vote_on(cell, self._graph), self.report
        report.unvoted += vote.looked == 1
        if vote.factor < 1:
            score = cell.found.score * vote.factor
            if score < min(self.score_thr, cell.found.score):
                report.dropped += 1
                return False
            report.lowered += 1
            cell.found = replace(cell.found, score=score)
        detections = [self._graph.detections[key] for key in (*cell.detections, *cell.fragments)]
        is_joined = not cell.is_whole and len(detections) > 1
        report.joined += is_joined
        report.on_seam += any(detection.is_cut for detection in detections)
        if len(detections) == 1 and detections[0].is_cut and len(self._graph.tiles_meeting(detections[0].box)) > 1:
            left, top, right, bottom = detections[0].box
            self._unresolved.append(((left + right) // 2, (top + bottom) // 2))
        cell.found = cell.found.marked(*[JOINED] * is_joined, *[UNVOTED] * (vote.looked == 1))
        return True


def _order(found: Detection) -> tuple:
    return -found.score, found.y, found.x, found.mask.shape, found.label, found.mask.tobytes()
