"""What the page of a folder shows of one image: a small picture, outlines, doubtful cells, counts for histograms."""

import base64
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray

from noise_mm.geometry.outline import Outline
from noise_mm.measure.cells import PRE_OSTEOCLAST, CellMeasures
from noise_mm.report.content import WellContent
from noise_mm.slides.chunked import Slide
from noise_mm.slides.resample import reduced

LONGEST_SIDE_PX = 900
LARGEST_BYTES = 42_000
"""Of a picture; 56 kB as text, so that the page of a plate with 96 wells stays below 8 MB."""

QUALITIES = (85, 75, 65, 55)
"""Of JPEG; below, cells drown in artefacts, and a smaller picture is the better choice."""

BINS_PER_DECADE = 10
DECADES_UM2 = 7
"""Areas are counted in bins from 1 to 10^7 um^2 that are the same for all wells, so that wells can be summed."""

MOST_NUCLEI = 30
"""Cells with more nuclei are counted together."""

MOST_OUTLINES = 1500
"""Of an image on the page; the overlay has all."""

SUBPIXELS = 2
"""Outlines are drawn at halves of the picture's pixels."""

LOW_SCORE = 0.5
FEW_NUCLEI = range(2, 5)
"""Just below or above the three nuclei that make an osteoclast."""

MOST_CROPS = 12
CROP_PX = (120, 240)
"""Least side of a crop in pixels of the image, and largest side in the page."""

CROP_QUALITY = 75


def page_material(content: WellContent, slide: Slide) -> dict[str, Any]:
    """Return everything that the page shows of one image, as JSON can hold it.

    Returns:
        `picture`: a JPEG as data URI; `picture_px`, `size_px`: size of it and of the image; `cells`: see `page_cells`;
        `outlines_left_out`: how many cells have none on the page; `crops`; `histograms`.
    """
    picture, picture_px = page_picture(content)
    return {
        'picture': picture,
        'picture_px': list(picture_px),
        'size_px': list(content.size_px),
        'cells': page_cells(content, picture_px),
        'outlines_left_out': max(len(content.cells) - MOST_OUTLINES, 0),
        'crops': crops(content, slide),
        'histograms': histograms(content.cells),
    }


def page_picture(content: WellContent) -> tuple[str, tuple[int, int]]:
    """Return the reduced image as a JPEG of at most `LARGEST_BYTES`, as a data URI, with its width and height.

    It is coarsened, and then made smaller, until it fits.
    """
    picture = cv2.cvtColor(reduced(content.thumbnail, LONGEST_SIDE_PX), cv2.COLOR_RGB2BGR)
    while True:
        for quality in QUALITIES:
            data = cv2.imencode('.jpg', picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
            if len(data) <= LARGEST_BYTES:
                return _uri(data), (picture.shape[1], picture.shape[0])
        picture = reduced(picture, round(0.8 * max(picture.shape)))


def page_cells(content: WellContent, picture_px: tuple[int, int]) -> list[dict[str, Any]]:
    """Return name, class, measures, marks and outline (an SVG path in picture pixels) of the first cells."""
    scale = np.array(picture_px) / content.size_px
    return [
        cell_facts(cell) | {'path': svg_path(outline, scale, (0, 0))}
        for outline, cell in zip(content.outlines[:MOST_OUTLINES], content.cells, strict=False)
    ]


def cell_facts(cell: CellMeasures) -> dict[str, Any]:
    """Return what the page tells of a cell."""
    return {
        'name': cell.name,
        'label': cell.label,
        'score': None if cell.score is None else round(cell.score, 3),
        'area_px2': cell.area_px2,
        'area_um2': None if cell.area_um2 is None else round(cell.area_um2, 1),
        'nuclei': cell.nuclei,
        'solidity': None if cell.solidity is None else round(cell.solidity, 3),
        'at': [round(value) for value in cell.centroid_px],
        'reasons': reasons(cell),
    }


def reasons(cell: CellMeasures) -> list[str]:
    """Return why a cell should be checked, in words; empty for most."""
    found = {
        'low score': cell.score is not None and cell.score < LOW_SCORE,
        'cut at its box': 'cut_at_box' in cell.marks,
        'joined over seams': 'joined' in cell.marks,
        '2 to 4 nuclei': cell.nuclei in FEW_NUCLEI,
        'touches the edge': cell.touches_edge,
    }
    return [reason for reason, holds in found.items() if holds]


def crops(content: WellContent, slide: Slide) -> list[dict[str, Any]]:
    """Return the cells to check first, each with a piece of the image at full resolution, if it is small enough.

    Returns:
        Of each cell its `cell_facts`, `picture` as data URI, `picture_px`, `scale` (picture pixels per image pixel) and
        `path`. Cells with more reasons and lower scores come first.
    """
    doubtful = [(i, cell) for i, cell in enumerate(content.cells) if cell.area_px2 and reasons(cell)]
    doubtful.sort(key=lambda item: (-len(reasons(item[1])), item[1].score or 0))
    return [_crop(content.outlines[i], cell, content.size_px, slide) for i, cell in doubtful[:MOST_CROPS]]


def _crop(outline: Outline, cell: CellMeasures, size_px: tuple[int, int], slide: Slide) -> dict[str, Any]:
    left, top, width, height = cell.box_px
    side = min(max(round(1.4 * max(width, height)), CROP_PX[0]), *size_px)
    x = min(max(left + width // 2 - side // 2, 0), size_px[0] - side)
    y = min(max(top + height // 2 - side // 2, 0), size_px[1] - side)
    picture = reduced(slide.read(x, y, side, side), CROP_PX[1])
    scale = picture.shape[0] / side
    data = cv2.imencode('.jpg', cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, CROP_QUALITY])[
        1
    ].tobytes()
    return cell_facts(cell) | {
        'picture': _uri(data),
        'picture_px': [picture.shape[1], picture.shape[0]],
        'scale': round(scale, 4),
        'path': svg_path(outline, np.array([scale, scale]), (x, y)),
    }


def svg_path(outline: Outline, scale: NDArray[np.float64], origin: tuple[float, float]) -> str:
    """Return the borders of a cell as an SVG path, in `SUBPIXELS` of a picture.

    Args:
        outline: In pixels of the image.
        scale: Picture pixels per image pixel, in x and y.
        origin: x and y of the picture's corner in the image.
    """
    simple = shapely.simplify(outline.geometry, 0.5 / float(min(scale)))
    parts = []
    for ring in shapely.get_rings(shapely.get_parts(simple)):
        points = np.rint((shapely.get_coordinates(ring)[:-1] - origin) * scale * SUBPIXELS).astype(int)
        steps = np.diff(points, axis=0)
        x, y = points[0]
        parts.append(f'M{x} {y}l' + ' '.join(f'{dx} {dy}' for dx, dy in steps.tolist() if dx or dy) + 'z')
    return ''.join(parts)


def histograms(cells: Sequence[CellMeasures]) -> dict[str, list[int] | None]:
    """Count cells by size and by nuclei.

    Returns:
        `areas`: osteoclasts by area, `BINS_PER_DECADE` bins from 1 um^2 on, or None where the pixel size is not known;
        `nuclei`: all cells by their number of nuclei, from 0 to `MOST_NUCLEI` or more, or None where nuclei were not
        counted.
    """
    areas = [cell.area_um2 for cell in cells if cell.label != PRE_OSTEOCLAST]
    bins = BINS_PER_DECADE * DECADES_UM2
    nuclei = [cell.nuclei for cell in cells if cell.nuclei is not None]
    counts = None
    if None not in areas:
        places = np.floor(np.log10(np.maximum(np.array(areas, dtype=float), 1)) * BINS_PER_DECADE).astype(int)
        counts = np.bincount(places.clip(0, bins - 1), minlength=bins).tolist()
    return {
        'areas': counts,
        'nuclei': np.bincount(np.minimum(nuclei, MOST_NUCLEI), minlength=MOST_NUCLEI + 1).tolist() if nuclei else None,
    }


def _uri(jpeg: bytes) -> str:
    return 'data:image/jpeg;base64,' + base64.b64encode(jpeg).decode('ascii')
