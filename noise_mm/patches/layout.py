"""Which patches a well is cut into, and what of every cell lies in each of them. Pure; no pixels, no files.

Everything here happens at the reference magnification: wells of another one are resampled first, and their outlines
scaled with them, so that a patch always shows the same width of the culture.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from shapely import MultiPolygon, Polygon

from noise_mm.errors import InputError
from noise_mm.geometry.outline import Outline
from noise_mm.geometry.tiles import Window, starts_meeting, tile_starts, window_grid
from noise_mm.geometry.windows import clipped, scaled, shifted

LARGEST_PATCH_PX = 16_384
"""A patch is held in memory whole; one of this size takes 0.8 GB."""


@dataclass(frozen=True)
class PatchSettings:
    """How wells are cut; the defaults are the paper's, section 3.

    Attributes:
        patch_px: Side of a patch at the reference magnification.
        stride_px: Distance between neighbouring patches.
        sliver_fraction: A cell of which a patch shows less than this share of its area becomes a region to ignore
            there: too little to be recognised, too much to be called background. The other patches show more of it.
        keep_empty: Share of the patches without cells that is kept, 0 to 1.
        seed: Decides which of them are kept.
        network_px: Side at which patches are stored, if smaller than `patch_px`; None stores them as they are.
    """

    patch_px: int = 832
    stride_px: int = 416
    sliver_fraction: float = 0.1
    keep_empty: float = 0.0
    seed: int = 0
    network_px: int | None = None

    def __post_init__(self) -> None:
        """Refuses what can't be cut.

        Raises:
            InputError: With the name of the option.
        """
        if self.patch_px < 1 or not 1 <= self.stride_px <= self.patch_px:
            raise InputError(
                f'--stride must be from 1 to --patch-size, got --stride {self.stride_px} and '
                f'--patch-size {self.patch_px}. A larger stride would leave gaps.'
            )
        if self.patch_px > LARGEST_PATCH_PX:
            raise InputError(f'--patch-size must be at most {LARGEST_PATCH_PX} px, got {self.patch_px}.')
        for option, share in (('--sliver-fraction', self.sliver_fraction), ('--keep-empty', self.keep_empty)):
            if not 0 <= share <= 1:
                raise InputError(f'{option} must be from 0 to 1, got {share}.')
        if self.network_px is not None and not 1 <= self.network_px <= self.patch_px:
            raise InputError(
                f'--network-size must be from 1 to --patch-size ({self.patch_px}), got {self.network_px}. '
                'Patches are only ever shrunk.'
            )

    @property
    def stored_px(self) -> int:
        """Side of the stored patches."""
        return self.network_px or self.patch_px

    @property
    def stored_scale(self) -> float:
        """Stored pixels per pixel at the reference magnification."""
        return self.stored_px / self.patch_px


class Piece(NamedTuple):
    """What a patch shows of one cell.

    Attributes:
        cell: Index of the cell among the well's outlines, from 0.
        geometry: Its clipped outline in pixels of the stored patch.
        visible_fraction: Share of the cell's area that the patch shows.
        ignored: Whether it is a region to ignore: a sliver, or so marked by the annotator.
    """

    cell: int
    geometry: Polygon | MultiPolygon
    visible_fraction: float
    ignored: bool


class Patch(NamedTuple):
    """One patch to be cut.

    Attributes:
        window: Where it lies, in pixels of the well at the reference magnification.
        pieces: What it shows of cells, in the order of the outlines.
    """

    window: Window
    pieces: list[Piece]


def plan_patches(
    outlines: Sequence[Outline], size_px: tuple[int, int], scale: float, settings: PatchSettings, well: str
) -> list[Patch]:
    """The patches of a well that are to be cut: all that show a piece of a cell, and a share of the others.

    No piece of any cell is left out. What two overlapping patches both show is in both.

    Args:
        outlines: The cells in pixels of the well as it is stored, inside the well.
        size_px: Width and height of the well at the reference magnification.
        scale: Reference pixels per stored pixel of the well.
        settings: How to cut.
        well: The well's name, from which, with the seed, follows which empty patches are kept.

    Returns:
        Patches row by row.
    """
    pieces: dict[tuple[int, int], list[Piece]] = {}
    for cell, outline in enumerate(outlines):
        for place, piece in _pieces_of(cell, outline, size_px, scale, settings):
            pieces.setdefault(place, []).append(piece)
    grid = window_grid(*size_px, settings.patch_px, settings.stride_px)
    empty = [(window.row, window.column) for window in grid if (window.row, window.column) not in pieces]
    kept = _sample(empty, settings.keep_empty, f'{settings.seed}/{well}')
    return [
        Patch(window, pieces.get((window.row, window.column), []))
        for window in grid
        if (window.row, window.column) in pieces or (window.row, window.column) in kept
    ]


def _pieces_of(
    cell: int, outline: Outline, size_px: tuple[int, int], scale: float, settings: PatchSettings
) -> list[tuple[tuple[int, int], Piece]]:
    """Row and column of every patch that shows a part of one cell, and that part."""
    whole = scaled(outline.geometry, scale)
    left, top, right, bottom = whole.bounds
    patch_px = settings.patch_px
    columns, rows = (tile_starts(length_px, patch_px, settings.stride_px) for length_px in size_px)
    found = []
    for row in starts_meeting(rows, patch_px, top, bottom):
        for column in starts_meeting(columns, patch_px, left, right):
            x, y = columns[column], rows[row]
            part = clipped(whole, x, y, patch_px, patch_px)
            if part.is_empty:
                continue
            visible_fraction = min(part.area / whole.area, 1.0)
            ignored = outline.ignored or visible_fraction < settings.sliver_fraction
            geometry = scaled(shifted(part, -x, -y), settings.stored_scale)
            found.append(((row, column), Piece(cell, geometry, visible_fraction, ignored)))
    return found


def _sample(places: Sequence[tuple[int, int]], share: float, seed: str) -> set[tuple[int, int]]:
    """A share of `places`, the same on every computer: those whose hashes with the seed come first."""

    def rank(place: tuple[int, int]) -> bytes:
        return hashlib.sha256(f'{seed}/{place[0]}/{place[1]}'.encode()).digest()

    return set(sorted(places, key=rank)[: round(share * len(places))])
