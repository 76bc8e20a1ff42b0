"""Masks that their box cuts off, on prototypes of which one shows the whole cell."""

import numpy as np
import pytest
import torch

from noise_mm.inference.box_cuts import cut_sides, mended
from noise_mm.inference.detection import Detection
from noise_mm.models.instance_masks import MaskFrame, UndrawnMasks

SIZE_PX, GRID = 160, 80


def disc(x, y, radius):
    rows, columns = np.mgrid[:SIZE_PX, :SIZE_PX] + 0.5
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def cropped(bitmap, box):
    x1, y1, x2, y2 = box
    inside = np.zeros_like(bitmap)
    inside[y1:y2, x1:x2] = bitmap[y1:y2, x1:x2]
    return Detection.from_bitmap(inside, 0, 0, 0.9, 0)


def masks_of(bitmaps, boxes):
    """Each bitmap as a prototype of its own, which one instance has."""
    step = SIZE_PX // GRID
    protos = torch.stack([torch.from_numpy(bitmap[::step, ::step] * 2.0 - 1) for bitmap in bitmaps]).float()
    frame = MaskFrame(SIZE_PX, SIZE_PX, (0, 0, GRID, GRID))
    return UndrawnMasks(torch.eye(len(bitmaps)), protos, torch.tensor(boxes).float(), frame)


def area(detection):
    return np.count_nonzero(detection.mask)


@pytest.mark.parametrize('side', range(4))
def test_a_straight_end_at_the_box_is_a_cut(side):
    cell = disc(80, 80, 30)
    box = [50, 50, 110, 110]
    assert cut_sides(cropped(cell, box), box, (SIZE_PX, SIZE_PX)) == []
    box[side] += 10 if side < 2 else -10
    found = cropped(cell, box)
    assert cut_sides(found, box, (SIZE_PX, SIZE_PX)) == [side]
    box[side] += -5 if side < 2 else 5  # straight, but not at the box
    assert cut_sides(found, box, (SIZE_PX, SIZE_PX)) == []


def test_the_border_of_the_tile_is_no_cut_of_the_box():
    box = [0, 50, 40, 110]
    assert cut_sides(cropped(disc(10, 80, 30), box), box, (SIZE_PX, SIZE_PX)) == []


def test_a_mask_that_its_box_cuts_off_is_drawn_whole():
    cell, box = disc(80, 80, 30), [50, 60, 110, 110]
    (found,) = mended([cropped(cell, box)], [box], masks_of([cell], [box]))
    assert not found.is_cut_at_box
    assert area(found) == pytest.approx(cell.sum(), rel=0.02)
    assert found.score == 0.9


def test_a_mask_that_ends_by_itself_and_none_stay():
    cell, box = disc(80, 80, 30), [50, 50, 110, 110]
    whole = cropped(cell, box)
    assert list(mended([whole, None], [box, box], masks_of([cell, cell], [box, box]))) == [whole, None]


def test_what_stays_cut_is_marked():
    """A band that goes on far beyond any larger box."""
    band, box = np.zeros((SIZE_PX, SIZE_PX), bool), [20, 60, 60, 100]
    band[65:95] = True
    found = cropped(band, box)
    (marked,) = mended([found], [box], masks_of([band], [box]))
    assert marked.is_cut_at_box
    assert (marked.mask == found.mask).all()


def test_a_mask_does_not_grow_into_another_cell():
    """Prototypes that show two touching cells as one; the lower cell is found, too."""
    upper, lower = disc(80, 60, 25), disc(80, 104, 22)
    boxes = [[55, 35, 105, 78], [58, 82, 102, 126]]
    found = [cropped(upper | lower, boxes[0]), cropped(lower, boxes[1])]
    first, second = mended(found, boxes, masks_of([upper | lower, lower], boxes))
    assert first.is_cut_at_box
    assert (area(first), area(second)) == (area(found[0]), area(found[1]))
