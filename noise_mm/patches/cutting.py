"""Cuts patches out of a well and writes them; the work that is handed out to processes and machines."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np

from noise_mm.files import replacing
from noise_mm.geometry.tiles import Window
from noise_mm.patches.png_writer import png_bytes
from noise_mm.slides.chunked import Rgb, Slide
from noise_mm.slides.resample import ResampledSlide
from noise_mm.slides.slide import open_slide

BLOCK_ROWS, BLOCK_COLUMNS = 16, 32
"""Size of a block in patches: 416 windows a side are 7,072 x 13,728 px, about 10 s of work. Chunks under the border of
two blocks are decoded for both. Memory grows with the columns only: about 75 MB of decoded 512 px tiles."""

ENCODING = 1
"""To be raised when the same patches would come out as other bytes, so that an interrupted run does not mix them."""


@dataclass(frozen=True)
class Block:
    """Neighbouring patches of one well, cut in one go.

    Attributes:
        well: The well's name.
        image: The well image, an absolute path.
        scale: Reference pixels per pixel of the well image.
        stored_px: Side of the stored patches.
        windows: The patches, in reference pixels, row by row.
        files: Where each is written, absolute paths.
        scene: Number of the image in a file that holds several.
    """

    well: str
    image: Path
    scale: float
    stored_px: int
    windows: tuple[Window, ...]
    files: tuple[Path, ...]
    scene: int | None = None

    def key(self) -> str:
        """A hash of all that decides the patches' bytes; the well image counts by its size and time of change."""
        status = self.image.stat()
        names = [file.name for file in self.files]
        facts = [
            ENCODING,
            self.well,
            status.st_size,
            status.st_mtime_ns,
            self.scale,
            self.stored_px,
            self.windows,
            names,
            self.scene,
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def at_reference(slide: Slide, scale: float) -> Slide:
    """The slide itself at scale 1, else the slide resampled."""
    return slide if scale == 1 else ResampledSlide(slide, scale)


def cut_block(block: Block) -> int:
    """Writes the patches of a block, each file whole or not at all.

    Returns:
        The number of patches.

    Raises:
        InputError: If the well image is damaged there, or the patches can't be written.
    """
    _keep_freed_memory()
    with at_reference(open_slide(block.image, block.scene), block.scale) as slide:
        for file, pixels in zip(block.files, slide.windows(block.windows), strict=True):
            with replacing(file) as temporary:
                temporary.write_bytes(png_bytes(_shrunk(pixels, block.stored_px)))
    return len(block.files)


def group_windows(slide: Slide, scale: float, windows: Sequence[Window]) -> list[list[Window]]:
    """Windows of one well grouped into blocks of neighbours, which are decoded together.

    Blocks are as wide as the well where narrower ones would decode everything several times: strips have no columns.
    A file that must be decoded whole is one block.

    Args:
        slide: The well image as it is stored.
        scale: Reference pixels per pixel of `slide`.
        windows: Windows at the reference magnification, row by row.
    """
    if slide.is_one_chunk:
        return [list(windows)] if windows else []
    has_columns = slide.chunk_width_px < slide.width_px

    def place(window: Window) -> tuple[int, int]:
        return window.row // BLOCK_ROWS, window.column // _block_columns(scale) if has_columns else 0

    return [list(group) for _, group in groupby(sorted(windows, key=lambda window: (place(window), window)), key=place)]


def working_bytes(slide: Slide, scale: float, patch_px: int, stride_px: int) -> int:
    """Memory for decoded pixels that cutting a block takes, at most: about a row of patches and the chunks under it."""
    if slide.is_one_chunk:
        return 2 * slide.width_px * slide.height_px * 3  # twice while it is decoded
    high_px = patch_px / scale + 2 * slide.chunk_height_px
    wide_px = (_block_columns(scale) * stride_px + patch_px) / scale + 2 * slide.chunk_width_px
    has_columns = slide.chunk_width_px < slide.width_px
    return math.ceil(high_px * (min(wide_px, slide.width_px) if has_columns else slide.width_px) * 3)


def _block_columns(scale: float) -> int:
    """Width of a block in patches; a patch that is shrunk covers more of the slide."""
    return max(1, math.floor(BLOCK_COLUMNS * min(scale, 1)))


def _keep_freed_memory() -> None:
    """Lets the C library keep memory that arrays of a few MB gave back, instead of asking the system for it each time.

    glibc does so once it has freed a block as large as that (mallopt(3), M_MMAP_THRESHOLD: up to 32 MiB). Without it,
    an eighth of the time per patch goes into page faults. Other C libraries are not affected.
    """
    np.empty(31 * 2**20, np.uint8)


def _shrunk(pixels: Rgb, stored_px: int) -> Rgb:
    """A square patch at the size it is stored in, area-averaged."""
    if pixels.shape[0] == stored_px:
        return pixels
    return cv2.resize(pixels, (stored_px, stored_px), interpolation=cv2.INTER_AREA)
