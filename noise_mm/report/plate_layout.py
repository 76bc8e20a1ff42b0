"""Where wells lie on their plates, told by names such as A1, B03 or plate7_H12. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

POSITION = re.compile(r'(?P<plate>.*?)(?:^|(?<=[^A-Za-z0-9]))(?P<row>[A-Ha-h])(?P<column>0?[1-9]|1[0-2])$')
PLATE_FORMATS = ((2, 3), (3, 4), (4, 6), (6, 8), (8, 12))
"""Rows and columns of plates with 6, 12, 24, 48 and 96 wells."""


@dataclass(frozen=True)
class Position:
    """The place of a well.

    Attributes:
        plate: What stands before the position in the name, without separators at the end; often nothing.
        row: From 0, for row A.
        column: From 0, for column 1.
    """

    plate: str
    row: int
    column: int

    def __str__(self) -> str:
        """As on the plate: A1."""
        return f'{chr(ord("A") + self.row)}{self.column + 1}'


@dataclass(frozen=True)
class Plate:
    """Wells of one plate.

    Attributes:
        name: Name of the plate, often empty.
        rows: Rows of the smallest usual plate on which the wells have their places.
        columns: Its columns.
        wells: Name of the well by row and column.
    """

    name: str
    rows: int
    columns: int
    wells: dict[tuple[int, int], str]


def position_of(well: str) -> Position | None:
    """The position that a name ends with, or None."""
    match = POSITION.match(well)
    if match is None:
        return None
    row, column = ord(match['row'].upper()) - ord('A'), int(match['column']) - 1
    return Position(match['plate'].rstrip(' _-.'), row, column)


def plates_of(wells: Sequence[str]) -> list[Plate] | None:
    """The plates that wells lie on, by name, or None unless every well has a place of its own."""
    by_plate: dict[str, dict[tuple[int, int], str]] = {}
    for well in wells:
        position = position_of(well)
        if position is None or (position.row, position.column) in by_plate.get(position.plate, {}):
            return None
        by_plate.setdefault(position.plate, {})[position.row, position.column] = well
    return [Plate(name, *_format(places), places) for name, places in sorted(by_plate.items())] or None


def _format(places: dict[tuple[int, int], str]) -> tuple[int, int]:
    """Rows and columns of the smallest usual plate that has all these places."""
    return next(size for size in PLATE_FORMATS if all(row < size[0] and column < size[1] for row, column in places))
