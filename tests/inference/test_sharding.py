"""Wells and rows of tiles shared out over processes; here the processes are threads."""

import os
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noise_mm.errors import InputError
from noise_mm.geometry.tiles import Window
from noise_mm.inference import sharding as module
from noise_mm.inference.detection import Detection
from noise_mm.inference.sharding import Parts, Ranks, arrays_of_row, join, row_of_arrays, share_out
from noise_mm.inference.tile_pipeline import TileRow

GRIDS = st.lists(st.tuples(st.integers(1, 300), st.integers(1, 300)), max_size=30)


@given(GRIDS, st.integers(1, 16))
@settings(deadline=None)
def test_every_row_is_looked_at_once(grids, ranks):
    pieces = share_out(grids, ranks)
    for well, (rows, _) in enumerate(grids):
        own = [piece for piece in pieces if piece.well == well]
        assert [row for piece in own for row in piece.rows] == list(range(rows))
        assert all(piece.is_whole == (len(own) == 1) for piece in own)
        assert all(0 <= piece.rank < ranks for piece in own)


@given(GRIDS.filter(bool), st.integers(2, 16))
@settings(deadline=None)
def test_processes_have_about_the_same_to_do(grids, ranks):
    loads = [0] * ranks
    for piece in share_out(grids, ranks):
        loads[piece.rank] += len(piece.rows) * grids[piece.well][1]
    widest = max(columns for _, columns in grids)
    assert max(loads) <= 1.25 * sum(loads) / ranks + widest


def test_a_plate_stays_uncut_and_a_slide_is_shared():
    assert all(piece.is_whole for piece in share_out([(36, 36)] * 96, 8))
    assert all(piece.is_whole for piece in share_out([(240, 240), (3, 3)], 1))
    assert {piece.rank for piece in share_out([(240, 240)], 8)} == set(range(8))


def row_of(found):
    return TileRow([Window(3, column, 10 * column, 30, 16, 16) for column in range(len(found))], found)


@pytest.mark.parametrize('with_nuclei', [False, True])
def test_rows_keep_every_bit(tmp_path, with_nuclei):
    rng = np.random.default_rng(0)

    def cell():
        height, width = rng.integers(1, 30, 2)
        x, y, label = map(int, rng.integers(-50, 50, 3))
        return Detection(x, y, rng.random((height, width)) < 0.5, float(rng.random()), label)

    found = []
    for count in (3, None, 0, 1, None):
        nuclei = (rng.random((count or 0, 3)),) if with_nuclei else ()
        found.append(None if count is None else ([cell() for _ in range(count)], *nuclei))
    row = row_of(found)
    parts = Parts(tmp_path, Ranks(0, 2, 0, 'token'))
    parts.add_row('A1', row)
    back = parts.row('A1', row.windows)
    assert back.windows == row.windows
    assert back.skipped == row.skipped == 2
    for one, other in zip(back.found, row.found, strict=True):
        assert (one is None) == (other is None)
        if one is None:
            continue
        assert len(one) == len(other) == 1 + with_nuclei
        for a, b in zip(one[0], other[0], strict=True):
            assert (a.x, a.y, a.score, a.label) == (b.x, b.y, b.score, b.label)
            np.testing.assert_array_equal(a.mask, b.mask, strict=True)
        if with_nuclei:
            np.testing.assert_array_equal(one[1], other[1], strict=True)


def test_a_row_of_background_only():
    row = row_of([None, None])
    assert row_of_arrays(row.windows, arrays_of_row(row)).found == [None, None]


def test_a_row_is_waited_for(tmp_path):
    one, other = (Parts(tmp_path, Ranks(rank, 2, 0, 'token')) for rank in (0, 1))
    row = row_of([([],)])
    later = threading.Timer(0.3, other.add_row, ('A1', row))
    later.start()
    assert one.row('A1', row.windows).found == [([],)]
    later.join()


def test_a_well_that_another_process_cannot_read_is_given_up(tmp_path):
    one, other = (Parts(tmp_path, Ranks(rank, 2, 0, 'token')) for rank in (0, 1))
    other.fail('A1', 'A1.tif: damaged')
    assert one.failure('A1') == 'A1.tif: damaged'
    assert one.failure('A2') is None
    with pytest.raises(InputError, match='A1.tif: damaged'):
        one.row('A1', row_of([None]).windows)


def test_the_first_process_waits_for_all_and_cleans_up(tmp_path):
    processes = [Parts(tmp_path, Ranks(rank, 3, 0, 'token')) for rank in range(3)]
    processes[0].leave([])
    processes[2].leave(['B1: damaged'])
    later = threading.Timer(0.3, processes[1].leave, (['A1: damaged'],))
    later.start()
    assert processes[0].wait_for_all() == ['A1: damaged', 'B1: damaged']
    later.join()
    assert not list(tmp_path.iterdir())


def test_a_process_that_came_to_a_bad_end_is_not_waited_for(tmp_path):
    one, other = (Parts(tmp_path, Ranks(rank, 2, 0, 'token')) for rank in (0, 1))
    other.leave(None)
    with pytest.raises(InputError, match='process 1 of 2 failed'):
        one.row('A1', row_of([None]).windows)
    with pytest.raises(InputError, match='process 1 of 2 failed'):
        one.wait_for_all()


def hurry(monkeypatch):
    monkeypatch.setattr(module, 'SECONDS_BETWEEN_PULSES', 0.1)
    monkeypatch.setattr(module, 'SECONDS_TO_SILENCE', 1.5)


def test_a_process_that_was_killed_is_not_waited_for(tmp_path, monkeypatch):
    hurry(monkeypatch)
    one = Parts(tmp_path, Ranks(0, 2, 0, 'token'))
    one.arrive()
    (one.folder / '1.alive').touch()  # its last sign
    for wait in (one.wait_for_all, lambda: one.row('A1', row_of([None]).windows)):
        with pytest.raises(InputError, match='process 1 of 2 gives no sign of life.*--resume'):
            wait()
    one.leave(None)


def test_a_slow_process_is_waited_for(tmp_path, monkeypatch):
    hurry(monkeypatch)
    one, other = (Parts(tmp_path, Ranks(rank, 2, 0, 'token')) for rank in (0, 1))
    one.arrive()
    other.arrive()
    later = threading.Timer(4, other.leave, ([],))
    later.start()
    one.leave([])
    assert one.wait_for_all() == []
    later.join()
    assert not list(tmp_path.iterdir())


def test_rows_of_a_process_that_left_without_them_are_not_waited_for(tmp_path):
    one, other = (Parts(tmp_path, Ranks(rank, 2, 0, 'token')) for rank in (0, 1))
    other.leave([])
    with pytest.raises(InputError, match='ended early'):
        one.row('A1', row_of([None]).windows)


def test_all_follow_the_plan_of_the_first(tmp_path):
    one, other = (Parts(tmp_path, Ranks(rank, 2, 0, 'token')) for rank in (0, 1))
    later = threading.Timer(0.3, one.publish, ([['A1', 2, 3]],))
    later.start()
    assert other.plan() == [['A1', 2, 3]]
    later.join()


def test_processes_of_slurm(monkeypatch):
    numbers = {'PROCID': 5, 'NTASKS': 8, 'LOCALID': 1, 'JOB_ID': 77, 'STEP_ID': 0}
    for name, number in numbers.items():
        monkeypatch.setenv(f'SLURM_{name}', str(number))
    assert join('slurm') == Ranks(5, 8, 1, '77-0-0')


def test_one_process_and_no_launcher(monkeypatch):
    assert join('none') == Ranks()
    for name in [name for name in os.environ if name.startswith('SLURM_') or name == 'LOCAL_RANK']:
        monkeypatch.delenv(name)
    for launcher in ('pytorch', 'slurm'):
        with pytest.raises(InputError, match=f'--launcher {launcher}'):
            join(launcher)
