"""Merging with an oracle that is always right, on cells that are hard to put together: long, branching and nested."""

import cv2
import numpy as np
import pytest
from scipy import ndimage

from noise_mm.geometry.tiles import window_grid
from noise_mm.inference.detection import Detection
from noise_mm.inference.merge.merge import Merger

SHAPE = (420, 520)


def branching_layout(rng):
    """Frames, crosses, and shapes like U and L, up to 250 px; the first drawn lie on top."""
    for _ in range(14):
        side_px = int(rng.uniform(60, 250))
        arm_px = max(4, int(side_px * rng.uniform(0.1, 0.25)))
        middle = slice(side_px // 2 - arm_px // 2, side_px // 2 + arm_px // 2)
        shape = np.zeros((side_px, side_px), bool)
        kind = rng.integers(4)
        if kind == 0:  # a cross
            shape[middle] = shape[:, middle] = True
        else:  # L, U, and a frame
            shape[:, :arm_px] = shape[:arm_px] = True
            shape[:, -arm_px:] |= kind > 1
            shape[-arm_px:] |= kind > 2
        yield placed(np.rot90(shape, rng.integers(4)), rng)


def winding_layout(rng):
    """Bands of 8 to 30 px that wind through the well for up to four tiles, and discs between them."""
    for number in range(40):
        bitmap = np.zeros(SHAPE, np.uint8)
        if number < 6:
            turns = np.cumsum(rng.normal(0, 0.12, int(rng.uniform(80, 300))))
            steps = 1.5 * np.stack([np.cos(turns), np.sin(turns)], axis=1)
            line = np.rint(rng.uniform(0, SHAPE[::-1], 2) + np.cumsum(steps, axis=0)).astype(np.int32)
            cv2.polylines(bitmap, [line], False, 1, int(rng.uniform(8, 30)))
        else:
            axes = tuple(rng.integers(4, 25, 2).tolist())
            center = tuple(rng.integers(0, SHAPE[::-1]).tolist())
            cv2.ellipse(bitmap, center, axes, rng.uniform(0, 180), 0, 360, 1, -1)
        yield bitmap > 0


def placed(shape, rng):
    """A shape somewhere in the well, or partly outside."""
    bitmap, side_px = np.zeros(SHAPE, bool), len(shape)
    y, x = (int(rng.uniform(-0.3 * side_px, length_px - 0.5 * side_px)) for length_px in SHAPE)
    inside = shape[max(-y, 0) : SHAPE[0] - y, max(-x, 0) : SHAPE[1] - x]
    bitmap[max(y, 0) :, max(x, 0) :][: inside.shape[0], : inside.shape[1]] = inside
    return bitmap


def side_by_side(bitmaps):
    """Cells without what others cover already; of each the largest part, crumbs left out."""
    taken, cells = np.zeros(SHAPE, bool), []
    for bitmap in bitmaps:
        cell = largest_part(bitmap & ~taken)
        if cell.sum() >= 12:
            cells.append(cell)
            taken |= cell
    return cells


def largest_part(bitmap):
    parts, count = ndimage.label(bitmap)
    return parts == np.bincount(parts.ravel())[1:].argmax() + 1 if count else bitmap


def nested(rng):
    """Big cells apart from each other, and small ones that lie on them, all seen whole."""
    cells, taken = [], np.zeros(SHAPE, bool)
    for _ in range(40):
        big = np.zeros(SHAPE, np.uint8)
        center, axes = rng.integers(0, SHAPE[::-1]).tolist(), rng.integers(20, 150, 2).tolist()
        cv2.ellipse(big, tuple(center), tuple(axes), rng.uniform(0, 180), 0, 360, 1, -1)
        big = largest_part(big > 0)
        if big.sum() < 200 or (big & taken).any():
            continue
        taken |= big
        cells.append(big)
        within = big & (ndimage.distance_transform_edt(np.pad(big, 1))[1:-1, 1:-1] > 12)
        for y, x in rng.permutation(np.argwhere(within))[:3].tolist():
            small = np.zeros(SHAPE, np.uint8)
            cv2.circle(small, (x, y), int(rng.integers(4, 10)), 1, -1)
            if not (cv2.dilate(small, np.ones((5, 5))) & (~within | (taken & ~big))).any():
                cells.append(small > 0)
                within &= cv2.dilate(small, np.ones((25, 25))) == 0
    return cells


LAYOUTS = {
    'branching': lambda rng: side_by_side(branching_layout(rng)),
    'winding': lambda rng: side_by_side(winding_layout(rng)),
    'nested': nested,
}


@pytest.mark.parametrize(('tile_px', 'stride_px'), [(97, 41), (128, 64), (160, 113), (160, 150)])
@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('seed', range(3))
def test_every_cell_comes_out_once_and_whole(layout, seed, tile_px, stride_px):
    cells = LAYOUTS[layout](np.random.default_rng(seed))
    assert len(cells) >= 4
    found = merged(cells, tile_px, stride_px)
    assert len(found) == len(cells)
    ious = np.array([[iou(cell, other) for other in found] for cell in cells])
    assert (ious.max(axis=1) >= 0.99).all()


def merged(cells, tile_px, stride_px):
    height, width = SHAPE
    merger, found = Merger(width, height), []
    tiles = window_grid(width, height, tile_px, stride_px)
    for tile, following in zip(tiles, [*tiles[1:], tiles[-1]], strict=True):
        place = np.s_[tile.y : tile.y + tile_px, tile.x : tile.x + tile_px]
        views = (Detection.from_bitmap(cell[place], tile.x, tile.y, 1.0, 0) for cell in cells)
        merger.add_tile(tile, [view for view in views if view is not None])
        if following.row > tile.row:
            found += merger.finish_above(following.y)
    return found + merger.close()


def iou(cell, found):
    part = cell[found.y : found.y + found.mask.shape[0], found.x : found.x + found.mask.shape[1]]
    shared = np.count_nonzero(part & found.mask)
    return shared / (np.count_nonzero(cell) + np.count_nonzero(found.mask) - shared)
