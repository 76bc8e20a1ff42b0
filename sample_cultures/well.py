"""One well of a sample culture: its cells, what can be seen of each, and the outlines an annotator would draw."""

import zlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Generic, TypeVar

import cv2
import numpy as np
from shapely import Polygon
from skimage.measure import find_contours

from sample_cultures.batches import Batch
from sample_cultures.cells import MIN_NUCLEI_OF_OSTEOCLAST, CellDrawing, CellPlan, draw_cell
from sample_cultures.placement import PLOT_PX, Candidates, SmallObjects, propose, scatter, settle
from sample_cultures.sprites import SpriteSet, make_sprites

Item = TypeVar('Item')

_MIN_VISIBLE_PX = 400  # an annotator would not outline less of an osteoclast than this
_OUTLINE_TOLERANCE_PX = 0.35  # an outline may stray this far from the pixels' border; it keeps the vertex count low
_CACHE_BYTES = 256 * 2**20


@dataclass(frozen=True)
class VisibleCell:
    """What can be seen of a large cell, which an annotator goes by.

    Attributes:
        plan: What the cell was drawn from.
        kind: 'osteoclast' or 'pre-osteoclast', by the nuclei that can be seen.
        left_px, top_px: Well pixel of the mask's first element.
        mask: Bool, (height, width): the cell inside the well and not hidden by a higher large cell; one piece.
        nuclei_xy_px: Visible nuclei in well pixels (corner convention), (n, 2).
    """

    plan: CellPlan
    kind: str
    left_px: int
    top_px: int
    mask: np.ndarray
    nuclei_xy_px: np.ndarray


class Well:
    """A well that is described by its seed alone and computed where it is looked at.

    Args:
        batch: Appearance.
        name: Name of the well; with `seed` it decides everything in it.
        seed: Seed of the whole set of cultures.
        width_px: Width.
        height_px: Height.
        crowding: Factor on the density of large cells.
    """

    def __init__(self, batch: Batch, name: str, seed: int, width_px: int, height_px: int, crowding: float = 1.0):
        """Makes the sprites of the batch and empty caches; cells are drawn when they are asked for."""
        self.batch = batch
        self.name = name
        self.seed = seed
        self.width_px = width_px
        self.height_px = height_px
        self.crowding = crowding
        self.well_seed = _derive(seed, name)
        self.sprites = _sprites(_derive(seed, batch.name))
        # Windows are asked for row by row, so three rows of plots are worth remembering.
        plots = max(256, 4 * len(self.plot_columns))
        self._candidates: _Cache[Candidates] = _Cache(plots)
        self._plans: _Cache[list[CellPlan]] = _Cache(plots)
        self._small: _Cache[SmallObjects] = _Cache(plots)
        self._drawings: _Cache[CellDrawing] = _Cache(_CACHE_BYTES, size_of=lambda drawing: drawing.nbytes)

    @property
    def plot_rows(self) -> range:
        """Rows of plots whose cells may reach into the well, the rows just outside it included."""
        return range(-1, -(-self.height_px // PLOT_PX) + 1)

    @property
    def plot_columns(self) -> range:
        """Columns of plots whose cells may reach into the well, the columns just outside it included."""
        return range(-1, -(-self.width_px // PLOT_PX) + 1)

    def large_cells(self, row: int, column: int) -> list[CellPlan]:
        """The osteoclasts and pre-osteoclasts whose centres lie in one plot."""
        return self._plans.get((row, column), lambda: settle([self._propose(*plot) for plot in _around(row, column)]))

    def small_objects(self, row: int, column: int) -> SmallObjects:
        """The small objects of one plot."""
        return self._small.get((row, column), lambda: self._scatter(row, column))

    def drawing(self, plan: CellPlan) -> CellDrawing:
        """The drawing of a large cell; recent ones are kept in a cache of bounded size."""
        return self._drawings.get(plan.seed, lambda: draw_cell(plan, self.batch, self.sprites))

    def visible_cells(self, row: int) -> Iterator[VisibleCell]:
        """The large cells of one row of plots of which something can be seen, from left to right."""
        for column in self.plot_columns:
            neighbours = [plan for plot in _around(row, column) for plan in self.large_cells(*plot)]
            for plan in self.large_cells(row, column):
                cell = self._visible(plan, neighbours) if self._may_show(plan) else None
                if cell is not None:
                    yield cell

    def _propose(self, row: int, column: int) -> Candidates:
        propose_here = partial(propose, self.batch, self.well_seed, self.crowding, row, column)
        return self._candidates.get((row, column), propose_here)

    def _scatter(self, row: int, column: int) -> SmallObjects:
        large = [plan for plot in _around(row, column) for plan in self.large_cells(*plot)]
        return scatter(self.batch, self.well_seed, row, column, large)

    def _may_show(self, plan: CellPlan) -> bool:
        reach = plan.reach_px
        return -reach < plan.x_px < self.width_px + reach and -reach < plan.y_px < self.height_px + reach

    def _visible(self, plan: CellPlan, neighbours: list[CellPlan]) -> VisibleCell | None:
        drawing = self.drawing(plan)
        left, top = drawing.left_px, drawing.top_px
        height, width = drawing.inside.shape
        mask = np.zeros((height, width), bool)
        in_well = np.s_[max(0, -top) : max(0, self.height_px - top), max(0, -left) : max(0, self.width_px - left)]
        mask[in_well] = drawing.inside[in_well]
        for other in neighbours:
            if other.height > plan.height and _may_overlap(plan, other):
                above = self.drawing(other)
                _cut_out(mask, above.inside, above.left_px - left, above.top_px - top)
        mask = _largest_piece(mask)
        if np.count_nonzero(mask) < _MIN_VISIBLE_PX:
            return None
        columns, rows = (np.floor(drawing.nuclei_xy_px).astype(int) - (left, top)).T
        nuclei = drawing.nuclei_xy_px[mask[rows, columns]]
        kind = 'osteoclast' if len(nuclei) >= MIN_NUCLEI_OF_OSTEOCLAST else 'pre-osteoclast'
        return VisibleCell(plan, kind, left, top, mask, nuclei)


def outline_of(cell: VisibleCell) -> Polygon:
    """The cell's outline in well pixels (corner convention), with holes where a higher cell lies wholly inside.

    The polygon cuts pixel corners diagonally, which keeps every pixel centre on its side, and is then simplified by
    less than half a pixel.
    """
    padded = np.pad(cell.mask, 1).astype(np.float32)
    rings = [
        # find_contours gives (row, column) with pixel centres at whole numbers; the padding adds one to both.
        Polygon(ring[:, ::-1] - 0.5 + (cell.left_px, cell.top_px))
        for ring in find_contours(padded, 0.5)
    ]
    rings.sort(key=lambda ring: -ring.area)
    return Polygon(rings[0].exterior, [ring.exterior for ring in rings[1:]]).simplify(_OUTLINE_TOLERANCE_PX)


def _derive(seed: int, name: str) -> int:
    """A seed of 62 bits from a seed and a name."""
    return int(
        np.random.SeedSequence([seed, zlib.crc32(name.encode())]).generate_state(1, np.uint64)[0] >> np.uint64(2)
    )


@lru_cache(maxsize=2)  # some 100 MB a batch
def _sprites(seed: int) -> SpriteSet:
    return make_sprites(seed)


def _around(row: int, column: int) -> list[tuple[int, int]]:
    """A plot, which comes first, and its eight neighbours."""
    return [(row, column)] + [(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]


class _Cache(Generic[Item]):
    """Keeps the items that were asked for last, up to a total size."""

    def __init__(self, capacity: int, size_of: Callable[[Item], int] = lambda item: 1):
        """Begins empty."""
        self._items: OrderedDict[Hashable, Item] = OrderedDict()
        self._capacity, self._size_of, self._size = capacity, size_of, 0

    def get(self, key: Hashable, make: Callable[[], Item]) -> Item:
        """The item under `key`, made if it is not there."""
        if key in self._items:
            self._items.move_to_end(key)
            return self._items[key]
        item = self._items[key] = make()
        self._size += self._size_of(item)
        while self._size > self._capacity and len(self._items) > 1:
            self._size -= self._size_of(self._items.popitem(last=False)[1])
        return item


def _may_overlap(one: CellPlan, other: CellPlan) -> bool:
    reach = one.reach_px + other.reach_px
    return abs(other.x_px - one.x_px) < reach and abs(other.y_px - one.y_px) < reach


def _cut_out(mask: np.ndarray, above: np.ndarray, x: int, y: int) -> None:
    """Clears the pixels of `mask` that `above` covers, whose first element lies at (x, y) of `mask`."""
    target = mask[max(0, y) : max(0, y + above.shape[0]), max(0, x) : max(0, x + above.shape[1])]
    if target.size:
        target &= ~above[max(0, -y) :, max(0, -x) :][: target.shape[0], : target.shape[1]]


def _largest_piece(mask: np.ndarray) -> np.ndarray:
    """The largest 4-connected piece of a mask; its holes stay."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    if count <= 2:
        return mask
    return labels == 1 + np.argmax(stats[1:, cv2.CC_STAT_AREA])
