"""Runs one function over many tasks: in this process, in several, or on the workers of a dask scheduler."""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from multiprocessing.connection import wait
from pathlib import Path
from typing import TypeVar

import cv2

from noise_mm.errors import InputError

Task = TypeVar('Task')
Result = TypeVar('Result')

CONNECT_SECONDS = 20
REPOSITORY = Path(__file__).resolve().parents[2]


def completed(
    function: Callable[[Task], Result], tasks: Sequence[Task], workers: int = 1, dask_address: str | None = None
) -> Iterator[tuple[Task, Result | InputError]]:
    """Each task with what `function` made of it, as they are finished: in any order, unless there is one worker.

    Bad input in one task does not stop the others. Leaving the iterator early drops what has not begun.

    Args:
        function: A function of a module, so that other processes find it by name.
        tasks: What to call it with; must be picklable.
        workers: Processes on this machine; 1 works in this very process. Not used with `dask_address`.
        dask_address: Address of a `dask.distributed` scheduler, such as `tcp://host:8786`. Its workers must see the
            same files under the same paths, this package included, and have the same packages installed.

    Yields:
        The task and its result, or the InputError that it raised.

    Raises:
        InputError: If a process dies (most often: not enough memory), or the scheduler can't be reached.
    """
    if dask_address is not None:
        yield from _on_dask(function, tasks, dask_address)
    elif min(workers, len(tasks)) <= 1:
        for task in tasks:
            yield task, _outcome(function, task)
    else:
        yield from _in_processes(function, tasks, min(workers, len(tasks)))


def _outcome(function: Callable[[Task], Result], task: Task) -> Result | InputError:
    """The function's result, or the InputError it raised."""
    try:
        return function(task)
    except InputError as error:
        return error


def _in_processes(
    function: Callable[[Task], Result], tasks: Sequence[Task], workers: int
) -> Iterator[tuple[Task, Result | InputError]]:
    # spawn: forked children would inherit open files and the threads of whoever calls this
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context('spawn'), initializer=_prepare_process)
    try:
        futures = {pool.submit(_outcome, function, task): task for task in tasks}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        raise InputError(
            'a worker process was killed, most often for want of memory. Run the same command again, it goes on from '
            'here; lower --workers if it happens again.'
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _prepare_process() -> None:
    """Prepare a worker process: one thread each, and an end when its parent ends.

    Ctrl-C reaches all processes of a terminal; only the parent reports it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        wait([parent.sentinel])
        os._exit(1)  # without it, workers of a killed run would wait for tasks for ever

    threading.Thread(target=follow, daemon=True).start()


def _on_dask(
    function: Callable[[Task], Result], tasks: Sequence[Task], address: str
) -> Iterator[tuple[Task, Result | InputError]]:
    # imported here: it takes a second, and only this way of running needs it
    try:
        import cloudpickle
        from distributed import Client, KilledWorker
        from distributed import as_completed as dask_completed
    except ImportError as error:
        raise InputError("--dask needs the package dask. Install it with: pip install 'dask[distributed]'") from error

    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise InputError(f'--dask {address}: no dask scheduler answers there ({error}). Check the address.') from error
    payloads = [cloudpickle.dumps((_outcome, function, task)) for task in tasks]
    with closing(client):
        futures = client.map(_unpickling_runner(str(REPOSITORY)), payloads, pure=False)
        names = {future.key: task for future, task in zip(futures, tasks, strict=True)}
        try:
            for future in dask_completed(futures, loop=client.loop):
                yield names[future.key], pickle.loads(future.result())
        except KilledWorker as error:
            raise InputError(
                f'--dask {address}: several workers died over the same task, most often for want of memory ({error}). '
                'Give the workers more memory and run the same command again, it goes on from here.'
            ) from error
        finally:
            client.cancel(futures)


def _unpickling_runner(folder: str) -> Callable[[bytes], bytes]:
    """A function that unpickles a function with its arguments, calls it and pickles the result.

    Being local, it is sent by value, and to the scheduler the rest is bytes: so neither scheduler nor workers need be
    able to import this package beforehand. Workers find it in `folder`.
    """

    def run(payload: bytes) -> bytes:
        if folder not in sys.path:
            sys.path.insert(0, folder)
        call, *arguments = pickle.loads(payload)
        return pickle.dumps(call(*arguments))

    return run
