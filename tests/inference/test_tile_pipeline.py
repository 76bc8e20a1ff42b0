"""Tiles through detectors: order, batches, limits of what is in memory, and faults on the way."""

import threading
import time
from io import StringIO

import numpy as np
import pytest

from noise_mm.errors import InputError
from noise_mm.geometry.tiles import window_grid
from noise_mm.inference.tile_pipeline import (
    BATCHES_AHEAD,
    BATCHES_LAZY,
    OneStage,
    StagedDetector,
    predict_rows,
)
from noise_mm.progress import Progress
from noise_mm.slides.chunked import Slide

TILE_PX = 16


class Drawn(Slide):
    """Tiles of which each has its own colour, by row and column, and those in `empty` are white."""

    def __init__(self, rows, columns, empty=(), broken=None):
        super().__init__('drawn', (columns * TILE_PX, rows * TILE_PX), (TILE_PX, TILE_PX), None)
        self.empty, self.broken, self.decoded = set(empty), broken, 0

    def close(self):
        pass

    def decode_chunk(self, row, column):
        self.decoded += 1
        if (row, column) == self.broken:
            raise InputError('drawn: damaged')
        pixels = np.full((TILE_PX, TILE_PX, 3), 255, np.uint8)
        if (row, column) not in self.empty:
            pixels[:] = (row, column, 0)
        return pixels


class Watched(StagedDetector):
    """Gives row and column of each tile; notes in which threads it was called, with what, and how far it is behind."""

    def __init__(self, seconds=0.0):
        self.seconds, self.batches, self.threads = seconds, [], {}
        self.inferred = self.finished = self.most_behind = 0

    def note(self, name):
        self.threads.setdefault(name, set()).add(threading.get_ident())

    def prepare(self, tiles):
        self.note('prepare')
        return np.stack(tiles)

    def infer(self, prepared):
        self.note('infer')
        self.batches.append([tuple(tile[0, 0, :2]) for tile in prepared])
        self.inferred += len(prepared)
        self.most_behind = max(self.most_behind, self.inferred - self.finished)
        return [tile[0, 0, :2].tolist() for tile in prepared]

    def finish(self, raw):
        self.note('finish')
        time.sleep(self.seconds)
        self.finished += 1
        return tuple(raw)


def look(slide, detectors, batch_size=3, on_row=None, skip_background=True):
    windows = window_grid(slide.width_px, slide.height_px, TILE_PX, TILE_PX)
    rows = [[window for window in windows if window.row == row] for row in range(windows[-1].row + 1)]
    progress = Progress('drawn', len(windows), StringIO())
    seen = []
    predict_rows(slide, rows, detectors, batch_size, on_row or seen.append, progress, skip_background)
    assert progress.n == len(windows)
    return seen


def test_rows_come_in_order_with_what_each_detector_found():
    empty = {(0, 0), (1, 3), (2, 0), (2, 1), (2, 2), (2, 3), (2, 4), (2, 5), (2, 6)}
    seen = look(Drawn(5, 7, empty), [Watched(0.001), OneStage(lambda tiles: [tile.sum() for tile in tiles])])
    assert [[window.row for window in row.windows] for row in seen] == [[row] * 7 for row in range(5)]
    for row in seen:
        for window, found in zip(row.windows, row.found, strict=True):
            place = window.row, window.column
            assert found == (None if place in empty else (place, sum(place) * TILE_PX**2))
    assert [row.skipped for row in seen] == [1, 1, 7, 0, 0]


def test_batches_do_not_go_over_the_end_of_a_row():
    detector = Watched()
    look(Drawn(3, 7, {(1, 2)}), [detector])
    assert [len(batch) for batch in detector.batches] == [3, 3, 1, 3, 3, 3, 3, 1]
    assert all(len({row for row, _ in batch}) == 1 for batch in detector.batches)


def test_background_is_looked_at_where_that_is_wished():
    assert [row.skipped for row in look(Drawn(2, 3, {(0, 0)}), [Watched()], skip_background=False)] == [0, 0]


def test_the_network_stays_in_the_callers_thread_and_the_rest_leaves_it():
    detector = Watched()
    followers = set()
    look(Drawn(4, 4), [detector], on_row=lambda row: followers.add(threading.get_ident()))
    own = threading.get_ident()
    assert detector.threads['infer'] == {own}
    assert len(detector.threads['prepare']) == 1
    assert own not in detector.threads['prepare'] | detector.threads['finish'] | followers


def test_results_do_not_pile_up_behind_a_fast_network():
    detector = Watched(seconds=0.01)
    look(Drawn(8, 16), [detector], batch_size=2)
    assert detector.most_behind <= 2 * (BATCHES_LAZY + 2)


def test_the_reader_does_not_run_away_from_a_slow_network():
    slide = Drawn(40, 4)
    ahead = []

    def slow(tiles):
        time.sleep(0.002)
        ahead.append(slide.decoded - 4 * len(ahead))
        return [None] * len(tiles)

    look(slide, [OneStage(slow)], batch_size=4)
    assert max(ahead) <= 4 * (BATCHES_AHEAD + 2)


def test_slow_merging_holds_the_network_back():
    detector = Watched()
    behind = []

    def merge(row):
        time.sleep(0.01)
        behind.append(detector.inferred // 4 - row.windows[0].row)

    look(Drawn(20, 4), [detector], batch_size=4, on_row=merge)
    assert max(behind) <= 4


@pytest.mark.parametrize('stage', ['read', 'infer', 'finish', 'merge'])
def test_a_fault_anywhere_ends_it_with_that_fault(stage):
    class Faulty(Watched):
        def infer(self, prepared):
            if stage == 'infer' and prepared[0, 0, 0, 0] == 2:
                raise InputError('infer: damaged')
            return super().infer(prepared)

        def finish(self, raw):
            if stage == 'finish' and raw[0] == 2:
                raise InputError('finish: damaged')
            return super().finish(raw)

    def merge(row):
        if stage == 'merge' and row.windows[0].row == 2:
            raise InputError('merge: damaged')

    threads = threading.active_count()
    with pytest.raises(InputError, match='damaged'):
        look(Drawn(40, 8, broken=(2, 3) if stage == 'read' else None), [Faulty()], on_row=merge)
    assert threading.active_count() == threads
