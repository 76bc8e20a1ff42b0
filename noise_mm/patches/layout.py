"""Which patches a well is cut into, and what of every cell lies in each of them. Pure; no pixels, no files.

Everything here happens at the reference magnification: wells of another one are resampled first, and their outlines
scaled with them, so that a patch always shows the same width of the culture.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import shapely
from shapely import MultiPolygon, Polygon, affinity

from noise_mm.errors import InputError
from noise_mm.geometry.outline import Outline
from noise_mm.geometry.tiles import Window, window_grid
from noise_mm.geometry.windows import clipped, scaled

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
    grid = window_grid(*size_px, settings.patch_px, settings.stride_px)
    left, top = np.array([(window.x, window.y) for window in grid]).T
    frames = shapely.STRtree(shapely.box(left, top, left + settings.patch_px, top + settings.patch_px))
    pieces: dict[Window, list[Piece]] = {}
    for cell, outline in enumerate(outlines):
        whole = scaled(outline.geometry, scale)
        for index in sorted(frames.query(whole)):
            piece = _piece(cell, outline, whole, grid[index], settings)
            if piece is not None:
                pieces.setdefault(grid[index], []).append(piece)
    kept = _sample([window for window in grid if window not in pieces], settings.keep_empty, f'{settings.seed}/{well}')
    return [Patch(window, pieces.get(window, [])) for window in grid if window in pieces or window in kept]


def _piece(
    cell: int, outline: Outline, whole: Polygon | MultiPolygon, window: Window, settings: PatchSettings
) -> Piece | None:
    """The part of one cell that a patch shows; `whole` is the outline at the reference magnification."""
    part = clipped(whole, window.x, window.y, window.width, window.height)
    if part.is_empty:
        return None
    visible_fraction = min(part.area / whole.area, 1.0)
    ignored = outline.ignored or visible_fraction < settings.sliver_fraction
    geometry = scaled(affinity.translate(part, -window.x, -window.y), settings.stored_scale)
    return Piece(cell, geometry, visible_fraction, ignored)


def _sample(windows: Sequence[Window], share: float, seed: str) -> set[Window]:
    """A share of `windows`, the same on every computer: those whose hashes with the seed come first."""

    def rank(window: Window) -> bytes:
        return hashlib.sha256(f'{seed}/{window.row}/{window.column}'.encode()).digest()

    return set(sorted(windows, key=rank)[: round(share * len(windows))])
