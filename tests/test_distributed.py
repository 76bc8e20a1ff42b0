"""Processes that torchrun or srun would start, on one CPU or with GPUs that only answer questions."""

import os
import subprocess
import sys
from datetime import timedelta
from types import SimpleNamespace

import pytest
import torch

from noise_mm import distributed
from noise_mm.distributed import Ranks, first_node, joined, own_gpu, ranks_of, require_own_gpus, slurm_meeting_point
from noise_mm.errors import InputError

TORCHRUN = {'RANK': '3', 'WORLD_SIZE': '4', 'LOCAL_RANK': '1'}


def test_ranks_as_launchers_state_them():
    assert ranks_of('none', TORCHRUN) == Ranks()
    assert ranks_of('pytorch', TORCHRUN) == Ranks(3, 4, 1)
    assert ranks_of('slurm', {'SLURM_PROCID': '3', 'SLURM_NTASKS': '4', 'SLURM_LOCALID': '1'}) == Ranks(3, 4, 1)
    assert ranks_of('slurm', {'SLURM_PROCID': '0'}) == Ranks(0, 1, 0)
    step = {'SLURM_PROCID': '1', 'SLURM_STEP_NUM_TASKS': '2', 'SLURM_NTASKS': '8'}
    assert ranks_of('slurm', step).count == 2, 'a step of fewer tasks than its job'


@pytest.mark.parametrize(('launcher', 'words'), [('pytorch', 'torchrun'), ('slurm', 'srun')])
def test_a_process_that_no_launcher_started(launcher, words, monkeypatch):
    monkeypatch.setattr(os, 'environ', {})
    with pytest.raises(InputError, match=f'--launcher {launcher}.*{words}'), joined(launcher):
        pass


@pytest.mark.parametrize(
    ('nodes', 'first'),
    [
        ('localhost', 'localhost'),
        ('gpu03,gpu07', 'gpu03'),
        ('gpu[03-05,9],cpu1', 'gpu03'),
        ('gpu[7,9]', 'gpu7'),
        ('rack[0-1]node[02-12].cluster.org', 'rack0node02.cluster.org'),
    ],
)
def test_first_node_of_a_list(nodes, first):
    assert first_node(nodes) == first


def test_steps_meet_on_their_own_node_and_at_their_own_port():
    job = {'SLURM_JOB_NODELIST': 'n[1-4]', 'SLURM_NODELIST': 'n[1-4]', 'SLURM_JOB_ID': '4711', 'SLURM_STEP_ID': '0'}
    assert slurm_meeting_point(job)['MASTER_ADDR'] == 'n1'
    assert slurm_meeting_point(job | {'SLURM_STEP_NODELIST': 'n[3-4]'})['MASTER_ADDR'] == 'n3'
    places = [
        slurm_meeting_point(job | {'SLURM_JOB_ID': str(number), 'SLURM_STEP_ID': str(step)})['MASTER_PORT']
        for number in range(4711, 4811)
        for step in range(30)
    ]
    assert len(set(places)) == len(places)
    assert all(1024 < int(port) < 32768 for port in places), 'below the ports of outgoing connections'
    assert slurm_meeting_point({'SLURM_STEP_ID': '4294967291'})['MASTER_ADDR'] == 'localhost'


@pytest.fixture
def gpus(monkeypatch):
    """Pretend to see some GPUs, given by their ids."""

    def see(*uuids):
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: bool(uuids))
        monkeypatch.setattr(torch.cuda, 'device_count', lambda: len(uuids))
        monkeypatch.setattr(torch.cuda, 'get_device_properties', lambda index: SimpleNamespace(uuid=uuids[index]))

    return see


def test_processes_take_the_gpus_they_see_in_turn(gpus):
    gpus('a', 'b')
    assert [own_gpu(Ranks(rank, 4, rank)) for rank in range(4)] == [0, 1, 0, 1]
    gpus('c')  # srun --gpus-per-task=1
    assert own_gpu(Ranks(3, 4, 3)) == 0
    gpus()
    assert own_gpu(Ranks(3, 4, 3)) is None


def meet(gpus, seen):
    """Let processes compare their GPUs; `seen` are the ids that each of them sees. The last one's word counts."""
    store = torch.distributed.HashStore()
    store.set_timeout(timedelta(seconds=1))
    for rank, uuids in enumerate(seen):
        store.set(f'gpu_{rank}', uuids[rank % len(uuids)] if uuids else distributed.NO_GPU)
    last = len(seen) - 1
    gpus(*seen[last])
    require_own_gpus(store, Ranks(last, len(seen), last), own_gpu(Ranks(last, len(seen), last)))


def test_each_process_needs_a_gpu_of_its_own(gpus):
    meet(gpus, [('a', 'b'), ('a', 'b')])
    meet(gpus, [('a',), ('b',), ('c',)])  # one visible to each, all number 0
    meet(gpus, [(), ()])
    meet(gpus, [('',), ('',)])  # a torch that cannot tell them apart
    with pytest.raises(InputError, match='3 processes, but numbers 0 and 2 have the same GPU'):
        meet(gpus, [('a', 'b')] * 3)
    with pytest.raises(InputError, match='1 of 2 processes, number 1 first, see no GPU'):
        meet(gpus, [('a',), ()])


PROGRAM = """
import sys
sys.path.insert(0, {repo!r})
from noise_mm.distributed import joined
from noise_mm.errors import InputError, run_command
def main():
    with joined('slurm') as processes:
        processes.connect({{'env_cfg': {{'dist_cfg': {{'backend': 'nccl', 'timeout': 60}}}}}})
        import torch
        total = torch.tensor([processes.ranks.rank + 1])
        torch.distributed.all_reduce(total)
        print('sum', total.item())
        if sys.argv[1:] == ['all']:
            raise InputError('a.png: broken. Copy it again.')
        if sys.argv[1:] == [str(processes.ranks.rank)]:
            raise InputError('one process only. Look there.')
        if len(sys.argv) > 1:
            return
    assert not torch.distributed.is_initialized()
run_command(main)
"""


def steps(repo_dir, tmp_path, job, *arguments):
    """Start two processes as srun would; return a function that waits for them."""
    program = tmp_path / 'program.py'
    program.write_text(PROGRAM.format(repo=str(repo_dir)))
    slurm = {'SLURM_NTASKS': '2', 'SLURM_JOB_ID': str(job), 'SLURM_STEP_ID': '0', 'SLURM_NODELIST': 'elsewhere[1-2]'}
    slurm |= {'SLURM_STEP_NODELIST': 'localhost', 'CUDA_VISIBLE_DEVICES': '', 'OMP_NUM_THREADS': '1'}
    started = [
        subprocess.Popen(
            [sys.executable, program, *arguments],
            env=os.environ | slurm | {'SLURM_PROCID': str(rank), 'SLURM_LOCALID': str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]

    def wait():
        outputs = [process.communicate(timeout=120) for process in started]
        return [process.returncode for process in started], *zip(*outputs, strict=True)

    return wait


@pytest.mark.slow
def test_two_jobs_of_one_node_meet_apart_and_print_once(repo_dir, tmp_path):
    waits = [steps(repo_dir, tmp_path, job) for job in (os.getpid(), os.getpid() + 1)]
    for wait in waits:
        codes, outs, errs = wait()
        assert codes == [0, 0], errs
        assert outs == ('sum 3\n', '')


@pytest.mark.slow
def test_an_error_of_all_processes_is_reported_once(repo_dir, tmp_path):
    codes, _, errs = steps(repo_dir, tmp_path, os.getpid(), 'all')()
    assert codes == [2, 2]
    lines = [line for err in errs for line in err.splitlines() if 'error' in line]
    assert lines == ['error: a.png: broken. Copy it again.']


@pytest.mark.slow
def test_an_error_of_one_process_is_reported(repo_dir, tmp_path):
    """The other one then waits for it, until the launcher ends it or, as here, it sees that nobody is there."""
    codes, _, errs = steps(repo_dir, tmp_path, os.getpid(), '1')()
    assert codes[1] == 2
    assert 'error: one process only. Look there.' in errs[1]
