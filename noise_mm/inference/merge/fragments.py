"""Which views and cells are mere fragments, or second masks, of a cell. Pure.

Networks break what a tile's border cuts off, or show only a part of it. Such a view agrees with no other one well
enough to be tied to it, but it lies in a cell that other tiles show. That alone does not make it a fragment: it may be
a small cell on top of a big one. If so, its own tile shows both, one over the other; and the other tiles that look
there show it, too.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from noise_mm.inference.detection import Detection
from noise_mm.inference.merge.scene import Scene
from noise_mm.inference.merge.views import (
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
)

STRAIGHT = 0.6  # share of its width in which a strip of a cell ends straight; a disc of 20 px: 0.45
LOOKED_AT_ALL = 0.8  # share of a view's box that a tile has to show well to deny the view


class Cell:
    """A cell and the views that it was made from.

    Attributes:
        found: Its mask, score and class.
        area: Pixels of the mask.
        views: Keys of its views, best first; whole ones, then cut ones tied to them.
        fragments: Keys of further cut views that lie in it.
        tiles: Boxes of the tiles that show it.
        is_whole: Whether some tile shows it whole.
        order: Sorts cells: better supported ones first.
    """

    def __init__(self, keys: Sequence[int], views: Mapping[int, View], found: Detection, is_whole: bool) -> None:
        self.found, self.is_whole = found, is_whole
        self.area = int(np.count_nonzero(found.mask))
        self.views, self.fragments = list(keys), []
        self.tiles = {views[key].tile_box for key in keys}
        self.order = (not is_whole, -len(self.tiles), views[keys[0]].order)

    def add(self, key: int, view: View) -> None:
        """Adds a cut view that is tied to the cell."""
        self.views.append(key)
        self.tiles.add(view.tile_box)


def are_twins(one: int, other: int, scene: Scene) -> bool:
    """Whether two masks of one tile are of one cell; see `Agreement`."""
    agreement, both = scene.agreement, scene.shared[one].get(other, 0)
    small, large = sorted((scene.views[one].area, scene.views[other].area))
    if both >= agreement.duplicate_iou * (small + large - both):
        return True
    return both >= agreement.contained * small and small >= agreement.similar_size * large


def host(key: int, owner: Mapping[int, Cell], scene: Scene) -> Cell | None:
    """The whole cell that a cut view is a fragment of, if it is one.

    Args:
        key: The view, tied to no whole cell.
        owner: The whole cells, by the keys of their views.
        scene: All that is known.
    """
    hosts = {id(owner[other]): owner[other] for other in scene.shared[key] if other in owner}
    is_lone = all(other in owner for other in scene.ties[key])
    covers = ((_covered([key], is_lone, cell, scene), cell) for cell in hosts.values())
    fits = [(-covered, cell.order, cell) for covered, cell in covers if covered > 0]
    return min(fits, key=lambda it: it[:2])[2] if fits else None


def repeats(cell: Cell, other: Cell, scene: Scene) -> bool:
    """Whether a cell is another, better one again, or a fragment of a larger one."""
    both = shared_px(cell.found, other.found)
    if not both:
        return False
    is_lesser = other.order < cell.order
    if is_lesser and both >= scene.agreement.duplicate_iou * (cell.area + other.area - both):
        return True
    if is_lesser and len(cell.tiles) == 1 and _is_twin_in_tile(cell, other, scene):
        return True
    if cell.area > other.area:
        return False
    against = _tiles_against(cell, other, scene)
    if against >= len(cell.tiles) + (cell.is_whole and not _is_cut_beside(cell, other, scene)):
        near_px = _near_px(cell.found, other.found, box_of(cell.found), scene.agreement.jitter_px)
        return near_px >= scene.agreement.covered * cell.area
    if cell.is_whole:
        return False
    if both >= scene.agreement.covered * cell.area and _is_denied(cell.views, scene):
        return True
    return _covered(cell.views, len(cell.views) == 1, other, scene) > 0


def is_mere_sliver(cell: Cell, scene: Scene) -> bool:
    """Whether a cell is only seen as a strip along tile borders, near other cells, and most tiles do not confirm it."""
    if not all(scene.views[key].is_sliver for key in cell.views):
        return False
    own = {*cell.views, *cell.fragments}
    is_near_others = any(other not in own for key in cell.views for other in scene.shared[key])
    if not is_near_others:
        return False
    looking = scene.looking_at(box_of(cell.found))  # also those that show what goes on beyond the border
    showing = {scene.views[key].core for key in own}
    return len(looking - showing) > len(looking & showing)


def is_piece_at_edge(cell: Cell, other: Cell, scene: Scene) -> bool:
    """Whether a cell is a strip of a larger one along the image's edge, shown by one tile only.

    At the image's edge networks break cells as they do at the borders of tiles. No tile looks beyond, so the strip
    seems to be whole. Its straight end tells it from a small cell on a large one.
    """
    if cell.area > other.area or len(cell.tiles) > 1:
        return False
    both = shared_px(cell.found, other.found)
    if both < scene.agreement.covered * cell.area:
        return False
    ours, theirs = scene.gaps_to_edge(box_of(cell.found)), scene.gaps_to_edge(box_of(other.found))
    near_px = scene.agreement.border_px
    sides = [side for side in range(4) if ours[side] <= near_px and theirs[side] <= near_px]
    return any(_straight_share(cell.found.mask, side) >= STRAIGHT for side in sides)


def _straight_share(mask: np.ndarray, side: int) -> float:
    """Share of a mask's width along one side that ends in a straight line opposite of it."""
    along = mask.any(axis=1 if side in (0, 2) else 0)
    last = (mask[:, -1], mask[-1], mask[:, 0], mask[0])[side]
    return np.count_nonzero(last) / np.count_nonzero(along)


def _unconfirming(keys: Sequence[int], scene: Scene) -> set[Box]:
    """The cores of tiles that look at most of some view, but to which none of the views belong."""
    looking = {core for key in keys for core in scene.looking_at(scene.views[key].box)}
    return looking - {scene.views[key].core for key in keys}


def _is_denied(keys: Sequence[int], scene: Scene) -> bool:
    """Whether, for most of what some views show, more of the tiles that look at all of it show none of them than do."""
    denied_px = 0
    for view_key in keys:
        view, shared = scene.views[view_key], scene.shared[view_key]
        looking = scene.looking_at(view.box, LOOKED_AT_ALL) - {view.core}
        confirming = {scene.views[key].core for key in keys if 2 * shared.get(key, 0) >= view.area}
        denied_px += view.area * (len(looking - confirming) > len(looking & confirming))
    return 2 * denied_px >= sum(scene.views[key].area for key in keys)


def _covered(keys: Sequence[int], is_lone: bool, cell: Cell, scene: Scene) -> float:
    """Share of some views that lies in a cell, if it is enough for them to be a fragment of it; else 0.

    Pixels close to the cell count, too, if nothing ties the view to others, unless its own tile shows it beside the
    cell and no other tile looks there.
    """
    views, agreement = scene.views, scene.agreement
    beside = [(key, other) for key in keys for other in cell.views if views[other].tile_box == views[key].tile_box]
    is_doubted = is_lone and bool(_unconfirming(keys, scene))
    if not is_doubted and any(2 * scene.shared[key].get(other, 0) >= views[key].area for key, other in beside):
        return 0.0
    area = sum(views[key].area for key in keys)
    covered = sum(shared_px(views[key].found, cell.found) for key in keys) / area
    if covered < agreement.covered and (is_doubted or (is_lone and not beside)):
        view = views[keys[0]]
        within = view.tile_box if is_doubted else views[cell.views[0]].tile_box
        covered = _near_px(view.found, cell.found, within, agreement.jitter_px) / area
    return covered if covered >= agreement.covered else 0.0


def _near_px(found: Detection, other: Detection, within: Box, near_px: int) -> int:
    """Pixels of a mask that lie in another one or close to it, within a box."""
    box = common(common(box_of(found), grown(box_of(other), near_px)), within)
    if is_empty(box):
        return 0
    wide = grown(box, near_px)
    near = widened(canvas(other, wide), near_px)[near_px:-near_px, near_px:-near_px]
    return int(np.count_nonzero(near & canvas(found, box)))


def _is_twin_in_tile(cell: Cell, other: Cell, scene: Scene) -> bool:
    """Whether one tile, the only one that shows a cell, shows it as a second mask of another cell."""
    views = scene.views
    same_tile = ((a, b) for a in cell.views for b in other.views if views[a].tile_box == views[b].tile_box)
    return any(are_twins(a, b, scene) for a, b in same_tile)


def _tiles_against(cell: Cell, other: Cell, scene: Scene) -> int:
    """Number of tiles that look at a cell well, and show only the other one there."""
    against = set()
    for key in other.views:
        view = scene.views[key]
        if view.tile_box not in cell.tiles and view.tile_box not in against:
            seen = inside_px(cell.found, view.core)
            if 2 * seen >= cell.area and 2 * shared_px(cell.found, view.found) >= seen:
                against.add(view.tile_box)
    return len(against)


def _is_cut_beside(cell: Cell, other: Cell, scene: Scene) -> bool:
    """Whether every tile that seems to show a cell whole cuts off the other one, so that it may be a piece of that.

    Networks break what is cut off; what they see whole, they tell apart.
    """
    x1, y1, x2, y2 = box_of(other.found)
    for view in (scene.views[key] for key in cell.views):
        left, top, right, bottom = view.tile_box
        reaches = (x1 - left, y1 - top, right - x2, bottom - y2)  # also at the image's own edge
        if not any(reach <= scene.agreement.border_px for reach in reaches):
            return False
    return True
