"""Reads which condition each well had: a CSV table with the columns `well` and `condition`, and more if wanted.

Spreadsheets write such tables in several ways; commas, semicolons and tabs between columns, a byte order mark, and any
case of the two names are understood. Values are text: nothing is computed with them, so decimal commas stay as they
are, as long as the columns are not separated by commas too.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from noise_mm.errors import InputError
from noise_mm.report.plate_layout import position_of
from noise_mm.report.tables import WELL_COLUMNS

WELL, CONDITION = 'well', 'condition'
SEPARATORS = ',;\t'
MOST_NAMED = 8


@dataclass(frozen=True)
class PlateMap:
    """The conditions of wells.

    Attributes:
        path: The file.
        columns: Names of the columns besides the well, `condition` first.
        rows: Values of these columns by well, in the order of the file.
    """

    path: Path
    columns: tuple[str, ...]
    rows: dict[str, dict[str, str]]

    def assigned(self, wells: Sequence[str]) -> tuple[dict[str, dict[str, str]], list[str]]:
        """The rows of wells that have results.

        A row belongs to the well of the same name. Rows that name a position only, such as B3, also belong to the well
        whose name ends with it (plate7_B03), if there is just one.

        Args:
            wells: Names of the wells that have results.

        Returns:
            The row of each well that has one with a condition, in the order of the file; and what is missing on either
            side, a sentence each.
        """
        at_position: dict[str, list[str]] = {}
        for well in wells:
            at_position.setdefault(str(position_of(well)), []).append(well)
        assigned, unused = {}, []
        for name, row in self.rows.items():
            position = position_of(name)
            same = [name] if name in wells else []
            if not same and position is not None and not position.plate:
                same = at_position.get(str(position), [])
            if len(same) == 1 and same[0] not in assigned:
                assigned[same[0]] = row
            elif row[CONDITION]:
                unused.append(name)
        assigned = {well: row for well, row in assigned.items() if row[CONDITION]}
        notes = []
        without = [well for well in wells if well not in assigned]
        if without:
            notes.append(f'{self.path}: no condition for {_named(without)}; left out of the conditions')
        if unused:
            notes.append(f'{self.path}: no results for {_named(unused)}')
        return assigned, notes


def read_plate_map(path: str | Path) -> PlateMap:
    """Reads a plate map.

    Rows without a well are passed over if they are empty. A well without a condition is an unused one.

    Raises:
        InputError: If the file can't be read or is not text; `well` or `condition` is no column, or a column is
            unnamed, doubled or called like one of the table of wells; a row is longer or shorter than the header,
            names no well or one a second time; or no well has a condition.
    """
    path = Path(path)
    lines = _lines(path)
    separator = max(SEPARATORS, key=lines[0].count)
    table = [[field.strip() for field in row] for row in csv.reader(lines, delimiter=separator)]
    columns = _columns(path, table[0])
    rows: dict[str, dict[str, str]] = {}
    for number, fields in enumerate(table[1:], start=2):
        if not any(fields):
            continue
        if len(fields) != len(columns):
            raise InputError(
                f'{path}: row {number} has {len(fields)} fields, the header {len(columns)}. Mend the row; numbers with '
                'decimal commas need semicolons between columns.'
            )
        row = dict(zip(columns, fields, strict=True))
        well = row.pop(WELL)
        if not well or well in rows:
            what = f'names the well {well} a second time' if well else 'names no well'
            raise InputError(f'{path}: row {number} {what}. Give each well one row.')
        rows[well] = row
    if not any(row[CONDITION] for row in rows.values()):
        raise InputError(f'{path}: no well has a condition. Fill in the column {CONDITION}.')
    others = tuple(column for column in columns if column not in (WELL, CONDITION))
    return PlateMap(path, (CONDITION, *others), rows)


def _lines(path: Path) -> list[str]:
    """The lines of the file, at least the header."""
    try:
        text = path.read_bytes().decode('utf-8-sig')
    except FileNotFoundError as error:
        raise InputError(f'{path}: no such file. Check the path.') from error
    except OSError as error:
        raise InputError(f'{path}: cannot be read ({error.strerror or error}). Check the path.') from error
    except UnicodeDecodeError as error:
        raise InputError(f'{path}: not a CSV table in UTF-8. Save it from the spreadsheet as "CSV UTF-8".') from error
    if '\0' in text or not text.strip():
        raise InputError(f'{path}: not a CSV table. Save it from the spreadsheet as "CSV UTF-8".')
    return text.splitlines()


def _columns(path: Path, header: list[str]) -> list[str]:
    """The names of the columns; `well` and `condition` in lower case."""
    columns = [name.lower() if name.lower() in (WELL, CONDITION) else name for name in header]
    for name in (WELL, CONDITION):
        if name not in columns:
            raise InputError(f'{path}: no column {name!r} among {", ".join(header)}. Name the columns well,condition.')
    if '' in columns:
        raise InputError(f'{path}: column {columns.index("") + 1} has no name. Name or delete it.')
    doubled = [name for name in columns if columns.count(name) > 1 or (name != WELL and name in WELL_COLUMNS)]
    if doubled:
        raise InputError(f'{path}: column {doubled[0]!r} is there twice or in the table of wells. Rename it.')
    return columns


def _named(wells: Sequence[str]) -> str:
    """A list for a message."""
    more = len(wells) - MOST_NAMED
    return ', '.join(wells[:MOST_NAMED]) + (f' and {more} more wells' if more > 0 else '')
