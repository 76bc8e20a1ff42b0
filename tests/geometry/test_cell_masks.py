import numpy as np
import pytest
from shapely import Point, box

from noise_mm.geometry.cell_masks import CellMask
from noise_mm.geometry.pixels import fill_pixels

SIZE_PX = (200, 150)


@pytest.mark.parametrize('geometry', [Point(60.3, 70.2).buffer(31), box(-20, -5, 7.2, 9), box(150, 120, 260, 190)])
def test_windows_of_a_mask_hold_the_pixels_of_the_outline(geometry):
    mask = CellMask.of(geometry, SIZE_PX)
    whole = fill_pixels(geometry, 0, 0, *SIZE_PX)
    assert mask.pixels().dtype == bool
    assert mask.pixels().sum() == whole.sum()
    assert (mask.window(0, 0, *SIZE_PX) == whole).all()
    assert (mask.window(40, 50, 30, 20) == whole[50:70, 40:70]).all()


@pytest.mark.parametrize('bounds', [(10.6, 20.6, 11.4, 21.4), (199.9, 0, 200, 30), (300, 300, 310, 310)])
def test_a_sliver_has_a_window_and_no_pixels(bounds):
    mask = CellMask.of(box(*bounds), SIZE_PX)
    assert mask.width >= 1 and mask.height >= 1
    assert not np.any(mask.pixels())
