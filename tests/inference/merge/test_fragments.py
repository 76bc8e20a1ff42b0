"""Fragments: what is left out, and what looks like one and is not."""

import numpy as np

from noise_mm.geometry.tiles import window_grid
from noise_mm.inference.detection import Detection
from noise_mm.inference.merge.merge import Merger

WIDTH_PX, HEIGHT_PX, TILE_PX, STRIDE_PX = 300, 250, 100, 50


def cells_of(well, further):
    """Merges what tiles see of the bitmaps in `well`, each shown exactly, and what `further` adds to a tile."""
    merger = Merger(WIDTH_PX, HEIGHT_PX)
    for tile in window_grid(WIDTH_PX, HEIGHT_PX, TILE_PX, STRIDE_PX):
        place = np.s_[tile.y : tile.y + TILE_PX, tile.x : tile.x + TILE_PX]
        seen = [(bitmap[place], 0.9) for bitmap in well] + further(tile, [bitmap[place] for bitmap in well])
        found = (Detection.from_bitmap(bitmap, tile.x, tile.y, score, 0) for bitmap, score in seen)
        merger.add_tile(tile, [it for it in found if it is not None])
    return merger.close()


def bar(x1, y1, x2, y2):
    bitmap = np.zeros((HEIGHT_PX, WIDTH_PX), bool)
    bitmap[y1:y2, x1:x2] = True
    return bitmap


def strip_at_right_border(tile, seen):
    """What networks leave at borders: a second mask of the last pixels of a cell that is cut off there."""
    strip = seen[0].copy()
    strip[:, :-20] = False
    return [(strip, 0.5)] if strip[:, -1].any() and tile.x + TILE_PX < WIDTH_PX else []


def test_strips_of_a_cell_are_left_out_even_if_they_confirm_each_other():
    # Cut off at the right borders of tiles in several rows: their strips agree with one another.
    for cell in (bar(60, 30, 140, 110), bar(20, 40, 280, 200)):
        (found,) = cells_of([cell], strip_at_right_border)
        assert found.mask.sum() == cell.sum()


def test_long_cell_on_a_giant_one_stays():
    # No tile shows the thin cell whole, either, but all that look there show it.
    giant, thin = bar(10, 30, 290, 150), bar(40, 70, 260, 86)
    cells = cells_of([giant, thin], lambda *_: [])
    assert sorted(int(cell.mask.sum()) for cell in cells) == sorted([int(thin.sum()), int(giant.sum())])
