"""All tables of a folder in one place: the tidy `cells.csv`, and `results.xlsx` with a sheet for each table.

XLSX holds numbers as numbers, so that spreadsheets of any language read the decimals.
"""

import csv
import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from noise_mm.csv_table import FORMULA_STARTS, escaped
from noise_mm.files import replacing
from noise_mm.report.conditions import Design
from noise_mm.report.page import FolderContent
from noise_mm.report.tables import CELL_COLUMNS

PLACE_COLUMNS = ('plate', 'well', 'field', 'condition', 'replicate')
TIDY_COLUMNS = (*PLACE_COLUMNS, *CELL_COLUMNS)
"""Of `cells.csv`: where each cell is from, and its row of `<well>_cells.csv`."""

TIMES = re.compile(rb'<dcterms:(created|modified).*?</dcterms:\1>')
NUMBER = re.compile(r'-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?')
MOST_CELLS = 200_000
"""In the workbook; more take minutes to write and to open."""


def tidy_rows(folder: Path, content: FolderContent) -> Iterator[dict[str, str]]:
    """Yield the row of each cell of all wells, read from `<image>_cells.csv` in `folder`."""
    design = content.design or Design({}, {})
    for name, record in zip(content.names, content.records, strict=True):
        if 'csv' not in record['files']:
            continue
        condition, replicate = design.condition_of.get(name.well, ''), design.replicate_of.get(name.well, '')
        place = (name.plate, name.well, name.field, condition, replicate)
        texts = dict(zip(PLACE_COLUMNS, map(escaped, place), strict=True))
        with open(folder / f'{name.image}_cells.csv', encoding='utf-8', newline='') as file:
            for row in csv.DictReader(file):
                yield texts | row


def write_cells(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    """Write `cells.csv` row by row, whole or not at all; texts are escaped already."""
    with replacing(path) as temporary, open(temporary, 'w', encoding='utf-8', newline='') as file:
        writer = csv.DictWriter(file, TIDY_COLUMNS, lineterminator='\n', extrasaction='ignore')
        writer.writeheader()
        writer.writerows(rows)


def write_workbook(
    path: Path, sheets: Mapping[str, tuple[Sequence[str], Iterable[Mapping[str, Any]]]], notes: Sequence[str]
) -> None:
    """Write an XLSX workbook, whole or not at all.

    Args:
        path: The file.
        sheets: Columns and rows of each sheet.
        notes: Sentences for the reader, on a sheet of their own.
    """
    from openpyxl import Workbook  # takes half a second, and only this needs it

    book = Workbook(write_only=True)
    for title, (columns, rows) in sheets.items():
        sheet = book.create_sheet(title)
        sheet.freeze_panes = 'A2'
        sheet.append([_cell(sheet, column) for column in columns])
        for row in rows:
            sheet.append([_cell(sheet, row.get(column)) for column in columns])
    if notes:
        sheet = book.create_sheet('notes')
        for note in notes:
            sheet.append([_cell(sheet, note)])
    content = io.BytesIO()
    book.save(content)
    with replacing(path) as temporary, zipfile.ZipFile(content) as source, zipfile.ZipFile(temporary, 'w') as target:
        for name in source.namelist():  # again without the time of writing, so that equal results give equal bytes
            data = TIMES.sub(b'', source.read(name)) if name == 'docProps/core.xml' else source.read(name)
            target.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)


def _cell(sheet: Any, value: Any) -> Any:
    """Return a value for openpyxl: texts that are numbers as numbers, and no text as a formula."""
    from openpyxl.cell import WriteOnlyCell

    if value == '' or not isinstance(value, str):
        return None if value == '' else value
    if NUMBER.fullmatch(value):
        return int(value) if value.lstrip('-').isdigit() else float(value)
    if value.startswith("'") and value[1:].startswith(FORMULA_STARTS):  # escaped for CSV
        value = value[1:]
    cell = WriteOnlyCell(sheet, value)
    cell.data_type = 's'
    return cell
