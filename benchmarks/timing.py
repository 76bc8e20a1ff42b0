"""What all benchmarks share: a timer of wall and processor time, runs in turn, and one table format.

Needs nothing but the standard library and psutil, so that it also runs in the environment of a program to compare with.
"""

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import psutil


class Took(NamedTuple):
    """Seconds that something took.

    Attributes:
        wall_s: By the clock.
        cpu_s: Of all processor cores together, by this process and its children. On a machine that does something else
            besides, this is the steadier number.
    """

    wall_s: float
    cpu_s: float

    def __sub__(self, other: 'Took') -> 'Took':
        """Return the time from `other` to this one."""
        return Took(self.wall_s - other.wall_s, self.cpu_s - other.cpu_s)

    def __add__(self, other: 'Took') -> 'Took':
        """Return both times together."""
        return Took(self.wall_s + other.wall_s, self.cpu_s + other.cpu_s)


def now(with_children: bool = True) -> Took:
    """Return the clock, and the processor time used so far by this process, all its threads and its children."""
    cpu_s = time.process_time()
    if with_children:
        process = psutil.Process()
        times = process.cpu_times()
        cpu_s += getattr(times, 'children_user', 0) + getattr(times, 'children_system', 0)  # of those that have ended
        for child in process.children(recursive=True):
            try:
                times = child.cpu_times()
                cpu_s += times.user + times.system
            except psutil.NoSuchProcess:
                continue
    return Took(time.perf_counter(), cpu_s)


def peak_memory_mib() -> float:
    """Return the largest memory that this process has had so far, in MiB."""
    if sys.platform == 'win32':
        return psutil.Process().memory_info().peak_wset / 2**20
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == 'darwin' else 2**10)


class Run(NamedTuple):
    """One run of one way: its time and what it returned."""

    took: Took
    result: Any


def run_in_turn(
    ways: Mapping[str, Callable[[], Any]],
    rounds: int,
    warm_up: int = 0,
    synchronise: Callable[[], None] | None = None,
) -> dict[str, list[Run]]:
    """Run several ways of doing the same, one after the other, again and again, because a machine's speed drifts.

    Args:
        ways: What to run, by name.
        rounds: Runs of each that count.
        warm_up: Runs of each before, which do not count.
        synchronise: Called before the clock is read: waits for what runs beside this process, as on a GPU.

    Returns:
        By name, the runs that count.
    """
    runs: dict[str, list[Run]] = {name: [] for name in ways}
    wait = synchronise or (lambda: None)
    for number in range(warm_up + rounds):
        for name, way in ways.items():
            wait()
            began = now()
            result = way()
            wait()
            if number >= warm_up:
                runs[name].append(Run(now() - began, result))
    return runs


def median_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """Return the median of the ratios of two rows of numbers, pair by pair: what was measured together."""
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table; numbers have four significant digits."""
    cells = [list(header), *([_text(value) for value in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = [
        '| ' + ' | '.join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + ' |' for row in cells
    ]
    lines.insert(1, '| ' + ' | '.join('-' * width for width in widths) + ' |')
    return '\n'.join(lines)


def _text(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f'{value:.0f}' if abs(value) >= 1000 else f'{value:.4g}'


class Finished(Exception):  # noqa: N818
    """Ends a training whose iterations have been measured."""


class IterationClock:
    """Measures the iterations of a training loop, and the phases of each.

    Call `batch_arrived` when a batch is there and `iteration_ended` when the iteration is done. Phases are measured in
    the training process alone: what loader processes do meanwhile is in the total of processor time only.

    Args:
        warm_up: Iterations before the first one that counts.
        iterations: Iterations that count.
        synchronise: See `run_in_turn`.
    """

    def __init__(self, warm_up: int, iterations: int, synchronise: Callable[[], None] | None = None) -> None:
        self.warm_up = warm_up
        self.iterations = iterations
        self.phases: dict[str, Took] = {}
        self._synchronise = synchronise or (lambda: None)
        self._done = 0
        self._began = self._last_ended = Took(0, 0)

    def batch_arrived(self) -> None:
        """Note that the data of an iteration are there; the time since the last one ended is phase `data`."""
        self._add('data', now(with_children=False) - self._last_ended)

    def iteration_ended(self) -> None:
        """Note the end of an iteration.

        Raises:
            Finished: After the last one.
        """
        self._synchronise()
        self._done += 1
        if self._done == self.warm_up:
            self._began = now()
            self.phases.clear()
        self._last_ended = now(with_children=False)
        if self._done == self.warm_up + self.iterations:
            raise Finished

    def time_method(self, owner: object, method: str, phase: str) -> None:
        """Count all further calls of a method of an object or class to a phase."""
        function = getattr(owner, method)

        def timed(*args: object, **kwargs: object) -> object:
            self._synchronise()
            began = now(with_children=False)
            result = function(*args, **kwargs)
            self._synchronise()
            self._add(phase, now(with_children=False) - began)
            return result

        setattr(owner, method, timed)

    def report(self, batch_size: int) -> dict[str, Any]:
        """Return times of one image in milliseconds, as JSON takes them."""
        total = now() - self._began
        per_image = 1e3 / (self.iterations * batch_size)
        phases = {name: [value * per_image for value in took] for name, took in self.phases.items()}
        return {'total': [value * per_image for value in total], 'phases': phases}

    def _add(self, phase: str, took: Took) -> None:
        self.phases[phase] = self.phases.get(phase, Took(0, 0)) + took
