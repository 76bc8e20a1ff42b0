"""Arms of a study against each other: bootstrap intervals over wells, the share of a gap, and their curves. Pure.

The wells of each batch are drawn with replacement, as many as there are, and the AP of all arms is computed again on
the same draw (paired bootstrap; Efron and Tibshirani 1993, chapter 13: percentile interval). What the interval holds is
the variation between wells. That of another training (seed) or another batch is not in it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noise_mm.errors import InputError
from noise_mm.evaluation.matches_file import Well, WellMatches
from noise_mm.evaluation.table_formats import Row, Table

DRAWS = 1000
PERCENTILES = (2.5, 97.5)


@dataclass(frozen=True)
class Arm:
    """One configuration with one seed.

    Attributes:
        name: For tables and figures.
        folds: Its runs; the AP of the arm is their mean.
    """

    name: str
    folds: Sequence[WellMatches]

    def aps(self, times: dict[Well, int] | None = None) -> NDArray[np.float64]:
        """Return the AP at each threshold, each well counting so many times (once)."""
        return np.mean([[score.ap for score in fold.mean_scores(times)] for fold in self.folds], axis=0)

    def curves(self) -> NDArray[np.float64]:
        """Return the precision at the recalls 0, 0.01, ..., 1 for each threshold, (thresholds, 101)."""
        return np.mean([[score.precision_at_recall for score in fold.mean_scores()] for fold in self.folds], axis=0)

    def objects_of_wells(self) -> dict[Well, int]:
        """Return how many objects each well has."""
        return {well: n for fold in self.folds for well, n in fold.objects_of_wells().items()}


def difference_table(
    arms: Sequence[Arm], measured: str, draws: int = DRAWS, seed: int = 0, progress: Callable[[], None] | None = None
) -> Table:
    """Return the difference of two arms at each threshold with its interval.

    Args:
        arms: The baseline and the method; with a third arm, such as training on the domain that is tested, the share
            (method - baseline) / (third - baseline) of the gap that the method recovers is shown too.
        measured: For the title: how the numbers were measured.
        draws: How often wells are drawn.
        seed: Of the random numbers.
        progress: Called after each draw.

    Raises:
        InputError: If the arms were not tested on the same wells.
    """
    _require_same_wells(arms)
    wells = sorted(arms[0].objects_of_wells())
    point = np.array([arm.aps() for arm in arms])
    drawn = np.zeros((draws, *point.shape))
    for number, times in enumerate(_draws(wells, draws, seed)):
        drawn[number] = [arm.aps(times) for arm in arms]
        if progress is not None:
            progress()
    baseline, method, *_ = arms
    columns = [baseline.name, method.name, 'difference', '95 % interval']
    shown = [point[0], point[1], point[1] - point[0], _intervals(drawn[:, 1] - drawn[:, 0])]
    if len(arms) > 2:
        columns += [arms[2].name, 'share of the gap', '95 % interval of the share']
        with np.errstate(divide='ignore', invalid='ignore'):
            shown += [point[2], _share(point), _intervals(_share(drawn.swapaxes(0, 1)))]
    rows = [
        Row((f'AP at IoU {thr:.2f}',), [each if isinstance(each, str) else f'{each:.3f}' for each in cells])
        for thr, *cells in zip(baseline.folds[0].iou_thrs, *shown, strict=True)
    ]
    batches = sorted({batch for batch, _ in wells})
    what = f'{draws} draws of {len(wells)} wells within {", ".join(batches)}, percentile interval, seed {seed}'
    return Table(f'Differences ({measured}; {what})', ('',), [(name, '') for name in columns], rows)


def single_wells(arm: Arm) -> list[str]:
    """Return the batches of only one well: how wells of these vary is not in the interval."""
    batches = [batch for batch, _ in arm.objects_of_wells()]
    return sorted({batch for batch in batches if batches.count(batch) == 1})


def _require_same_wells(arms: Sequence[Arm]) -> None:
    first = arms[0]
    for arm in arms[1:]:
        ours, theirs = first.objects_of_wells(), arm.objects_of_wells()
        other = sorted(well for well in {**ours, **theirs} if ours.get(well) != theirs.get(well))
        if other:
            raise InputError(
                f'{first.name} and {arm.name} were not tested on the same objects (well {"/".join(other[0])}: '
                f'{ours.get(other[0], "none")} and {theirs.get(other[0], "none")}). Test both on the same data.'
            )
        if arm.folds[0].iou_thrs != first.folds[0].iou_thrs:
            raise InputError(f'{first.name} and {arm.name} have different IoU thresholds. Test both with the same.')


def _draws(wells: Sequence[Well], draws: int, seed: int) -> Iterator[dict[Well, int]]:
    """Yield how often each well is drawn."""
    rng = np.random.default_rng(seed)
    by_batch = {batch: [well for well in wells if well[0] == batch] for batch, _ in wells}
    for _ in range(draws):
        times = {}
        for members in by_batch.values():
            counts = rng.multinomial(len(members), np.full(len(members), 1 / len(members)))
            times |= dict(zip(members, counts.tolist(), strict=True))
        yield times


def _share(aps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of the gap from the AP of baseline, method and third arm."""
    return (aps[1] - aps[0]) / (aps[2] - aps[0])


def _intervals(values: NDArray[np.float64]) -> list[str]:
    """Return the percentile interval of each column of (draws, thresholds) values; '-' if some are not defined."""
    bounds = np.percentile(values, PERCENTILES, axis=0).T
    return [f'{low:.3f} to {high:.3f}' if np.isfinite([low, high]).all() else '-' for low, high in bounds]
