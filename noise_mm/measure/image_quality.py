"""Measures how far an image can be trusted, and flags images that are out of focus, unevenly lit, unstained or bubbly.

The thresholds were chosen on drawn wells of seven batches and one real image, see docs/whole_wells.md. Pure.
"""

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from noise_mm.geometry.tiles import Window
from noise_mm.measure.well_disc import find_disc
from noise_mm.slides.chunked import BACKGROUND
from noise_mm.slides.resample import reduced

QUALITY_COLUMNS = ('quality_flags', 'sharpness', 'shading_percent', 'stained_percent', 'bubbles')

FOCUS_WINDOWS, FOCUS_SIDE_PX = 12, 416
"""Windows of the most contrast in which sharpness is measured, and their side at the reference magnification."""
MOST_UPSAMPLING = 1.3
"""Coarser images (above 1.0 um per pixel) lack the details that tell whether they are in focus."""
FINE_PX, COARSE_PX = (1.0, 2.0), (4.0, 8.0)
"""Standard deviations of the Gaussians between which details, and cells as a whole, lie."""
LEAST_SHARPNESS = 0.2
LEAST_OF_PLATE, FEWEST_ON_PLATE = 0.65, 4
"""Share of the plate's median sharpness, used for plates of at least so many images."""

LIGHT_SIDE_PX, LIGHT_GRID, LIGHT_PERCENTILE = 512, 4, 90
MOST_SHADING_PERCENT = 30.0
WITHIN_WALL, LEAST_SHOWN = 0.95, 0.05
"""Share of the radius of a well inside which light is measured, and of a block that has to show the well."""

STAIN_SIDE_PX, STAIN_DENSITY = 1024, 0.1
"""TRAP stain absorbs green more than red: by so much in optical density (natural logarithm)."""
LEAST_STAINED_PERCENT = 0.2

BUBBLE_SIDE_PX, LEAST_BUBBLE_PX, LARGEST_BUBBLE = 1024, 10, 0.25
"""Smallest radius in a picture of that longer side, and the largest as a share of the side."""
BUBBLE_RINGS = np.linspace(0.6, 1.4, 41)
RIM_LEVELS, LEAST_RIM = 20.0, 0.7
"""Grey levels by which the rim differs from both sides, and the share of the circle along which it has to."""


def focus_windows(thumbnail: NDArray[np.uint8], size_px: tuple[int, int], scale: float) -> list[Window]:
    """Choose windows of a well image with much contrast, in which sharpness can be measured; row by row.

    Args:
        thumbnail: The reduced image (height, width, 3).
        size_px: Width and height of the image.
        scale: Pixels at the reference magnification per pixel of the image.
    """
    if scale > MOST_UPSAMPLING:
        return []
    side = min(round(FOCUS_SIDE_PX / min(scale, 1)), *size_px)
    columns, rows = size_px[0] // side, size_px[1] // side
    blocks_px = 8
    small = cv2.resize(thumbnail, (columns * blocks_px, rows * blocks_px), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).reshape(rows, blocks_px, columns, blocks_px)
    most = np.argsort(-grey.std(axis=(1, 3)), axis=None, kind='stable')[:FOCUS_WINDOWS]
    return [
        Window(i // columns, i % columns, i % columns * side, i // columns * side, side, side) for i in sorted(most)
    ]


def sharpness(windows: Iterable[NDArray[np.uint8]], scale: float) -> float | None:
    """Return the contrast of details relative to that of whole cells, the median over windows; None without any.

    Args:
        windows: As in `image_quality`, also `scale`.
    """
    values = []
    for pixels in windows:
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
        if scale < 1:
            grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        fine, coarse = (
            cv2.GaussianBlur(grey, (0, 0), low) - cv2.GaussianBlur(grey, (0, 0), high)
            for low, high in (FINE_PX, COARSE_PX)
        )
        if coarse.std() > 0:
            values.append(float(fine.std() / coarse.std()))
    return statistics.median(values) if values else None


def shading_percent(thumbnail: NDArray[np.uint8]) -> float:
    """Return the range of the background's brightness over the image, in percent of its median.

    The background is the brighter part of each cell of a coarse grid; a surface of second degree fitted to it leaves
    out what cells and texture do. White, which lies outside of wells, does not count, nor does the wall around a well.

    Args:
        thumbnail: The reduced image (height, width, 3).
    """
    grey = cv2.cvtColor(reduced(thumbnail, LIGHT_SIDE_PX), cv2.COLOR_RGB2GRAY)
    is_well = cv2.erode((grey < BACKGROUND).astype(np.uint8), np.ones((7, 7))) > 0  # without blended borders
    range_percent = _shading_percent(grey, is_well)
    if range_percent > MOST_SHADING_PERCENT and (disc := find_disc(thumbnail)):
        scale = grey.shape[1] / thumbnail.shape[1]
        rows, columns = np.mgrid[: grey.shape[0], : grey.shape[1]] + 0.5
        is_well &= np.hypot(columns - disc.x * scale, rows - disc.y * scale) < WITHIN_WALL * disc.radius * scale
        range_percent = _shading_percent(grey, is_well)
    return range_percent


def _shading_percent(grey: NDArray[np.uint8], is_well: NDArray[np.bool_]) -> float:
    bright, places = [], []
    for row in np.array_split(np.arange(grey.shape[0]), LIGHT_GRID):
        for column in np.array_split(np.arange(grey.shape[1]), LIGHT_GRID):
            block = np.ix_(row, column)
            if is_well[block].mean() >= LEAST_SHOWN:
                bright.append(np.percentile(grey[block][is_well[block]], LIGHT_PERCENTILE))
                places.append((column.mean() / grey.shape[1] - 0.5, row.mean() / grey.shape[0] - 0.5))
    if not bright:
        return 0.0
    x, y = np.array(places).T
    terms = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)
    surface = terms @ np.linalg.lstsq(terms, np.array(bright), rcond=None)[0]
    return float(100 * np.ptp(surface) / max(np.median(bright), 1.0))


def stained_percent(thumbnail: NDArray[np.uint8]) -> float:
    """Return the percentage of pixels that are red or purple relative to the background, as TRAP stains.

    Args:
        thumbnail: The reduced image (height, width, 3).
    """
    pixels = reduced(thumbnail, STAIN_SIDE_PX).reshape(-1, 3).astype(np.float32)
    red, green, _ = np.log((np.median(pixels, axis=0) + 1) / (pixels + 1)).T
    return float(100 * np.mean(green - red > STAIN_DENSITY))


def count_bubbles(thumbnail: NDArray[np.uint8]) -> int:
    """Count circles with a rim that is darker, or brighter, than both its sides nearly all along it.

    A round cell is darker inside than outside, so it has no such rim.

    Args:
        thumbnail: The reduced image (height, width, 3).
    """
    grey = cv2.cvtColor(reduced(thumbnail, BUBBLE_SIDE_PX), cv2.COLOR_RGB2GRAY)
    grey, side = cv2.GaussianBlur(grey, (0, 0), 1.0), max(grey.shape)
    largest = max(round(LARGEST_BUBBLE * side), LEAST_BUBBLE_PX + 1)
    # 100 and 0.85: least gradient of an edge, and how near to a perfect circle its pixels have to lie.
    circles = cv2.HoughCircles(grey, cv2.HOUGH_GRADIENT_ALT, 1.5, side / 100, None, 100, 0.85, LEAST_BUBBLE_PX, largest)
    if circles is None:
        return 0
    return sum(_has_rim(grey, *circle[:3]) for circle in circles.reshape(-1, circles.shape[-1]))


def _has_rim(grey: NDArray[np.uint8], x: float, y: float, radius: float) -> bool:
    angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    at_x = (x + radius * BUBBLE_RINGS[:, None] * np.cos(angles)).astype(np.float32)
    at_y = (y + radius * BUBBLE_RINGS[:, None] * np.sin(angles)).astype(np.float32)
    is_seen = ((at_x >= 0) & (at_y >= 0) & (at_x < grey.shape[1]) & (at_y < grey.shape[0])).all(axis=0)
    if is_seen.mean() < LEAST_RIM:
        return False
    rings = cv2.remap(grey, at_x, at_y, cv2.INTER_LINEAR).astype(np.float32)[:, is_seen]
    inside, outside = np.median(rings[BUBBLE_RINGS < 0.8], axis=0), np.median(rings[BUBBLE_RINGS > 1.2], axis=0)
    rim = rings[np.abs(BUBBLE_RINGS - 1) <= 0.15]
    darker = np.minimum(inside, outside) - rim.min(axis=0)
    brighter = rim.max(axis=0) - np.maximum(inside, outside)
    return bool(max(np.mean(darker >= RIM_LEVELS), np.mean(brighter >= RIM_LEVELS)) >= LEAST_RIM)


def quality_flags(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the flags of each image, separated by `; `; empty for most.

    Args:
        rows: Rows of the table of images with `plate` and `QUALITY_COLUMNS`; measures that are missing raise no flag.
    """
    plates: dict[str, list[float]] = {}
    for row in rows:
        if row.get('sharpness') is not None:
            plates.setdefault(row['plate'], []).append(row['sharpness'])
    for row in rows:
        least, of_plate = LEAST_SHARPNESS, plates.get(row['plate'], ())
        if len(of_plate) >= FEWEST_ON_PLATE:
            least = max(least, LEAST_OF_PLATE * statistics.median(of_plate))
        sharp, shading, stained, bubbles = (row.get(name) for name in QUALITY_COLUMNS[1:])
        flags = {
            'out of focus': sharp is not None and sharp < least,
            'uneven light': shading is not None and shading > MOST_SHADING_PERCENT,
            'no TRAP stain': stained is not None and stained < LEAST_STAINED_PERCENT,
            'bubbles': bool(bubbles),
        }
        yield '; '.join(flag for flag, is_raised in flags.items() if is_raised)


def image_quality(thumbnail: NDArray[np.uint8], windows: Iterable[NDArray[np.uint8]], scale: float) -> dict[str, Any]:
    """Return the measures of an image by the names of their columns in `wells.csv`.

    Args:
        thumbnail: The reduced image (height, width, 3), the longer side 1024 px or more where the image has so many.
        windows: Pixels of the windows that `focus_windows` chose.
        scale: Pixels at the reference magnification per pixel of the image.
    """
    return {
        'sharpness': sharpness(windows, scale),
        'shading_percent': shading_percent(thumbnail),
        'stained_percent': stained_percent(thumbnail),
        'bubbles': count_bubbles(thumbnail),
    }
