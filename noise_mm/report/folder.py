"""Writes the tables and the page of a folder, and with a plate map the comparison of conditions.

    wells.csv         one row per well; fields of a well are summed
    fields.csv        one row per image, if some well has several
    cells.csv         one row per cell of all wells
    conditions.csv    one row per condition, and conditions.png, with a plate map
    results.xlsx      the same tables as sheets
    index.html        the page

Everything is made from the records of all images: writing again with more records, as after a run that was interrupted,
gives what one run would have given.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from re import Pattern
from typing import Any

from noise_mm.csv_table import write_table
from noise_mm.files import delete, write_all, write_bytes, write_text
from noise_mm.measure.image_quality import quality_flags
from noise_mm.report.conditions import CONDITION_COLUMNS, Design, box_plot, condition_rows, design_notes
from noise_mm.report.fields import well_rows
from noise_mm.report.page import FolderContent, folder_page
from noise_mm.report.plate_map import CONDITION, PlateMap
from noise_mm.report.tables import WELL_COLUMNS
from noise_mm.report.well_names import read_names
from noise_mm.report.workbook import MOST_CELLS, TIDY_COLUMNS, tidy_rows, write_cells, write_workbook

MOST_NAMED = 8
OPTIONAL_FILES = ('fields.csv', 'conditions.png', 'conditions.csv', 'results.xlsx', 'cells.csv')
"""Files that are deleted where a run has none; a table of the user that has other columns stays."""


@dataclass(frozen=True)
class SummaryOptions:
    """How the wells of a folder are summed up.

    Attributes:
        plate_map: Conditions and replicates of wells.
        name_pattern: Which parts of names are well, field and plate; see `read_names`.
        test: Of `noise_mm.report.conditions.TESTS`.
        about: What the page says of the run: model, thresholds, ...
    """

    plate_map: PlateMap | None = None
    name_pattern: Pattern[str] | None = None
    test: str = 'welch'
    about: Mapping[str, str] = field(default_factory=dict)


def folder_content(records: Sequence[Mapping[str, Any]], options: SummaryOptions) -> FolderContent:
    """Sum up the records of images by well, and find and compare their conditions."""
    images = [dict(record['row']) for record in records]
    names, notes = read_names([row['well'] for row in images], options.name_pattern)
    if any(name.field for name in names):
        count = len({name.well for name in names})
        notes.append(f'{len(names)} images are fields of {count} wells and summed; fields must not overlap')
    for row, name in zip(images, names, strict=True):
        row |= {'plate': name.plate, 'position': str(name.position or '')}
    for row, flags in zip(images, quality_flags(images), strict=True):
        row['quality_flags'] = flags
    if flagged := [f'{row["well"]} ({row["quality_flags"]})' for row in images if row['quality_flags']]:
        some = ', '.join(flagged[:MOST_NAMED]) + (
            f' and {len(flagged) - MOST_NAMED} more' * (len(flagged) > MOST_NAMED)
        )
        notes.append(f'{len(flagged)} of {len(images)} images may be too poor to count: {some}; see quality_flags')
    wells, plate_map, design, conditions = well_rows(images, names), options.plate_map, None, []
    if plate_map is not None:
        assigned, missing = plate_map.assigned(names)
        unit = plate_map.replicate_column
        design = Design(
            {well: row[CONDITION] for well, row in assigned.items()},
            {well: row[unit] for well, row in assigned.items() if row[unit]} if unit else {},
            unit or 'well',
            plate_map.control,
            options.test,
        )
        wells = [row | assigned.get(row['well'], {}) for row in wells]
        conditions = condition_rows(wells, design)
        notes += missing + (design_notes(wells, design) if assigned else [])
    return FolderContent(records, names, images, wells, design, conditions, notes, options.about)


def write_folder(
    folder: str | Path,
    records: Sequence[Mapping[str, Any]],
    options: SummaryOptions | None = None,
    is_complete: bool = True,
) -> list[str]:
    """Write the tables and the page of a folder, each file whole or not at all.

    Args:
        folder: Where they go; the files of the wells lie there already.
        records: Of `write_well`, one for each image, in the order of the tables.
        options: See there.
        is_complete: Whether no further well is to come; `cells.csv` and `results.xlsx`, which take longest, are written
            only then.

    Returns:
        What the reader has to know, a sentence each.

    Raises:
        InputError: If a file can't be written.
        FileInUseError: If another program holds files open; the others are written.
    """
    folder, options = Path(folder), options or SummaryOptions()
    content = folder_content(records, options)
    map_columns = options.plate_map.columns if options.plate_map else ()
    tables = {'wells': (('well', *map_columns, *WELL_COLUMNS[1:]), content.wells)}
    if any(name.field for name in content.names):
        tables['fields'] = (FIELD_COLUMNS, _field_rows(content))
    if content.design is not None:
        tables['conditions'] = (CONDITION_COLUMNS, content.conditions)
    writers: dict[str, Callable[[], object]] = {
        f'{name}.csv': partial(write_table, folder / f'{name}.csv', *table) for name, table in tables.items()
    }
    if content.conditions:
        picture = partial(box_plot, content.wells, content.design)
        writers['conditions.png'] = lambda: write_bytes(folder / 'conditions.png', picture())
    if is_complete and any('csv' in record['files'] for record in records):
        writers['cells.csv'] = lambda: write_cells(folder / 'cells.csv', tidy_rows(folder, content))
        writers['results.xlsx'] = partial(_write_workbook, folder, content, tables)
    old = [partial(_delete_old, folder / name) for name in OPTIONAL_FILES if name not in writers]
    page = partial(write_text, folder / 'index.html', folder_page(content, sorted(writers)))
    write_all([*writers.values(), *old, page])
    return list(content.notes)


FIELD_COLUMNS = ('well', 'field', 'image', *(column for column in WELL_COLUMNS[1:] if column != 'fields'))
"""Of `fields.csv`: one row per image."""


def _field_rows(content: FolderContent) -> list[dict[str, Any]]:
    rows = []
    for row, name in zip(content.images, content.names, strict=True):
        values = {column: value for column, value in row.items() if column != 'fields'}
        rows.append(values | {'well': name.well, 'field': name.field, 'image': name.image})
    return rows


def _write_workbook(folder: Path, content: FolderContent, tables: Mapping[str, Any]) -> None:
    """Write `results.xlsx` with the tables and the first `MOST_CELLS` cells."""
    notes = list(content.notes)
    count = sum((row['count'] or 0) + (row['pre_osteoclasts'] or 0) for row in content.images)
    if count > MOST_CELLS:
        notes.append(f'the sheet cells has the first {MOST_CELLS} of {count} cells; cells.csv has all')
    sheets = {name: table for name, table in tables.items() if table[1]}
    sheets['cells'] = (TIDY_COLUMNS, islice(tidy_rows(folder, content), MOST_CELLS))
    write_workbook(folder / 'results.xlsx', sheets, notes)


def _delete_old(path: Path) -> None:
    """Delete a file that an earlier run wrote and this one does not; a table of the user's own stays."""
    own = {'fields.csv': FIELD_COLUMNS, 'conditions.csv': CONDITION_COLUMNS, 'cells.csv': TIDY_COLUMNS}
    table = path.with_name({'conditions.png': 'conditions.csv', 'results.xlsx': 'cells.csv'}.get(path.name, path.name))
    if path.exists() and table.exists():
        with open(table, 'rb') as file:
            is_own = file.readline().startswith(','.join(own[table.name][:2]).encode())
        if is_own:
            delete(path)
