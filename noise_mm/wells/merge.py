"""Tile predictions -> each cell once. Pure.

Tiles overlap, so most cells are seen several times: whole in one tile, cut off at a border in its neighbours. Cells
longer than the overlap may be whole in none.

How it works. Two views from different tiles are of one cell if they agree where both tiles look: the intersection
over union of the two masks, restricted to the strip that the tiles share, is at least `Agreement.strip_iou`. Views
that agree, directly or through others, form a group. A view that stays clear of the inner borders of its tile is
whole; the whole view of highest score stands for the group, and without one the union of its cut views. Where tiles
meet in a line and no other tile looks across it, cut views are joined by how well they agree along that line.

Masks are compared, never boxes, so touching neighbours stay apart: in the strip their masks don't overlap. The result
doesn't depend on the order in which tiles or detections were added.

Memory: the masks of all views stay until the end, one byte a pixel of each cell's box, about four views a cell at a
stride of half a tile. Pairs are found through a tree of boxes, so that time grows with the cells and not their square.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import shapely

from noise_mm.wells.detection import Detection
from noise_mm.wells.tiles import Window


@dataclass(frozen=True)
class Agreement:
    """When two masks are of one cell; all but the first are shares from 0 to 1.

    Attributes:
        border_px: A mask that comes so close to an inner border of its tile, in pixels of the tile, is taken for cut
            off there. Networks let masks end short of the border, mostly by one cell of their prototypes: 8 px. A cell
            that really ends there loses nothing: another tile shows it whole, or it becomes the union of its views.
        strip_iou: Least intersection over union of two views within what both tiles show.
        covered: Share of a cut view that has to lie in another cell of the result for it to be a mere fragment of it.
        duplicate_iou: Intersection over union from which on two masks are of one cell, also within a tile.
        contained: Share of the smaller of two masks of one tile that has to lie in the larger one for them to be of
            one cell, if they are of similar size: a small cell on a giant one is another cell.
        similar_size: Least ratio of the areas of two masks of similar size.
    """

    border_px: int = 8
    strip_iou: float = 0.5
    covered: float = 0.6
    duplicate_iou: float = 0.5
    contained: float = 0.8
    similar_size: float = 0.4


@dataclass
class SeamReport:
    """How many cells met a seam.

    Attributes:
        on_seam: Cells of which some view is cut off at an inner tile border.
        joined: Cells put together from cut views, because no tile shows them whole.
        unresolved: Centres (x, y) of cells that only one view shows, cut off, although a neighbour looks there, too.
    """

    on_seam: int = 0
    joined: int = 0
    unresolved: tuple[tuple[int, int], ...] = ()

    def __str__(self) -> str:
        """One line for the log."""
        return f'{self.on_seam} cells on seams, {self.joined} joined, {len(self.unresolved)} unresolved'


@dataclass(frozen=True, eq=False)
class View:
    """A detection and the tile that it was seen in."""

    found: Detection
    tile: Window
    is_cut: bool

    @property
    def order(self) -> tuple:
        """Best first: whole before cut, then by score; the rest makes the order total."""
        found = self.found
        return self.is_cut, -found.score, self.tile.y, self.tile.x, found.y, found.x, found.mask.shape, found.label


class Merger:
    """Collects the detections of a well's tiles and merges them.

    Args:
        width_px: Width of the well at the resolution of the tiles.
        height_px: Its height.
        agreement: Thresholds.

    Attributes:
        report: What `close` found at the seams.
    """

    def __init__(self, width_px: int, height_px: int, agreement: Agreement | None = None) -> None:
        self.size_px = (width_px, height_px)
        self.agreement = agreement or Agreement()
        self.report = SeamReport()
        self._views: list[View] = []
        self._tiles: set[Window] = set()

    def add_tile(self, tile: Window, detections: Sequence[Detection]) -> None:
        """Adds what was found in one tile, in pixels of the well.

        What reaches over the well's border is cut off, and of several masks of one cell the most confident is kept:
        networks suppress duplicates by their boxes, which leaves some.
        """
        self._tiles.add(tile)
        inside = [_clipped(detection, *self.size_px) for detection in detections]
        kept: list[Detection] = []
        for found in sorted((found for found in inside if found is not None), key=_total_order):
            if not any(_is_duplicate(found, other, self.agreement) for other in kept):
                kept.append(found)
        self._views += [View(found, tile, self._is_cut(found, tile)) for found in kept]

    def close(self) -> list[Detection]:
        """The cells, each once, largest score first."""
        views = sorted(self._views, key=lambda view: view.order)
        groups = _groups(views, sorted(self._tiles), self.agreement)
        cells = [cell for group in groups for cell in _cells_of(group, self.agreement)]
        cells = _without_fragments(cells, self.agreement)
        self.report = _report(cells, self._tiles)
        return [cell.found for cell in sorted(cells, key=lambda cell: _total_order(cell.found))]

    def _is_cut(self, found: Detection, tile: Window) -> bool:
        """Whether the mask comes close to a border of its tile that is not a border of the well."""
        left, top, right, bottom = _box(found)
        tile_right, tile_bottom = tile.x + tile.width, tile.y + tile.height
        near_px = self.agreement.border_px
        return (
            (tile.x > 0 and left - tile.x <= near_px)
            or (tile.y > 0 and top - tile.y <= near_px)
            or (tile_right < self.size_px[0] and tile_right - right <= near_px)
            or (tile_bottom < self.size_px[1] and tile_bottom - bottom <= near_px)
        )


@dataclass(frozen=True, eq=False)
class _Cell:
    """A cell of the result and the views that it was made from."""

    found: Detection
    views: tuple[View, ...]

    @property
    def is_whole(self) -> bool:
        """Whether some tile shows it whole."""
        return any(not view.is_cut for view in self.views)


def _total_order(found: Detection) -> tuple:
    return -found.score, found.y, found.x, found.mask.shape, found.label


def _clipped(found: Detection, width_px: int, height_px: int) -> Detection | None:
    """What of a detection lies inside the well."""
    left, top = max(-found.x, 0), max(-found.y, 0)
    mask = found.mask[top : max(height_px - found.y, 0), left : max(width_px - found.x, 0)]
    if mask.shape == found.mask.shape:
        return found
    return Detection.from_bitmap(mask, found.x + left, found.y + top, found.score, found.label)


def _box(found: Detection) -> tuple[int, int, int, int]:
    height, width = found.mask.shape
    return found.x, found.y, found.x + width, found.y + height


def _common(*boxes: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """The rectangle that all boxes share; empty if right <= left or bottom <= top."""
    return (
        max(box[0] for box in boxes),
        max(box[1] for box in boxes),
        min(box[2] for box in boxes),
        min(box[3] for box in boxes),
    )


def _window(found: Detection, box: tuple[int, int, int, int]) -> np.ndarray:
    """The part of the mask in a box that lies within the mask's own; empty for an empty box."""
    left, top, right, bottom = box
    return found.mask[
        max(top - found.y, 0) : max(bottom - found.y, 0), max(left - found.x, 0) : max(right - found.x, 0)
    ]


def _shared_px(one: Detection, other: Detection) -> int:
    box = _common(_box(one), _box(other))
    if box[2] <= box[0] or box[3] <= box[1]:
        return 0
    return int(np.count_nonzero(_window(one, box) & _window(other, box)))


def _tile_box(tile: Window) -> tuple[int, int, int, int]:
    return tile.x, tile.y, tile.x + tile.width, tile.y + tile.height


def _strip_iou(one: View, other: View, tiles: shapely.STRtree) -> float:
    """Intersection over union of two views within the strip that their tiles share."""
    strip = _common(_tile_box(one.tile), _tile_box(other.tile))
    if strip[2] <= strip[0] or strip[3] <= strip[1]:
        return _line_iou(one, other, tiles)
    shared = _shared_px(one.found, other.found)
    if not shared:
        return 0.0
    inside = sum(int(np.count_nonzero(_window(view.found, strip))) for view in (one, other))
    return shared / (inside - shared)


def _line_iou(one: View, other: View, tiles: shapely.STRtree) -> float:
    """The same for tiles that meet in a line: along the pixels on both sides of it.

    0 if another tile looks across the line there: it shows whether the two belong together, and touching neighbours
    whose border happens to lie on the line must stay apart.
    """
    first, second = sorted((one, other), key=lambda view: (view.tile.x, view.tile.y))
    a, b = first.found, second.found
    ax2, ay2 = _box(a)[2:]
    if first.tile.x + first.tile.width == second.tile.x == ax2 == b.x:
        low, high = min(a.y, b.y), max(ay2, _box(b)[3])
        ends = _on_axis(a.mask[:, -1], a.y, low, high), _on_axis(b.mask[:, 0], b.y, low, high)
        across = ax2 - 1, low, ax2 + 1, high
    elif first.tile.y + first.tile.height == second.tile.y == ay2 == b.y:
        low, high = min(a.x, b.x), max(ax2, _box(b)[2])
        ends = _on_axis(a.mask[-1], a.x, low, high), _on_axis(b.mask[0], b.x, low, high)
        across = low, ay2 - 1, high, ay2 + 1
    else:
        return 0.0
    shared = np.count_nonzero(ends[0] & ends[1])
    if not shared or len(tiles.query(shapely.box(*across), predicate='within')):
        return 0.0
    return float(shared / np.count_nonzero(ends[0] | ends[1]))


def _on_axis(line: np.ndarray, start: int, low: int, high: int) -> np.ndarray:
    """A row or column of pixels at `start`, within a line from `low` to `high`."""
    return np.pad(line, (start - low, high - start - len(line)))


def _touching(found: Sequence[Detection]) -> np.ndarray:
    """Pairs of masks whose boxes overlap or touch: (n, 2) indices, higher one first, each pair once, sorted."""
    boxes = shapely.box(*np.array([_box(one) for one in found], dtype=float).reshape(-1, 4).T)
    pairs = shapely.STRtree(boxes).query(boxes).T
    pairs = pairs[pairs[:, 0] > pairs[:, 1]]
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def _neighbours(views: Sequence[View]) -> Iterator[tuple[int, int]]:
    """Pairs of views of one class from different tiles whose boxes overlap or touch."""
    for i, j in _touching([view.found for view in views]).tolist():
        if views[i].tile[:4] != views[j].tile[:4] and views[i].found.label == views[j].found.label:
            yield i, j


def _groups(views: Sequence[View], tiles: Sequence[Window], agreement: Agreement) -> list[list[View]]:
    """Views of one cell each: connected by agreement. `views` are sorted, best first, and so is each group."""
    root = list(range(len(views)))
    tree = shapely.STRtree([shapely.box(*_tile_box(tile)) for tile in tiles])

    def find(i: int) -> int:
        while root[i] != i:
            root[i] = root[root[i]]
            i = root[i]
        return i

    for i, j in _neighbours(views):
        if _strip_iou(views[i], views[j], tree) >= agreement.strip_iou:
            low, high = sorted((find(i), find(j)))
            root[high] = low
    groups: dict[int, list[View]] = {}
    for i, view in enumerate(views):
        groups.setdefault(find(i), []).append(view)
    return list(groups.values())


def _cells_of(group: list[View], agreement: Agreement) -> list[_Cell]:
    """The cell of a group: its best whole view, or the union of its cut views.

    Whole views of a group that hardly overlap are different cells which a poor view has linked.
    """
    wholes: list[list[View]] = []
    for view in group:
        if not view.is_cut:
            same = [cell for cell in wholes if _iou(cell[0].found, view.found) >= agreement.duplicate_iou]
            (same[0] if same else wholes.append([]) or wholes[-1]).append(view)
    cuts = tuple(view for view in group if view.is_cut)
    if len(wholes) == 1:
        return [_Cell(wholes[0][0].found, (*wholes[0], *cuts))]
    if wholes:
        return [_Cell(views[0].found, tuple(views)) for views in wholes]
    return [_Cell(_union([view.found for view in group]), tuple(group))]


def _is_duplicate(one: Detection, other: Detection, agreement: Agreement) -> bool:
    """Whether two masks of one tile are of one cell; see `Agreement`."""
    shared = _shared_px(one, other) if one.label == other.label else 0
    if not shared:
        return False
    small, large = sorted((np.count_nonzero(one.mask), np.count_nonzero(other.mask)))
    if shared >= agreement.duplicate_iou * (small + large - shared):
        return True
    return shared >= agreement.contained * small and small >= agreement.similar_size * large


def _iou(one: Detection, other: Detection) -> float:
    shared = _shared_px(one, other)
    return shared / (np.count_nonzero(one.mask) + np.count_nonzero(other.mask) - shared) if shared else 0.0


def _union(parts: Sequence[Detection]) -> Detection:
    """One mask of all parts, with the score of the best."""
    boxes = np.array([_box(part) for part in parts])
    (left, top), (right, bottom) = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    mask = np.zeros((bottom - top, right - left), dtype=bool)
    for part, (x1, y1, x2, y2) in zip(parts, boxes, strict=True):
        mask[y1 - top : y2 - top, x1 - left : x2 - left] |= part.mask
    return Detection(int(left), int(top), mask, max(part.score for part in parts), parts[0].label)


def _without_fragments(cells: list[_Cell], agreement: Agreement) -> list[_Cell]:
    """Leaves out cells that repeat another one, and cut ones that lie in another one: views too poor to agree."""
    ranked = sorted(
        cells, key=lambda cell: (not cell.is_whole, -np.count_nonzero(cell.found.mask), _total_order(cell.found))
    )
    dropped = np.zeros(len(ranked), dtype=bool)
    for i, j in _touching([cell.found for cell in ranked]).tolist():  # i in rising order, so j < i is decided
        if not dropped[i] and not dropped[j] and _repeats(ranked[i], ranked[j], agreement):
            dropped[i] = True
    return [cell for cell, is_dropped in zip(ranked, dropped, strict=True) if not is_dropped]


def _repeats(cell: _Cell, better: _Cell, agreement: Agreement) -> bool:
    """Whether a cell is another one again, or a fragment of it; see `_without_fragments`."""
    if better.found.label != cell.found.label or _same_tile(cell, better):
        return False
    shared = _shared_px(cell.found, better.found)
    own, other = np.count_nonzero(cell.found.mask), np.count_nonzero(better.found.mask)
    if shared > agreement.duplicate_iou * (own + other - shared):
        return True
    return not cell.is_whole and shared > agreement.covered * own


def _same_tile(one: _Cell, other: _Cell) -> bool:
    """Whether some tile shows both: then the detector itself has told them apart."""
    return bool({view.tile[:4] for view in one.views} & {view.tile[:4] for view in other.views})


def _report(cells: Sequence[_Cell], tiles: set[Window]) -> SeamReport:
    unresolved = []
    for cell in cells:
        if len(cell.views) == 1 and cell.views[0].is_cut:
            left, top, right, bottom = _box(cell.found)
            own = cell.views[0].tile
            if any(tile != own and _overlap(_tile_box(tile), (left, top, right, bottom)) for tile in tiles):
                unresolved.append(((left + right) // 2, (top + bottom) // 2))
    return SeamReport(
        on_seam=sum(any(view.is_cut for view in cell.views) for cell in cells),
        joined=sum(not cell.is_whole and len(cell.views) > 1 for cell in cells),
        unresolved=tuple(sorted(unresolved)),
    )


def _overlap(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    left, top, right, bottom = _common(one, other)
    return left < right and top < bottom
