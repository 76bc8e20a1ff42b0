import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from noise_mm.errors import InputError
from noise_mm.patches.parallel import REPOSITORY, completed

SCRIPT = """
import os, signal, sys, time
sys.path.insert(0, {repository!r})
from pathlib import Path
from noise_mm.errors import InputError
from noise_mm.patches.parallel import completed

def work(task):
    {work}

if __name__ == '__main__':
    try:
        for task, result in completed(work, range({count}), {workers}, {address!r}):
            print(task, result, flush=True)
    except InputError as error:
        print('error', error)
"""


def run(tmp_path, work, count=6, workers=2, address=None, wait=True):
    script = tmp_path / 'script.py'
    script.write_text(
        SCRIPT.format(repository=str(REPOSITORY), work=work, count=count, workers=workers, address=address)
    )
    process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    return process.communicate(timeout=120)[0].splitlines() if wait else process


def half(task):
    if task == 3:
        raise InputError('three is bad')
    return task / 2


def test_in_this_process_in_order():
    found = list(completed(half, range(5)))
    assert [task for task, _ in found] == list(range(5))
    assert [str(result) for _, result in found] == ['0.0', '0.5', '1.0', 'three is bad', '2.0']


def test_in_processes_every_task_is_done_and_bad_input_stops_none(tmp_path):
    lines = run(tmp_path, "if task == 3: raise InputError('bad')\n    return task * 10")
    assert sorted(lines) == ['0 0', '1 10', '2 20', '3 bad', '4 40', '5 50']


def test_a_killed_process_is_told(tmp_path):
    lines = run(tmp_path, 'os.kill(os.getpid(), signal.SIGKILL)')
    assert lines[-1].startswith('error a worker process was killed')
    assert '--workers' in lines[-1]


def alive(pid):
    try:
        return Path(f'/proc/{pid}/stat').read_text().split()[2] != 'Z'
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path('/proc/self/stat').exists(), reason='looks at processes through /proc')
def test_workers_of_a_killed_run_end(tmp_path):
    work = f"Path({str(tmp_path)!r}, f'pid{{os.getpid()}}').touch()\n    time.sleep(60)"
    process = run(tmp_path, work, wait=False)
    deadline = time.monotonic() + 60
    while len(pids := [int(file.name[3:]) for file in tmp_path.glob('pid*')]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_no_scheduler_at_the_address(monkeypatch):
    pytest.importorskip('distributed')
    monkeypatch.setattr('noise_mm.patches.parallel.CONNECT_SECONDS', 1)
    for address in ('tcp://127.0.0.1:9', 'nonsense://x'):
        with pytest.raises(InputError, match=f'--dask {address}: no dask scheduler'):
            list(completed(half, range(3), dask_address=address))


def test_without_dask_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, 'distributed', None)
    with pytest.raises(InputError, match='pip install'):
        list(completed(half, range(3), dask_address='tcp://127.0.0.1:8786'))


@pytest.fixture
def cluster():
    distributed = pytest.importorskip('distributed')
    with distributed.LocalCluster(
        n_workers=3, threads_per_worker=1, processes=True, dashboard_address=None, memory_limit=0
    ) as workers:
        yield workers


@pytest.mark.slow
def test_dask_does_the_tasks_of_a_killed_worker_again(tmp_path, cluster):
    """The first process to take task 2 kills itself, as a machine that is switched off would."""
    marker = tmp_path / 'killed'
    work = (
        f'if task == 2 and not os.path.exists({str(marker)!r}):\n'
        f'        open({str(marker)!r}, "w").close()\n'
        '        os.kill(os.getpid(), signal.SIGKILL)\n'
        '    time.sleep(0.1)\n'
        "    if task == 4: raise InputError('bad')\n"
        '    return task * 10'
    )
    lines = run(tmp_path, work, count=12, address=cluster.scheduler_address)
    assert sorted(lines) == sorted(f'{task} {"bad" if task == 4 else task * 10}' for task in range(12))
    assert marker.exists()


@pytest.mark.slow
def test_dask_gives_up_on_a_task_that_kills_every_worker(tmp_path, cluster):
    lines = run(tmp_path, 'os.kill(os.getpid(), signal.SIGKILL)', count=1, address=cluster.scheduler_address)
    assert 'several workers died over the same task' in lines[-1]
