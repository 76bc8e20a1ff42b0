import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from noise_mm.evaluation.agreement import agreement

COUNTS = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=3, max_size=12)


@settings(deadline=None)
@given(COUNTS)
def test_equal_to_scipy_and_to_the_definitions(pairs):
    truth, found = np.array(pairs, dtype=float).T
    values = agreement(truth, found)
    if np.ptp(truth) and np.ptp(found):
        assert values.pearson == pytest.approx(stats.pearsonr(truth, found).statistic, abs=1e-9)
        assert values.spearman == pytest.approx(stats.spearmanr(truth, found).statistic, abs=1e-9)
        # Lin's coefficient as correlation times bias correction, which is how his paper explains it.
        scale, shift = found.std() / truth.std(), (found.mean() - truth.mean()) / np.sqrt(found.std() * truth.std())
        expected = values.pearson * 2 / (scale + 1 / scale + shift**2)
        assert values.concordance == pytest.approx(expected, abs=1e-9)
    else:
        assert values.pearson is values.spearman is None
    differences = found - truth
    assert values.bias == pytest.approx(np.mean(differences))
    margin = 1.96 * np.sqrt(((differences - differences.mean()) ** 2).sum() / (len(pairs) - 1))
    assert (values.lower_limit, values.upper_limit) == pytest.approx((values.bias - margin, values.bias + margin))
    there = truth > 0
    assert values.n_percentages == there.sum()
    if there.any():
        assert values.absolute_percentage_error == pytest.approx(100 * np.mean(abs(differences[there]) / truth[there]))


def test_a_worked_example():
    values = agreement([10, 20, 30], [12, 20, 34])
    assert (values.n_wells, values.bias, values.deviation) == (3, 2.0, 2.0)
    assert (values.lower_limit, values.upper_limit) == pytest.approx((-1.92, 5.92))
    assert values.absolute_percentage_error == pytest.approx((20 + 0 + 40 / 3) / 3)


def test_a_constant_shift_spoils_the_concordance_only():
    values = agreement([1, 2, 3], [11, 12, 13])
    assert (values.pearson, values.spearman) == pytest.approx((1, 1))
    assert values.concordance == pytest.approx(2 * (2 / 3) / (4 / 3 + 100))
    assert values.deviation == 0


@pytest.mark.parametrize('n', [0, 1])
def test_too_few_wells(n):
    values = agreement([4] * n, [5] * n)
    assert (values.n_wells, values.bias) == (n, 1.0 if n else None)
    assert values.pearson is values.spearman is values.concordance is values.deviation is values.lower_limit is None


def test_all_wells_the_same_and_empty():
    values = agreement([0, 0], [0, 0])
    assert values.pearson is values.concordance is values.absolute_percentage_error is None
    assert (values.bias, values.lower_limit) == (0, 0)
