"""Writes what was found: a table, COCO, and a picture to check by eye."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from noise_mm.annotations.coco import write_coco
from noise_mm.annotations.outline import Outline, parts_of
from noise_mm.files import replacing, write_text
from noise_mm.wells.chunked import Slide
from noise_mm.wells.outlines import area_um2
from noise_mm.wells.png import png_bytes

# Longest side of an overlay picture: a screenful or two, at which single cells can still be told apart.
OVERLAY_SIDE_PX = 3000
# One colour a class (RGB), taken in turn; chosen to stand out from purple cells and from brown bone.
COLOURS = ((0, 160, 60), (230, 120, 0), (0, 110, 230), (200, 0, 120))
# Outlines of resampled wells reach the border but for the rounding of floating point.
ROUNDING_PX = 1e-6

CELL_COLUMNS = ('name', 'class', 'score', 'area_px2', 'area_um2', 'centroid_x_px', 'centroid_y_px', 'touches_edge')
WELL_COLUMNS = ('well', 'count', 'total_area_px2', 'total_area_um2', 'mean_area_um2', 'um_per_px')


def cell_rows(outlines: Sequence[Outline], size_px: tuple[int, int], um_per_px: float) -> list[dict]:
    """One row of the cell table (`CELL_COLUMNS`) for each outline.

    Args:
        outlines: In pixels of the well image.
        size_px: Width and height of the image; an outline that reaches them touches the edge.
        um_per_px: Pixel size.
    """
    rows = []
    far = size_px[0] - ROUNDING_PX, size_px[1] - ROUNDING_PX
    for outline in outlines:
        geometry = outline.geometry
        left, top, right, bottom = geometry.bounds
        rows.append(
            {
                'name': outline.name,
                'class': outline.label,
                'score': f'{outline.score:.4f}',
                'area_px2': f'{geometry.area:.1f}',
                'area_um2': f'{area_um2(geometry.area, um_per_px):.1f}',
                'centroid_x_px': f'{geometry.centroid.x:.1f}',
                'centroid_y_px': f'{geometry.centroid.y:.1f}',
                'touches_edge': int(left <= ROUNDING_PX or top <= ROUNDING_PX or right >= far[0] or bottom >= far[1]),
            }
        )
    return rows


def well_row(well: str, outlines: Sequence[Outline], um_per_px: float) -> dict:
    """The row of a well in the table of a folder (`WELL_COLUMNS`)."""
    areas = [outline.geometry.area for outline in outlines]
    total_um2 = area_um2(sum(areas), um_per_px)
    return {
        'well': well,
        'count': len(areas),
        'total_area_px2': f'{sum(areas):.1f}',
        'total_area_um2': f'{total_um2:.1f}',
        'mean_area_um2': f'{total_um2 / len(areas):.1f}' if areas else '',
        'um_per_px': f'{um_per_px:g}',
    }


def write_table(path: str | Path, columns: Sequence[str], rows: Sequence[dict]) -> None:
    """Writes a CSV table, whole or not at all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def write_overlay(path: str | Path, slide: Slide, outlines: Sequence[Outline]) -> None:
    """Writes a PNG of the well with outlines and the number of each cell, reduced to `OVERLAY_SIDE_PX`."""
    picture = np.ascontiguousarray(slide.thumbnail(OVERLAY_SIDE_PX))
    scale = np.array([picture.shape[1] / slide.width_px, picture.shape[0] / slide.height_px])
    thickness = max(2, round(max(picture.shape) / 1000))
    labels = sorted({outline.label for outline in outlines})
    for outline in outlines:
        colour = COLOURS[labels.index(outline.label) % len(COLOURS)]
        rings = [ring for part in parts_of(outline.geometry) for ring in (part.exterior, *part.interiors)]
        # Corners of pixels -> centres of the pixels that cv2 draws on.
        lines = [np.rint(np.asarray(ring.coords) * scale - 0.5).astype(np.int32) for ring in rings]
        cv2.polylines(picture, lines, True, colour, thickness, cv2.LINE_AA)
    for outline in outlines:
        _write_number(picture, outline, scale)
    with replacing(path) as temporary:
        temporary.write_bytes(png_bytes(picture))


def _write_number(picture: np.ndarray, outline: Outline, scale: np.ndarray) -> None:
    """Writes the last part of the name inside the cell, white on black so that it is legible on any cell."""
    point = outline.geometry.representative_point()
    text = outline.name.rpartition('_')[2].lstrip('0') or outline.name
    size = max(picture.shape) / 2200
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    origin = (int(point.x * scale[0] - width / 2), int(point.y * scale[1] + height / 2))
    for colour, thickness in (((0, 0, 0), max(3, round(5 * size))), ((255, 255, 255), max(1, round(2 * size)))):
        cv2.putText(picture, text, origin, cv2.FONT_HERSHEY_SIMPLEX, size, colour, thickness, cv2.LINE_AA)


def write_well(
    folder: Path, well: str, slide: Slide, outlines: Sequence[Outline], um_per_px: float, formats: Sequence[str]
) -> None:
    """Writes the files of one well: `<well>.json` (COCO), `<well>_cells.csv`, `<well>_overlay.png`."""
    size_px = (slide.width_px, slide.height_px)
    if 'coco' in formats:
        write_coco(folder / f'{well}.json', outlines, slide.path.name, size_px, rle=True, well=well, mpp=um_per_px)
    if 'csv' in formats:
        write_table(folder / f'{well}_cells.csv', CELL_COLUMNS, cell_rows(outlines, size_px, um_per_px))
    if 'overlay' in formats:
        write_overlay(folder / f'{well}_overlay.png', slide, outlines)
