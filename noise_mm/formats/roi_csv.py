"""The ROI tables of the published NOISe dataset: one row a cell, a bounding box and then the vertices.

    index, bb_x, bb_y, bb_w, bb_h, x1, y1, x2, y2, ...

Rows have as many cells as they need; there may be a header row, and empty cells at the end of a row. ImageJ made these
tables from its ROIs, so vertices are pixel corners, as everywhere in this package.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from noise_mm.coco.file_issues import OutlineCollector
from noise_mm.files import write_text
from noise_mm.formats.text_rows import csv_rows
from noise_mm.geometry.outline import Outline
from noise_mm.geometry.rings import single_ring

BOX_COLUMNS = ['index', 'bb_x', 'bb_y', 'bb_w', 'bb_h']
# ImageJ gives boxes in whole pixels, also for sub-pixel vertices: each side can be off by less than one.
BOX_TOLERANCE_PX = 1.01


def read_roi_csv(path: str | Path, size_px: tuple[int, int] | None = None, repair: bool = True) -> list[Outline]:
    """The outlines of a ROI table; each is named after its index.

    The box is compared with the vertices, because a row that was cut short may still be a polygon.

    Args:
        path: The file.
        size_px: Width and height of the image, to check that the outlines lie on it.
        repair: Whether self-crossing outlines are repaired (and logged) or faults.

    Raises:
        InputError: If rows are short, hold something else than numbers, disagree with their box, have no area, or
            lie outside the image.
    """
    collector = OutlineCollector(path, 'Export the ROI table again or correct these rows.', size_px, repair)
    for line, row in csv_rows(path):
        cells = [cell.strip() for cell in row]
        if [cell.lower() for cell in cells[:2]] == BOX_COLUMNS[:2]:
            continue
        while cells and not cells[-1]:
            cells.pop()
        where = f'line {line}'
        try:
            numbers = [float(cell) for cell in cells[1:]]
        except ValueError:
            collector.add(where, 'a cell is not a number')
            continue
        if len(numbers) < 10 or len(numbers) % 2:
            collector.add(where, f'{len(cells)} cells; expected an index, a box of four and at least three x, y pairs')
            continue
        points = np.array(numbers[4:]).reshape(-1, 2)
        if not _box_fits(numbers[:4], points):
            collector.add(where, 'the bounding box is not that of the vertices; the row may be cut short')
            continue
        collector.add_ring(where, points, name=cells[0])
    return collector.finish()


def write_roi_csv(path: str | Path, outlines: Sequence[Outline]) -> None:
    """Writes a ROI table, indices from 0; holes and further parts are bridged into the one ring (see `rings`).

    The format has no names, classes or scores.

    Raises:
        InputError: If the file can't be written.
    """
    rings = [single_ring(outline.geometry) for outline in outlines]
    most = max((len(ring) for ring in rings), default=3)
    lines = [','.join(BOX_COLUMNS + [f'{axis}{vertex}' for vertex in range(1, most + 1) for axis in 'xy'])]
    for index, ring in enumerate(rings):
        (left, top), (right, bottom) = np.floor(ring.min(axis=0)), np.ceil(ring.max(axis=0))
        lines.append(','.join(map(_number, [index, left, top, right - left, bottom - top, *ring.ravel()])))
    write_text(path, '\n'.join(lines) + '\n')


def _box_fits(box: list[float], points: np.ndarray) -> bool:
    """Whether a box (x, y, width, height) is that of the vertices (n, 2)."""
    x, y, width, height = box
    given = np.array([x, y, x + width, y + height])
    true = np.concatenate([points.min(axis=0), points.max(axis=0)])
    return bool((np.abs(given - true) <= BOX_TOLERANCE_PX).all())


def _number(value: float) -> str:
    """A number in its shortest exact form, whole ones without a point."""
    return str(int(value)) if math.isfinite(value) and value == int(value) else repr(float(value))
