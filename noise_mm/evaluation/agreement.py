"""How well two measurements of the same wells agree, such as counts by hand and by a model. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import pearsonr, spearmanr

NORMAL_95 = 1.96  # 95 % of a normal distribution lie within so many standard deviations, as Bland and Altman have it


@dataclass(frozen=True)
class Agreement:
    """Agreement of predicted with annotated values; None for what is not defined, such as correlations of one well.

    Attributes:
        n_wells: Number of wells.
        pearson: Correlation coefficient.
        spearman: Correlation of the ranks, equal values having their mean rank.
        concordance: Lin's coefficient: 2 cov / (var + var + (difference of the means)^2), variances divided by n
            (Lin 1989, doi:10.2307/2532051). Unlike a correlation it is 1 only if the values are equal.
        bias: Mean of predicted minus annotated (Bland and Altman 1986, doi:10.1016/S0140-6736(86)90837-8).
        deviation: Sample standard deviation (divided by n - 1) of these differences.
        lower_limit: Lower 95 % limit of agreement: bias - 1.96 deviations.
        upper_limit: Upper 95 % limit of agreement.
        absolute_percentage_error: Mean of |predicted - annotated| / annotated in percent, over the wells in which
            the annotated value is not 0.
        n_percentages: How many these are.
    """

    n_wells: int
    pearson: float | None
    spearman: float | None
    concordance: float | None
    bias: float | None
    deviation: float | None
    lower_limit: float | None
    upper_limit: float | None
    absolute_percentage_error: float | None
    n_percentages: int


def agreement(annotated: Sequence[float], predicted: Sequence[float]) -> Agreement:
    """Return the agreement of (n,) predicted with (n,) annotated values, one for each well."""
    truth, found = np.asarray(annotated, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    differences = found - truth
    bias = float(differences.mean()) if len(truth) else None
    deviation = float(differences.std(ddof=1)) if len(truth) > 1 else None
    limits = (None, None) if deviation is None else (bias - NORMAL_95 * deviation, bias + NORMAL_95 * deviation)
    both_vary = len(truth) > 1 and np.ptp(truth) > 0 and np.ptp(found) > 0
    there = truth != 0
    percentages = 100 * np.abs(differences[there]) / truth[there]
    return Agreement(
        n_wells=len(truth),
        pearson=float(pearsonr(truth, found).statistic) if both_vary else None,
        spearman=float(spearmanr(truth, found).statistic) if both_vary else None,
        concordance=_concordance(truth, found),
        bias=bias,
        deviation=deviation,
        lower_limit=limits[0],
        upper_limit=limits[1],
        absolute_percentage_error=float(percentages.mean()) if len(percentages) else None,
        n_percentages=len(percentages),
    )


def _concordance(x: NDArray, y: NDArray) -> float | None:
    """Lin's coefficient; None where all values of both sides are the same."""
    if len(x) < 2:
        return None
    spread = x.var() + y.var() + (x.mean() - y.mean()) ** 2
    return float(2 * ((x - x.mean()) * (y - y.mean())).mean() / spread) if spread else None
