"""A well at another magnification, still read window by window.

Pixels are resampled on one grid that belongs to the whole well, so neighbouring patches agree to the last bit and an
outline scaled by the same factor lies exactly where it should. `cv2.resize` can't do that for pieces: it stretches each
piece to a whole number of pixels.
"""

import math
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from scipy import sparse

from noise_mm.geometry.tiles import Window
from noise_mm.slides.chunked import Chunk, Rgb, Slide

CHUNK_PX = 416
"""Side of the pieces that are resampled at a time; the stride of the patches, so that few pieces straddle them."""

MOST_SOURCE_PX = 2048
"""Side of what a piece is made from, at most: at a 25th, 416 px come from 10,400 px, which are 1.3 GB as floats."""

ROUNDING = 1e-9
"""What floating point may add to a length of up to a million pixels; not a pixel that has to be kept."""


def reduced(picture: Rgb, side_px: int) -> Rgb:
    """Return a picture, area-averaged so that its longer side is at most `side_px`; never enlarged."""
    scale = min(1.0, side_px / max(picture.shape[:2]))
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def scaled_length_px(length_px: int, scale: float) -> int:
    """Return how many pixels `length_px` pixels become; a last, partly covered pixel counts."""
    return max(1, math.ceil(length_px * scale * (1 - ROUNDING)))


def source_span(first: int, end: int, scale: float, length_px: int) -> tuple[int, int]:
    """First source pixel and end (not included) that output pixels `first` to `end` depend on; see `axis_weights`."""
    margin = 0.0 if scale < 1 else 0.5
    low = math.floor(first / scale - margin)
    high = math.ceil(end / scale + margin) + 1
    return max(low, 0), min(high, length_px)


def axis_weights(first: int, end: int, scale: float, length_px: int) -> tuple[sparse.csr_array, tuple[int, int]]:
    """Return how much each source pixel counts in each output pixel along one axis.

    Output pixel X covers the source from X / scale to (X + 1) / scale. When shrinking, a source pixel counts by the
    length it shares with that (area averaging, cv2.INTER_AREA carried to fractions, hence free of aliasing). When
    enlarging, the two source pixels whose centres are nearest count linearly (cv2.INTER_LINEAR). Beyond the border
    the last pixel is repeated.

    Args:
        first: First output pixel, counted from the border of the well.
        end: Output pixel after the last.
        scale: Output pixels per source pixel.
        length_px: Length of the source axis.

    Returns:
        Weights of shape (end - first, source pixels), each row with sum 1, and the span of source pixels, as
        `source_span` gives it, that the columns stand for.
    """
    low, high = source_span(first, end, scale, length_px)
    outputs = np.arange(first, end, dtype=np.float64)
    if scale < 1:
        starts, ends = outputs / scale, (outputs + 1) / scale
        sources = np.floor(starts).astype(np.int64)[:, None] + np.arange(math.ceil(1 / scale) + 2)
        shared = np.minimum(sources + 1, ends[:, None]) - np.maximum(sources, starts[:, None])
        weights = np.where(sources < length_px, np.clip(shared, 0, None), 0)
    else:
        positions = (outputs + 0.5) / scale - 0.5  # centre to centre
        sources = np.floor(positions).astype(np.int64)[:, None] + np.arange(2)
        weights = np.stack([1 - (positions - sources[:, 0]), positions - sources[:, 0]], axis=1)
    weights = weights / weights.sum(axis=1, keepdims=True)
    columns = np.clip(sources, low, high - 1) - low
    rows = np.broadcast_to(np.arange(end - first)[:, None], columns.shape)
    kept = weights > 0
    matrix = sparse.coo_array((weights[kept], (rows[kept], columns[kept])), shape=(end - first, high - low))
    return matrix.tocsr().astype(np.float32), (low, high)


class ResampledSlide(Slide):
    """A slide seen at `scale` times its size; closing it closes the slide."""

    def __init__(self, slide: Slide, scale: float) -> None:
        """`scale`: pixels of this slide per pixel of `slide`."""
        size_px = (scaled_length_px(slide.width_px, scale), scaled_length_px(slide.height_px, scale))
        chunk_px = max(1, min(CHUNK_PX, int(MOST_SOURCE_PX * scale)))
        mpp = slide._mpp / scale if isinstance(slide._mpp, float) else slide._mpp
        super().__init__(slide.path, size_px, (chunk_px, chunk_px), mpp)
        self._slide, self._scale = slide, scale

    def close(self) -> None:
        """Close the slide that this one is made from."""
        super().close()
        self._slide.close()

    def decode_chunk(self, row: int, column: int) -> Rgb:
        """Return one resampled piece."""
        return next(self.decode_chunks([(row, column)]))

    def decode_chunks(self, chunks: Sequence[Chunk]) -> Iterator[Rgb]:
        """Yield resampled pieces; each chunk of the slide below is decoded once for all of them."""
        windows = [self._window(row, column) for row, column in chunks]
        below = [self._source(window) for window in windows]
        for window, pixels in zip(windows, self._slide.windows(below), strict=True):
            yield self._resampled(window, pixels)

    def _window(self, row: int, column: int) -> Window:
        """Return where a piece lies in this slide."""
        x, y = column * self.chunk_width_px, row * self.chunk_height_px
        width, height = min(self.chunk_width_px, self.width_px - x), min(self.chunk_height_px, self.height_px - y)
        return Window(row, column, x, y, width, height)

    def _source(self, window: Window) -> Window:
        """Return what a piece is made from, in the slide below."""
        x, right = source_span(window.x, window.x + window.width, self._scale, self._slide.width_px)
        y, bottom = source_span(window.y, window.y + window.height, self._scale, self._slide.height_px)
        return Window(window.row, window.column, x, y, right - x, bottom - y)

    def _resampled(self, window: Window, pixels: Rgb) -> Rgb:
        """Return the pixels of `window` from those of the slide below that it depends on."""
        down, _ = axis_weights(window.y, window.y + window.height, self._scale, self._slide.height_px)
        across, _ = axis_weights(window.x, window.x + window.width, self._scale, self._slide.width_px)
        high, wide = pixels.shape[:2]
        rows = down @ pixels.reshape(high, wide * 3).astype(np.float32)  # (window.height, wide * 3)
        columns = rows.reshape(window.height, wide, 3).transpose(1, 0, 2).reshape(wide, window.height * 3)
        result = across @ columns  # (window.width, window.height * 3)
        result = result.reshape(window.width, window.height, 3).transpose(1, 0, 2)
        return np.ascontiguousarray(np.clip(np.rint(result), 0, 255).astype(np.uint8))


def slide_thumbnail(slide: Slide, max_side_px: int) -> Rgb:
    """Return the whole image, area-averaged so that its longer side is at most `max_side_px`; never enlarged.

    It is made from the smallest level of a pyramid that is large enough, piece by piece.
    """
    enough = [
        level for level in [slide, *slide.smaller_levels()] if max(level.width_px, level.height_px) >= max_side_px
    ]
    level = enough[-1] if enough else slide
    small = ResampledSlide(level, min(1.0, max_side_px / max(level.width_px, level.height_px)))
    return next(small.windows([Window(0, 0, 0, 0, small.width_px, small.height_px)]))
