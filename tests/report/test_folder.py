import csv

import pytest

from noise_mm.report.folder import write_folder
from noise_mm.report.plate_map import read_plate_map
from noise_mm.report.tables import WELL_COLUMNS


def rows_of(path):
    return list(csv.DictReader(path.open(encoding='utf-8')))


def test_a_row_for_each_well_written_anew_each_time(record, tmp_path):
    records = [record('B2', 3), record('A1', 0)]
    for _ in range(2):
        assert write_folder(tmp_path, records) == []
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
    notes = write_folder(tmp_path, records, read_plate_map(tmp_path / 'plate.csv'))
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
    ]
    page = (tmp_path / 'index.html').read_text(encoding='utf-8')
    assert 'no results for H1' in page and 'Box plots by condition' in page


def test_a_map_of_other_wells(record, tmp_path):
    (tmp_path / 'plate.csv').write_text('well,condition\nH1,drug\n')
    notes = write_folder(tmp_path, [record('A1', 4)], read_plate_map(tmp_path / 'plate.csv'))
    assert len(notes) == 2
    assert rows_of(tmp_path / 'conditions.csv') == []
    assert not (tmp_path / 'conditions.png').exists()


def test_conditions_of_an_earlier_run_do_not_stay(record, tmp_path):
    (tmp_path / 'plate.csv').write_text('well,condition\nA1,drug\n')
    (tmp_path / 'others.csv').write_text('well,condition\nH1,drug\n')
    write_folder(tmp_path, [record('A1', 4)], read_plate_map(tmp_path / 'plate.csv'))
    assert (tmp_path / 'conditions.png').exists()
    write_folder(tmp_path, [record('A1', 4)], read_plate_map(tmp_path / 'others.csv'))
    assert not (tmp_path / 'conditions.png').exists()
    write_folder(tmp_path, [record('A1', 4)], read_plate_map(tmp_path / 'plate.csv'))
    write_folder(tmp_path, [record('A1', 4)])
    assert not list(tmp_path.glob('conditions.*'))
    (tmp_path / 'conditions.csv').write_text('well,condition\n')  # of the user
    write_folder(tmp_path, [record('A1', 4)])
    assert (tmp_path / 'conditions.csv').exists()


def test_a_table_is_never_half_written(record, tmp_path, monkeypatch):
    write_folder(tmp_path, [record('A1', 4)])
    before = (tmp_path / 'wells.csv').read_bytes()

    def fail(*arguments):
        raise OSError('no')

    monkeypatch.setattr('os.replace', fail)
    with pytest.raises(OSError, match='no'):
        write_folder(tmp_path, [record('A1', 5)])
    assert (tmp_path / 'wells.csv').read_bytes() == before
