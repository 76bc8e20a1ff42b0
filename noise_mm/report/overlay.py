"""Pictures for the visual check: a reduced well with outlines, numbers, nuclei, and the border of the well."""

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray

from noise_mm.geometry.outline import Outline
from noise_mm.measure.cells import PRE_OSTEOCLAST
from noise_mm.measure.well_disc import Disc
from noise_mm.slides.chunked import Rgb

OVERLAY_SIDE_PX = 3000
"""Longest side of an overlay picture, at which single cells can still be told apart."""

Colour = tuple[int, int, int]
COLOURS: dict[str, Colour] = {'osteoclast': (0, 160, 60), PRE_OSTEOCLAST: (230, 120, 0), 'nucleus': (0, 110, 230)}
"""RGB of the classes in all files; they stand out from purple cells and brown bone."""
OTHER_COLOURS = ((200, 0, 120), (0, 150, 170), (120, 90, 0))
"""RGB of other classes, in turn."""
DISC_COLOUR = (0, 200, 230)
"""Visible on the bright bottom of a well and on its dark wall."""
NUCLEUS_COLOURS = ((255, 255, 255), COLOURS['nucleus'])
"""Rim and inside of the dots; blue alone is hard to see in dark cells."""
NUCLEUS_RADIUS_PX = 3.0
"""Of a dot, in pixels of the well image: a third of a nucleus at the reference magnification."""
NUCLEUS_RADII_PX = (1.0, 3.0)
"""Least and largest radius in the picture; larger dots have a rim besides."""

SUBPIXEL_BITS = 4
"""OpenCV draws lines at fractions of 1/16 px."""
FINE_BELOW_PX = 1200
"""Pictures with a shorter longer side have lines of one pixel: cells are small in them."""
LARGEST_TEXT = 1 / 2200
"""Size of numbers, in units of OpenCV's font, per pixel of the picture's longer side."""
TEXT_PER_DIAMETER = 1 / 80
"""The same per pixel of a cell's diameter: four digits then fit into the median cell."""
SMALLEST_TEXT = 0.3
"""Digits 6 px high; smaller ones can't be read."""
LEAST_NUMBERED_PX = 8
"""Median diameter of cells; a number of two digits is 12 px wide."""
CELLS_AT_A_TIME = 1000
"""Drawn in one go: few calls, and little memory for their points."""


def class_colours(labels: Iterable[str]) -> dict[str, Colour]:
    """Return the colour of each class."""
    others = sorted(set(labels) - set(COLOURS))
    return COLOURS | {label: OTHER_COLOURS[i % len(OTHER_COLOURS)] for i, label in enumerate(others)}


def draw_overlay(
    picture: Rgb,
    size_px: tuple[int, int],
    outlines: Sequence[Outline],
    *,
    nuclei_px: NDArray[np.float64] | None = None,
    disc: Disc | None = None,
    has_numbers: bool = True,
) -> Rgb:
    """Draw everything that was found into a picture of the whole well.

    Args:
        picture: The reduced well, (height, width, 3); it is not changed.
        size_px: Width and height of the well image.
        outlines: In pixels of the well image.
        nuclei_px: Centres of nuclei (n, 2) there.
        disc: The border of the well there.
        has_numbers: Whether each cell has the number of its name in it. Where half of the cells are smaller than
            `LEAST_NUMBERED_PX` in the picture, numbers are left out because they would hide the cells.
    """
    picture = np.ascontiguousarray(picture).copy()
    side = max(picture.shape)
    scale = np.array([picture.shape[1] / size_px[0], picture.shape[0] / size_px[1]])
    line_px = 1 if side < FINE_BELOW_PX else max(2, round(side / 1000))
    if disc is not None:
        _draw_rings(picture, [_fixed(_circle(disc) * scale)], DISC_COLOUR, line_px)
    labels = [outline.label for outline in outlines]
    for label, colour in class_colours(labels).items():
        of_class = [i for i, own in enumerate(labels) if own == label]
        for first in range(0, len(of_class), CELLS_AT_A_TIME):
            rings = _rings([outlines[i] for i in of_class[first : first + CELLS_AT_A_TIME]])
            _draw_rings(picture, [_fixed(ring * scale) for ring in rings], colour, line_px)
    if nuclei_px is not None:
        _draw_nuclei(picture, nuclei_px, scale)
    if has_numbers and outlines:
        _write_numbers(picture, outlines, scale)
    return picture


def _rings(outlines: Sequence[Outline]) -> list[NDArray[np.float64]]:
    """Return the borders (n, 2) of cells and of their holes."""
    parts = shapely.get_parts([outline.geometry for outline in outlines])
    points, ring_of = shapely.get_coordinates(shapely.get_rings(parts), return_index=True)
    return np.split(points, np.flatnonzero(np.diff(ring_of)) + 1)


def _draw_rings(picture: Rgb, rings: Sequence[NDArray[np.int32]], colour: Colour, line_px: int) -> None:
    """Draw closed lines, of `_fixed`."""
    cv2.polylines(picture, rings, True, colour, line_px, cv2.LINE_AA, SUBPIXEL_BITS)


def _draw_nuclei(picture: Rgb, nuclei_px: NDArray[np.float64], scale: NDArray[np.float64]) -> None:
    """Draw a dot for each nucleus; all rims first, so that none covers a dot."""
    least, largest = NUCLEUS_RADII_PX
    radius = float(np.clip(NUCLEUS_RADIUS_PX * scale.min(), least, largest))
    rim = 1.0 if radius > least else 0.0
    centres = _fixed(nuclei_px * scale).tolist()
    for colour, size in zip(NUCLEUS_COLOURS, (radius + rim, radius), strict=True):
        for x, y in centres:
            cv2.circle(picture, (x, y), round(size * 2**SUBPIXEL_BITS), colour, -1, cv2.LINE_AA, SUBPIXEL_BITS)


def _fixed(points: NDArray[np.float64]) -> NDArray[np.int32]:
    """Return points for OpenCV, which has the centres of pixels at whole numbers, where outlines have corners."""
    return np.rint((points - 0.5) * 2**SUBPIXEL_BITS).astype(np.int32)


def _circle(disc: Disc) -> NDArray[np.float64]:
    """Return points (n, 2) around a disc."""
    angles = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    return np.array([disc.x, disc.y]) + disc.radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _write_numbers(picture: Rgb, outlines: Sequence[Outline], scale: NDArray[np.float64]) -> None:
    """Write the number of each cell into it, in a size that fits into the median cell."""
    areas = [outline.geometry.area for outline in outlines]
    diameter = float(np.sqrt(4 / np.pi * np.median(areas) * scale.prod()))
    if diameter < LEAST_NUMBERED_PX:
        return
    largest = max(max(picture.shape) * LARGEST_TEXT, SMALLEST_TEXT)
    size = float(np.clip(diameter * TEXT_PER_DIAMETER, SMALLEST_TEXT, largest))
    for outline in outlines:
        point = shapely.get_coordinates(outline.geometry.point_on_surface())[0] * scale
        _write_number(picture, outline.name, point, size)


def _write_number(picture: Rgb, name: str, point: Sequence[float], size: float) -> None:
    """Write the last part of the name around a place, white on black to be legible on any cell."""
    text = name.rpartition('_')[2].lstrip('0') or name
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    origin = (int(point[0] - width / 2), int(point[1] + height / 2))
    for colour, thickness in (((0, 0, 0), max(2, round(5 * size))), ((255, 255, 255), max(1, round(2 * size)))):
        cv2.putText(picture, text, origin, cv2.FONT_HERSHEY_SIMPLEX, size, colour, thickness, cv2.LINE_AA)
