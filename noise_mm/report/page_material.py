"""What the page of a folder shows of one well: a small picture and counts for histograms."""

import base64
from collections.abc import Sequence

import cv2
import numpy as np

from noise_mm.measure.cells import PRE_OSTEOCLAST, CellMeasures
from noise_mm.report.content import WellContent

LONGEST_SIDE_PX = 900
LARGEST_BYTES = 42_000
"""Of a picture; 56 kB as text, so that the page of a plate with 96 wells stays below 6 MB."""

QUALITIES = (85, 75, 65, 55)
"""Of JPEG; below, outlines drown in artefacts, and a smaller picture is the better choice."""

BINS_PER_DECADE = 10
DECADES_UM2 = 7
"""Areas are counted in bins from 1 to 10^7 um^2 that are the same for all wells, so that wells can be summed."""

MOST_NUCLEI = 30
"""Cells with more nuclei are counted together."""


def page_picture(content: WellContent) -> str:
    """The overlay without numbers as a JPEG of at most `LARGEST_BYTES`, as a data URI.

    It is coarsened, and then made smaller, until it fits.
    """
    thumbnail = _reduced(content.thumbnail, LONGEST_SIDE_PX)
    picture = cv2.cvtColor(content.overlay(thumbnail, has_numbers=False), cv2.COLOR_RGB2BGR)
    while True:
        for quality in QUALITIES:
            data = cv2.imencode('.jpg', picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
            if len(data) <= LARGEST_BYTES:
                return 'data:image/jpeg;base64,' + base64.b64encode(data).decode('ascii')
        picture = _reduced(picture, round(0.8 * max(picture.shape)))


def histograms(cells: Sequence[CellMeasures]) -> dict[str, list[int] | None]:
    """Cells counted by size and by nuclei.

    Returns:
        `areas`: osteoclasts by area, `BINS_PER_DECADE` bins from 1 um^2 on; `nuclei`: all cells by their number of
        nuclei, from 0 to `MOST_NUCLEI` or more, or None where nuclei were not counted.
    """
    areas_um2 = np.array([cell.area_um2 for cell in cells if cell.label != PRE_OSTEOCLAST])
    bins = BINS_PER_DECADE * DECADES_UM2
    places = np.floor(np.log10(np.maximum(areas_um2, 1)) * BINS_PER_DECADE).astype(int).clip(0, bins - 1)
    nuclei = [cell.nuclei for cell in cells if cell.nuclei is not None]
    return {
        'areas': np.bincount(places, minlength=bins).tolist(),
        'nuclei': np.bincount(np.minimum(nuclei, MOST_NUCLEI), minlength=MOST_NUCLEI + 1).tolist() if nuclei else None,
    }


def _reduced(picture: np.ndarray, side_px: int) -> np.ndarray:
    """The picture with a longer side of at most `side_px`."""
    scale = min(1.0, side_px / max(picture.shape))
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
