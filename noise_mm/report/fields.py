"""Sums the rows of the fields of each well to one row per well. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from noise_mm.measure.well import with_shares
from noise_mm.report.tables import rounded
from noise_mm.report.well_names import WellName

SUMS = (
    'count',
    'pre_osteoclasts',
    'total_area_px2',
    'total_area_um2',
    'covered_area_px2',
    'nuclei',
    'nuclei_in_osteoclasts',
    'image_area_mm2',
    'image_area_px2',
    'cells_dropped',
    'cells_lowered',
    'cells_unvoted',
)
WORST = {'sharpness': min, 'shading_percent': max, 'stained_percent': min, 'bubbles': max}
"""Of the quality of images, the worst field stands for the well."""

SAME = ('well_area_from', 'um_per_px', 'um_per_px_from')
"""Stated for the well if all fields agree."""


def well_rows(rows: Sequence[Mapping[str, Any]], names: Sequence[WellName]) -> list[dict[str, Any]]:
    """Sum the rows of the fields of each well; means, shares and densities follow from the sums.

    A value that a field does not have is None for the well. A stated area of the well counts once; areas of discs are
    those of the fields, summed.

    Args:
        rows: Rows of the table of wells, one for each image.
        names: What the names of the images say, in the same order.
    """
    members: dict[str, list[tuple[Mapping[str, Any], WellName]]] = {}
    for row, name in zip(rows, names, strict=True):
        members.setdefault(name.well, []).append((row, name))
    return [_well_row(well, *zip(*group, strict=True)) for well, group in members.items()]


def _well_row(well: str, rows: Sequence[Mapping[str, Any]], names: Sequence[WellName]) -> dict[str, Any]:
    name = names[0]
    place = {'plate': name.plate, 'position': str(name.position or ''), 'fields': len(rows)}
    if len(rows) == 1:
        return {**rows[0], 'well': well, **place}
    result = {**dict.fromkeys(rows[0]), 'well': well, **place}
    for column in (*SUMS, 'well_area_px2', 'well_area_mm2'):
        values = [row.get(column) for row in rows]
        result[column] = None if None in values else sum(values)
    for column in SAME:
        values = {row[column] for row in rows}
        result[column] = values.pop() if len(values) == 1 else None
    for column, worst in WORST.items():
        result[column] = worst((row[column] for row in rows if row.get(column) is not None), default=None)
    flags = [flag for row in rows for flag in row.get('quality_flags', '').split('; ') if flag]
    result['quality_flags'] = '; '.join(dict.fromkeys(flags))
    if result['well_area_from'] == 'given':
        result |= {column: rows[0][column] for column in ('well_area_px2', 'well_area_mm2')}
    return {column: rounded(column, value) for column, value in with_shares(result).items()}
