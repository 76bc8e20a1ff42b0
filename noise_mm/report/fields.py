"""Rows of the fields of each well -> one row per well. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

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
    for column in SUMS:
        values = [row.get(column) for row in rows]
        result[column] = None if None in values else _rounded(sum(values))
    for column in SAME:
        values = {row[column] for row in rows}
        result[column] = values.pop() if len(values) == 1 else None
    _add_well_area(result, rows)
    count, nuclei = result['count'], result['nuclei_in_osteoclasts']
    result['mean_area_um2'] = _ratio(result['total_area_um2'], count)
    result['covered_of_image_percent'] = _ratio(result['covered_area_px2'], result['image_area_px2'], 100)
    result['covered_of_well_percent'] = _ratio(result['covered_area_px2'], result['well_area_px2'], 100)
    result['count_per_mm2'] = _ratio(count, result['well_area_mm2'])
    result['nuclei_per_osteoclast'] = _ratio(nuclei, count)
    result['fusion_index'] = _ratio(nuclei, result['nuclei'])
    return result


def _add_well_area(result: dict[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    for column in ('well_area_px2', 'well_area_mm2'):
        values = [row[column] for row in rows]
        if None in values:
            result[column] = None
        else:
            result[column] = values[0] if result['well_area_from'] == 'given' else _rounded(sum(values))


def _ratio(part: float | None, whole: float | None, factor: float = 1) -> float | None:
    return None if part is None or not whole else round(factor * part / whole, 4)


def _rounded(value: float) -> float:
    return value if isinstance(value, int) else round(value, 6)
