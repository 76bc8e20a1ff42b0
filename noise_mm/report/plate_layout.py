"""Where wells lie on their plates. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from noise_mm.report.well_names import WellName

PLATE_FORMATS = ((2, 3), (3, 4), (4, 6), (6, 8), (8, 12), (16, 24), (32, 48))
"""Rows and columns of plates with 6, 12, 24, 48, 96, 384 and 1536 wells."""

LEAST_SHARE_TAKEN = 0.05  # of the places of the plates


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


def plates_of(names: Sequence[WellName]) -> list[Plate] | None:
    """Return the plates that wells lie on, by name, or None unless every well has a place of its own.

    None, too, where hardly any place of a plate is taken: two wells `M1` and `M3` of a 384-well plate are more likely
    names that look like places.
    """
    by_plate: dict[str, dict[tuple[int, int], str]] = {}
    for name in names:
        if name.position is None:
            return None
        places = by_plate.setdefault(name.plate, {})
        place = name.position.row, name.position.column
        if places.setdefault(place, name.well) != name.well:
            return None
    plates = [Plate(name, *_format(places), places) for name, places in sorted(by_plate.items())]
    taken = sum(len(plate.wells) for plate in plates)
    is_sparse = taken < LEAST_SHARE_TAKEN * sum(plate.rows * plate.columns for plate in plates)
    return None if is_sparse or not plates else plates


def _format(places: dict[tuple[int, int], str]) -> tuple[int, int]:
    """Return rows and columns of the smallest usual plate that has all these places."""
    return next(size for size in PLATE_FORMATS if all(row < size[0] and column < size[1] for row, column in places))
