import csv

import pytest

from noise_mm.csv_table import write_table


def test_table(tmp_path):
    (tmp_path / 'a.csv').write_text('older\n' * 9)
    write_table(tmp_path / 'a.csv', ('x', 'y', 'z'), [{'x': 1, 'y': 'a,b', 'z': None}])
    assert (tmp_path / 'a.csv').read_text() == 'x,y,z\n1,"a,b",\n'


def test_a_value_without_column_is_refused(tmp_path):
    with pytest.raises(ValueError, match='not in fieldnames'):
        write_table(tmp_path / 'a.csv', ('x',), [{'x': 1, 'y': 2}])
    assert not (tmp_path / 'a.csv').exists()


@pytest.mark.parametrize('text', ['=1+1', '+LPS', '-', '@SUM(A1)', '=HYPERLINK("http://a.b";"c")', '\t=1'])
def test_texts_do_not_become_formulas_and_numbers_stay(tmp_path, text):
    write_table(tmp_path / 'a.csv', ('well', text), [{'well': text, text: -1.5}])
    with open(tmp_path / 'a.csv', newline='') as file:
        assert list(csv.reader(file)) == [['well', f"'{text}"], [f"'{text}", '-1.5']]
