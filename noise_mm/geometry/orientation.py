"""EXIF orientations: from places in the image as browsers show it to places in the image as it is stored. Pure.

A camera may store an image turned or mirrored and note how it has to be shown (EXIF tag 274). Browsers turn it before
anything is drawn; ImageJ, QuPath and this project read the pixels as they are stored.
"""

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray

UPRIGHT = 1
QUARTER_TURNS = (5, 6, 7, 8)
"""Orientations that swap width and height."""

ORIENTATIONS = range(1, 9)


def shown_size(orientation: int, stored_px: tuple[int, int]) -> tuple[int, int]:
    """Return width and height of an image as it is shown."""
    width, height = stored_px
    return (height, width) if orientation in QUARTER_TURNS else (width, height)


def to_stored(points: ArrayLike, orientation: int, stored_px: tuple[int, int]) -> NDArray[np.float64]:
    """Return where places in the shown image lie in the stored one, both in the pixel convention of `outline`.

    Args:
        points: Places (n, 2), x and y.
        orientation: 1 to 8, as EXIF numbers them.
        stored_px: Width and height of the stored image.
    """
    x, y = np.asarray(points, dtype=np.float64).reshape(-1, 2).T
    width, height = stored_px
    stored = {
        1: (x, y),
        2: (width - x, y),
        3: (width - x, height - y),
        4: (x, height - y),
        5: (y, x),
        6: (y, height - x),
        7: (width - y, height - x),
        8: (width - y, x),
    }[orientation]
    return np.stack(stored, axis=1)


def geometry_to_stored(geometry: shapely.Geometry, orientation: int, stored_px: tuple[int, int]) -> shapely.Geometry:
    """Return a geometry of the shown image in the stored one; see `to_stored`."""
    return shapely.transform(geometry, lambda points: to_stored(points, orientation, stored_px))
