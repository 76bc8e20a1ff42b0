"""The processes that torchrun or SLURM's srun started: which one this is, its device, and how they meet.

MMEngine's `init_dist` takes port 29500 for every job and the first node of the whole job, and counts GPUs by the local
rank. Two jobs on a node, a step on other nodes of a job, and `srun --gpus-per-task=1` need what is here instead.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from noise_mm.errors import InputError, one_line

LAUNCHERS = {
    'pytorch': (
        (('RANK',), ('WORLD_SIZE',), ('LOCAL_RANK',)),
        'torchrun. Use it, or tools/dist_train.sh, dist_test.sh or dist_predict.sh.',
    ),
    'slurm': (
        (('SLURM_PROCID',), ('SLURM_STEP_NUM_TASKS', 'SLURM_NTASKS'), ('SLURM_LOCALID',)),
        'srun. Start it with srun, or use tools/slurm_train.sh.',
    ),
}
"""The variables of rank, number of processes and local rank that each launcher sets, and how to start with it."""

# Ports of SLURM steps, below those that Linux gives to outgoing connections. Steps of a job and jobs that follow each
# other have different ones.
FIRST_PORT, PORTS, STEPS_PER_JOB = 10_000, 20_000, 37
MEETING_TIME = timedelta(minutes=10)
# Rank 0 labels, scores and writes alone meanwhile; NCCL would give up after 10 minutes.
WAITING_TIME_S = 3600
ERROR_TIME = timedelta(seconds=5)
NO_GPU = 'none'


@dataclass(frozen=True)
class Ranks:
    """The processes that share a run.

    Attributes:
        rank: Number of this process, from 0.
        count: Number of processes.
        local_rank: Number of this process on its machine, from 0.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0


def ranks_of(launcher: str, environment: Mapping[str, str] | None = None) -> Ranks:
    """Return the processes that `torchrun` (launcher 'pytorch') or SLURM's `srun` started; for 'none', this one alone.

    Raises:
        InputError: If that launcher did not start this process.
    """
    environment = os.environ if environment is None else environment
    if launcher == 'none':
        return Ranks()
    names, started_by = LAUNCHERS[launcher]
    found = [next((environment[name] for name in names if environment.get(name)), None) for names in names]
    if found[0] is None:
        raise InputError(f'--launcher {launcher}: not started by {started_by}')
    rank, count, local_rank = (int(value or default) for value, default in zip(found, '010', strict=True))
    return Ranks(rank, max(count, 1), local_rank)


def own_gpu(ranks: Ranks) -> int | None:
    """Return the index of this process's GPU among those it sees; None where it sees none.

    The processes of a machine take its GPUs in turn. With `srun --gpus-per-task=1` each process sees one, number 0.
    """
    import torch

    return ranks.local_rank % torch.cuda.device_count() if torch.cuda.is_available() else None


def slurm_meeting_point(environment: Mapping[str, str]) -> dict[str, str]:
    """Return MASTER_ADDR and MASTER_PORT for a SLURM step: its first node, and a port that no other step takes."""
    names = ('SLURM_STEP_NODELIST', 'SLURM_JOB_NODELIST', 'SLURM_NODELIST')
    nodes = next((environment[name] for name in names if environment.get(name)), 'localhost')
    job, step = (int(environment.get(name) or 0) for name in ('SLURM_JOB_ID', 'SLURM_STEP_ID'))
    return {
        'MASTER_ADDR': first_node(nodes),
        'MASTER_PORT': str(FIRST_PORT + (job * STEPS_PER_JOB + step) % PORTS),
    }


def first_node(nodes: str) -> str:
    """Return the first host name of a SLURM node list: 'gpu03' of 'gpu[03-05,9],cpu1'; containers lack scontrol."""
    first = re.match(r'(?:[^,\[]|\[[^\]]*\])*', nodes).group()
    return re.sub(r'\[([^\],-]+)[^\]]*\]', r'\1', first)


class Processes:
    """The processes of a run that have met; see `joined`.

    Attributes:
        ranks: Which one this is.
        device: Its torch device, if there are others.
    """

    def __init__(self, ranks: Ranks, store: Any = None) -> None:
        self.ranks, self._store = ranks, store
        if store is None:
            return
        import torch

        gpu = own_gpu(ranks)
        self.device = torch.device('cpu' if gpu is None else f'cuda:{gpu}')
        require_own_gpus(store, ranks, gpu)
        if gpu is not None:
            torch.cuda.set_device(gpu)
        os.environ['LOCAL_RANK'] = str(gpu or 0)  # what MMEngine's model wrapper takes as the number of the GPU

    def connect(self, config: Mapping[str, Any]) -> None:
        """Make the process group. MMEngine's runner then makes none of its own.

        Args:
            config: With MMEngine's `env_cfg.dist_cfg`: `backend` for GPUs, `timeout` in seconds and others of
                `torch.distributed.init_process_group`.
        """
        if self._store is None:
            return
        import torch

        settings = {
            'timeout': WAITING_TIME_S,
            'backend': 'nccl',
            **((config.get('env_cfg') or {}).get('dist_cfg') or {}),
        }
        settings['timeout'] = timedelta(seconds=settings['timeout'])
        if self.device.type == 'cpu':
            settings['backend'] = 'gloo'
        torch.distributed.init_process_group(
            store=torch.distributed.PrefixStore('group', self._store),
            rank=self.ranks.rank,
            world_size=self.ranks.count,
            **settings,
        )

    def leave(self) -> None:
        """Wait for the others and leave the group."""
        import torch

        if torch.distributed.is_initialized():
            torch.distributed.barrier()
            torch.distributed.destroy_process_group()

    def has_reported(self, error: InputError) -> bool:
        """Tell the others of an error, and return whether the first process reports the same one."""
        if self._store is None:
            return False
        import torch

        ranks, text = self.ranks, one_line(error)
        try:
            self._store.set(f'error_{ranks.rank}', text)
            # The first may serve the store, so it leaves last.
            others = range(1, ranks.count) if ranks.rank == 0 else [0]
            self._store.wait([f'error_{rank}' for rank in others], ERROR_TIME)
            return ranks.rank > 0 and self._store.get('error_0').decode() == text
        except torch.distributed.DistError:
            return False


@contextmanager
def joined(launcher: str) -> Iterator[Processes]:
    """Meet the other processes that `launcher` started, before any work; only the first one prints.

    An error that all processes meet is reported once. For the launcher 'none' there is this process alone.

    Raises:
        InputError: If that launcher did not start this process, the others don't come, or several share a GPU.
    """
    ranks = ranks_of(launcher)
    if launcher == 'none':
        yield Processes(ranks)
        return
    if launcher == 'slurm':
        for name, value in slurm_meeting_point(os.environ).items():
            os.environ.setdefault(name, value)
    processes = None
    with open(os.devnull, 'w') as nowhere, redirect_stdout(nowhere) if ranks.rank else nullcontext():
        store = _meet(ranks)
        try:
            processes = Processes(ranks, store)
            yield processes
            processes.leave()
        except InputError as error:
            if processes is not None and processes.has_reported(error):
                raise SystemExit(2) from error
            raise


def _meet(ranks: Ranks) -> Any:
    """Return the store that the processes share; the first one serves it at MASTER_ADDR, MASTER_PORT."""
    import torch

    place = f'{os.environ.get("MASTER_ADDR")}:{os.environ.get("MASTER_PORT")}'
    try:
        store, _, _ = next(
            torch.distributed.rendezvous(f'env://?rank={ranks.rank}&world_size={ranks.count}', timeout=MEETING_TIME)
        )
    except ValueError as error:
        raise InputError(f'{error}. Start the processes with torchrun or srun.') from error
    except torch.distributed.DistError as error:
        if 'EADDRINUSE' in str(error):
            raise InputError(f'{place}: the port is in use. Set MASTER_PORT to a free one.') from error
        raise InputError(
            f'{place}: the {ranks.count} processes did not meet there within {MEETING_TIME}. '
            'See whether all have started; else set MASTER_ADDR and MASTER_PORT.'
        ) from error
    return store


def require_own_gpus(store: Any, ranks: Ranks, gpu: int | None) -> None:
    """Refuse several processes on one GPU, which NCCL cannot connect, and processes without one beside others.

    Args:
        store: A `torch.distributed.Store` of all processes.
        ranks: Which one this is.
        gpu: Index of its GPU, or None.

    Raises:
        InputError: The same one in all processes.
    """
    import torch

    uuid = NO_GPU if gpu is None else str(getattr(torch.cuda.get_device_properties(gpu), 'uuid', ''))
    store.set(f'gpu_{ranks.rank}', uuid)  # empty: this torch cannot tell GPUs apart
    found = [store.get(f'gpu_{rank}').decode() for rank in range(ranks.count)]
    without = [rank for rank, each in enumerate(found) if each == NO_GPU]
    if without and len(without) < ranks.count:
        raise InputError(
            f'{len(without)} of {ranks.count} processes, number {without[0]} first, see no GPU, the others do. '
            'Ask for one GPU per process.'
        )
    for rank, each in enumerate(found):
        if each not in ('', NO_GPU) and each in found[:rank]:
            raise InputError(
                f'{ranks.count} processes, but numbers {found.index(each)} and {rank} have the same GPU. Start as '
                'many processes as there are GPUs (GPUS, --nproc_per_node, --ntasks-per-node), or set '
                'CUDA_VISIBLE_DEVICES= to train on CPUs.'
            )
