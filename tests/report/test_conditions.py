import statistics

import cv2
import numpy as np
import pytest

from noise_mm.report.conditions import CONDITION_COLUMNS, MEASURES, _aside, box_plot, condition_rows


@pytest.fixture
def rows(record):
    counts = {'A1': 10, 'A2': 14, 'A3': 0, 'B1': 5, 'B2': 99}
    return [record(well, count, nuclei=3 * count, fusion_index=None)['row'] for well, count in counts.items()]


CONDITION_OF = {'B1': 'RANKL', 'A1': 'control', 'A2': 'control', 'A3': 'control'}


def test_means_and_sample_deviations(rows):
    rankl, control = condition_rows(rows, CONDITION_OF)
    assert tuple(control) == CONDITION_COLUMNS
    assert (control['condition'], control['wells']) == ('control', 3)
    assert (control['count_n'], control['count_mean']) == (3, 8)
    assert control['count_sd'] == pytest.approx(np.std([10, 14, 0], ddof=1), rel=1e-5)
    assert control['nuclei_sd'] == pytest.approx(statistics.stdev([30, 42, 0]), rel=1e-5)
    assert (rankl['condition'], rankl['wells'], rankl['count_mean'], rankl['count_sd']) == ('RANKL', 1, 5, None)


def test_wells_without_a_value_are_left_out_and_n_says_so(rows):
    control = condition_rows(rows, CONDITION_OF)[1]
    assert (control['mean_area_um2_n'], control['mean_area_um2_mean'], control['mean_area_um2_sd']) == (2, 600, 0)
    assert (control['fusion_index_n'], control['fusion_index_mean'], control['fusion_index_sd']) == (0, None, None)


def test_no_conditions(rows):
    assert condition_rows(rows, {}) == []


@pytest.mark.parametrize('names', [('control', 'RANKL'), ('a long name of a condition with $ in it', 'another $ name')])
def test_box_plot(rows, names):
    condition_of = {well: names[name == 'RANKL'] for well, name in CONDITION_OF.items()}
    data = box_plot(rows, condition_of)
    assert data == box_plot(rows, condition_of)
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    shown = [name for name in MEASURES if any(row[name] is not None for row in rows)]
    assert len(shown) == 5
    assert picture.shape[1] > picture.shape[0] > 400
    for colour in ((180, 119, 31), (14, 127, 255)):  # of both conditions, in BGR; points let some white through
        point = 0.75 * np.array(colour) + 0.25 * 255
        assert (np.abs(picture - point).max(axis=2) < 6).sum() > 20


@pytest.mark.parametrize('count', range(8))
def test_points_stand_around_the_middle(count):
    places = _aside(count)
    assert len(places) == count
    assert -0.13 < places.min(initial=0) == pytest.approx(-places.max(initial=0))
