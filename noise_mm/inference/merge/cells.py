"""From detections and what matches them to cells. Pure.

Whole detections first, for they say how far a cell goes: matched ones are of one cell, as long as no tile shows two of
them apart. Cut detections then join the cell that they are matched to, or, without such a match, the cell that they lie
in. What remains are detections of cells that no tile shows whole: those matched to one another make a cell. In the end,
cells that repeat another one or are a fragment of it are left out; see `fragments`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import fsum

import numpy as np

from noise_mm.inference.detection import Box, Detection, common
from noise_mm.inference.merge.fragments import (
    Cell,
    are_duplicates,
    containing_cell,
    is_mere_sliver,
    is_piece_at_edge,
    is_redundant,
)
from noise_mm.inference.merge.merge_graph import MergeGraph
from noise_mm.inference.merge.tile_detection import MergeThresholds, TileDetection

BEYOND = 0.05  # share of a detection beyond a tile from which on a detection in that tile is not whole


def cells_of(graph: MergeGraph) -> list[Cell]:
    """Return the cells that detections show, each once; those left out are marked as such."""
    detections = graph.detections
    keys = sorted(detections, key=lambda key: detections[key].order)
    whole = [key for key in keys if not detections[key].is_cut and not _goes_on(key, graph)]
    cells = [Cell(group, detections, detections[group[0]].found, is_whole=True) for group in _same_whole(whole, graph)]
    owner = {key: cell for cell in cells for key in cell.detections}
    cut = [key for key in keys if key not in owner]
    _join_matched(cut, owner, graph)
    containing_cells = {key: containing_cell(key, owner, graph) for key in cut if key not in owner}
    for key, cell in containing_cells.items():
        if cell is not None:
            cell.fragments.append(key)
    loose = [key for key, cell in containing_cells.items() if cell is None]
    pairs = (
        (key, other) for key in loose for other in graph.matches[key] if containing_cells.get(other, owner) is None
    )
    for group in groups(loose, pairs):
        cells.append(Cell(group, detections, _voted([detections[key] for key in group]), is_whole=False))
        owner |= dict.fromkeys(group, cells[-1])
    return _without_redundant(cells, owner, graph)


def groups(keys: Iterable[int], pairs: Iterable[tuple[int, int]], may_join: Callable | None = None) -> list[list[int]]:
    """Return keys connected by pairs, in the order of the keys.

    Args:
        keys: All keys.
        pairs: Strongest first, where that matters.
        may_join: Takes two groups and says whether they may become one; always by default.
    """
    place = {key: i for i, key in enumerate(keys)}
    group_of = {key: [key] for key in place}
    for one, other in pairs:
        small, large = sorted((group_of[one], group_of[other]), key=len)
        if small is large or (may_join is not None and not may_join(small, large)):
            continue
        large += small
        group_of |= dict.fromkeys(small, large)
    unique = {id(group): group for group in group_of.values()}
    return [sorted(group, key=place.get) for group in unique.values()]


def _goes_on(key: int, graph: MergeGraph) -> bool:
    """Return whether others show that a cell goes on where it seems to be whole: beyond the tile, or to its border."""
    detection = graph.detections[key]
    others = [graph.detections[other] for other in graph.matches[key]]
    return any(
        _lies_beyond(other, detection.tile_box) or _reaches_further(other, detection, graph.thresholds)
        for other in others
    )


def _lies_beyond(detection: TileDetection, tile: Box) -> bool:
    """Return whether a good part of a detection lies beyond a tile."""
    return (
        common(detection.box, tile) != detection.box
        and detection.area - detection.found.inside_px(tile) > BEYOND * detection.area
    )


def _reaches_further(other: TileDetection, detection: TileDetection, thresholds: MergeThresholds) -> bool:
    """Return whether a detection comes close to a border of another one's tile that this one ends clearly short of."""
    (x1, y1, x2, y2), (left, top, right, bottom) = common(other.box, detection.tile_box), detection.tile_box
    near_px, far_px = thresholds.border_px, 2 * thresholds.border_px + thresholds.jitter_px
    gaps = zip(detection.gaps, (x1 - left, y1 - top, right - x2, bottom - y2), strict=True)
    return any(gap is not None and gap > far_px and reach <= near_px for gap, reach in gaps)


def _same_whole(keys: list[int], graph: MergeGraph) -> list[list[int]]:
    """Return groups of whole detections, given best first, that are of one cell."""
    detections, matches, rank = graph.detections, graph.matches, {key: i for i, key in enumerate(keys)}
    pairs = [(key, other) for key in keys for other in matches[key] if rank.get(other, -1) > rank[key]]
    pairs.sort(key=lambda it: (-matches[it[0]][it[1]], rank[it[0]], rank[it[1]]))

    def may_join(one: list[int], other: list[int]) -> bool:
        same_tile = ((a, b) for a in one for b in other if detections[a].tile_box == detections[b].tile_box)
        return all(are_duplicates(a, b, graph) for a, b in same_tile)

    return groups(keys, pairs, may_join)


def _join_matched(cut: list[int], owner: dict[int, Cell], graph: MergeGraph) -> None:
    """Give cut detections to the whole cells that they are matched to, best match first."""
    joins = []
    for key in cut:
        matches = graph.matches[key]
        matched = [other for other in matches if other in owner]
        if matched:
            best = min(matched, key=lambda other: (-matches[other], graph.detections[other].order))
            joins.append((key, owner[best]))
    for key, cell in joins:
        owner[key] = cell
        cell.add(key, graph.detections[key])


def _without_redundant(cells: list[Cell], owner: Mapping[int, Cell], graph: MergeGraph) -> list[Cell]:
    """Leave out cells that are another one again, fragments of others, and slivers that nothing confirms."""
    kept = []
    for cell in cells:
        near = {
            id(owner[other]): owner[other] for key in cell.detections for other in graph.shared[key] if other in owner
        }
        near.pop(id(cell), None)
        is_extra = any(is_redundant(cell, it, graph) or is_piece_at_edge(cell, it, graph) for it in near.values())
        if not is_extra and not is_mere_sliver(cell, graph):
            kept.append(cell)
    return kept


def _voted(detections: Sequence[TileDetection]) -> Detection:
    """Make one cell of detections of its parts, best first: the pixels that at least half of the tiles looking there
    show.

    A tile does not count close to its inner borders, where masks end too early, unless no other looks there. The score
    is the mean over the pixels of all detections.
    """
    if len(detections) == 1:
        return detections[0].found
    boxes = np.array([detection.box for detection in detections])
    (left, top), (right, bottom) = boxes[:, :2].min(axis=0).tolist(), boxes[:, 2:].max(axis=0).tolist()
    shape = bottom - top, right - left
    says, looks, anyone = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8), np.zeros(shape, bool)
    by_tile: dict[Box, list[TileDetection]] = {}
    for detection in detections:
        by_tile.setdefault(detection.tile_box, []).append(detection)
    for seen in by_tile.values():
        shown = np.zeros(shape, dtype=bool)
        for detection in seen:
            x1, y1, x2, y2 = detection.box
            shown[y1 - top : y2 - top, x1 - left : x2 - left] |= detection.found.mask
        anyone |= shown
        x1, y1, x2, y2 = common(seen[0].core, (left, top, right, bottom))
        if x1 < x2 and y1 < y2:
            part = np.s_[y1 - top : y2 - top, x1 - left : x2 - left]
            looks[part] += 1
            says[part] += shown[part]
    mask = np.where(looks > 0, says >= looks - looks // 2, anyone)
    score = fsum(detection.found.score * detection.area for detection in detections) / sum(
        detection.area for detection in detections
    )
    joined = Detection.from_bitmap(mask if mask.any() else anyone, left, top, score, detections[0].found.label)
    return joined.marked(*(mark for detection in detections for mark in detection.found.marks))
