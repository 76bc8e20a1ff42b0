import numpy as np
import pytest
from openpyxl import Workbook
from scipy import stats

from noise_mm.errors import InputError
from noise_mm.evaluation.hand_counts import (
    HandCount,
    confidence_of_bias,
    count_above,
    read_hand_counts,
    read_scores,
    suggest_threshold,
)


@pytest.mark.parametrize(
    'text',
    [
        'well,count,plate\nA1,12,p7\nA2,0,p7\n',
        '\ufeffplate;Well;COUNT\np7;A1;12\np7;A2;0\n',
        'well,count,batch\r\nA1,12,p7\r\n\r\nA2,0,p7\r\n',
    ],
)
def test_tables_of_any_spreadsheet_are_read(tmp_path, text):
    (tmp_path / 'counts.csv').write_text(text, encoding='utf-8')
    assert read_hand_counts(tmp_path / 'counts.csv') == [HandCount('A1', 12, 'p7'), HandCount('A2', 0, 'p7')]


def test_xlsx_is_read(tmp_path):
    book = Workbook()
    for row in (['well', 'count'], ['A1', 12], [None, None], ['B2', 3]):
        book.active.append(row)
    book.save(tmp_path / 'counts.xlsx')
    assert read_hand_counts(tmp_path / 'counts.xlsx') == [HandCount('A1', 12), HandCount('B2', 3)]


@pytest.mark.parametrize(
    ('name', 'content', 'words'),
    [
        ('c.csv', b'well;number\nA1;3\n', "no column 'count'"),
        ('c.csv', b'well,count\nA1,many\n', "row 2: count 'many'"),
        ('c.csv', b'well,count\nA1,-1\n', "row 2: count '-1'"),
        ('c.csv', b'well,count\nA1,nan\n', "row 2: count 'nan'"),
        ('c.csv', b'well,count\nA1,3\nA1,4\n', "row 3: the well 'A1'"),
        ('c.csv', b'well,count\n', 'no row with a count'),
        ('c.csv', b'', 'not a CSV table'),
        ('c.csv', b'\xff\xfe\x00', 'not a CSV table'),
        ('c.xlsx', b'no workbook', 'not an XLSX workbook'),
        ('absent.csv', None, 'no such file'),
    ],
)
def test_bad_tables_are_refused_with_the_row(tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_hand_counts(tmp_path / name)


def test_scores_come_from_the_osteoclasts_of_the_tables(tmp_path):
    (tmp_path / 'A1_cells.csv').write_text(
        'name,class,score\n1,osteoclast,0.9\n2,pre-osteoclast,0.8\n3,osteoclast,0.3\n'
    )
    assert read_scores(tmp_path, ['A1'])['A1'].tolist() == [0.9, 0.3]
    with pytest.raises(InputError, match=r'no B1_cells.csv \(and 1 more: B2\)'):
        read_scores(tmp_path, ['A1', 'B1', 'B2'])


def test_counts_above_thresholds_equal_brute_force():
    rng = np.random.default_rng(0)
    scores, thresholds = rng.random(50).round(2), rng.random(20).round(2)
    assert count_above(scores, thresholds).tolist() == [(scores >= t).sum() for t in thresholds]


def test_the_suggested_threshold_is_the_best_of_all():
    rng = np.random.default_rng(1)
    scores = {f'w{i}': rng.random(40) for i in range(12)}
    counts = [HandCount(well, float((values > 0.6).sum() + rng.integers(-1, 2))) for well, values in scores.items()]
    found = suggest_threshold(counts, scores)

    def error(threshold):
        return np.mean([abs((scores[each.well] >= threshold).sum() - each.count) for each in counts])

    assert found.error == pytest.approx(error(found.threshold))
    assert found.error <= min(error(t) for t in np.linspace(0, 1.01, 2000)) + 1e-9
    assert found.error_left_out >= found.error
    assert 0.5 < found.threshold < 0.7 and not found.at_lower_end


def test_too_few_predicted_cells_are_noticed():
    assert suggest_threshold([HandCount('a', 9)], {'a': np.array([0.5, 0.4])}).at_lower_end
    assert suggest_threshold([HandCount('a', 9)], {'a': np.array([])}) is None


def test_confidence_of_a_bias_is_that_of_a_t_test():
    differences = np.array([1.0, -2, 4, 0, 3])
    low, high = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    half = confidence_of_bias(float(differences.std(ddof=1)), 5)
    assert (differences.mean() - half, differences.mean() + half) == pytest.approx((low, high))
    assert confidence_of_bias(None, 1) is None
