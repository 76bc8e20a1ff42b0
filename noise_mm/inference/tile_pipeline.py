"""Inference over tiles, row by row, with reading and post-processing in threads beside the network.

Three stages run at the same time. One thread reads and decodes tiles, skips background and makes batches. The calling
thread runs the networks. Further threads rasterise masks, and one of them hands on finished rows in order. How far the
stages may run ahead or lag behind is limited: memory holds a few batches and the results of about three rows of tiles,
however large the well.
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
# Batches whose masks may still have to be rasterised; each tile's prototypes are 1.4 MB.
BATCHES_LAZY = 4
# Rows of tiles that may still have to be merged.
ROWS_BEHIND = 2
# More threads would only wait for each other: about half of the work behind the network is Python.
MOST_FINISHERS = 4


class NetworkError(InputError):
    """An error of the network and not of an image: every further image would meet it as well."""


class StagedDetector(ABC):
    """A detector whose pre- and post-processing can run beside its network. A call runs all stages in turn."""

    @abstractmethod
    def prepare(self, tiles: Sequence[np.ndarray]) -> Any:
        """Return a batch for `infer`; called in the reading thread.

        Args:
            tiles: Arrays (height, width, 3) uint8, RGB.
        """

    @abstractmethod
    def infer(self, prepared: Any) -> Sequence[Any]:
        """Return the output of the network for each tile of a batch; called in the main thread."""

    @abstractmethod
    def finish(self, raw: Any) -> Any:
        """Return the detections of one tile, in its pixels; called in the threads behind the network."""

    def __call__(self, tiles: Sequence[np.ndarray]) -> list[Any]:
        """Return the detections of each tile."""
        return [self.finish(raw) for raw in self.infer(self.prepare(tiles))]


class OneStage(StagedDetector):
    """A function of a batch of tiles as a detector without pre- and post-processing."""

    def __init__(self, function: Callable[[Sequence[np.ndarray]], Sequence[Any]]) -> None:
        self.function = function

    def prepare(self, tiles: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """Return the tiles unchanged."""
        return tiles

    def infer(self, prepared: Sequence[np.ndarray]) -> Sequence[Any]:
        """Return what the function returns."""
        return self.function(prepared)

    def finish(self, raw: Any) -> Any:
        """Return the detections unchanged."""
        return raw


@dataclass(frozen=True, eq=False)
class TileRow:
    """The detections of one row of tiles.

    Attributes:
        windows: Its tiles, from left to right.
        found: For each tile the result of each detector, in pixels of the tile; None for background.
    """

    windows: Sequence[Window]
    found: Sequence[tuple | None]

    @property
    def skipped(self) -> int:
        """Number of tiles skipped as background."""
        return sum(found is None for found in self.found)


def predict_rows(
    view: Slide,
    rows: Sequence[Sequence[Window]],
    detectors: Sequence[StagedDetector],
    batch_size: int,
    on_row: Callable[[TileRow], None],
    progress: Progress,
    skip_background: bool = False,
) -> None:
    """Run detectors over rows of tiles.

    Args:
        view: The well at the resolution of the tiles.
        rows: The windows of each row, from the top down.
        detectors: Each runs on every tile.
        batch_size: Largest number of tiles in a batch. No batch spans two rows.
        on_row: Called with each row, in order, in another thread.
        progress: Updated after each batch.
        skip_background: Whether tiles that show only background are skipped.

    Raises:
        InputError: If the image turns out to be damaged.
        NetworkError: If a detector cannot do its work.
    """
    most_unmerged = max(1, ROWS_BEHIND * -(-max(map(len, rows), default=0) // batch_size))
    lazy: deque[list[Future]] = deque()
    unmerged: deque[Future] = deque()
    assembler = _RowAssembler(on_row)
    finisher_count = min(MOST_FINISHERS, os.cpu_count() or 1)
    with (
        ThreadPoolExecutor(1) as reader,
        ThreadPoolExecutor(finisher_count) as finishers,
        ThreadPoolExecutor(1) as merger,
    ):
        for batch in _ahead(_batches(view, rows, detectors, batch_size, skip_background), reader):
            raws = [detector.infer(prepared) for detector, prepared in batch.prepared]
            futures = [finishers.submit(_finish, detectors, raw) for raw in zip(*raws, strict=True)]
            lazy.append(futures)
            unmerged.append(merger.submit(assembler.add, batch, futures))
            progress.update(len(batch.windows))
            progress.skip(batch.skipped)
            if len(lazy) > BATCHES_LAZY:
                wait(lazy.popleft())
            if len(unmerged) > most_unmerged:
                unmerged.popleft().result()
        for future in unmerged:
            future.result()


@dataclass(frozen=True, eq=False)
class _Batch:
    """A batch of tiles for the detectors.

    Attributes:
        windows: Where they lie.
        prepared: The detectors, each with what its `prepare` gave; none where there is no tile.
        skipped: Number of tiles skipped as background since the previous batch.
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
    """Read tiles and yield batches of them; the last batch of a row may be empty."""
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
    """Yield the same items, `BATCHES_AHEAD` of them made in advance by the only thread of `reader`."""
    waiting = deque(reader.submit(next, items, None) for _ in range(BATCHES_AHEAD))
    while (item := waiting.popleft().result()) is not None:
        waiting.append(reader.submit(next, items, None))
        yield item


def _finish(detectors: Sequence[StagedDetector], raw: tuple) -> tuple:
    """Return the result of each detector in one tile."""
    return tuple(detector.finish(part) for detector, part in zip(detectors, raw, strict=True))


class _RowAssembler:
    """Assembles batches into rows; called by one thread, in the order of the batches."""

    def __init__(self, on_row: Callable[[TileRow], None]) -> None:
        self._on_row = on_row
        self._found: dict[Window, tuple] = {}

    def add(self, batch: _Batch, futures: Sequence[Future]) -> None:
        """Wait for the tiles of a batch; hand the row on if this was its last batch."""
        self._found |= zip(batch.windows, (future.result() for future in futures), strict=True)
        if batch.row is not None:
            row = TileRow(batch.row, [self._found.get(window) for window in batch.row])
            self._found = {}
            self._on_row(row)
