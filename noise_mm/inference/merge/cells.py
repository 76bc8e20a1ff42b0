"""From views and what ties them to cells. Pure.

Whole views first, for they say how far a cell goes: tied ones are of one cell, as long as no tile shows two of them
apart. Cut views then join the cell that they are tied to, or, without such a tie, the cell that they lie in. What
remains are views of cells that no tile shows whole: those tied to one another make a cell. In the end, cells that
repeat another one or are a fragment of it are left out; see `fragments`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import fsum

import numpy as np

from noise_mm.inference.detection import Detection
from noise_mm.inference.merge.fragments import Cell, are_twins, host, is_mere_sliver, is_piece_at_edge, repeats
from noise_mm.inference.merge.scene import Scene
from noise_mm.inference.merge.views import Agreement, Box, View, common, inside_px

BEYOND = 0.05  # share of a view beyond a tile from which on a view in that tile is not whole


def cells_of(scene: Scene) -> list[Cell]:
    """The cells that views show, each once; those left out are marked as such."""
    views = scene.views
    keys = sorted(views, key=lambda key: views[key].order)
    whole = [key for key in keys if not views[key].is_cut and not _goes_on(key, scene)]
    cells = [Cell(group, views, views[group[0]].found, is_whole=True) for group in _same_whole(whole, scene)]
    owner = {key: cell for cell in cells for key in cell.views}
    cut = [key for key in keys if key not in owner]
    _join_tied(cut, owner, scene)
    hosts = {key: host(key, owner, scene) for key in cut if key not in owner}
    for key, cell in hosts.items():
        if cell is not None:
            cell.fragments.append(key)
    loose = [key for key, cell in hosts.items() if cell is None]
    pairs = ((key, other) for key in loose for other in scene.ties[key] if hosts.get(other, owner) is None)
    for group in groups(loose, pairs):
        cells.append(Cell(group, views, _voted([views[key] for key in group]), is_whole=False))
        owner |= dict.fromkeys(group, cells[-1])
    return _without_repeats(cells, owner, scene)


def groups(keys: Iterable[int], pairs: Iterable[tuple[int, int]], may_join: Callable | None = None) -> list[list[int]]:
    """Keys connected by pairs, in the order of the keys.

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


def _goes_on(key: int, scene: Scene) -> bool:
    """Whether another view shows that a cell goes on where it seems to be whole: beyond the tile, or to its border."""
    view = scene.views[key]
    others = [scene.views[other] for other in scene.ties[key]]
    return any(_lies_beyond(other, view.tile_box) or _reaches_further(other, view, scene.agreement) for other in others)


def _lies_beyond(view: View, tile: Box) -> bool:
    """Whether a good part of a view lies beyond a tile."""
    return common(view.box, tile) != view.box and view.area - inside_px(view.found, tile) > BEYOND * view.area


def _reaches_further(other: View, view: View, agreement: Agreement) -> bool:
    """Whether a view comes close to a border of another one's tile that this one ends clearly short of."""
    (x1, y1, x2, y2), (left, top, right, bottom) = common(other.box, view.tile_box), view.tile_box
    near_px, far_px = agreement.border_px, 2 * agreement.border_px + agreement.jitter_px
    gaps = zip(view.gaps, (x1 - left, y1 - top, right - x2, bottom - y2), strict=True)
    return any(gap is not None and gap > far_px and reach <= near_px for gap, reach in gaps)


def _same_whole(keys: list[int], scene: Scene) -> list[list[int]]:
    """Groups of whole views, given best first, that are of one cell."""
    views, ties, rank = scene.views, scene.ties, {key: i for i, key in enumerate(keys)}
    pairs = [(key, other) for key in keys for other in ties[key] if rank.get(other, -1) > rank[key]]
    pairs.sort(key=lambda it: (-ties[it[0]][it[1]], rank[it[0]], rank[it[1]]))

    def may_join(one: list[int], other: list[int]) -> bool:
        same_tile = ((a, b) for a in one for b in other if views[a].tile_box == views[b].tile_box)
        return all(are_twins(a, b, scene) for a, b in same_tile)

    return groups(keys, pairs, may_join)


def _join_tied(cut: list[int], owner: dict[int, Cell], scene: Scene) -> None:
    """Gives cut views to the whole cells that they are tied to, best tie first."""
    joins = []
    for key in cut:
        ties = scene.ties[key]
        tied = [other for other in ties if other in owner]
        if tied:
            best = min(tied, key=lambda other: (-ties[other], scene.views[other].order))
            joins.append((key, owner[best]))
    for key, cell in joins:
        owner[key] = cell
        cell.add(key, scene.views[key])


def _without_repeats(cells: list[Cell], owner: Mapping[int, Cell], scene: Scene) -> list[Cell]:
    """Leaves out cells that are another one again, fragments of others, and slivers that nothing confirms."""
    kept = []
    for cell in cells:
        near = {id(owner[other]): owner[other] for key in cell.views for other in scene.shared[key] if other in owner}
        near.pop(id(cell), None)
        is_extra = any(repeats(cell, it, scene) or is_piece_at_edge(cell, it, scene) for it in near.values())
        if not is_extra and not is_mere_sliver(cell, scene):
            kept.append(cell)
    return kept


def _voted(views: Sequence[View]) -> Detection:
    """One cell from views of its parts, best first: the pixels that at least half of the tiles looking there show.

    A tile does not count close to its inner borders, where masks end too early, unless no other looks there. The score
    is the mean over the pixels of all views.
    """
    if len(views) == 1:
        return views[0].found
    boxes = np.array([view.box for view in views])
    (left, top), (right, bottom) = boxes[:, :2].min(axis=0).tolist(), boxes[:, 2:].max(axis=0).tolist()
    shape = bottom - top, right - left
    says, looks, anyone = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8), np.zeros(shape, bool)
    by_tile: dict[Box, list[View]] = {}
    for view in views:
        by_tile.setdefault(view.tile_box, []).append(view)
    for seen in by_tile.values():
        shown = np.zeros(shape, dtype=bool)
        for view in seen:
            x1, y1, x2, y2 = view.box
            shown[y1 - top : y2 - top, x1 - left : x2 - left] |= view.found.mask
        anyone |= shown
        x1, y1, x2, y2 = common(seen[0].core, (left, top, right, bottom))
        if x1 < x2 and y1 < y2:
            part = np.s_[y1 - top : y2 - top, x1 - left : x2 - left]
            looks[part] += 1
            says[part] += shown[part]
    mask = np.where(looks > 0, says >= looks - looks // 2, anyone)
    score = fsum(view.found.score * view.area for view in views) / sum(view.area for view in views)
    return Detection.from_bitmap(mask if mask.any() else anyone, left, top, score, views[0].found.label)
