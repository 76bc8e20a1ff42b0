"""The processes that torchrun or SLURM started, and the wells that each of them predicts.

Every process works through whole wells of its own and updates the summary of the folder after each of them, so the
processes need not talk to each other and none waits for another. If one is killed, its launcher reports it; the wells
of the others are complete, and `--resume` predicts the missing ones.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from noise_mm.errors import InputError


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


LAUNCHERS = {
    'pytorch': (('RANK', 'WORLD_SIZE', 'LOCAL_RANK'), 'torchrun. Use it, or tools/dist_predict.sh.'),
    'slurm': (('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'), 'srun. Start it with srun.'),
}
"""Variables that each launcher sets in its processes, and what to do where they are missing."""


def ranks_of(launcher: str, environment: Mapping[str, str] | None = None) -> Ranks:
    """Return the processes that `torchrun` (launcher 'pytorch') or SLURM's `srun` started; for 'none', this one alone.

    Raises:
        InputError: If that launcher did not start this process.
    """
    environment = os.environ if environment is None else environment
    if launcher == 'none':
        return Ranks()
    names, started_by = LAUNCHERS[launcher]
    if names[0] not in environment:
        raise InputError(f'--launcher {launcher}: not started by {started_by}')
    rank, count, local_rank = (int(environment.get(name, default)) for name, default in zip(names, '010', strict=True))
    return Ranks(rank, max(count, 1), local_rank)


def partition(images: Sequence[Path], ranks: Ranks) -> list[Path]:
    """Return the images of this process, in the order given.

    Large files are dealt out first, each to the process with the fewest bytes so far. The result depends on the files
    only, so all processes agree on it without talking to each other.
    """
    if ranks.count == 1:
        return list(images)
    sizes = [image.stat().st_size if image.exists() else 0 for image in images]
    loads = [0] * ranks.count
    mine = set()
    for index in sorted(range(len(images)), key=lambda index: (-sizes[index], index)):
        rank = loads.index(min(loads))
        loads[rank] += max(sizes[index], 1)
        if rank == ranks.rank:
            mine.add(index)
    return [image for index, image in enumerate(images) if index in mine]
