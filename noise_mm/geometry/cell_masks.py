"""The pixels of each cell, rasterised once and kept packed: a cell 60 px wide takes half a kilobyte. Pure."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon

from noise_mm.geometry.outline import Outline
from noise_mm.geometry.pixels import fill_pixels


class CellMask(NamedTuple):
    """The pixels whose centres lie in an outline, within a window of the image.

    Attributes:
        x: Left edge of the window, in pixels of the image.
        y: Upper edge.
        width: Width of the window, at least 1.
        height: Height, at least 1.
        bits: The pixels row by row, 8 in a byte.
    """

    x: int
    y: int
    width: int
    height: int
    bits: bytes

    @classmethod
    def of(cls, geometry: Polygon | MultiPolygon, size_px: tuple[int, int]) -> 'CellMask':
        """Rasterise a geometry; what lies outside the image of `size_px` (width, height) is cut off."""
        left, top, right, bottom = geometry.bounds
        x, y = (min(max(math.floor(low), 0), size - 1) for low, size in zip((left, top), size_px, strict=True))
        width = max(min(math.ceil(right), size_px[0]) - x, 1)
        height = max(min(math.ceil(bottom), size_px[1]) - y, 1)
        return cls(x, y, width, height, np.packbits(fill_pixels(geometry, x, y, width, height)).tobytes())

    def pixels(self) -> NDArray[np.bool_]:
        """Return the window as an array (height, width)."""
        bits = np.frombuffer(self.bits, np.uint8)
        return np.unpackbits(bits, count=self.width * self.height).reshape(self.height, self.width).view(bool)

    def window(self, x: int, y: int, width: int, height: int) -> NDArray[np.bool_]:
        """Return another window of the image as an array (height, width)."""
        pixels = np.zeros((height, width), dtype=bool)
        left, right = max(self.x, x), min(self.x + self.width, x + width)
        top, bottom = max(self.y, y), min(self.y + self.height, y + height)
        if left < right and top < bottom:
            own = self.pixels()[top - self.y : bottom - self.y, left - self.x : right - self.x]
            pixels[top - y : bottom - y, left - x : right - x] = own
        return pixels


def cell_masks(outlines: Sequence[Outline], size_px: tuple[int, int]) -> list[CellMask]:
    """Rasterise each outline; see `CellMask.of`."""
    return [CellMask.of(outline.geometry, size_px) for outline in outlines]
