"""Tells how far long work has come: rate and time left, one line at a time."""

import sys
import time
from typing import TextIO

SECONDS_BETWEEN_LINES = 10.0  # in a log file; a terminal's line is written over
SECONDS_BETWEEN_UPDATES = 0.5


class Progress:
    """Counts pixels and patches, and prints them with MPx/s and the time left.

    Args:
        label: What the line begins with.
        total: Number of patches in all.
        px_each: Pixels of a patch at the reference magnification.
        stream: Where to print; standard error by default.
        unit: What is counted.
    """

    def __init__(
        self, label: str, total: int, px_each: int, stream: TextIO | None = None, unit: str = 'patches'
    ) -> None:
        """Begins to take the time."""
        self.label, self.total, self.px_each, self.unit = label, total, px_each, unit
        self.stream = stream or sys.stderr
        self.done = self.skipped = 0
        self._began = self._printed = time.monotonic()

    def skip(self, count: int) -> None:
        """Notes that `count` patches were there already; the rate does not count them."""
        self.done += count
        self.skipped += count

    def add(self, count: int) -> None:
        """Notes that `count` more patches are done, and prints if it is time to."""
        self.done += count
        now = time.monotonic()
        wait = SECONDS_BETWEEN_UPDATES if self.stream.isatty() else SECONDS_BETWEEN_LINES
        if now - self._printed >= wait and self.done < self.total:
            self._printed = now
            self._print(now)

    def finish(self) -> None:
        """Prints the last line."""
        self._print(time.monotonic())
        if self.stream.isatty():
            print(file=self.stream)

    def line(self, now: float) -> str:
        """The line for the time `now`, of `time.monotonic`."""
        seconds = max(now - self._began, 1e-9)
        rate = (self.done - self.skipped) / seconds
        left = f'{_clock((self.total - self.done) / rate)} left' if rate else 'time left unknown'
        if self.done == self.total:
            left = f'in {_clock(seconds)}'
        speed = f'{rate * self.px_each / 1e6:.1f} MPx/s of {self.unit}'
        return f'{self.label}: {self.done}/{self.total} {self.unit}, {speed}, {left}'

    def _print(self, now: float) -> None:
        if self.stream.isatty():
            print(f'\r{self.line(now):<78}', end='', file=self.stream, flush=True)
        else:
            print(self.line(now), file=self.stream, flush=True)


def _clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, second = divmod(round(seconds), 60)
    return f'{minutes // 60}:{minutes % 60:02d}:{second:02d}'
