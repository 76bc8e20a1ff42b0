"""Counts by hand against the counts of a model, and the score threshold that fits a plate best.

How it works: a model's cells come with scores, so its count of a well decreases with the score threshold. The threshold
suggested for a plate is the one with the smallest mean absolute difference to the counts by hand. What it is worth
on wells that were not counted is estimated by leaving out each counted well in turn.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from noise_mm.errors import InputError
from noise_mm.report.map_files import read_map

WELL, COUNT, PLATE = 'well', 'count', 'plate'
PLATE_NAMES = (PLATE, 'batch')
OSTEOCLAST = 'osteoclast'
CELLS_SUFFIX = '_cells.csv'
ENOUGH_WELLS = 20  # with differences of 20 % (SD) the bias is then known to about 10 % (95 % confidence)


@dataclass(frozen=True)
class HandCount:
    """One counted well: its name, the count by hand, and the plate that it belongs to ('' where none is named)."""

    well: str
    count: float
    plate: str = ''


@dataclass(frozen=True)
class Suggestion:
    """A score threshold for one plate.

    Attributes:
        threshold: The suggested score threshold.
        error: Mean absolute difference to the counts by hand there, in cells per well.
        error_left_out: The same for wells that were left out while the threshold was chosen; None for fewer than 3.
        at_lower_end: Whether it is the lowest score that was predicted, so that a lower one might fit better.
    """

    threshold: float
    error: float
    error_left_out: float | None
    at_lower_end: bool


def read_hand_counts(path: str | Path) -> list[HandCount]:
    """Read a CSV or XLSX table with the columns `well`, `count` and perhaps `plate` (or `batch`); or a grid of counts.

    Raises:
        InputError: If the file can't be read, lacks a column, or a row has no whole count or a well comes twice.
    """
    path = Path(path)
    rows = [(number, {name.lower(): text for name, text in row.items()}) for number, row in read_map(path)]
    for name in (WELL, COUNT):
        if name not in rows[0][1]:
            found = ', '.join(rows[0][1])
            raise InputError(f'{path}: has no column {name!r} (found: {found}). Name it so in the first row.')
    counts: dict[str, HandCount] = {}
    for number, row in rows:
        well, text = row[WELL], row[COUNT]
        if not well and not text:
            continue
        try:
            count = float(text)
        except ValueError:
            count = -1.0
        if not (0 <= count < 1e9):
            raise InputError(f'{path}, row {number}: count {text!r} is not a number of cells. Correct it.')
        if not well or well in counts:
            raise InputError(f'{path}, row {number}: the well {well!r} is empty or comes twice. Correct it.')
        counts[well] = HandCount(well, count, next((row[name] for name in PLATE_NAMES if name in row), ''))
    if not counts:
        raise InputError(f'{path}: no row with a count. Add the wells that were counted.')
    return list(counts.values())


def read_scores(folder: str | Path, wells: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Read the scores of the osteoclasts of some wells from `<well>_cells.csv`, as tools/predict.py writes them.

    Raises:
        InputError: If the file of a well is missing or lacks a column; the error names all missing wells.
    """
    missing = [well for well in wells if not (Path(folder) / f'{well}{CELLS_SUFFIX}').is_file()]
    if missing:
        raise InputError(
            f'{folder}: no {missing[0]}{CELLS_SUFFIX}'
            + (f' (and {len(missing) - 1} more: {", ".join(missing[1:6])})' if missing[1:] else '')
            + '. Predict these wells, or correct their names in the table of counts.'
        )
    found = {}
    for well in wells:
        path = Path(folder) / f'{well}{CELLS_SUFFIX}'
        with open(path, encoding='utf-8-sig', newline='') as file:
            rows = list(csv.DictReader(file))
        try:
            found[well] = np.array([float(row['score']) for row in rows if row['class'] == OSTEOCLAST])
        except (KeyError, ValueError, TypeError) as error:
            raise InputError(f'{path}: no scores of cells ({error}). Predict the well again.') from error
    return found


def count_above(scores: NDArray[np.float64], thresholds: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return how many of (n,) scores reach each of (m,) thresholds, (m,)."""
    return len(scores) - np.searchsorted(np.sort(scores), thresholds, side='left')


def suggest_threshold(counts: Sequence[HandCount], scores: Mapping[str, NDArray[np.float64]]) -> Suggestion | None:
    """Return the score threshold whose counts are nearest to those by hand; None where no cell was predicted.

    Of thresholds that are equally near, the middle one is taken.
    """
    pool = np.unique(np.concatenate([scores[each.well] for each in counts]))
    if not len(pool):
        return None
    # Between two neighbouring scores all counts are the same; the candidate is the middle.
    thresholds = np.concatenate([pool[:1], (pool[1:] + pool[:-1]) / 2, pool[-1:] + 1e-4])
    truth = np.array([each.count for each in counts])
    errors = np.abs(np.stack([count_above(scores[each.well], thresholds) for each in counts]) - truth[:, None])
    chosen = _middle_of_least(errors.mean(axis=0))
    left_out = None
    if len(counts) > 2:
        without = [(errors.sum(axis=0) - own) for own in errors]
        left_out = float(np.mean([own[_middle_of_least(rest)] for own, rest in zip(errors, without, strict=True)]))
    return Suggestion(float(thresholds[chosen]), float(errors[:, chosen].mean()), left_out, chosen == 0)


def _middle_of_least(errors: NDArray[np.float64]) -> int:
    least = np.flatnonzero(np.isclose(errors, errors.min()))
    return int(least[len(least) // 2])


def confidence_of_bias(deviation: float | None, n_wells: int) -> float | None:
    """Return half of the 95 % confidence interval of a bias (Student's t), or None for fewer than two wells."""
    if deviation is None or n_wells < 2:
        return None
    return float(student.ppf(0.975, n_wells - 1) * deviation / n_wells**0.5)
