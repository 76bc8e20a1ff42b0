import statistics
from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy import stats

from noise_mm.report.conditions import (
    CONDITION_COLUMNS,
    Design,
    box_plot,
    condition_rows,
    design_notes,
    holm,
    shown_measures,
)


@pytest.fixture
def rows(record):
    counts = {'A1': 10, 'A2': 14, 'A3': 0, 'B1': 5, 'B2': 99}
    return [record(well, count, nuclei=3 * count, fusion_index=None)['row'] for well, count in counts.items()]


CONDITION_OF = {'B1': 'RANKL', 'A1': 'control', 'A2': 'control', 'A3': 'control'}


def test_means_and_sample_deviations(rows):
    rankl, control = condition_rows(rows, Design(CONDITION_OF, {}))
    assert tuple(control) == CONDITION_COLUMNS
    assert (control['condition'], control['wells']) == ('control', 3)
    assert (control['count_n'], control['count_mean']) == (3, 8)
    assert control['count_sd'] == pytest.approx(np.std([10, 14, 0], ddof=1), rel=1e-5)
    assert control['nuclei_sd'] == pytest.approx(statistics.stdev([30, 42, 0]), rel=1e-5)
    assert (rankl['condition'], rankl['wells'], rankl['count_mean'], rankl['count_sd']) == ('RANKL', 1, 5, None)


def test_wells_without_a_value_are_left_out_and_n_says_so(rows):
    control = condition_rows(rows, Design(CONDITION_OF, {}))[1]
    assert (control['mean_area_um2_n'], control['mean_area_um2_mean'], control['mean_area_um2_sd']) == (2, 600, 0)
    assert (control['fusion_index_n'], control['fusion_index_mean'], control['fusion_index_sd']) == (0, None, None)


def test_no_conditions(rows):
    assert condition_rows(rows, Design({}, {})) == []


@pytest.mark.parametrize('names', [('control', 'RANKL'), ('a long name of a condition with $ in it', 'another $ name')])
def test_box_plot(rows, names):
    condition_of = {well: names[name == 'RANKL'] for well, name in CONDITION_OF.items()}
    data = box_plot(rows, Design(condition_of, {}))
    assert data == box_plot(rows, Design(condition_of, {}))
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert len(shown_measures(rows)) == 5
    assert picture.shape[1] > picture.shape[0] > 400
    for colour in ((180, 119, 31), (14, 127, 255)):  # of both conditions, in BGR; points let some white through
        point = 0.75 * np.array(colour) + 0.25 * 255
        assert (np.abs(picture - point).max(axis=2) < 6).sum() > 20


@pytest.fixture
def study(record):
    """Two conditions of three mice with two wells each, and a third condition of one mouse."""
    rng = np.random.default_rng(0)
    condition_of, replicate_of, rows = {}, {}, []
    for condition, mean, mice in (('vehicle', 20, 3), ('drug', 40, 3), ('other', 20, 1)):
        for mouse in range(mice):
            for well in range(2):
                name = f'{condition}{mouse}{well}'
                condition_of[name], replicate_of[name] = condition, f'{condition} mouse {mouse}'
                rows.append(record(name, int(rng.normal(mean, 3)))['row'])
    return rows, Design(condition_of, replicate_of, 'mouse', 'vehicle')


def means_of(rows, design, condition):
    values = {}
    for row in rows:
        if design.condition_of[row['well']] == condition:
            values.setdefault(design.replicate_of[row['well']], []).append(row['count'])
    return [np.mean(of_mouse) for of_mouse in values.values()]


def test_biological_replicates_are_the_unit_of_n(study):
    rows, design = study
    vehicle, drug, other = condition_rows(rows, design)
    expected = means_of(rows, design, 'drug')
    assert (drug['wells'], drug['replicates'], drug['unit'], drug['count_n']) == (6, 3, 'mouse', 3)
    assert drug['count_mean'] == pytest.approx(np.mean(expected), rel=1e-5)
    assert drug['count_sd'] == pytest.approx(np.std(expected, ddof=1), rel=1e-5)
    assert (other['count_n'], other['count_sd'], other['count_p_holm']) == (1, None, None)
    assert vehicle['count_p_holm'] is None
    assert vehicle['control'] == 'vehicle'


@pytest.mark.parametrize('test', ['welch', 'mann-whitney'])
def test_tests_against_the_control_are_those_of_scipy(study, test):
    rows, design = study
    drug = condition_rows(rows, replace(design, test=test))[1]
    one, other = means_of(rows, design, 'drug'), means_of(rows, design, 'vehicle')
    whole = stats.ttest_ind(one, other, equal_var=False) if test == 'welch' else stats.mannwhitneyu(one, other)
    assert drug['count_p_holm'] == pytest.approx(whole.pvalue, rel=1e-5)
    assert drug['test'].startswith({'welch': 'Welch', 'mann-whitney': 'Mann'}[test])


def test_wells_are_not_tested_as_if_they_were_independent(study):
    rows, design = study
    drug = condition_rows(rows, replace(design, replicate_of={}, unit='well'))[1]
    assert (drug['count_n'], drug['unit'], drug['test'], drug['count_p_holm']) == (6, 'well', None, None)
    assert 'not independent' in design_notes(rows, replace(design, replicate_of={}))[0]
    assert 'no condition is marked as the control' in design_notes(rows, replace(design, control=None))[0]


def test_holm():
    """As R's p.adjust(c(0.01, 0.04, 0.03, 0.005), 'holm')."""
    corrected = holm({'a': 0.01, 'b': 0.04, 'c': 0.03, 'd': 0.005})
    assert corrected == pytest.approx({'a': 0.03, 'b': 0.06, 'c': 0.06, 'd': 0.02})
    assert holm({}) == {}
