"""Reads plate maps as a table with one row per well, from CSV or XLSX, list or grid.

A grid looks like the plate: column numbers in its first row, row letters in its first column. Its corner, or in XLSX
the name of the sheet, says what it states: `condition`, `mouse`, ...; an empty corner stands for `condition`. Several
grids may follow below each other or lie on several sheets.
"""

import csv
import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from noise_mm.errors import InputError
from noise_mm.files import read_bytes

SEPARATORS = ',;\t'
ROW, COLUMN = re.compile(r'[A-Za-z]|[Aa][A-Fa-f]'), re.compile(r'0?[1-9]|[1-3]\d|4[0-8]')
DEFAULT_SHEET = re.compile(r'(sheet|tabelle|feuil|hoja|foglio)\s*\d*', re.IGNORECASE)
LARGEST_ROWS, LARGEST_COLUMNS = 20_000, 200
Cells = list[list[str]]


def read_map(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Return the rows of a map by column, each with its number in the file; columns of all rows are the same.

    Raises:
        InputError: If the file can't be read as a table.
    """
    sheets = list(_xlsx_sheets(path)) if path.suffix.lower() in ('.xlsx', '.xlsm') else [('', _csv_cells(path))]
    grids = [grid for name, cells in sheets for grid in _grids(name, cells)]
    if grids:
        return _rows_of_grids(path, grids)
    filled = [cells for _, cells in sheets if any(map(any, cells))]
    if not filled:
        raise InputError(f'{path}: is empty. Fill in the columns well and condition.')
    return _rows_of_list(path, filled[0])


def _csv_cells(path: Path) -> Cells:
    """Return the cells of a CSV file."""
    try:
        text = read_bytes(path).decode('utf-8-sig')
    except UnicodeDecodeError as error:
        raise InputError(f'{path}: not a CSV table in UTF-8. Save it from the spreadsheet as "CSV UTF-8".') from error
    if '\0' in text or not text.strip() or text.startswith('PK\3\4'):
        raise InputError(f'{path}: not a CSV table. Save it from the spreadsheet as "CSV UTF-8" or XLSX.')
    lines = text.splitlines()
    separator = max(SEPARATORS, key=lines[0].count)
    if separator not in lines[0] and len(lines) > 1:  # a title above a grid
        separator = max(SEPARATORS, key=lines[1].count)
    try:
        return [[field.strip() for field in row] for row in csv.reader(lines, delimiter=separator)]
    except csv.Error as error:
        raise InputError(f'{path}: not a CSV table ({error}). Save it from the spreadsheet as "CSV UTF-8".') from error


def _xlsx_sheets(path: Path) -> Iterator[tuple[str, Cells]]:
    """Yield name and cells of each sheet of a workbook."""
    from openpyxl import load_workbook  # takes half a second, and only this needs it

    data = io.BytesIO(read_bytes(path))
    try:
        for sheet in load_workbook(data, read_only=True, data_only=True).worksheets:
            rows = sheet.iter_rows(max_row=LARGEST_ROWS, max_col=LARGEST_COLUMNS, values_only=True)
            yield sheet.title, [[_text(value) for value in row] for row in rows]
    except (zipfile.BadZipFile, KeyError, ValueError, SyntaxError) as error:
        raise InputError(f'{path}: not an XLSX workbook ({error}). Save it again from the spreadsheet.') from error


def _text(value: object) -> str:
    """Return a cell's value as the spreadsheet shows it: 1 for 1.0."""
    if value is None:
        return ''
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def _grids(sheet: str, cells: Cells) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield what each grid of a sheet states, and its values by position."""
    start = 0
    while start < len(cells):
        columns = _column_numbers(cells[start])
        body = []
        if columns:
            for row in cells[start + 1 :]:
                if not row or not ROW.fullmatch(row[0]):
                    break
                body.append(row)
        if not body:
            start += 1
            continue
        corner = cells[start][0]
        if not corner and start and (above := [cell for cell in cells[start - 1] if cell]) and len(above) == 1:
            corner = above[0]
        name = corner or ('' if DEFAULT_SHEET.fullmatch(sheet) else sheet) or 'condition'
        values = {
            f'{row[0].upper()}{columns[place]}': row[place]
            for row in body
            for place in columns
            if place < len(row) and row[place]
        }
        yield name.lower(), values
        start += 1 + len(body)


def _column_numbers(row: Sequence[str]) -> dict[int, int]:
    """Return the column number of each place of a grid's first row; empty if it is no such row."""
    numbers = {place: int(cell) for place, cell in enumerate(row) if place and COLUMN.fullmatch(cell)}
    others = [cell for place, cell in enumerate(row) if place and cell and place not in numbers]
    is_grid = len(numbers) > 1 and not others and list(numbers.values()) == sorted(set(numbers.values()))
    return numbers if is_grid else {}


def _rows_of_grids(path: Path, grids: Sequence[tuple[str, dict[str, str]]]) -> list[tuple[int, dict[str, str]]]:
    """Return a row for each position that any grid fills."""
    names = [name for name, _ in grids]
    if len(set(names)) < len(names):
        raise InputError(f'{path}: two grids are both named {max(names, key=names.count)}. Name each in its corner.')
    positions = dict.fromkeys(position for _, values in grids for position in values)
    return [
        (number, {'well': position} | {name: values.get(position, '') for name, values in grids})
        for number, position in enumerate(positions, 2)
    ]


def _rows_of_list(path: Path, cells: Cells) -> list[tuple[int, dict[str, str]]]:
    """Return the rows below a header; empty rows are passed over."""
    header = cells[0]
    while header and not header[-1] and not any(len(row) >= len(header) and row[len(header) - 1] for row in cells):
        header = header[:-1]  # empty columns that a workbook counts
    if '' in header:
        raise InputError(f'{path}: column {header.index("") + 1} has no name. Name or delete it.')
    rows = []
    for number, fields in enumerate(cells[1:], 2):
        if not any(fields):
            continue
        if len(fields) > len(header) and not any(fields[len(header) :]):
            fields = fields[: len(header)]
        if len(fields) != len(header):
            raise InputError(
                f'{path}: row {number} has {len(fields)} fields, the header {len(header)}. Correct the row; numbers '
                'with decimal commas need semicolons between columns.'
            )
        rows.append((number, list(zip(header, fields, strict=True))))
    lower = [name.lower() for name in header]
    if doubled := [name for name in lower if lower.count(name) > 1]:
        raise InputError(f'{path}: column {doubled[0]!r} is there twice. Rename it.')
    return [(number, dict(pairs)) for number, pairs in rows] or [(1, dict.fromkeys(header, ''))]
