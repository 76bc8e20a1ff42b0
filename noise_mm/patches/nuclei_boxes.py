"""From nuclei marked as points to boxes of one size, patch by patch (paper, section 4.2). Pure; no files."""

from collections.abc import Iterable

import numpy as np
import shapely
from numpy.typing import ArrayLike
from shapely import Polygon

from noise_mm.geometry.tiles import Window, window_grid

NUCLEUS_BOX_PX = 36
"""Side of the boxes at the reference magnification; the paper chose it to cover its larger nuclei."""


def nuclei_windows(width_px: int, height_px: int, patch_px: int) -> list[Window]:
    """The windows that an image with marked nuclei is cut into: as few as cover it, none reaching beyond it.

    The last row and column are shifted inward, so patches may overlap there. An image smaller than a patch is one
    window of its own size: unlike a well, it may well be a patch itself.
    """
    grid = window_grid(width_px, height_px, patch_px, patch_px)
    return [window._replace(width=min(window.width, width_px), height=min(window.height, height_px)) for window in grid]


def outside_image(points: ArrayLike, width_px: int, height_px: int) -> int:
    """How many of the points (n, 2) lie outside an image; its border belongs to it."""
    points = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    return int(((points < 0) | (points > [width_px, height_px])).any(axis=1).sum())


def nucleus_boxes(points: ArrayLike, window: Window, size_px: tuple[int, int], box_px: float) -> list[Polygon]:
    """The boxes of the nuclei whose points lie in a window, in pixels of the window and cut off at its border.

    A nucleus marked in the overlap of two windows is in both. One marked just outside a window is not in it, though
    its box may reach in: less than half of it is to be seen there.

    Args:
        points: Marked places (n, 2), x and y, in pixels of the image.
        window: The window; a point on its left or upper border is in it, one on its right or lower border is in the
            next window, or in this one where the image ends there.
        size_px: Width and height of the image.
        box_px: Side of the boxes.

    Returns:
        Rectangles in the order of the points.
    """
    frame = shapely.box(0, 0, window.width, window.height)
    return [
        shapely.box(x - box_px / 2, y - box_px / 2, x + box_px / 2, y + box_px / 2).intersection(frame)
        for x, y in _points_in(points, window, size_px)
    ]


def _points_in(points: ArrayLike, window: Window, size_px: tuple[int, int]) -> Iterable[tuple[float, float]]:
    """The points (n, 2) that belong to a window, in its pixels."""
    places = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    start = np.array([window.x, window.y])
    end = np.array([window.x + window.width, window.y + window.height])
    on_border_of_image = (end == size_px) & (places == end)
    inside = ((places >= start) & ((places < end) | on_border_of_image)).all(axis=1)
    return map(tuple, (places[inside] - start).tolist())
