import errno
import json
import os
import stat
import time

import pytest

from noise_mm.errors import InputError
from noise_mm.files import (
    FileInUseError,
    delete,
    read_json,
    remove_leftovers,
    replacing,
    require_folder,
    write_all,
    write_json,
    write_text,
)


def test_file_appears_whole_and_readable_by_others(tmp_path):
    path = tmp_path / 'new' / 'a.json'
    write_json(path, {'a': [1, 2]})
    assert read_json(path) == {'a': [1, 2]}
    assert stat.S_IMODE(path.stat().st_mode) & 0o444 == 0o444
    assert os.listdir(path.parent) == ['a.json']


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / 'a.txt'
    write_text(path, 'old')
    with pytest.raises(ValueError, match='stop'), replacing(path) as temporary:
        temporary.write_text('half')
        raise ValueError('stop')
    assert path.read_text() == 'old'
    assert os.listdir(tmp_path) == ['a.txt']


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    began = time.time() + 60
    paths = [tmp_path / name for name in ('A1.json', 'A[1] ü_overlay.png', 'B' * 90 + '_cells.csv')]
    left = []
    for path in paths:
        with pytest.raises(ValueError, match='stop'), replacing(path) as temporary:
            left.append(temporary)
            raise ValueError('stop')
    kept = [
        tmp_path / name for name in ('.A1.json', '.A2-abcdefgh.json', 'A1.json', '.A1-abcdefgh.txt', '.A1-abc.json')
    ]
    for file in (*left, *kept):
        file.touch()
    remove_leftovers(tmp_path, paths, before=0)
    assert all(file.exists() for file in left)
    remove_leftovers(tmp_path, paths, began)
    assert sorted(tmp_path.iterdir()) == sorted(kept)


def test_full_disk_is_named(tmp_path):
    with pytest.raises(InputError, match='disk is full'), replacing(tmp_path / 'a.txt'):
        raise OSError(errno.ENOSPC, 'No space left on device')
    with pytest.raises(OSError, match='other'), replacing(tmp_path / 'a.txt'):
        raise OSError(errno.EIO, 'other')


def test_unwritable_place_is_named(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(InputError, match='cannot write here'), replacing(tmp_path / 'file' / 'a.txt'):
        pass


@pytest.mark.parametrize('content', [b'', b'{"a": ', b'\xff\xfe\x00', b'not json'])
def test_broken_json_is_named(tmp_path, content):
    path = tmp_path / 'broken.json'
    path.write_bytes(content)
    with pytest.raises(InputError, match='broken.json: not valid JSON'):
        read_json(path)


def test_missing_json_is_named(tmp_path):
    with pytest.raises(InputError, match='no such file'):
        read_json(tmp_path / 'none.json')
    with pytest.raises(InputError, match='cannot be read'):
        read_json(tmp_path)


def test_byte_order_mark_is_no_fault(tmp_path):
    path = tmp_path / 'a.json'
    path.write_text(json.dumps(1), encoding='utf-8-sig')
    assert read_json(path) == 1


def test_folder_is_made_or_refused(tmp_path):
    require_folder(tmp_path / 'a' / 'b')
    assert os.listdir(tmp_path / 'a' / 'b') == []
    (tmp_path / 'file').write_text('')
    with pytest.raises(InputError, match='cannot write here'):
        require_folder(tmp_path / 'file')


def test_files_that_another_program_holds_open_are_named_and_the_others_written(tmp_path, monkeypatch):
    replace, unlink = os.replace, os.unlink

    def held(function):
        def call(*paths, **more):
            if str(paths[-1]).endswith('wells.csv'):
                raise PermissionError(errno.EACCES, 'Access is denied')  # as Windows while Excel shows the table
            return function(*paths, **more)

        return call

    (tmp_path / 'wells.csv').write_text('old')
    monkeypatch.setattr(os, 'replace', held(replace))
    monkeypatch.setattr(os, 'unlink', held(unlink))
    names = ('a.txt', 'wells.csv', 'b.txt')
    with pytest.raises(FileInUseError, match=r'wells.csv: open in another program.* Close it'):
        write_all(lambda name=name: write_text(tmp_path / name, 'new') for name in names)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        'a.txt': 'new',
        'b.txt': 'new',
        'wells.csv': 'old',
    }
    with pytest.raises(FileInUseError, match='wells.csv'):
        delete(tmp_path / 'wells.csv')


@pytest.mark.parametrize(
    'text',
    ['[' * 100_000, '{"a":' * 100_000, '9' * 5000, '[1, -' + '9' * 5000 + ']', '{', '\x00', '"\ud800'],
)
def test_json_that_python_cannot_hold_is_refused(tmp_path, text):
    path = tmp_path / 'a.json'
    path.write_bytes(text.encode('utf-8', 'surrogatepass'))
    with pytest.raises(InputError, match=r'a\.json: not valid JSON'):
        read_json(path)
