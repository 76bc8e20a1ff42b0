import pytest

from noise_mm.errors import InputError
from noise_mm.formats.text_rows import csv_rows, read_text


def test_rows_have_line_numbers_and_blank_ones_are_left_out(tmp_path):
    path = tmp_path / 'a.csv'
    path.write_bytes('\ufeffa,b\r\n\r\n,\r\n"x\ny",2\r\n'.encode())
    assert list(csv_rows(path)) == [(1, ['a', 'b']), (5, ['x\ny', '2'])]


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match='no such file'):
        read_text(tmp_path / 'a.csv')


def test_unreadable_file(tmp_path):
    with pytest.raises(InputError, match='cannot be read'):
        read_text(tmp_path)


def test_not_text(tmp_path):
    path = tmp_path / 'a.csv'
    path.write_bytes(b'\xff\xfe\x00')
    with pytest.raises(InputError, match='not a UTF-8 text file'):
        read_text(path)


def test_open_quote(tmp_path):
    path = tmp_path / 'a.csv'
    path.write_text('a,"b\n')
    with pytest.raises(InputError, match=r'a\.csv: line 1: '):
        list(csv_rows(path))
