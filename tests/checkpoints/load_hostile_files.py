"""Loads every file of a folder with little memory and time, and prints what happened, one JSON list per line.

    python -m tests.checkpoints.load_hostile_files FOLDER MARKER

MARKER is the file that the attacks try to create.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

MAX_SECONDS = 20
MAX_BYTES = 2 * 2**30


def load(path: Path) -> str:
    """Load a file in both ways and say what happened."""
    from noise_mm.checkpoints.safe_loading import load_file
    from noise_mm.errors import InputError

    outcomes = []
    for objects_as_records in (False, True):
        try:
            load_file(path, objects_as_records=objects_as_records)
            outcomes.append('loaded')
        except InputError as error:
            outcomes.append('refused' if len(str(error)) < 1000 and str(error).isprintable() else f'odd: {error}')
        except BaseException as error:  # noqa: BLE001 - everything else is the finding
            outcomes.append(f'{type(error).__name__}: {error}')
    return ' / '.join(sorted(set(outcomes)))


def load_limited(paths: list[Path], marker: Path) -> Iterator[tuple[Path, str, float]]:
    """Load files in a child with limits, where the system has them; the next child goes on behind one that died."""
    if not hasattr(os, 'fork'):
        yield from load_each(paths, marker)
        return
    while paths:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            limit_memory()
            with os.fdopen(writing, 'w') as pipe:
                for path, *rest in load_each(paths, marker):
                    print(json.dumps([str(path), *rest]), file=pipe, flush=True)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            done = [json.loads(line) for line in pipe]
        _, status = os.waitpid(child, 0)
        yield from ((Path(path), *rest) for path, *rest in done)
        if status:
            yield paths[len(done)], f'killed the reader (status {status})', 0.0
        paths = paths[len(done) + 1 :]


def load_each(paths: list[Path], marker: Path) -> Iterator[tuple[Path, str, float]]:
    """Load files one after the other, each within the time limit."""
    import signal

    for path in paths:
        if hasattr(signal, 'alarm'):
            signal.alarm(MAX_SECONDS)
        start = time.monotonic()
        outcome = load(path)
        if marker.exists():
            outcome = f'EXECUTED ({outcome})'
            marker.unlink()
        yield path, outcome, round(time.monotonic() - start, 2)


def limit_memory() -> None:
    """Let this process take `MAX_BYTES` more than now, and leave no core file."""
    import resource

    statm = Path('/proc/self/statm')
    pages = int(statm.read_text().split()[0]) if statm.exists() else 0
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MAX_BYTES, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    """Print what happened to each file, and how long it took, as JSON."""
    import torch

    torch.set_num_threads(1)
    folder, marker = map(Path, sys.argv[1:])
    for path, outcome, seconds in load_limited(sorted(folder.iterdir()), marker):
        print(json.dumps([path.name, outcome, seconds]), flush=True)


if __name__ == '__main__':
    main()
