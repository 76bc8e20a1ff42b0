"""From views and what ties them to cells, each once. Pure.

Whole views first, for they say how far a cell goes: tied ones are of one cell, as long as no tile shows two of them
apart. Cut views then join the cell they are tied to, or, without tie, the cell that they lie in. What remains are
views of cells that no tile shows whole: those tied to one another make a cell. In the end, cells that repeat another
one or are a fragment of it are left out.

That a view lies in a cell does not make it a fragment: it may be a small cell on top of a big one. It is one if its own
tile shows both, one over the other.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import fsum

import numpy as np

from noise_mm.wells.detection import Detection
from noise_mm.wells.merging.views import (
    Agreement,
    Box,
    View,
    box_of,
    canvas,
    common,
    grown,
    inside_px,
    is_empty,
    shared_px,
    widened,
    window,
)

Ties = Mapping[int, Mapping[int, float]]
BEYOND = 0.05  # share of a view beyond a tile from which on a view in that tile is not whole
HOPS = 5  # how far, in steps between overlapping groups of tied views, the fate of a cell may depend on others


class Cell:
    """A cell and the views that it was made from.

    Attributes:
        found: Its mask, score and class.
        views: Keys of its views.
        is_whole: Whether some tile shows it whole.
        tiles: Boxes of the tiles that show it.
        fragments: Keys of further cut views that lie in it.
    """

    def __init__(self, keys: Sequence[int], views: Mapping[int, View], is_whole: bool) -> None:
        self.views = list(keys)
        self.is_whole = is_whole
        self.tiles = {views[key].tile_box for key in keys}
        self.fragments: list[int] = []
        best = views[keys[0]]
        self.found = best.found if is_whole or len(keys) == 1 else _voted([views[key] for key in keys])
        self.area = best.area if is_whole or len(keys) == 1 else int(np.count_nonzero(self.found.mask))
        # Better supported ones first; of two repeats the later one is left out.
        self.order = (not is_whole, -len(self.tiles), -self.area, best.order)


def groups(keys: Iterable[int], pairs: Iterable[tuple[int, int]], may_join: Callable | None = None) -> list[list[int]]:
    """Keys connected by pairs, in the order of the keys.

    Args:
        keys: All keys.
        pairs: Strongest first, where that matters.
        may_join: Takes two groups and says whether they may become one; always by default.
    """
    members = {key: [key] for key in keys}
    root = {key: key for key in members}
    for one, other in pairs:
        a, b = members[root[one]], members[root[other]]
        if a is b or (may_join is not None and not may_join(a, b)):
            continue
        a, b = (a, b) if len(a) >= len(b) else (b, a)
        head = root[a[0]]
        for key in b:
            root[key] = head
        a += b
    place = {key: i for i, key in enumerate(members)}
    found: dict[int, list[int]] = {}
    for key in members:
        found.setdefault(root[key], []).append(key)
    return sorted((sorted(group, key=place.get) for group in found.values()), key=lambda group: place[group[0]])


def cells_of(
    views: Mapping[int, View],
    shared: Mapping[int, Mapping[int, int]],
    ties: Ties,
    cores: np.ndarray,
    agreement: Agreement,
) -> list[Cell]:
    """The cells that views show.

    Args:
        views: By their keys.
        shared: For each view the views of its class that share pixels with it, and how many.
        ties: For each view those of other tiles that are of the same cell, and how well they agree.
        cores: (n, 4) boxes of what each tile shows well.
        agreement: Thresholds.
    """
    keys = sorted(views, key=lambda key: views[key].order)
    whole = [key for key in keys if not views[key].is_cut and not _goes_on(key, views, ties)]
    cells = _whole_cells(whole, views, shared, ties, agreement)
    owner = {key: cell for cell in cells for key in cell.views}
    cut = [key for key in keys if key not in owner]
    _join_tied(cut, owner, ties, views)
    loose = [key for key in cut if key not in owner]
    lying_in = {key: _host(key, owner, views, shared, ties, agreement) for key in loose}
    for key, host in lying_in.items():
        if host is not None:
            host.fragments.append(key)
    loose = [key for key in loose if lying_in[key] is None]
    pairs = ((key, other) for key in loose for other in ties[key] if other in lying_in and lying_in[other] is None)
    cut_cells = [Cell(group, views, is_whole=False) for group in groups(loose, pairs)]
    owner |= {key: cell for cell in cut_cells for key in cell.views}
    return _without_repeats(cells + cut_cells, owner, views, shared, agreement)


def settled_and_needed(
    views: Mapping[int, View], shared: Mapping[int, Mapping[int, int]], ties: Ties, open_keys: set[int]
) -> tuple[set[int], set[int]]:
    """What new tiles can't change any more.

    Tied views form groups, and what becomes of a group depends on groups that overlap it, on those that overlap them,
    and so on for `HOPS` steps.

    Args:
        views: The pending ones, by their keys.
        shared: For each view those that share pixels with it.
        ties: For each view those that it is tied to.
        open_keys: Views that new tiles may overlap.

    Returns:
        Keys of the views whose cells are settled; and of the views that have to stay, because cells that are not
        settled depend on them.
    """
    reached, front = set(), set(open_keys)
    open_by_hop = []
    for _ in range(2 * HOPS + 1):
        group = _closure(front - reached, ties)
        reached |= group
        open_by_hop.append(set(reached))
        front = {other for key in group for other in shared[key]}
    return set(views) - open_by_hop[HOPS], open_by_hop[-1]


def _closure(keys: Iterable[int], ties: Ties) -> set[int]:
    """Keys and all that they are tied to, directly or through others."""
    found, stack = set(keys), list(keys)
    while stack:
        for other in ties[stack.pop()]:
            if other not in found:
                found.add(other)
                stack.append(other)
    return found


def _goes_on(key: int, views: Mapping[int, View], ties: Ties) -> bool:
    """Whether another view shows that a cell reaches beyond the tile in which it seems to be whole."""
    view = views[key]
    return any(
        views[other].area - inside_px(views[other].found, view.tile_box) > BEYOND * views[other].area
        for other in ties[key]
        if not _within(views[other].box, view.tile_box)
    )


def _within(box: Box, outer: Box) -> bool:
    return common(box, outer) == box


def _whole_cells(
    keys: list[int],
    views: Mapping[int, View],
    shared: Mapping[int, Mapping[int, int]],
    ties: Ties,
    agreement: Agreement,
) -> list[Cell]:
    """Cells from whole views, given best first."""
    rank = {key: i for i, key in enumerate(keys)}
    pairs = [(key, other) for key in keys for other in ties[key] if rank.get(other, -1) > rank[key]]
    pairs.sort(key=lambda it: (-ties[it[0]][it[1]], rank[it[0]], rank[it[1]]))

    def may_join(one: list[int], other: list[int]) -> bool:
        tiles = {views[key].tile_box: key for key in one}
        twins = ((tiles.get(views[key].tile_box), key) for key in other)
        return all(
            twin is None or _are_twins(views[twin], views[key], shared[key].get(twin, 0), agreement)
            for twin, key in twins
        )

    return [Cell(group, views, is_whole=True) for group in groups(keys, pairs, may_join)]


def _join_tied(cut: list[int], owner: dict[int, Cell], ties: Ties, views: Mapping[int, View]) -> None:
    """Gives cut views to the whole cells that they are tied to, best tie first."""
    joins = []
    for key in cut:
        tied = [other for other in ties[key] if other in owner]
        if tied:
            joins.append((key, owner[min(tied, key=lambda other: (-ties[key][other], views[other].order))]))
    for key, cell in joins:
        owner[key] = cell
        cell.views.append(key)
        cell.tiles.add(views[key].tile_box)


def _host(
    key: int,
    owner: Mapping[int, Cell],
    views: Mapping[int, View],
    shared: Mapping[int, Mapping[int, int]],
    ties: Ties,
    agreement: Agreement,
) -> Cell | None:
    """The whole cell that a cut view is a fragment of."""
    hosts = {id(owner[other]): owner[other] for other in shared[key] if other in owner}
    rough = not ties[key]
    fits = [
        (-covers, cell.order, cell)
        for cell in hosts.values()
        if (covers := _covered([key], cell, views, shared, agreement, rough)) >= agreement.covered
    ]
    return min(fits, key=lambda it: it[:2])[2] if fits else None


def _covered(
    keys: Sequence[int],
    cell: Cell,
    views: Mapping[int, View],
    shared: Mapping[int, Mapping[int, int]],
    agreement: Agreement,
    rough: bool,
) -> float:
    """Share of some views that lies in a cell; 0 where their own tile shows them on top of it.

    With `rough`, pixels close to the cell count, too, unless the views' own tile shows it beside them.
    """
    own_tiles = {views[key].tile_box for key in keys}
    beside = [key for key in cell.views if views[key].tile_box in own_tiles]
    for key in keys:
        for other in beside:
            if views[other].tile_box == views[key].tile_box and 2 * shared[key].get(other, 0) >= views[key].area:
                return 0.0
    area = sum(views[key].area for key in keys)
    covered = sum(shared_px(views[key].found, cell.found) for key in keys) / area
    if covered >= agreement.covered or not rough or beside:
        return covered
    best = views[cell.views[0]]
    return sum(_near_px(views[key].found, best, agreement.jitter_px) for key in keys) / area


def _near_px(found: Detection, view: View, near_px: int) -> int:
    """Pixels of a mask that lie in another one or close to it, in the tile of the other."""
    box = common(box_of(found), grown(view.box, near_px), view.tile_box)
    if is_empty(box):
        return 0
    wide = grown(box, near_px)
    near = widened(canvas(view.found, wide), near_px)[near_px:-near_px, near_px:-near_px]
    return int(np.count_nonzero(near & canvas(found, box)))


def _without_repeats(
    cells: list[Cell],
    owner: Mapping[int, Cell],
    views: Mapping[int, View],
    shared: Mapping[int, Mapping[int, int]],
    agreement: Agreement,
) -> list[Cell]:
    """Leaves out cells that are another one again, and fragments of others."""
    kept = []
    for cell in cells:
        others = {id(owner[other]): owner[other] for key in cell.views for other in shared[key] if other in owner}
        others.pop(id(cell), None)
        if not any(_repeats(cell, other, views, shared, agreement) for other in others.values()):
            kept.append(cell)
    return kept


def _repeats(
    cell: Cell, other: Cell, views: Mapping[int, View], shared: Mapping[int, Mapping[int, int]], agreement: Agreement
) -> bool:
    """Whether a cell is another, better one again, or a fragment of a larger one."""
    both = shared_px(cell.found, other.found)
    if not both:
        return False
    is_lesser = other.order < cell.order
    if is_lesser and both >= agreement.duplicate_iou * (cell.area + other.area - both):
        return True
    is_single = len(cell.tiles) == 1
    if is_lesser and is_single and _is_twin_in_tile(cell, other, views, shared, agreement):
        return True
    if cell.area > other.area or (cell.is_whole and not (is_single and _is_cut_beside(cell, other, views, agreement))):
        return False
    rough = len(cell.views) == 1
    return _covered(cell.views, other, views, shared, agreement, rough) >= agreement.covered


def _is_twin_in_tile(
    cell: Cell, other: Cell, views: Mapping[int, View], shared: Mapping[int, Mapping[int, int]], agreement: Agreement
) -> bool:
    """Whether one tile, the only one that shows a cell, shows it as a second mask of another cell."""
    return any(
        views[a].tile_box == views[b].tile_box and _are_twins(views[a], views[b], shared[a].get(b, 0), agreement)
        for a in cell.views
        for b in other.views
    )


def _are_twins(one: View, other: View, both: int, agreement: Agreement) -> bool:
    """Whether two masks of one tile are of one cell; see `Agreement`."""
    small, large = sorted((one.area, other.area))
    if both >= agreement.duplicate_iou * (small + large - both):
        return True
    return both >= agreement.contained * small and small >= agreement.similar_size * large


def _is_cut_beside(cell: Cell, other: Cell, views: Mapping[int, View], agreement: Agreement) -> bool:
    """Whether a larger cell reaches the border of the only tile that shows this one, so that it may be a piece of it.

    Networks break what is cut off; what they see whole, they tell apart.
    """
    gaps, tile = views[cell.views[0]].gaps, views[cell.views[0]].tile_box
    x1, y1, x2, y2 = box_of(other.found)
    reaches = (x1 - tile[0], y1 - tile[1], tile[2] - x2, tile[3] - y2)
    return any(gap is not None and reach <= agreement.border_px for gap, reach in zip(gaps, reaches, strict=True))


def _voted(views: Sequence[View]) -> Detection:
    """One cell from views of its parts: the pixels that at least half of the tiles looking there show.

    A tile does not count close to its inner borders, where masks end too early, unless no other looks there.
    """
    boxes = np.array([view.box for view in views])
    (left, top), (right, bottom) = boxes[:, :2].min(axis=0).tolist(), boxes[:, 2:].max(axis=0).tolist()
    says = np.zeros((bottom - top, right - left), dtype=np.uint8)
    looks = np.zeros_like(says)
    anyone = np.zeros(says.shape, dtype=bool)
    by_tile: dict[Box, list[View]] = {}
    for view in views:
        by_tile.setdefault(view.tile_box, []).append(view)
    for seen in by_tile.values():
        shown = np.zeros(says.shape, dtype=bool)
        for view in seen:
            x1, y1, x2, y2 = view.box
            shown[y1 - top : y2 - top, x1 - left : x2 - left] |= view.found.mask
        anyone |= shown
        x1, y1, x2, y2 = common(seen[0].core, (left, top, right, bottom))
        if x1 < x2 and y1 < y2:
            part = np.s_[y1 - top : y2 - top, x1 - left : x2 - left]
            looks[part] += 1
            says[part] += shown[part]
    mask = np.where(looks > 0, 2 * says.astype(np.int16) >= looks, anyone)
    mask = mask if mask.any() else anyone
    total = sum(view.area for view in views)
    score = fsum(view.found.score * view.area for view in views) / total
    return Detection.from_bitmap(mask, left, top, score, views[0].found.label)
