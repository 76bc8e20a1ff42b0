"""The ROI tables of the published NOISe dataset: one row a cell, a bounding box and then the vertices.

    index, bb_x, bb_y, bb_w, bb_h, x1, y1, x2, y2, ...

Rows have as many cells as they need; there may be a header row, and empty cells at the end of a row. ImageJ made these
tables from its ROIs, so vertices are pixel corners, as everywhere in this package.
"""

from pathlib import Path

import numpy as np

from noise_mm.coco.file_issues import OutlineCollector
from noise_mm.formats.text_rows import csv_rows
from noise_mm.geometry.outline import Outline

BOX_COLUMNS = ['index', 'bb_x', 'bb_y', 'bb_w', 'bb_h']
# ImageJ gives boxes in whole pixels, also for sub-pixel vertices: each side can be off by less than one.
BOX_TOLERANCE_PX = 1.01


def read_roi_csv(
    path: str | Path, size_px: tuple[int, int] | None = None, notes: list[str] | None = None
) -> list[Outline]:
    """Return the outlines of a ROI table; each is named after its index.

    The box is compared with the vertices, because a row that was cut short may still be a polygon.

    Args:
        path: The file.
        size_px: Width and height of the image, to check that the outlines lie on it.
        notes: Takes what was changed.

    Raises:
        InputError: If rows are short, hold something else than numbers, disagree with their box, have no area, or
            lie outside the image.
    """
    remedy = 'Export the ROI table again or correct these rows.'
    collector = OutlineCollector(path, remedy, size_px, notes=[] if notes is None else notes)
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


def _box_fits(box: list[float], points: np.ndarray) -> bool:
    """Return whether a box (x, y, width, height) is that of the vertices (n, 2)."""
    x, y, width, height = box
    given = np.array([x, y, x + width, y + height])
    true = np.concatenate([points.min(axis=0), points.max(axis=0)])
    return bool((np.abs(given - true) <= BOX_TOLERANCE_PX).all())
