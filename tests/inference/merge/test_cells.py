"""From views to cells: a piece of a cell that seems to be whole."""

import numpy as np
import pytest

from noise_mm.geometry.tiles import window_grid
from noise_mm.inference.detection import Detection
from noise_mm.inference.merge.merge import Merger


@pytest.mark.parametrize('gap_px', [36, 40])
def test_piece_that_others_show_up_to_the_border_is_not_whole(gap_px):
    # A cell 130 px long under tiles of 100 px. The tile in the middle of the lower row shows a piece that ends `gap_px`
    # after its left border, the one above it shows the cell up to there.
    merger = Merger(200, 150)
    for tile in window_grid(200, 150, 100, 50):
        x1, x2 = max(10, tile.x), min(140, tile.x + 100)
        if (tile.x, tile.y) == (50, 50):
            x1 = tile.x + gap_px
        merger.add_tile(tile, [Detection(x1, 60, np.ones((30, x2 - x1), bool), 0.9, 0)])
    (cell,) = merger.close()
    assert (cell.x, cell.y, cell.mask.shape) == (10, 60, (30, 130))
