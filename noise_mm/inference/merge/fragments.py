"""Which detections and cells are mere fragments, or second masks, of a cell. Pure.

Networks break what a tile's border cuts off, or show only a part of it. Such a detection agrees with no other one well
enough to be matched to it, but it lies in a cell that other tiles show. That alone does not make it a fragment: it may
be a small cell on top of a big one. If so, its own tile shows both, one over the other; and the other tiles that look
there show it, too.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from noise_mm.inference.detection import Box, Detection, common, grown, is_empty
from noise_mm.inference.merge.merge_graph import MergeGraph
from noise_mm.inference.merge.tile_detection import TileDetection, widened

STRAIGHT = 0.6  # share of its width in which a strip of a cell ends straight; a disc of 20 px: 0.45
SHOWN_ALL = 0.8  # share of a detection's box that a tile has to show well to deny the detection


class Cell:
    """A cell and the detections that it was made from.

    Attributes:
        found: Its mask, score and class.
        area: Pixels of the mask.
        detections: Keys of its detections, best first; whole ones, then cut ones matched to them.
        fragments: Keys of further cut detections that lie in it.
        tiles: Boxes of the tiles that show it.
        is_whole: Whether some tile shows it whole.
        order: Sorts cells: better supported ones first.
    """

    def __init__(
        self, keys: Sequence[int], detections: Mapping[int, TileDetection], found: Detection, is_whole: bool
    ) -> None:
        self.found, self.is_whole = found, is_whole
        self.area = int(np.count_nonzero(found.mask))
        self.detections, self.fragments = list(keys), []
        self.tiles = {detections[key].tile_box for key in keys}
        self.order = (not is_whole, -len(self.tiles), detections[keys[0]].order)

    def add(self, key: int, detection: TileDetection) -> None:
        """Add a cut detection that is matched to the cell."""
        self.detections.append(key)
        self.tiles.add(detection.tile_box)


def are_duplicates(one: int, other: int, graph: MergeGraph) -> bool:
    """Return whether two masks of one tile are of one cell; see `MergeThresholds`."""
    thresholds, both = graph.thresholds, graph.shared[one].get(other, 0)
    small, large = sorted((graph.detections[one].area, graph.detections[other].area))
    if both >= thresholds.duplicate_iou * (small + large - both):
        return True
    return both >= thresholds.contained * small and small >= thresholds.similar_size * large


def containing_cell(key: int, owner: Mapping[int, Cell], graph: MergeGraph) -> Cell | None:
    """Return the whole cell that a cut detection is a fragment of, if it is one.

    Args:
        key: The detection, matched to no whole cell.
        owner: The whole cells, by the keys of their detections.
        graph: All that is known.
    """
    containing_cells = {id(owner[other]): owner[other] for other in graph.shared[key] if other in owner}
    is_lone = all(other in owner for other in graph.matches[key])
    covers = ((_covered([key], is_lone, cell, graph), cell) for cell in containing_cells.values())
    fits = [(-covered, cell.order, cell) for covered, cell in covers if covered > 0]
    return min(fits, key=lambda it: it[:2])[2] if fits else None


def is_redundant(cell: Cell, other: Cell, graph: MergeGraph) -> bool:
    """Return whether a cell is another, better one again, or a fragment of a larger one."""
    both = cell.found.shared_px(other.found)
    if not both:
        return False
    is_lesser = other.order < cell.order
    if is_lesser and both >= graph.thresholds.duplicate_iou * (cell.area + other.area - both):
        return True
    if is_lesser and len(cell.tiles) == 1 and _is_duplicate_in_tile(cell, other, graph):
        return True
    if cell.area > other.area:
        return False
    against = _tiles_against(cell, other, graph)
    if against >= len(cell.tiles) + (cell.is_whole and not _is_cut_beside(cell, other, graph)):
        near_px = _near_px(cell.found, other.found, cell.found.box, graph.thresholds.jitter_px)
        return near_px >= graph.thresholds.covered * cell.area
    if cell.is_whole:
        return False
    if both >= graph.thresholds.covered * cell.area and _is_denied(cell.detections, graph):
        return True
    return _covered(cell.detections, len(cell.detections) == 1, other, graph) > 0


def is_mere_sliver(cell: Cell, graph: MergeGraph) -> bool:
    """Return whether a cell is a mere strip along tile borders, near other cells, that most tiles do not confirm."""
    if not all(graph.detections[key].is_sliver for key in cell.detections):
        return False
    own = {*cell.detections, *cell.fragments}
    is_near_others = any(other not in own for key in cell.detections for other in graph.shared[key])
    if not is_near_others:
        return False
    looking = graph.tiles_showing(cell.found.box)  # also those that show what goes on beyond the border
    showing = {graph.detections[key].core for key in own}
    return len(looking - showing) > len(looking & showing)


def is_piece_at_edge(cell: Cell, other: Cell, graph: MergeGraph) -> bool:
    """Return whether a cell is a strip of a larger one along the image's edge, shown by one tile only.

    At the image's edge networks break cells as they do at the borders of tiles. No tile looks beyond, so the strip
    seems to be whole. Its straight end tells it from a small cell on a large one.
    """
    if cell.area > other.area or len(cell.tiles) > 1:
        return False
    both = cell.found.shared_px(other.found)
    if both < graph.thresholds.covered * cell.area:
        return False
    ours, theirs = graph.gaps_to_edge(cell.found.box), graph.gaps_to_edge(other.found.box)
    near_px = graph.thresholds.border_px
    sides = [side for side in range(4) if ours[side] <= near_px and theirs[side] <= near_px]
    return any(_straight_share(cell.found.mask, side) >= STRAIGHT for side in sides)


def _straight_share(mask: np.ndarray, side: int) -> float:
    """Return the share of a mask's width along one side that ends in a straight line opposite of it."""
    along = mask.any(axis=1 if side in (0, 2) else 0)
    last = (mask[:, -1], mask[-1], mask[:, 0], mask[0])[side]
    return np.count_nonzero(last) / np.count_nonzero(along)


def _unconfirming(keys: Sequence[int], graph: MergeGraph) -> set[Box]:
    """Return the cores of tiles that look at most of some detection, but to which none of the detections belong."""
    looking = {core for key in keys for core in graph.tiles_showing(graph.detections[key].box)}
    return looking - {graph.detections[key].core for key in keys}


def _is_denied(keys: Sequence[int], graph: MergeGraph) -> bool:
    """Return whether more of the tiles that look at all of some detections' pixels deny them than confirm them."""
    denied_px = 0
    for key_of_one in keys:
        detection, shared = graph.detections[key_of_one], graph.shared[key_of_one]
        looking = graph.tiles_showing(detection.box, SHOWN_ALL) - {detection.core}
        confirming = {graph.detections[key].core for key in keys if 2 * shared.get(key, 0) >= detection.area}
        denied_px += detection.area * (len(looking - confirming) > len(looking & confirming))
    return 2 * denied_px >= sum(graph.detections[key].area for key in keys)


def _covered(keys: Sequence[int], is_lone: bool, cell: Cell, graph: MergeGraph) -> float:
    """Return the share of some detections that lies in a cell, if it is enough for them to be a fragment of it; else 0.

    Pixels close to the cell count, too, if nothing matches the detection to others, unless its own tile shows it beside
    the cell and no other tile looks there.
    """
    detections, thresholds = graph.detections, graph.thresholds
    beside = [
        (key, other)
        for key in keys
        for other in cell.detections
        if detections[other].tile_box == detections[key].tile_box
    ]
    is_doubted = is_lone and bool(_unconfirming(keys, graph))
    if not is_doubted and any(2 * graph.shared[key].get(other, 0) >= detections[key].area for key, other in beside):
        return 0.0
    area = sum(detections[key].area for key in keys)
    covered = sum(detections[key].found.shared_px(cell.found) for key in keys) / area
    if covered < thresholds.covered and (is_doubted or (is_lone and not beside)):
        detection = detections[keys[0]]
        within = detection.tile_box if is_doubted else detections[cell.detections[0]].tile_box
        covered = _near_px(detection.found, cell.found, within, thresholds.jitter_px) / area
    return covered if covered >= thresholds.covered else 0.0


def _near_px(found: Detection, other: Detection, within: Box, near_px: int) -> int:
    """Return the pixels of a mask that lie in another one or close to it, within a box."""
    box = common(common(found.box, grown(other.box, near_px)), within)
    if is_empty(box):
        return 0
    wide = grown(box, near_px)
    near = widened(other.canvas(wide), near_px)[near_px:-near_px, near_px:-near_px]
    return int(np.count_nonzero(near & found.canvas(box)))


def _is_duplicate_in_tile(cell: Cell, other: Cell, graph: MergeGraph) -> bool:
    """Return whether one tile, the only one that shows a cell, shows it as a second mask of another cell."""
    detections = graph.detections
    same_tile = (
        (a, b) for a in cell.detections for b in other.detections if detections[a].tile_box == detections[b].tile_box
    )
    return any(are_duplicates(a, b, graph) for a, b in same_tile)


def _tiles_against(cell: Cell, other: Cell, graph: MergeGraph) -> int:
    """Return the number of tiles that look at a cell well, and show only the other one there."""
    against = set()
    for key in other.detections:
        detection = graph.detections[key]
        if detection.tile_box not in cell.tiles and detection.tile_box not in against:
            seen = cell.found.inside_px(detection.core)
            if 2 * seen >= cell.area and 2 * cell.found.shared_px(detection.found) >= seen:
                against.add(detection.tile_box)
    return len(against)


def _is_cut_beside(cell: Cell, other: Cell, graph: MergeGraph) -> bool:
    """Return whether every tile that seems to show a cell whole cuts off the other one, so that it may be a piece of
    that.

    Networks break what is cut off; what they see whole, they tell apart.
    """
    x1, y1, x2, y2 = other.found.box
    for detection in (graph.detections[key] for key in cell.detections):
        left, top, right, bottom = detection.tile_box
        reaches = (x1 - left, y1 - top, right - x2, bottom - y2)  # also at the image's own edge
        if not any(reach <= graph.thresholds.border_px for reach in reaches):
            return False
    return True
