"""Starts the project's commands: alone, on several GPUs by torchrun, or on a cluster by srun."""

import ctypes
import errno
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from noise_mm.errors import InputError
from noise_mm.files import require_folder

ROOT = Path(__file__).resolve().parents[2]
LOCK_FILE = '.lock'
GPUS_PER_NODE = 8  # as tools/slurm_train.sh takes it
CPUS_PER_TASK = 6
# Stage 1 labels with all its GPUs when it ends, so that this tool has something to do in rare cases only.
SINGLE = ('pseudo_label',)
PR_SET_PDEATHSIG = 1  # of Linux's prctl: the signal to get when the parent ends


@dataclass(frozen=True)
class Launcher:
    """How commands are started.

    Attributes:
        kind: 'none', 'pytorch' or 'slurm', as the option `--launcher` of the tools.
        gpus: Processes, each with a GPU of its own where there are GPUs.
        partition: Of the cluster; None for its default.
        srun_args: Further options of srun.

    Raises:
        InputError: If these contradict each other.
    """

    kind: str = 'none'
    gpus: int = 1
    partition: str | None = None
    srun_args: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the options."""
        if self.gpus < 1:
            raise InputError(f'--gpus {self.gpus}: there must be one at least.')
        if self.kind == 'none' and self.gpus > 1:
            raise InputError(f'--gpus {self.gpus}: several need --launcher pytorch or slurm.')
        if self.kind != 'slurm' and (self.partition or self.srun_args):
            raise InputError('--partition, --srun-args: are for SLURM. Add --launcher slurm.')

    def command(self, tool: str, arguments: Sequence[str]) -> list[str]:
        """Return the command that runs tools/TOOL.py with these arguments; those of `SINGLE` in one process always."""
        words = [shown(ROOT / 'tools' / f'{tool}.py'), *arguments]
        single = tool in SINGLE
        if self.kind == 'none' or (self.kind == 'pytorch' and single):
            return [sys.executable, *words]
        if not single:
            words += ['--launcher', self.kind]
        if self.kind == 'pytorch':
            torchrun = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', str(self.gpus)]
            return [sys.executable, *torchrun, *words]
        return [*self._srun(tool, 1 if single else self.gpus), sys.executable, '-u', *words]

    def _srun(self, name: str, gpus: int) -> list[str]:
        """Return the words before the command, as in tools/slurm_train.sh."""
        per_node = min(gpus, GPUS_PER_NODE)
        return [
            'srun',
            *(['-p', self.partition] if self.partition else []),
            f'--job-name={name}',
            f'--gres=gpu:{per_node}',
            f'--ntasks={gpus}',
            f'--ntasks-per-node={per_node}',
            f'--cpus-per-task={CPUS_PER_TASK}',
            '--kill-on-bad-exit=1',
            *self.srun_args,
        ]

    def check(self) -> None:
        """Refuse what can't be started here.

        Raises:
            InputError: If there is no srun.
        """
        if self.kind == 'slurm' and not shutil.which('srun'):
            raise InputError('--launcher slurm: there is no srun here. Run this where jobs are submitted.')


def shown(path: Path) -> str:
    """Return a path as a user in the current folder would type it."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def run(command: Sequence[str], what: str) -> None:
    """Run a command, whose output goes where this process's goes; it ends when this process is killed.

    Raises:
        InputError: If it fails; it has said why itself.
    """
    print(f'  {shlex.join(command)}', flush=True)
    on_linux = sys.platform.startswith('linux')
    status = subprocess.run(command, preexec_fn=_end_with_parent if on_linux else None).returncode
    if status < 0:
        raise InputError(f'{what}: was ended by {signal.Signals(-status).name}. Run the same command again to go on.')
    if status:
        raise InputError(
            f'{what}: stopped with exit status {status}; what it says is above. '
            'Put that right, and run the same command again to go on.'
        )


def _end_with_parent() -> None:
    """Ask Linux to end this process with its parent: started again, two trainings would write to one folder.

    SIGTERM and not SIGKILL, so that torchrun and srun end their processes too.
    """
    prctl = getattr(ctypes.CDLL(None), 'prctl', None)
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@contextmanager
def at_work(folder: Path) -> Iterator[None]:
    """Keep a second `run_protocol` out of a folder while this one works there; a killed one leaves no lock behind.

    Raises:
        InputError: If another one works there, or the folder can't be made.
    """
    require_folder(folder)
    lock = FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(
            f'{folder}: another run_protocol is at work there. Wait for it, then run this again.'
        ) from error
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):  # some network drives have no locks
            raise
    try:
        yield
    finally:
        lock.release()
