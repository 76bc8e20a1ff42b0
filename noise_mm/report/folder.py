"""All wells of a folder -> `wells.csv`, `index.html`, and with a plate map `conditions.csv` and `conditions.png`.

Everything is written anew from the records of all wells, and nothing is ever added to: writing again with more records,
as after a run that was interrupted, gives what one run would have given.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from noise_mm.csv_table import write_table
from noise_mm.files import delete, replacing, write_all, write_text
from noise_mm.report.conditions import CONDITION_COLUMNS, box_plot, condition_rows
from noise_mm.report.page import Conditions, folder_page
from noise_mm.report.plate_map import CONDITION, PlateMap
from noise_mm.report.tables import WELL_COLUMNS


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
    writers = [partial(write_table, folder / 'wells.csv', ('well', *more, *WELL_COLUMNS[1:]), wells)]
    conditions = None
    if plate_map is None:
        writers.append(partial(_delete_conditions, folder))
    else:
        conditions = _conditions(rows, {well: row[CONDITION] for well, row in assigned.items()})
        writers.append(partial(write_table, folder / 'conditions.csv', CONDITION_COLUMNS, conditions.table))
        writers.append(partial(_write_picture, folder / 'conditions.png', conditions.picture))
    writers.append(partial(write_text, folder / 'index.html', folder_page(records, conditions, notes)))
    write_all(writers)
    return notes


def _conditions(rows: Sequence[Mapping[str, Any]], condition_of: Mapping[str, str]) -> Conditions:
    """Return the table of conditions and, if any well has a condition, its plot."""
    table = condition_rows(rows, condition_of)
    return Conditions(condition_of, table, box_plot(rows, condition_of) if table else None)


def _write_picture(path: Path, picture: bytes | None) -> None:
    """Write a picture, or delete an earlier one if there is none now."""
    if picture is None:
        delete(path)
    else:
        with replacing(path) as temporary:
            temporary.write_bytes(picture)


def _delete_conditions(folder: Path) -> None:
    """Delete `conditions.csv` and the picture that belongs to it; a table of the user's own stays."""
    table = folder / 'conditions.csv'
    if table.exists() and table.read_bytes().startswith(','.join(CONDITION_COLUMNS).encode()):
        delete(table)
        delete(folder / 'conditions.png')
