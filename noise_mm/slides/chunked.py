"""What every kind of well image can do, given only its chunks: windows, row bands and thumbnails, never the whole.

A chunk is the piece of an image that can be decoded by itself: a tile of a tiled TIFF, a group of strips, or, where the
format knows nothing smaller, the whole image. Chunks form a regular grid; those in the last column and row are cut off
at the border of the image.
"""

from abc import ABC, abstractmethod
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from noise_mm.errors import InputError
from noise_mm.geometry.orientation import UPRIGHT
from noise_mm.geometry.tiles import Window

Rgb = npt.NDArray[np.uint8]
"""Pixels of shape (height, width, 3), RGB."""

Chunk = tuple[int, int]
"""Row and column of a chunk in the grid of chunks."""

BACKGROUND = 255
"""White, the colour of the empty plate in bright field: what lies outside a well. Black borders give false cells."""

CACHE_BYTES = 128 * 2**20
"""Decoded chunks that `Slide.read` keeps: enough for a screenful of tiles around the last place looked at."""


class Slide(ABC):
    """A well image that is read window by window. Use it in a `with` statement, or call `close`.

    All coordinates are whole pixels of this image, x to the right and y down. What a window covers outside the image
    is white.

    Attributes:
        path: The file.
        width_px: Width.
        height_px: Height.
        orientation: EXIF orientation, 1 for upright; pixels are always those that are stored, never turned.
        notes: What of the file is not used, a sentence for each kind.
        chunk_width_px: Width of a chunk that can be decoded by itself.
        chunk_height_px: Its height.
        empty_segments: Number of tiles or strips that the file leaves out, as sparse files do. They are white.
    """

    path: Path
    width_px: int
    height_px: int
    chunk_width_px: int
    chunk_height_px: int
    empty_segments: int = 0
    orientation: int = UPRIGHT

    def __init__(
        self,
        path: Path,
        size_px: tuple[int, int],
        chunk_px: tuple[int, int],
        mpp: float | InputError | None,
    ) -> None:
        """`size_px` and `chunk_px` are (width, height); `mpp` may be what is wrong with it, see the property."""
        self.path = path
        self.notes: list[str] = []
        self.width_px, self.height_px = size_px
        self.chunk_width_px, self.chunk_height_px = (
            min(chunk, size) for chunk, size in zip(chunk_px, size_px, strict=True)
        )
        self._mpp = mpp
        self._recent: OrderedDict[Chunk, Rgb] = OrderedDict()

    def __enter__(self) -> 'Slide':
        """Return the slide itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()

    @property
    def mpp(self) -> float | None:
        """Side of a pixel in micrometres, or None where the file does not say.

        Raises:
            InputError: If the file contradicts itself. It is asked only where nobody has given the size, which is the
                way out.
        """
        if isinstance(self._mpp, InputError):
            raise self._mpp
        return self._mpp

    @property
    def is_one_chunk(self) -> bool:
        """Whether any window costs decoding the whole image."""
        return (self.chunk_width_px, self.chunk_height_px) == (self.width_px, self.height_px)

    def close(self) -> None:
        """Close the file; decoded pixels are let go."""
        self._recent.clear()

    @abstractmethod
    def decode_chunk(self, row: int, column: int) -> Rgb:
        """Decode one chunk, cut off at the border of the image.

        Raises:
            InputError: If the file is damaged there.
        """

    def decode_chunks(self, chunks: Sequence[Chunk]) -> Iterator[Rgb]:
        """Decode chunks one after the other, in the order given; see `decode_chunk`."""
        return (self.decode_chunk(row, column) for row, column in chunks)

    def smaller_levels(self) -> list['Slide']:
        """Smaller copies of the image that the file holds (a pyramid), largest first; they are closed with it."""
        return []

    def read(self, x: int, y: int, width: int, height: int) -> Rgb:
        """Return one window, shape (height, width, 3). Neighbouring reads share decoded chunks, up to `CACHE_BYTES`.

        Raises:
            InputError: If the file is damaged there.
            ValueError: If the window is empty.
        """
        window = Window(0, 0, x, y, width, height)
        chunks = self._chunks_under(window)
        pixels = self._canvas(window)
        for row, column in chunks:
            self._paste(pixels, window, (row, column), self._recent_chunk(row, column))
        return pixels

    def windows(self, windows: Sequence[Window]) -> Iterator[Rgb]:
        """Yield the pixels of many windows, in the order given; each chunk of the file is decoded once.

        How it works: which windows need which chunks is known beforehand, so a decoded chunk is kept until the last
        window that needs it. Windows that come row by row therefore hold about one row of windows in memory, and
        chunks that no window needs are not even read.

        Yields:
            Arrays of shape (window.height, window.width, 3).

        Raises:
            InputError: If the file is damaged there.
            ValueError: If a window is empty.
        """
        needed = [self._chunks_under(window) for window in windows]
        uses = Counter(chain.from_iterable(needed))
        decoded = self.decode_chunks(list(dict.fromkeys(chain.from_iterable(needed))))
        live: dict[Chunk, Rgb] = {}
        for window, chunks in zip(windows, needed, strict=True):
            pixels = self._canvas(window)
            for chunk in chunks:
                if chunk not in live:
                    live[chunk] = next(decoded)
                self._paste(pixels, window, chunk, live[chunk])
                uses[chunk] -= 1
                if not uses[chunk]:
                    del live[chunk]
            yield pixels

    def _recent_chunk(self, row: int, column: int) -> Rgb:
        """Return a chunk from the cache of `read`, or decoded into it; the chunks used longest ago give way."""
        chunk = self._recent.pop((row, column), None)
        if chunk is None:
            chunk = self.decode_chunk(row, column)
        self._recent[(row, column)] = chunk
        while len(self._recent) > 1 and sum(kept.nbytes for kept in self._recent.values()) > CACHE_BYTES:
            self._recent.popitem(last=False)
        return chunk

    def _chunks_under(self, window: Window) -> list[Chunk]:
        """Return the chunks that a window touches, row by row."""
        if window.width < 1 or window.height < 1:
            raise ValueError(f'a window must not be empty, got {window}.')
        left, right = max(window.x, 0), min(window.x + window.width, self.width_px)
        top, bottom = max(window.y, 0), min(window.y + window.height, self.height_px)
        if left >= right or top >= bottom:
            return []
        rows = range(top // self.chunk_height_px, (bottom - 1) // self.chunk_height_px + 1)
        columns = range(left // self.chunk_width_px, (right - 1) // self.chunk_width_px + 1)
        return [(row, column) for row in rows for column in columns]

    def _canvas(self, window: Window) -> Rgb:
        """Return pixels for a window, background wherever no chunk will be pasted."""
        inside = window.x >= 0 and window.y >= 0
        inside &= window.x + window.width <= self.width_px and window.y + window.height <= self.height_px
        shape = (window.height, window.width, 3)
        return np.empty(shape, np.uint8) if inside else np.full(shape, BACKGROUND, np.uint8)

    def _paste(self, pixels: Rgb, window: Window, chunk: Chunk, content: Rgb) -> None:
        """Copy into a window's pixels what a chunk holds of it."""
        row, column = chunk
        x, y = column * self.chunk_width_px, row * self.chunk_height_px
        left, right = max(window.x, x), min(window.x + window.width, x + content.shape[1])
        top, bottom = max(window.y, y), min(window.y + window.height, y + content.shape[0])
        pixels[top - window.y : bottom - window.y, left - window.x : right - window.x] = content[
            top - y : bottom - y, left - x : right - x
        ]
