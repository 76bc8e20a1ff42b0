"""Ties across lines between tiles."""

import numpy as np
import pytest

from noise_mm.geometry.tiles import window_grid
from noise_mm.inference.detection import Detection
from noise_mm.inference.merge.merge import Merger


def cells_of(ends_px, stride_px, reaching=False):
    """Merges a cell 180 px long in tiles of 100 px, seen by the first and the last tile only, up to `ends_px`."""
    merger = Merger(200, 100)
    for tile in window_grid(200, 100, 100, stride_px):
        found = []
        if reaching:
            x, y = (96, 0) if tile.x == 0 else (100, 10)
            found = [Detection(x, y + 20 * i, np.ones((4, 4), bool), 0.9, 0) for i in (0, 1, 4)]
        if tile.x == 0:
            found.append(Detection(10, 40, np.ones((30, 90 - ends_px[0]), bool), 0.9, 0))
        if tile.x == 100:
            found.append(Detection(100 + ends_px[1], 42, np.ones((30, 90 - ends_px[1]), bool), 0.9, 0))
        merger.add_tile(tile, found)
    return [cell for cell in merger.close() if cell.mask.sum() > 16]


@pytest.mark.parametrize('ends_px', [(0, 0), (0, 5), (3, 0), (6, 4)])
def test_cell_that_the_tile_between_has_missed_is_joined(ends_px):
    (cell,) = cells_of(ends_px, stride_px=50)
    assert (cell.x, cell.x + cell.mask.shape[1]) == (10, 190)


@pytest.mark.parametrize('ends_px', [(0, 5), (3, 0)])
def test_where_no_tile_looks_across_masks_have_to_meet(ends_px):
    # Cells that end at the line show that the masks of these tiles do not end short of it.
    assert len(cells_of(ends_px, stride_px=100, reaching=True)) == 2
    assert len(cells_of((0, 0), stride_px=100, reaching=True)) == 1
