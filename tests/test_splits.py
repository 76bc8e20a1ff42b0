"""The drawing of the validation part."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noise_mm.errors import InputError
from noise_mm.splits import draw_validation_units

UNITS = st.sets(
    st.tuples(st.sampled_from(['M1', 'M2', 'H1']), st.sampled_from([f'w{i}' for i in range(8)])), min_size=2
)


@settings(max_examples=200, deadline=None)
@given(UNITS, st.floats(0.01, 0.99), st.integers(0, 100))
def test_both_parts_have_units_and_no_batch_loses_all(units: set, fraction: float, seed: int) -> None:
    drawn = draw_validation_units(units, fraction, seed)
    assert drawn <= units
    assert drawn
    assert units - drawn
    wells, held_back = Counter(b for b, _ in units), Counter(b for b, _ in drawn)
    for batch, count in wells.items():
        assert held_back[batch] < count or count == 1


@settings(max_examples=50, deadline=None)
@given(UNITS, st.integers(0, 100))
def test_the_order_and_number_of_files_do_not_matter(units: set, seed: int) -> None:
    shuffled = [unit for unit in units for _ in range(3)]
    random.Random(seed).shuffle(shuffled)
    assert draw_validation_units(shuffled, 0.2, seed) == draw_validation_units(units, 0.2, seed)


def test_the_share_is_that_asked_for_and_the_seed_matters() -> None:
    units = [(f'M{i}', f'w{j}') for i in range(5) for j in range(6)]
    draws = [frozenset(draw_validation_units(units, 0.2, seed)) for seed in range(20)]
    assert {len(drawn) for drawn in draws} == {6}
    assert len(set(draws)) > 15


def test_another_batch_does_not_reorder_the_units() -> None:
    old = [('M1', f'w{i}') for i in range(10)]
    new = old + [('M2', f'w{i}') for i in range(10)]
    kept = draw_validation_units(new, 0.2, 0) & set(old)
    # The order among the old units is the same, so those drawn from them are the first of it.
    ranked = [draw_validation_units(old, share / 10, 0) for share in range(1, 10)]
    assert not kept or kept in ranked


@pytest.mark.parametrize('fraction', [0, 1, -0.2, 1.5])
def test_a_fraction_outside_its_range_is_refused(fraction: float) -> None:
    with pytest.raises(InputError, match='between 0 and 1'):
        draw_validation_units([('M1', 'a'), ('M1', 'b')], fraction, 0)


def test_one_well_cannot_be_split() -> None:
    with pytest.raises(InputError, match="split_unit='patch'"):
        draw_validation_units([('M1', 'a'), ('M1', 'a')], 0.2, 0)


def test_a_batch_of_one_well_is_trained_on_if_others_can_spare_one():
    """Such as one well with corrected outlines, added to what there was."""
    units = [('M1', 'a'), ('M1', 'b'), ('M1', 'c'), ('M2', 'd'), ('M2', 'e')]
    for seed in range(20):
        assert ('corrected', 'x') not in draw_validation_units([*units, ('corrected', 'x')], 0.2, seed)
    assert len(draw_validation_units([('A', 'x'), ('B', 'y')], 0.2, 0)) == 1
