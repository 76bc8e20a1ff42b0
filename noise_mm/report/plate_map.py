"""Reads which condition and which biological replicate each well had; see `map_files` for the forms of the file.

The columns `well` and `condition` are needed. A column `replicate`, `mouse`, `donor`, `animal` or `patient` names the
biological replicate, and a column `control` the control: marked in the rows of the control (yes, x, 1), or its name in
any row. Values are text: nothing is computed with them, so decimal commas stay as they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from noise_mm.errors import InputError
from noise_mm.report.map_files import read_map
from noise_mm.report.tables import WELL_COLUMNS
from noise_mm.report.well_names import WellName, position_of

WELL, CONDITION, CONTROL = 'well', 'condition', 'control'
REPLICATE_COLUMNS = ('replicate', 'mouse', 'donor', 'animal', 'patient')
MARKS = {'yes', 'y', 'x', '1', 'true', 'control', 'ja', 'oui'}
NO_MARKS = {'', 'no', 'n', '0', 'false', '-', 'nein', 'non'}
MOST_NAMED = 8


@dataclass(frozen=True)
class PlateMap:
    """The conditions of wells.

    Attributes:
        path: The file.
        columns: Names of the columns besides the well, `condition` first.
        rows: Values of these columns by well, in the order of the file.
        replicate_column: The column of biological replicates, or None.
        control: The condition that others are compared with, or None.
    """

    path: Path
    columns: tuple[str, ...]
    rows: dict[str, dict[str, str]]
    replicate_column: str | None = None
    control: str | None = None

    def assigned(self, wells: Sequence[WellName]) -> tuple[dict[str, dict[str, str]], list[str]]:
        """Return the rows of wells that have results.

        A row belongs to the well of the same name, else to the well at the same plate and position. Rows that name a
        position only, such as B3, belong to the well at that position if a single plate has one.

        Args:
            wells: Wells that have results.

        Returns:
            The row of each well that has one with a condition, in the order of the file; and what is missing on either
            side, a sentence each.
        """
        found = {name: well for name in self.rows if (well := self._well_of(name, wells)) is not None}
        taken: dict[str, str] = {}
        for name, well in found.items():
            taken.setdefault(well, name)
        assigned = {
            well: self.rows[name] for name, well in found.items() if taken[well] == name and self.rows[name][CONDITION]
        }
        unused = [name for name, row in self.rows.items() if row[CONDITION] and taken.get(found.get(name, '')) != name]
        notes = []
        names = list(dict.fromkeys(well.well for well in wells))
        if without := [name for name in names if name not in assigned]:
            notes.append(f'{self.path}: no condition for {_named(without)}; left out of the conditions')
        if unused:
            notes.append(f'{self.path}: no results for {_named(unused)}')
        return assigned, notes

    def require_match(self, wells: Sequence[WellName]) -> None:
        """Refuse a map of other wells, before anything is predicted.

        Raises:
            InputError: If no well of the map is among `wells`.
        """
        if not self.assigned(wells)[0]:
            raise InputError(
                f'--plate-map {self.path}: none of its wells ({_named(list(self.rows))}) is among the images '
                f'({_named([well.image for well in wells])}). Correct the names, or say with --name-pattern where the '
                'well stands in the names of the images.'
            )

    def _well_of(self, name: str, wells: Sequence[WellName]) -> str | None:
        """Return the well that a row of the map belongs to."""
        for well in wells:
            if name in (well.well, well.image):
                return well.well
        is_1536 = any(well.position and (well.position.row > 15 or well.position.column > 23) for well in wells)
        place = position_of(name, is_1536)
        if place is None:
            return None
        plate, position = place
        same = [well for well in wells if well.position == position and (not plate or well.plate == plate)]
        owners = {well.well for well in same}
        return owners.pop() if len(owners) == 1 else None


def read_plate_map(path: str | Path) -> PlateMap:
    """Read a plate map.

    A well without a condition is an unused one.

    Raises:
        InputError: If the file can't be read; `well` or `condition` is no column, or a column is unnamed, doubled or
            called like one of the table of wells; a row is longer or shorter than the header, names no well or one a
            second time; no well has a condition; or several conditions are marked as the control.
    """
    path = Path(path)
    table = read_map(path)
    columns = _columns(path, list(table[0][1]))
    rows: dict[str, dict[str, str]] = {}
    for number, fields in table:
        row = dict(zip(columns, fields.values(), strict=True))
        well = row.pop(WELL)
        if not any(fields.values()):
            continue
        if not well or well in rows:
            what = f'names the well {well} a second time' if well else 'names no well'
            raise InputError(f'{path}: row {number} {what}. Give each well one row.')
        rows[well] = row
    if not any(row[CONDITION] for row in rows.values()):
        raise InputError(f'{path}: no well has a condition. Fill in the column {CONDITION}.')
    others = tuple(column for column in columns if column not in (WELL, CONDITION))
    replicate = next((name for name in REPLICATE_COLUMNS if name in others), None)
    return PlateMap(path, (CONDITION, *others), rows, replicate, _control(path, rows))


def _columns(path: Path, header: list[str]) -> list[str]:
    """Return the names of the columns; those with a meaning in lower case."""
    known = {WELL, CONDITION, CONTROL, *REPLICATE_COLUMNS}
    columns = [name.lower() if name.lower() in known else name for name in header]
    for name in (WELL, CONDITION):
        if name not in columns:
            raise InputError(f'{path}: no column {name!r} among {", ".join(header)}. Name the columns well,condition.')
    if clashing := [name for name in columns if name != WELL and name in WELL_COLUMNS]:
        raise InputError(f'{path}: column {clashing[0]!r} is in the table of wells. Rename it.')
    return columns


def _control(path: Path, rows: dict[str, dict[str, str]]) -> str | None:
    """Return the condition that the map names as the control.

    Raises:
        InputError: If it names several, or one that is no condition.
    """
    conditions = {row[CONDITION] for row in rows.values()} - {''}
    named = set()
    for row in rows.values():
        text = row.get(CONTROL, '')
        if text in conditions and text.lower() not in MARKS:
            named.add(text)
        elif text.lower() in MARKS and row[CONDITION]:
            named.add(row[CONDITION])
        elif text.lower() not in NO_MARKS | MARKS:
            raise InputError(f'{path}: control {text!r} is no condition. Mark the wells of the control with yes.')
    if len(named) > 1:
        raise InputError(f'{path}: {", ".join(sorted(named))} are all marked as control. Mark one condition.')
    return named.pop() if named else None


def _named(wells: Sequence[str]) -> str:
    """Return a list for a message."""
    more = len(wells) - MOST_NAMED
    return ', '.join(wells[:MOST_NAMED]) + (f' and {more} more wells' if more > 0 else '')
