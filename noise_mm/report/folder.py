"""All wells of a folder -> `wells.csv`, `index.html`, and with a plate map `conditions.csv` and `conditions.png`.

Everything is written anew from the records of all wells, and nothing is ever added to: writing again with more records,
as after a run that was interrupted, gives what one run would have given.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from noise_mm.files import replacing, write_text
from noise_mm.report.conditions import CONDITION_COLUMNS, box_plot, condition_rows
from noise_mm.report.page import Conditions, folder_page
from noise_mm.report.plate_map import CONDITION, PlateMap
from noise_mm.report.tables import WELL_COLUMNS, write_table


def write_folder(
    folder: str | Path, records: Sequence[Mapping[str, Any]], plate_map: PlateMap | None = None
) -> list[str]:
    """Writes the tables and the page of a folder, each file whole or not at all.

    What an earlier run has told of conditions goes if there are none now.

    Args:
        folder: Where they go; the files of the wells lie there already.
        records: Of `write_well`, one for each well, in the order of the tables.
        plate_map: Conditions of wells, of `read_plate_map`. Its columns stand in `wells.csv`, too.

    Returns:
        What the reader has to know, a sentence each: wells that are missing in the plate map or in the results.

    Raises:
        InputError: If a file can't be written.
    """
    folder = Path(folder)
    rows = [dict(record['row']) for record in records]
    assigned, notes = ({}, []) if plate_map is None else plate_map.assigned([row['well'] for row in rows])
    more = () if plate_map is None else plate_map.columns
    wells = [row | assigned.get(row['well'], {}) for row in rows]
    write_table(folder / 'wells.csv', ('well', *more, *WELL_COLUMNS[1:]), wells)
    conditions = None
    if plate_map is None:
        _forget_conditions(folder)
    else:
        conditions = _write_conditions(folder, rows, {well: row[CONDITION] for well, row in assigned.items()})
    write_text(folder / 'index.html', folder_page(records, conditions, notes))
    return notes


def _write_conditions(folder: Path, rows: Sequence[Mapping[str, Any]], condition_of: Mapping[str, str]) -> Conditions:
    """Writes `conditions.csv` and, if any well has a condition, `conditions.png`; what the page shows of them."""
    table = condition_rows(rows, condition_of)
    write_table(folder / 'conditions.csv', CONDITION_COLUMNS, table)
    picture = box_plot(rows, condition_of) if table else None
    if picture is None:
        (folder / 'conditions.png').unlink(missing_ok=True)
    else:
        with replacing(folder / 'conditions.png') as temporary:
            temporary.write_bytes(picture)
    return Conditions(condition_of, table, picture)


def _forget_conditions(folder: Path) -> None:
    """Deletes `conditions.csv` and the picture that belongs to it; a table of the user's own stays."""
    table = folder / 'conditions.csv'
    if table.exists() and table.read_bytes().startswith(','.join(CONDITION_COLUMNS).encode()):
        table.unlink()
        (folder / 'conditions.png').unlink(missing_ok=True)
