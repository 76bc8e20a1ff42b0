"""Columns and rows of the tables: one row per cell, nucleus and well. Values that are not known are empty."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noise_mm.measure.cells import CellMeasures
from noise_mm.measure.image_quality import QUALITY_COLUMNS
from noise_mm.scale import PixelSize

CELL_COLUMNS = (
    'name',
    'class',
    'score',
    'area_px2',
    'area_um2',
    'perimeter_px',
    'perimeter_um',
    'equivalent_diameter_px',
    'equivalent_diameter_um',
    'solidity',
    'eccentricity',
    'centroid_x_px',
    'centroid_y_px',
    'left_px',
    'top_px',
    'width_px',
    'height_px',
    'nuclei',
    'touches_edge',
    'cut_at_box',
    'joined',
    'unvoted',
    'um_per_px',
    'um_per_px_from',
)
NUCLEI_COLUMNS = ('number', 'x_px', 'y_px', 'score', 'cell')
WELL_COLUMNS = (
    'well',
    'count',
    'pre_osteoclasts',
    'total_area_px2',
    'total_area_um2',
    'mean_area_um2',
    'covered_area_px2',
    'covered_of_image_percent',
    'covered_of_well_percent',
    'count_per_mm2',
    'nuclei',
    'nuclei_in_osteoclasts',
    'nuclei_per_osteoclast',
    'fusion_index',
    'image_area_mm2',
    'well_area_mm2',
    'well_area_px2',
    'well_area_from',
    'um_per_px',
    'um_per_px_from',
    'image_area_px2',
    'cells_dropped',
    'cells_lowered',
    'cells_unvoted',
    *QUALITY_COLUMNS,
    'plate',
    'position',
    'fields',
)


DIGITS = {
    'sharpness': 3,
    'shading_percent': 1,
    'score': 4,
    'solidity': 4,
    'eccentricity': 4,
    'covered_of_image_percent': 4,
    'covered_of_well_percent': 4,
    'count_per_mm2': 4,
    'nuclei_per_osteoclast': 4,
    'fusion_index': 4,
    'image_area_mm2': 6,
    'well_area_mm2': 6,
    'well_area_px2': 1,
}
"""Digits kept behind the point; two in other columns. They are more than an outline is worth."""


def cell_row(cell: CellMeasures, pixel: PixelSize) -> dict[str, Any]:
    """Return a cell's row of `<well>_cells.csv` (`CELL_COLUMNS`)."""
    places = ('left_px', 'top_px', 'width_px', 'height_px')
    values = {
        'class': cell.label,
        'centroid_x_px': cell.centroid_px[0],
        'centroid_y_px': cell.centroid_px[1],
        **dict(zip(places, cell.box_px, strict=True)),
        'touches_edge': int(cell.touches_edge),
        **{mark: int(mark in cell.marks) for mark in ('cut_at_box', 'joined', 'unvoted')},
        **_size(pixel),
    }
    return {name: rounded(name, values[name] if name in values else getattr(cell, name)) for name in CELL_COLUMNS}


def nuclei_rows(
    xy_px: NDArray[np.float64], scores: NDArray[np.float64], cell_of: NDArray[np.int64], names: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the rows of `<well>_nuclei.csv` (`NUCLEI_COLUMNS`); `cell` is empty for nuclei in no cell.

    Args:
        xy_px: Centres (n, 2).
        scores: Confidences (n,).
        cell_of: Index of each nucleus's cell, or -1; (n,).
        names: Names of the cells.
    """
    rows = []
    for (x, y), score, cell in zip(xy_px.tolist(), scores.tolist(), cell_of.tolist(), strict=True):
        name = names[cell] if cell >= 0 else None
        rows.append((len(rows) + 1, round(x, 2), round(y, 2), round(score, 4), name))
    return [dict(zip(NUCLEI_COLUMNS, row, strict=True)) for row in rows]


def well_row(well: str, measures: Mapping[str, Any], pixel: PixelSize) -> dict[str, Any]:
    """Return an image's row of `wells.csv` (`WELL_COLUMNS`), as JSON can hold it.

    Args:
        well: Name of the image.
        measures: Of `measure_well`. What follows from the merging of tiles is None where there was none.
        pixel: Pixel size.
    """
    values = dict.fromkeys(WELL_COLUMNS) | measures | _size(pixel)
    values |= {'well': well, 'quality_flags': '', 'plate': '', 'position': '', 'fields': 1}
    return {name: rounded(name, value) for name, value in values.items()}


def _size(pixel: PixelSize) -> dict[str, Any]:
    return {'um_per_px': pixel.um, 'um_per_px_from': pixel.source}


def rounded(column: str, value: Any) -> Any:
    """Return a value as a table shows it; the pixel size is never rounded."""
    if not isinstance(value, float) or column == 'um_per_px':
        return value
    return round(float(value), DIGITS.get(column, 2))
