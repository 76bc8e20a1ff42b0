"""Wells, and rows of tiles of large wells, shared out over processes on one or several machines.

Each process works through its pieces. What it finds in a piece of a well goes into files, one for each row of tiles;
the process that has the first piece of the well puts all rows together, in order. A row's result depends on that row
alone, and files keep every bit, so the well comes out as from one process.

Processes meet through the files only, in a folder of results that all of them see: any of them may be slow for hours,
which the time-outs of collective operations would not allow. The first one decides who does what, because another may
find the folder changed already. A process that is at work touches a file every few seconds; where that stops without a
word of farewell, the others don't wait for it.
"""

import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from noise_mm.errors import InputError
from noise_mm.files import read_json, replacing, write_json
from noise_mm.geometry.tiles import Window
from noise_mm.inference.detection import Detection
from noise_mm.inference.tile_pipeline import TileRow

FOLDER = '.parts'
# A well with more tiles than this share of a process's work is cut into pieces: enough of them to even out work, and
# few enough that a plate of wells stays uncut.
PIECES_PER_RANK = 4
SECONDS_BETWEEN_LOOKS = 0.2
SECONDS_BETWEEN_PULSES = 5.0
# Longer than a process at work is ever held up, and than file servers take to show a change.
SECONDS_TO_SILENCE = 60.0
# The same for one that has not begun: it may still wait for its machine, or read its packages from a slow disk.
SECONDS_TO_BEGIN = 900.0


@dataclass(frozen=True)
class Ranks:
    """The processes that share a run.

    Attributes:
        rank: Which one this is, from 0.
        count: How many there are.
        local_rank: Which one on its machine.
        token: A name of this run, the same in all processes.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    token: str = ''


def join(launcher: str) -> Ranks:
    """The processes that `torchrun` (launcher 'pytorch') or SLURM's `srun` started; for 'none', this one alone.

    Raises:
        InputError: If nothing started several processes.
    """
    from noise_mm.command_line import start_processes

    if launcher == 'none':
        return Ranks()
    start_processes(launcher)
    if launcher == 'slurm':
        names = ('SLURM_JOB_ID', 'SLURM_STEP_ID', 'SLURM_RESTART_COUNT')
        token = '-'.join(os.environ.get(name, '0') for name in names)
        numbers = (int(os.environ.get(name, '0')) for name in ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'))
        rank, count, local_rank = numbers
        return Ranks(rank, max(count, 1), local_rank, token)
    return _join_torchrun()


def _join_torchrun() -> Ranks:
    from torch import distributed

    if not distributed.is_initialized():
        distributed.init_process_group('gloo')
    rank, count = distributed.get_rank(), distributed.get_world_size()
    tokens = [uuid.uuid4().hex if rank == 0 else '']
    distributed.broadcast_object_list(tokens)
    distributed.destroy_process_group()  # from here on through files
    return Ranks(rank, count, int(os.environ['LOCAL_RANK']), tokens[0])


class Piece(NamedTuple):
    """Some rows of tiles of one well, and who looks at them.

    Attributes:
        well: Index of the well.
        rows: The rows.
        rank: The process.
        is_whole: Whether these are all rows of the well.
    """

    well: int
    rows: range
    rank: int
    is_whole: bool


def share_out(grids: Sequence[tuple[int, int]], ranks: int) -> list[Piece]:
    """Cuts large wells into pieces and gives every process about the same number of tiles.

    Args:
        grids: Rows and columns of tiles of each well.
        ranks: Number of processes.

    Returns:
        Pieces by well and row. The same in every process, which is why they need not talk about it.
    """
    tiles = sum(rows * columns for rows, columns in grids)
    most = max(tiles // (ranks * PIECES_PER_RANK), 1) if ranks > 1 else tiles
    pieces = []
    for well, (rows, columns) in enumerate(grids):
        count = min(rows, -(-rows * columns // most))
        bounds = [rows * i // count for i in range(count + 1)]
        pieces += [(well, range(first, end), columns) for first, end in pairwise(bounds)]
    loads = [0] * ranks
    shared = []
    for well, rows, columns in sorted(pieces, key=lambda piece: (-len(piece[1]) * piece[2], piece[0], piece[1].start)):
        rank = loads.index(min(loads))
        loads[rank] += len(rows) * columns
        shared.append(Piece(well, rows, rank, len(rows) == grids[well][0]))
    return sorted(shared, key=lambda piece: (piece.well, piece.rows.start))


class Parts:
    """The files through which the processes of a run meet; see the module.

    Args:
        out: Folder of results.
        ranks: The processes.
    """

    def __init__(self, out: Path, ranks: Ranks) -> None:
        self.ranks = ranks
        self.folder = out / FOLDER / ranks.token
        self._others = [rank for rank in range(ranks.count) if rank != ranks.rank]
        self._seen: dict[int, tuple[int | None, float]] = {}
        self._is_leaving = threading.Event()
        self._pulse = threading.Thread(target=self._beat, daemon=True)

    def arrive(self) -> None:
        """Shows from now on that this process is at work."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._pulse.start()

    def publish(self, plan: Any) -> None:
        """Tells the other processes what is to be done; a JSON value."""
        write_json(self.folder / 'plan.json', plan)

    def plan(self) -> Any:
        """What the first process has published; waits until it is there.

        Raises:
            InputError: If that process has come to an end instead.
        """
        path = self.folder / 'plan.json'
        self._wait_for(path.exists)
        return read_json(path)

    def add_row(self, well: str, row: TileRow) -> None:
        """Stores what was found in a row of tiles."""
        path = self._row_path(well, row.windows[0].row)
        with replacing(path) as temporary:
            np.savez(temporary, **arrays_of_row(row))

    def row(self, well: str, windows: Sequence[Window]) -> TileRow:
        """What some process found in a row of tiles; waits until it is there.

        Raises:
            InputError: If the process has failed in this well, or altogether, or was killed.
        """
        path = self._row_path(well, windows[0].row)
        self._wait_for(path.exists, well)
        with np.load(path) as arrays:
            return row_of_arrays(windows, arrays)

    def fail(self, well: str, reason: str) -> None:
        """Notes that a well can't be finished."""
        write_json(self.folder / well / 'failed.json', reason)

    def failure(self, well: str) -> str | None:
        """Why a well can't be finished, if a process has noted so."""
        path = self.folder / well / 'failed.json'
        return read_json(path) if path.exists() else None

    def forget(self, well: str) -> None:
        """Deletes the rows of a well."""
        shutil.rmtree(self.folder / well, ignore_errors=True)

    def leave(self, failed: Sequence[str] | None) -> None:
        """Notes that this process is done: which wells of its own failed, or None if it came to a bad end."""
        self._is_leaving.set()
        if self._pulse.is_alive():
            self._pulse.join()
        write_json(self.folder / f'{self.ranks.rank}.json', failed)

    def wait_for_all(self) -> list[str]:
        """Waits for the other processes; what failed in any, by rank.

        Raises:
            InputError: If one came to a bad end or was killed.
        """
        paths = [self.folder / f'{rank}.json' for rank in range(self.ranks.count)]
        self._wait_for(lambda: all(path.exists() for path in paths))
        failed = [message for path in paths for message in read_json(path)]
        shutil.rmtree(self.folder.parent, ignore_errors=True)
        return failed

    def _row_path(self, well: str, row: int) -> Path:
        return self.folder / well / f'{row:06d}.npz'

    def _beat(self) -> None:
        while True:
            with suppress(OSError):  # the next one may go well, and whoever waits is patient
                (self.folder / f'{self.ranks.rank}.alive').touch()
            if self._is_leaving.wait(SECONDS_BETWEEN_PULSES):
                return

    def _wait_for(self, is_there: Callable[[], bool], well: str | None = None) -> None:
        of_well = '' if well is None else f'{well}: '
        while not is_there():
            at_work = [rank for rank in self._others if not self._has_left(rank)]
            if well is not None and (reason := self.failure(well)) is not None:
                raise InputError(reason)
            for rank in at_work:
                if self._is_silent(rank):
                    raise InputError(
                        f'{of_well}process {rank} of {self.ranks.count} gives no sign of life, it was killed or lost '
                        'its machine. Run the same command again with --resume.'
                    )
            if not at_work and not is_there():
                raise InputError(
                    f'{of_well}the other processes have ended early. Run the same command again with --resume.'
                )
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def _has_left(self, rank: int) -> bool:
        """Whether a process is done.

        Raises:
            InputError: If it came to a bad end.
        """
        path = self.folder / f'{rank}.json'
        if not path.exists():
            return False
        if read_json(path) is None:
            raise InputError(f'process {rank} of {self.ranks.count} failed; its own message says why.')
        return True

    def _is_silent(self, rank: int) -> bool:
        """Whether a process has shown no sign of life for too long, by this process's own clock."""
        try:
            pulse = (self.folder / f'{rank}.alive').stat().st_mtime_ns
        except OSError:
            pulse = None
        now = time.monotonic()
        if rank not in self._seen or self._seen[rank][0] != pulse:
            self._seen[rank] = pulse, now
        return now - self._seen[rank][1] > (SECONDS_TO_BEGIN if pulse is None else SECONDS_TO_SILENCE)


def arrays_of_row(row: TileRow) -> dict[str, np.ndarray]:
    """A row of tiles as arrays that hold every bit of it."""
    cells = [detection for found in row.found if found is not None for detection in found[0]]
    counts = [-1 if found is None else len(found[0]) for found in row.found]
    bits = [np.packbits(cell.mask) for cell in cells]
    arrays = {
        'counts': np.array(counts, np.int64),
        'boxes': np.array([(cell.x, cell.y, *cell.mask.shape) for cell in cells], np.int64).reshape(-1, 4),
        'scores': np.array([cell.score for cell in cells], np.float64),
        'labels': np.array([cell.label for cell in cells], np.int64),
        'bits': np.concatenate([np.zeros(0, np.uint8), *bits]),
    }
    nuclei = [found[1] for found in row.found if found is not None and len(found) > 1]
    if nuclei:
        arrays['nuclei'] = np.concatenate(nuclei).astype(np.float64).reshape(-1, 3)
        arrays['nuclei_counts'] = np.array([len(points) for points in nuclei], np.int64)
    return arrays


def row_of_arrays(windows: Sequence[Window], arrays: Any) -> TileRow:
    """What `arrays_of_row` was made from."""
    cells = iter(_cells(arrays))
    nuclei = iter(_nuclei(arrays)) if 'nuclei' in arrays else None
    found: list[tuple | None] = []
    for count in arrays['counts'].tolist():
        if count < 0:
            found.append(None)
        else:
            own = [next(cells) for _ in range(count)]
            found.append((own,) if nuclei is None else (own, next(nuclei)))
    return TileRow(windows, found)


def _cells(arrays: Any) -> list[Detection]:
    boxes, bits = arrays['boxes'], arrays['bits']
    areas = boxes[:, 2] * boxes[:, 3]
    starts = np.concatenate([[0], np.cumsum(-(-areas // 8))])
    cells = []
    for (x, y, height, width), start, score, label in zip(
        boxes.tolist(), starts.tolist(), arrays['scores'].tolist(), arrays['labels'].tolist(), strict=False
    ):
        mask = np.unpackbits(bits[start:], count=height * width).reshape(height, width).astype(bool)
        cells.append(Detection(x, y, mask, score, label))
    return cells


def _nuclei(arrays: Any) -> list[np.ndarray]:
    return np.split(arrays['nuclei'], np.cumsum(arrays['nuclei_counts'])[:-1])
