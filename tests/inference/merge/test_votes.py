"""Votes of tiles on a cell: who may vote, and what follows."""

import numpy as np
import pytest

from noise_mm.geometry.tiles import window_grid
from noise_mm.inference.detection import Detection
from noise_mm.inference.merge.merge import Merger

SIZE_PX, TILE_PX, STRIDE_PX = 300, 200, 100
TILES = window_grid(SIZE_PX, SIZE_PX, TILE_PX, STRIDE_PX)  # four; all show the middle
MIDDLE, TOP, CORNER = (130, 130), (130, 30), (20, 20)  # shown by four tiles, by two, and by one


def disc(x, y, score, side_px=30):
    rows, columns = np.ogrid[:side_px, :side_px]
    radius = side_px / 2
    mask = (rows + 0.5 - radius) ** 2 + (columns + 0.5 - radius) ** 2 <= radius**2
    return Detection.from_bitmap(mask, x, y, score, 0)


def merged(place, shown_by, score, score_thr=0.25):
    merger = Merger(SIZE_PX, SIZE_PX, score_thr=score_thr)
    for number, tile in enumerate(TILES):
        merger.add_tile(tile, [disc(*place, score)] if number in shown_by else [])
    return merger.close(), merger.report


@pytest.mark.parametrize(
    ('place', 'shown_by', 'score', 'kept_with'),
    [
        (MIDDLE, [0, 1, 2, 3], 0.3, 0.3),
        (MIDDLE, [0, 1, 2], 0.3, 0.3),
        (MIDDLE, [0, 1], 0.3, 0.3),
        (MIDDLE, [0], 1.0, None),
        (TOP, [0, 1], 0.3, 0.3),
        (TOP, [0], 0.9, 0.9 * 0.5**1.5),
        (TOP, [0], 0.7, None),
        (CORNER, [0], 0.3, 0.3),
    ],
)
def test_half_of_the_tiles_keep_a_cell_and_a_minority_lowers_its_score(place, shown_by, score, kept_with):
    cells, report = merged(place, shown_by, score)
    assert [cell.score for cell in cells] == ([] if kept_with is None else [pytest.approx(kept_with)])
    assert report.dropped == (kept_with is None)
    assert report.lowered == (kept_with is not None and kept_with < score)
    assert report.unvoted == (place == CORNER)


def test_cells_are_dropped_at_the_threshold_of_the_detector():
    cells, report = merged(TOP, [0], 0.5, score_thr=0.1)
    assert [cell.score for cell in cells] == [pytest.approx(0.5 * 0.5**1.5)]
    assert (report.dropped, report.lowered) == (0, 1)


def test_nothing_is_voted_on_where_tiles_only_meet():
    merger = Merger(400, 400)
    for tile in window_grid(400, 400, 200, 200):
        merger.add_tile(tile, [disc(tile.x + 50, tile.y + 50, 0.3)])
    assert len(merger.close()) == merger.report.unvoted == 4
    assert merger.report.columns() == {'cells_dropped': 0, 'cells_lowered': 0, 'cells_unvoted': 4}


def test_skipped_tiles_have_no_vote():
    merger = Merger(SIZE_PX, SIZE_PX)
    merger.add_tile(TILES[0], [disc(*MIDDLE, 0.3)])
    assert len(merger.close()) == merger.report.unvoted == 1


@pytest.mark.parametrize('side', range(4))
def test_strips_along_the_edge_of_the_image_join_their_cell(side):
    """Shown by the only tile that looks there, as networks break cells at borders."""
    cell = np.ones((60, 80), bool)
    strip = np.zeros_like(cell)
    strip[:, :15] = True
    merger = Merger(100, 100)
    masks = [np.pad(mask, ((20, 20), (0, 20))) for mask in (cell, strip)]
    turned = [
        Detection.from_bitmap(np.rot90(mask, side), 0, 0, score, 0)
        for mask, score in zip(masks, (0.9, 0.5), strict=True)
    ]
    merger.add_tile(window_grid(100, 100, 200, 100)[0], turned)
    (found,) = merger.close()
    assert found.mask.sum() == cell.sum()


def test_small_cell_on_a_large_one_at_the_edge_of_the_image_stays():
    merger = Merger(100, 100)
    large = Detection(0, 20, np.ones((60, 80), bool), 0.9, 0)
    merger.add_tile(window_grid(100, 100, 200, 100)[0], [large, disc(0, 40, 0.5, side_px=20)])
    assert len(merger.close()) == 2
