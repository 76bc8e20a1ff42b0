"""Tiles through detectors, row by row: reading ahead of them and masks behind them, so that only they are waited for.

Three things happen at a time. A thread reads and decodes tiles, leaves out background and makes batches. The thread
that calls runs the networks. Others turn what these gave into masks, and one of them hands finished rows on, in order.
How far they may run ahead or lag behind is limited: memory holds a few batches and the results of about three rows of
tiles, however large the well.

A batch never goes over the end of a row. So what is found in a row depends on that row alone, and rows may be shared
out over processes and machines without changing a bit of the result.
"""

import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import numpy as np

from noise_mm.errors import InputError
from noise_mm.geometry.tiles import Window
from noise_mm.inference.background import is_background
from noise_mm.progress import Progress
from noise_mm.slides.chunked import Slide

# Batches that are read before the network asks for them.
BATCHES_AHEAD = 3
# Batches whose masks may still have to be drawn; each tile's prototypes are 1.4 MB.
BATCHES_UNDRAWN = 4
# Rows of tiles that may still have to be merged.
ROWS_BEHIND = 2
# More threads would only wait for each other: about half of the work behind the network is Python.
MOST_FINISHERS = 4


class NetworkError(InputError):
    """A fault of the network and not of an image: the next image would meet it as well."""


class StagedDetector(ABC):
    """A detector whose work before and after the network can be done beside it. Called, it does all in turn."""

    @abstractmethod
    def prepare(self, tiles: Sequence[np.ndarray]) -> Any:
        """A batch for `infer`; called in the thread that reads.

        Args:
            tiles: Arrays (height, width, 3) uint8, RGB.
        """

    @abstractmethod
    def infer(self, prepared: Any) -> Sequence[Any]:
        """What the network gives for each tile of a batch; called in the main thread."""

    @abstractmethod
    def finish(self, raw: Any) -> Any:
        """What was found in one tile, in its pixels; called in threads behind the network."""

    def __call__(self, tiles: Sequence[np.ndarray]) -> list[Any]:
        """What was found in each tile."""
        return [self.finish(raw) for raw in self.infer(self.prepare(tiles))]


class OneStage(StagedDetector):
    """A function of a batch of tiles as a detector that does everything in the place of the network."""

    def __init__(self, function: Callable[[Sequence[np.ndarray]], Sequence[Any]]) -> None:
        self.function = function

    def prepare(self, tiles: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """The tiles themselves."""
        return tiles

    def infer(self, prepared: Sequence[np.ndarray]) -> Sequence[Any]:
        """What the function gives."""
        return self.function(prepared)

    def finish(self, raw: Any) -> Any:
        """The same."""
        return raw


@dataclass(frozen=True, eq=False)
class TileRow:
    """What was found in one row of tiles.

    Attributes:
        windows: Its tiles, from left to right.
        found: For each tile what each detector found, in pixels of the tile; None for background.
    """

    windows: Sequence[Window]
    found: Sequence[tuple | None]

    @property
    def skipped(self) -> int:
        """Number of tiles that were taken for background."""
        return sum(found is None for found in self.found)


def look_at_rows(
    view: Slide,
    rows: Sequence[Sequence[Window]],
    detectors: Sequence[StagedDetector],
    batch_size: int,
    on_row: Callable[[TileRow], None],
    progress: Progress,
    skip_background: bool = False,
) -> None:
    """Runs detectors over rows of tiles.

    Args:
        view: The well at the resolution of the tiles.
        rows: The windows of each row, from the top down.
        detectors: Each looks at every tile.
        batch_size: Tiles that a detector is given at a time, at most.
        on_row: Called with each row, in order, in another thread.
        progress: Told of each batch.
        skip_background: Whether tiles that show background only are left out.

    Raises:
        InputError: If the image turns out to be damaged.
        NetworkError: If a detector cannot do its work.
    """
    most_unmerged = max(1, ROWS_BEHIND * -(-max(map(len, rows), default=0) // batch_size))
    undrawn: deque[list[Future]] = deque()
    unmerged: deque[Future] = deque()
    follower = _Follower(on_row)
    finisher_count = min(MOST_FINISHERS, os.cpu_count() or 1)
    with (
        ThreadPoolExecutor(1) as reader,
        ThreadPoolExecutor(finisher_count) as finishers,
        ThreadPoolExecutor(1) as merger,
    ):
        for batch in _ahead(_batches(view, rows, detectors, batch_size, skip_background), reader):
            raws = [detector.infer(prepared) for detector, prepared in batch.prepared]
            futures = [finishers.submit(_finish, detectors, raw) for raw in zip(*raws, strict=True)]
            undrawn.append(futures)
            unmerged.append(merger.submit(follower.add, batch, futures))
            progress.add(len(batch.windows))
            progress.skip(batch.skipped)
            if len(undrawn) > BATCHES_UNDRAWN:
                wait(undrawn.popleft())
            if len(unmerged) > most_unmerged:
                unmerged.popleft().result()
        for future in unmerged:
            future.result()


@dataclass(frozen=True, eq=False)
class _Batch:
    """Tiles that detectors are to look at.

    Attributes:
        windows: Where they lie.
        prepared: The detectors, each with what its `prepare` gave; none where there is no tile.
        skipped: Number of tiles taken for background since the batch before.
        row: All windows of the row if this is its last batch, else None.
    """

    windows: Sequence[Window]
    prepared: Sequence[tuple[StagedDetector, Any]]
    skipped: int
    row: Sequence[Window] | None


def _batches(
    view: Slide,
    rows: Sequence[Sequence[Window]],
    detectors: Sequence[StagedDetector],
    batch_size: int,
    skip_background: bool,
) -> Iterator[_Batch]:
    """Reads tiles and makes batches of them; the last of a row may be empty."""
    tiles = view.windows([window for row in rows for window in row])
    for row in rows:
        kept: list[tuple[Window, np.ndarray]] = []
        skipped = 0
        for number, (window, tile) in enumerate(zip(row, tiles, strict=False), 1):  # tiles of other rows follow
            if skip_background and is_background(tile):
                skipped += 1
            else:
                kept.append((window, tile))
            if len(kept) == batch_size or number == len(row):
                windows, pixels = [window for window, _ in kept], [tile for _, tile in kept]
                prepared = [(detector, detector.prepare(pixels)) for detector in detectors if pixels]
                yield _Batch(windows, prepared, skipped, row if number == len(row) else None)
                kept, skipped = [], 0


def _ahead(items: Iterator[_Batch], reader: Executor) -> Iterator[_Batch]:
    """The same items, of which `BATCHES_AHEAD` are made beforehand by the only thread of `reader`."""
    waiting = deque(reader.submit(next, items, None) for _ in range(BATCHES_AHEAD))
    while (item := waiting.popleft().result()) is not None:
        waiting.append(reader.submit(next, items, None))
        yield item


def _finish(detectors: Sequence[StagedDetector], raw: tuple) -> tuple:
    """What each detector found in one tile."""
    return tuple(detector.finish(part) for detector, part in zip(detectors, raw, strict=True))


class _Follower:
    """Puts the results of batches together to rows; called by one thread, in the order of the batches."""

    def __init__(self, on_row: Callable[[TileRow], None]) -> None:
        self._on_row = on_row
        self._found: dict[Window, tuple] = {}

    def add(self, batch: _Batch, futures: Sequence[Future]) -> None:
        """Waits for the tiles of a batch; hands the row on if it was the last one."""
        self._found |= zip(batch.windows, (future.result() for future in futures), strict=True)
        if batch.row is not None:
            row = TileRow(batch.row, [self._found.get(window) for window in batch.row])
            self._found = {}
            self._on_row(row)
