import csv
from functools import partial

import numpy as np
import openpyxl
import pytest
from scipy import stats

from noise_mm.csv_table import write_table
from noise_mm.report.folder import SummaryOptions, write_folder
from noise_mm.report.plate_map import read_plate_map
from noise_mm.report.tables import CELL_COLUMNS, WELL_COLUMNS


def rows_of(path):
    return list(csv.DictReader(path.open(encoding='utf-8')))


def test_a_row_for_each_well_written_anew_each_time(record, tmp_path):
    records = [record('B2', 3), record('A1', 0)]
    for _ in range(2):
        assert write_folder(tmp_path, records, is_complete=False) == []
    rows = rows_of(tmp_path / 'wells.csv')
    assert tuple(rows[0]) == WELL_COLUMNS
    assert [(row['well'], row['count'], row['mean_area_um2']) for row in rows] == [
        ('B2', '3', '600.0'),
        ('A1', '0', ''),
    ]
    assert {path.name for path in tmp_path.iterdir()} == {'wells.csv', 'index.html'}


def test_conditions(record, tmp_path):
    (tmp_path / 'plate.csv').write_text('well,condition,dose\nA2,drug,5\nA1,control,0\nA3,control,0\nH1,drug,1\n')
    records = [record('A1', 4), record('A2', 6), record('A3', 8), record('A4', 9)]
    notes = write_folder(tmp_path, records, SummaryOptions(read_plate_map(tmp_path / 'plate.csv')), is_complete=False)
    wells = rows_of(tmp_path / 'wells.csv')
    assert list(wells[0])[:4] == ['well', 'condition', 'dose', 'count']
    assert [(row['condition'], row['dose']) for row in wells] == [
        ('control', '0'),
        ('drug', '5'),
        ('control', '0'),
        ('', ''),
    ]
    drug, control = rows_of(tmp_path / 'conditions.csv')
    assert (drug['condition'], drug['wells'], drug['count_mean'], drug['count_sd']) == ('drug', '1', '6.0', '')
    assert (control['wells'], control['count_mean'], control['count_sd']) == ('2', '6.0', '2.82843')
    assert (tmp_path / 'conditions.png').read_bytes().startswith(b'\x89PNG')
    assert [note.partition(': ')[2] for note in notes] == [
        'no condition for A4; left out of the conditions',
        'no results for H1',
        '',
    ]
    assert notes[2].startswith('n counts wells, which are not independent')
    page = (tmp_path / 'index.html').read_text(encoding='utf-8')
    assert 'no results for H1' in page and '<h2>Conditions</h2>' in page


def test_a_map_of_other_wells(record, tmp_path):
    (tmp_path / 'plate.csv').write_text('well,condition\nH1,drug\n')
    notes = write_folder(tmp_path, [record('A1', 4)], SummaryOptions(read_plate_map(tmp_path / 'plate.csv')), False)
    assert len(notes) == 2
    assert rows_of(tmp_path / 'conditions.csv') == []
    assert not (tmp_path / 'conditions.png').exists()


def test_conditions_of_an_earlier_run_do_not_stay(record, tmp_path):
    (tmp_path / 'plate.csv').write_text('well,condition\nA1,drug\n')
    (tmp_path / 'others.csv').write_text('well,condition\nH1,drug\n')
    write_folder(tmp_path, [record('A1', 4)], SummaryOptions(read_plate_map(tmp_path / 'plate.csv')), False)
    assert (tmp_path / 'conditions.png').exists()
    write_folder(tmp_path, [record('A1', 4)], SummaryOptions(read_plate_map(tmp_path / 'others.csv')), False)
    assert not (tmp_path / 'conditions.png').exists()
    write_folder(tmp_path, [record('A1', 4)], SummaryOptions(read_plate_map(tmp_path / 'plate.csv')), False)
    write_folder(tmp_path, [record('A1', 4)], is_complete=False)
    assert not list(tmp_path.glob('conditions.*'))
    (tmp_path / 'conditions.csv').write_text('well,condition\n')  # of the user
    write_folder(tmp_path, [record('A1', 4)], is_complete=False)
    assert (tmp_path / 'conditions.csv').exists()


def test_a_table_is_never_half_written(record, tmp_path, monkeypatch):
    write_folder(tmp_path, [record('A1', 4)], is_complete=False)
    before = (tmp_path / 'wells.csv').read_bytes()

    def fail(*arguments):
        raise OSError('no')

    monkeypatch.setattr('os.replace', fail)
    with pytest.raises(OSError, match='no'):
        write_folder(tmp_path, [record('A1', 5)], is_complete=False)
    assert (tmp_path / 'wells.csv').read_bytes() == before


def test_fields_of_a_well_are_summed_and_listed(record, tmp_path):
    records = [record('A1_s1', 4), record('A1_s2', 6), record('B1_s1', 8)]
    notes = write_folder(tmp_path, records, is_complete=False)
    assert 'fields of 2 wells' in notes[0]
    wells = rows_of(tmp_path / 'wells.csv')
    assert [(row['well'], row['position'], row['fields'], row['count']) for row in wells] == [
        ('A1', 'A1', '2', '10'),
        ('B1_s1', 'B1', '1', '8'),
    ]
    fields = rows_of(tmp_path / 'fields.csv')
    assert [(row['well'], row['field'], row['image'], row['count']) for row in fields] == [
        ('A1', 's1', 'A1_s1', '4'),
        ('A1', 's2', 'A1_s2', '6'),
        ('B1_s1', '', 'B1_s1', '8'),
    ]
    write_folder(tmp_path, records[2:], is_complete=False)
    assert not (tmp_path / 'fields.csv').exists()


def test_tidy_tables(record, tmp_path):
    (tmp_path / 'map.csv').write_text('well,condition,donor\nA1,+LPS,7\nB1,ctrl,8\n')
    for name in ('p_A1', 'p_B1'):
        row = dict.fromkeys(CELL_COLUMNS, 1.5) | {'name': 'osteoclast_0001', 'class': 'osteoclast'}
        write_table(tmp_path / f'{name}_cells.csv', CELL_COLUMNS, [row, row])
    options = SummaryOptions(read_plate_map(tmp_path / 'map.csv'))
    write_folder(tmp_path, [record('p_A1', 2), record('p_B1', 2)], options)
    cells = rows_of(tmp_path / 'cells.csv')
    assert len(cells) == 4
    assert [cells[0][name] for name in ('plate', 'well', 'field', 'condition', 'replicate')] == [
        'p',
        'p_A1',
        '',
        "'+LPS",
        '7',
    ]
    book = openpyxl.load_workbook(tmp_path / 'results.xlsx')
    assert book.sheetnames == ['wells', 'conditions', 'cells', 'notes']
    header, first, *rest = book['cells'].iter_rows(values_only=True)
    values = dict(zip(header, first, strict=True))
    assert len(rest) == 3
    assert (values['condition'], values['replicate'], values['area_um2']) == ('+LPS', 7, 1.5)
    assert book['cells']['D2'].data_type == 's'
    assert book['wells']['D2'].value == 2


def test_tidy_tables_of_an_earlier_run_do_not_stay(record, tmp_path):
    write_table(tmp_path / 'A1_cells.csv', CELL_COLUMNS, [dict.fromkeys(CELL_COLUMNS, 1)])
    write_folder(tmp_path, [record('A1', 1)])
    assert (tmp_path / 'cells.csv').exists() and (tmp_path / 'results.xlsx').exists()
    write_folder(tmp_path, [record('A1', 1)], is_complete=False)
    assert not (tmp_path / 'cells.csv').exists() and not (tmp_path / 'results.xlsx').exists()


@pytest.mark.parametrize('test', ['welch', 'mann-whitney'])
def test_the_comparison_can_be_recomputed_from_the_table_of_wells(record, tmp_path, test):
    """Four conditions, each of three donors with two wells of one plate; as a reader would check them with SciPy."""
    rng = np.random.default_rng(1)
    lines, records = ['well,condition,donor,control'], []
    for row, (condition, mean) in enumerate({'vehicle': 20, 'low': 30, 'high': 60, 'none': 20}.items()):
        for column in range(6):
            well = f'{"ABCD"[row]}{column + 1}'
            lines.append(f'{well},{condition},d{column // 2},{"yes" if condition == "vehicle" else ""}')
            records.append(record(well, int(rng.normal(mean, 4))))
    (tmp_path / 'map.csv').write_text('\n'.join(lines))
    write_folder(tmp_path, records, SummaryOptions(read_plate_map(tmp_path / 'map.csv'), test=test), is_complete=False)
    means = {}
    for row in rows_of(tmp_path / 'wells.csv'):
        means.setdefault(row['condition'], {}).setdefault(row['donor'], []).append(float(row['count']))
    means = {name: [np.mean(wells) for wells in donors.values()] for name, donors in means.items()}
    others = [name for name in means if name != 'vehicle']
    function = {'welch': partial(stats.ttest_ind, equal_var=False), 'mann-whitney': stats.mannwhitneyu}[test]
    raw = np.array([function(means[name], means['vehicle']).pvalue for name in others])
    order = np.argsort(raw)
    holm = np.empty(3)
    holm[order] = np.minimum(np.maximum.accumulate(raw[order] * [3, 2, 1]), 1)
    table = {row['condition']: row for row in rows_of(tmp_path / 'conditions.csv')}
    for name, values in means.items():
        assert (table[name]['wells'], table[name]['count_n'], table[name]['unit']) == ('6', '3', 'donor')
        assert float(table[name]['count_mean']) == pytest.approx(np.mean(values), rel=1e-5)
        assert float(table[name]['count_sd']) == pytest.approx(np.std(values, ddof=1), rel=1e-5)
    assert [float(table[name]['count_p_holm']) for name in others] == pytest.approx(holm, rel=1e-5)
    assert table['vehicle']['count_p_holm'] == ''


def test_tables_in_pandas(record, tmp_path):
    pandas = pytest.importorskip('pandas')
    for name in ('p_A1', 'p_B1'):
        row = dict.fromkeys(CELL_COLUMNS, 1.5) | {'class': 'osteoclast'}
        write_table(
            tmp_path / f'{name}_cells.csv', CELL_COLUMNS, [row | {'name': f'osteoclast_{i:04d}'} for i in (1, 2)]
        )
    write_folder(tmp_path, [record('p_A1', 2, quality_flags='', sharpness=0.1), record('p_B1', 2)])
    sheets = pandas.read_excel(tmp_path / 'results.xlsx', sheet_name=None)
    assert list(sheets) == ['wells', 'cells', 'notes']
    assert list(sheets['wells']['quality_flags'].fillna('')) == ['out of focus', '']
    assert sheets['wells']['count'].tolist() == [2, 2]
    cells = pandas.read_csv(tmp_path / 'cells.csv')
    assert not cells.duplicated(['plate', 'well', 'field', 'name']).any()
    pandas.testing.assert_frame_equal(cells, sheets['cells'], check_dtype=False)
    assert cells.groupby('well').size().to_dict() == {'p_A1': 2, 'p_B1': 2}
