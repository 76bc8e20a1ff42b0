"""All wells of a folder -> its tables, its page, and with a plate map the comparison of conditions.

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
from noise_mm.files import delete, replacing, write_all, write_text
from noise_mm.report.conditions import CONDITION_COLUMNS, Design, box_plot, condition_rows, design_notes
from noise_mm.report.fields import well_rows
from noise_mm.report.page import FolderContent, folder_page
from noise_mm.report.plate_map import CONDITION, PlateMap
from noise_mm.report.tables import WELL_COLUMNS
from noise_mm.report.well_names import WellName, read_names
from noise_mm.report.workbook import MOST_CELLS, TIDY_COLUMNS, tidy_rows, write_cells, write_workbook

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


@dataclass(frozen=True)
class Summary:
    """The wells of a folder.

    Attributes:
        names: What the name of each image says.
        images: Rows of the table of images.
        wells: Rows of the table of wells, with the columns of the plate map.
        map_columns: Columns of the plate map.
        design: Conditions and replicates, with a plate map.
        notes: Sentences for the reader.
    """

    names: list[WellName]
    images: list[dict[str, Any]]
    wells: list[dict[str, Any]]
    map_columns: tuple[str, ...]
    design: Design | None
    notes: list[str]


def summary_of(records: Sequence[Mapping[str, Any]], options: SummaryOptions) -> Summary:
    """Sum up the records of images by well, and find their conditions."""
    rows = [dict(record['row']) for record in records]
    names, notes = read_names([row['well'] for row in rows], options.name_pattern)
    if any(name.field for name in names):
        count = len({name.well for name in names})
        notes.append(f'{len(names)} images are fields of {count} wells and summed; fields must not overlap')
    for row, name in zip(rows, names, strict=True):
        row |= {'plate': name.plate, 'position': str(name.position or '')}
    wells, plate_map = well_rows(rows, names), options.plate_map
    if plate_map is None:
        return Summary(names, rows, wells, (), None, notes)
    assigned, missing = plate_map.assigned(names)
    design = Design(
        {well: row[CONDITION] for well, row in assigned.items()},
        {well: row[plate_map.replicate_column] for well, row in assigned.items() if row[plate_map.replicate_column]}
        if plate_map.replicate_column
        else {},
        plate_map.replicate_column or 'well',
        plate_map.control,
        options.test,
    )
    wells = [row | assigned.get(row['well'], {}) for row in wells]
    return Summary(
        names,
        rows,
        wells,
        plate_map.columns,
        design,
        notes + missing + (design_notes(wells, design) if assigned else []),
    )


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
    summary = summary_of(records, options)
    columns = ('well', *summary.map_columns, *WELL_COLUMNS[1:])
    table = condition_rows(summary.wells, summary.design) if summary.design else []
    writers: list[Callable[[], object]] = [partial(write_table, folder / 'wells.csv', columns, summary.wells)]
    written = {'wells.csv'}
    if any(name.field for name in summary.names):
        writers.append(partial(write_table, folder / 'fields.csv', FIELD_COLUMNS, _field_rows(summary)))
        written.add('fields.csv')
    if summary.design is not None:
        writers.append(partial(write_table, folder / 'conditions.csv', CONDITION_COLUMNS, table))
        written.add('conditions.csv')
        if table:
            writers.append(partial(_write_picture, folder / 'conditions.png', summary.wells, summary.design))
            written.add('conditions.png')
    has_cells = any('csv' in record['files'] for record in records)
    if is_complete and has_cells:
        writers.append(partial(_write_tidy, folder, records, summary, columns, table))
        written |= {'cells.csv', 'results.xlsx'}
    writers += [partial(_delete_old, folder / name) for name in OPTIONAL_FILES if name not in written]
    content = FolderContent(records, summary.names, summary.wells, summary.design, table, summary.notes, options.about)
    page = folder_page(content, sorted(written))
    writers.append(partial(write_text, folder / 'index.html', page))
    write_all(writers)
    return summary.notes


FIELD_COLUMNS = ('well', 'field', 'image', *WELL_COLUMNS[1:-1])
"""Of `fields.csv`: one row per image."""


def _field_rows(summary: Summary) -> list[dict[str, Any]]:
    rows = []
    for row, name in zip(summary.images, summary.names, strict=True):
        values = {column: value for column, value in row.items() if column != 'fields'}
        rows.append(values | {'well': name.well, 'field': name.field, 'image': name.image})
    return rows


def _write_tidy(
    folder: Path,
    records: Sequence[Mapping[str, Any]],
    summary: Summary,
    columns: Sequence[str],
    conditions: Sequence[Mapping[str, Any]],
) -> None:
    """Write `cells.csv` and `results.xlsx`."""
    design = summary.design or Design({}, {})
    names = [name for name, record in zip(summary.names, records, strict=True) if 'csv' in record['files']]
    tidy = partial(tidy_rows, folder, names, design.condition_of, design.replicate_of)
    count = sum((row['count'] or 0) + (row['pre_osteoclasts'] or 0) for row in summary.images)
    sheets: dict[str, Any] = {'wells': (columns, summary.wells)}
    if any(name.field for name in summary.names):
        sheets['fields'] = (FIELD_COLUMNS, _field_rows(summary))
    if conditions:
        sheets['conditions'] = (CONDITION_COLUMNS, conditions)
    sheets['cells'] = (TIDY_COLUMNS, islice(tidy(), MOST_CELLS))
    notes = list(summary.notes)
    if count > MOST_CELLS:
        notes.append(f'the sheet cells has the first {MOST_CELLS} of {count} cells; cells.csv has all')
    write_all(
        [
            lambda: write_cells(folder / 'cells.csv', tidy()),
            lambda: write_workbook(folder / 'results.xlsx', sheets, notes),
        ]
    )


def _write_picture(path: Path, rows: Sequence[Mapping[str, Any]], design: Design) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(box_plot(rows, design))


def _delete_old(path: Path) -> None:
    """Delete a file that an earlier run wrote and this one does not; a table of the user's own stays."""
    own = {'fields.csv': FIELD_COLUMNS, 'conditions.csv': CONDITION_COLUMNS, 'cells.csv': TIDY_COLUMNS}
    goes_with = {'conditions.png': 'conditions.csv', 'results.xlsx': 'cells.csv'}
    if not path.exists():
        return
    table = path.with_name(goes_with.get(path.name, path.name))
    if table.exists():
        with open(table, 'rb') as file:
            if file.readline().startswith(','.join(own[table.name][:2]).encode()):
                delete(path)
