"""Progress of long work: a bar on a terminal, a plain line now and then in a log file or pipe."""

import sys
from typing import TextIO

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_UPDATES = 0.5
LOG_LINE = '{desc}: {n_fmt}/{total_fmt}{unit}, {rate_fmt}, {elapsed} elapsed, {remaining} left'


class Progress(tqdm):
    """A tqdm bar that writes whole lines where the output is no terminal.

    Args:
        label: What the line begins with.
        total: Number of items.
        stream: Where to print; standard error by default.
        unit: What is counted.
    """

    def __init__(self, label: str, total: int, stream: TextIO | None = None, unit: str = 'patches') -> None:
        stream = stream or sys.stderr
        is_terminal = stream.isatty()
        super().__init__(
            desc=label,
            total=total,
            file=stream,
            unit=f' {unit}',
            mininterval=SECONDS_BETWEEN_UPDATES if is_terminal else SECONDS_BETWEEN_LINES,
            bar_format=None if is_terminal else LOG_LINE,
            dynamic_ncols=is_terminal,
        )

    @staticmethod
    def status_printer(file: TextIO) -> object:
        """Return the function that prints a line: over the last one on a terminal, else below it."""
        if file.isatty():
            return tqdm.status_printer(file)
        return lambda line: line and print(line, file=file, flush=True)

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Print the current line; a log needs none before the first item."""
        if self.fp.isatty():
            return super().display(msg, pos)
        if self.n:
            self.sp(str(self) if msg is None else msg)
        return True

    def skip(self, count: int) -> None:
        """Count `count` items that were there already; the rate does not include them."""
        self.initial += count
        self.update(count)

    def close(self) -> None:
        """Print the last line."""
        if self.disable or self.fp.isatty():
            super().close()
            return
        self.display()
        self.disable = True  # tqdm itself would add an empty line
        self._decr_instances(self)
