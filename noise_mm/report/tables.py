"""Columns and rows of the tables: one row per cell, nucleus and well. Values that are not known are empty."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noise_mm.measure.cells import CellMeasures
from noise_mm.measure.well import WellMeasures
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
    'plate',
    'position',
    'fields',
)


def cell_row(cell: CellMeasures, pixel: PixelSize) -> dict[str, Any]:
    """Return a cell's row of `<well>_cells.csv` (`CELL_COLUMNS`)."""
    left, top, width, height = cell.box_px
    return {
        'name': cell.name,
        'class': cell.label,
        'score': _rounded(cell.score, 4),
        'area_px2': cell.area_px2,
        'area_um2': _rounded(cell.area_um2, 2),
        'perimeter_px': _rounded(cell.perimeter_px, 2),
        'perimeter_um': _rounded(cell.perimeter_um, 2),
        'equivalent_diameter_px': _rounded(cell.equivalent_diameter_px, 2),
        'equivalent_diameter_um': _rounded(cell.equivalent_diameter_um, 2),
        'solidity': _rounded(cell.solidity, 4),
        'eccentricity': _rounded(cell.eccentricity, 4),
        'centroid_x_px': _rounded(cell.centroid_px[0], 2),
        'centroid_y_px': _rounded(cell.centroid_px[1], 2),
        'left_px': left,
        'top_px': top,
        'width_px': width,
        'height_px': height,
        'nuclei': cell.nuclei,
        'touches_edge': int(cell.touches_edge),
        'cut_at_box': int('cut_at_box' in cell.marks),
        'joined': int('joined' in cell.marks),
        'unvoted': int('unvoted' in cell.marks),
        'um_per_px': pixel.um,
        'um_per_px_from': pixel.source,
    }


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
    return [
        {
            'number': number,
            'x_px': _rounded(x, 2),
            'y_px': _rounded(y, 2),
            'score': _rounded(score, 4),
            'cell': names[cell] if cell >= 0 else None,
        }
        for number, ((x, y), score, cell) in enumerate(
            zip(xy_px.tolist(), scores.tolist(), cell_of.tolist(), strict=True), 1
        )
    ]


def well_row(well: str, measures: WellMeasures, pixel: PixelSize) -> dict[str, Any]:
    """Return an image's row of `wells.csv` (`WELL_COLUMNS`), as JSON can hold it."""
    area = measures.well_area
    return {
        'well': well,
        'count': measures.count,
        'pre_osteoclasts': measures.pre_osteoclasts,
        'total_area_px2': measures.total_area_px2,
        'total_area_um2': _rounded(measures.total_area_um2, 2),
        'mean_area_um2': _rounded(measures.mean_area_um2, 2),
        'covered_area_px2': measures.covered_area_px2,
        'covered_of_image_percent': _rounded(measures.covered_of_image_percent, 4),
        'covered_of_well_percent': _rounded(measures.covered_of_well_percent, 4),
        'count_per_mm2': _rounded(measures.count_per_mm2, 4),
        'nuclei': measures.nuclei,
        'nuclei_in_osteoclasts': measures.nuclei_in_osteoclasts,
        'nuclei_per_osteoclast': _rounded(measures.nuclei_per_osteoclast, 4),
        'fusion_index': _rounded(measures.fusion_index, 4),
        'image_area_mm2': _rounded(measures.image_area_mm2, 6),
        'well_area_mm2': _rounded(measures.well_area_mm2, 6),
        'well_area_px2': _rounded(area.px2, 1) if area else None,
        'well_area_from': area.source if area else None,
        'um_per_px': pixel.um,
        'um_per_px_from': pixel.source,
        'image_area_px2': measures.image_area_px2,
        'cells_dropped': None,  # these three follow from the merging of tiles; None where there was none
        'cells_lowered': None,
        'cells_unvoted': None,
        'plate': '',
        'position': '',
        'fields': 1,
    }


def _rounded(value: float | None, digits: int) -> float | None:
    """Round for the reader; the digits kept are more than the outline is worth."""
    return None if value is None else round(float(value), digits)
