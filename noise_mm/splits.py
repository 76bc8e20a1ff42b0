"""Draws the validation part of a training set. Pure; no files."""

import hashlib
from collections import Counter
from collections.abc import Hashable, Iterable

from noise_mm.errors import InputError

Unit = tuple[str, str]  # batch, and well or patch


def draw_validation_units(units: Iterable[Unit], val_fraction: float, seed: Hashable) -> set[Unit]:
    """The units (wells or patches) that are held back for validation.

    The units of all batches are pooled and put into an order that depends only on `seed` and their own names, so that
    neither the order of files nor a batch added later reshuffles them. The first `val_fraction` of them, rounded, are
    drawn: at least one, and not all. A unit is passed over if it is the last one its batch has left for training; only
    where that leaves too few, batches of a single unit go to validation whole.

    Args:
        units: Batch and name of each unit; repetitions count once.
        val_fraction: Share of the units to draw, between 0 and 1.
        seed: Another seed gives another choice.

    Raises:
        InputError: If the fraction is not between 0 and 1, or there are fewer than two units.
    """
    if not 0 < val_fraction < 1:
        raise InputError(f'val_fraction must lie between 0 and 1, got {val_fraction}. The usual value is 0.2.')
    ordered = sorted(set(units), key=lambda unit: hashlib.sha256(repr((seed, unit)).encode()).digest())
    if len(ordered) < 2:
        raise InputError(
            f'cannot hold back a validation part: there is only {len(ordered)} unit to split. '
            "Set split_unit='patch', or add wells."
        )
    wanted = min(max(1, round(val_fraction * len(ordered))), len(ordered) - 1)
    whole = Counter(batch for batch, _ in ordered)
    left = whole.copy()
    drawn: set[Unit] = set()
    for unit in ordered:
        if len(drawn) < wanted and left[unit[0]] > 1:
            drawn.add(unit)
            left[unit[0]] -= 1
    single = [unit for unit in ordered if whole[unit[0]] == 1]
    return drawn | set(single[: wanted - len(drawn)])
