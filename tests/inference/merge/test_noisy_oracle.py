"""Merging with an oracle that errs as networks do: outlines off, cells missed or made up, broken at borders."""

import cv2
import numpy as np
import pytest
from scipy import ndimage

from noise_mm.geometry.tiles import window_grid
from noise_mm.inference.detection import Detection
from noise_mm.inference.merge.merge import Merger

TILE_PX, STRIDE_PX = 208, 104
MISSED, FRAGMENTED, FALSE = 0.05, 0.2, 0.02  # shares of the cells that each tile shows
MOST_ERROR, MOST_ERROR_OF_A_WELL = 0.01, 0.04  # wells of 100 to 200 cells: four cells and more


def dense_layout(rng, shape):
    """Touching cells of 20 to 90 px with irregular outlines."""
    seeds = rng.random((shape[0] * shape[1] // 2500, 2)) * shape
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    bend = [cv2.GaussianBlur(rng.normal(size=shape).astype(np.float32), (0, 0), 12) * 150 for _ in range(2)]
    distances = np.full(shape, np.inf)
    labels = np.zeros(shape, int)
    for value, (y, x) in enumerate(seeds, 1):
        distance = (rows + bend[0] - y) ** 2 + (columns + bend[1] - x) ** 2
        labels[distance < distances] = value
        distances = np.minimum(distance, distances)
    labels[np.isin(labels, rng.permutation(len(seeds))[: len(seeds) // 4])] = 0
    return labels


def giants_layout(rng, shape):
    """Cells of up to four tiles in length, with small ones between them."""
    labels = np.zeros(shape, int)
    for value in range(1, 121):
        axes = (rng.uniform(120, 420), rng.uniform(12, 40)) if value < 8 else rng.uniform(8, 30, 2)
        center = (rng.uniform(0, shape[1]), rng.uniform(0, shape[0]))
        drawn = np.zeros(shape, np.uint8)
        cv2.ellipse(drawn, (center, tuple(2 * axis for axis in axes), rng.uniform(0, 180)), 1, cv2.FILLED)
        labels[(drawn > 0) & (labels == 0)] = value
    return labels


def edge_layout(rng, shape):
    """Cells of 24 to 120 px, most of them along the edges of the image."""
    labels = np.zeros(shape, int)
    for value in range(1, 221):
        x, y = rng.uniform(0, shape[1]), rng.uniform(0, shape[0])
        near = [(x, 0), (x, shape[0]), (0, y), (shape[1], y), (x, y)][rng.integers(5)]
        drawn = np.zeros(shape, np.uint8)
        axes = tuple(2 * axis for axis in rng.uniform(12, 60, 2))
        cv2.ellipse(drawn, (tuple(rng.normal(near, 14)), axes, rng.uniform(0, 180)), 1, cv2.FILLED)
        labels[(drawn > 0) & (labels == 0)] = value
    return labels


def whole_cells(labels, least_px=60):
    """The largest part of each cell, as (left, top, bitmap); crumbs are left out."""
    cells = []
    for value, place in enumerate(ndimage.find_objects(labels), 1):
        if place is not None:
            parts, _ = ndimage.label(labels[place] == value)
            sizes = np.bincount(parts.ravel())[1:]
            if sizes.max() >= least_px:
                cells.append((place[1].start, place[0].start, parts == sizes.argmax() + 1))
    return cells


def drawn_anew(bitmap, rng):
    """A mask grown or shrunk by up to 2 px and shifted by up to 2 px, with 4 px around it."""
    out = np.pad(bitmap, 4).astype(np.uint8)
    by_px = int(rng.integers(-2, 3))
    if by_px > 0:
        out = cv2.dilate(out, np.ones((3, 3)), iterations=by_px)
    elif min(bitmap.shape) > 12:
        out = cv2.erode(out, np.ones((3, 3)), iterations=-by_px)
    return np.roll(out, rng.integers(-2, 3, 2), (0, 1)).astype(bool)


def view(bitmap, x, y, score, tile):
    """The largest part of what a tile shows of a mask; None where it shows nothing of it."""
    top, left = max(tile.y - y, 0), max(tile.x - x, 0)
    part = bitmap[top : max(tile.y + tile.height - y, 0), left : max(tile.x + tile.width - x, 0)]
    parts, count = ndimage.label(part)
    if count > 1:
        part = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    return Detection.from_bitmap(part, x + left, y + top, score, 0) if part.any() else None


def fragment(found, tile, rng):
    """A second mask of the last pixels at a border of the tile, if that cuts off the cell; also at the image's edge."""
    height, width = found.mask.shape
    strip, depth_px = found.mask.copy(), int(rng.integers(6, 30))
    if found.x == tile.x:
        strip[:, depth_px:] = False
    elif found.y == tile.y:
        strip[depth_px:] = False
    elif found.x + width == tile.x + tile.width:
        strip[:, :-depth_px] = False
    elif found.y + height == tile.y + tile.height:
        strip[:-depth_px] = False
    else:
        return None
    return Detection.from_bitmap(strip, found.x, found.y, float(rng.uniform(0.3, 0.6)), 0)


def false_cell(tile, rng):
    """A disc somewhere in the tile, of any confidence."""
    disc = np.zeros((60, 60), np.uint8)
    cv2.ellipse(disc, (30, 30), tuple(rng.integers(8, 25, 2).tolist()), rng.uniform(0, 180), 0, 360, 1, cv2.FILLED)
    x, y = rng.integers(-10, TILE_PX - 50, 2).tolist()
    return view(disc > 0, tile.x + x, tile.y + y, float(rng.uniform(0.3, 0.9)), tile)


def seen_in(tile, cells, rng):
    """What the oracle says of one tile."""
    for x, y, bitmap in cells:
        exact = view(bitmap, x, y, 1.0, tile)
        if exact is None or rng.random() < MISSED:
            continue
        found = view(drawn_anew(bitmap, rng), x - 4, y - 4, float(rng.uniform(0.5, 1)), tile)
        yield from () if found is None else (found,)
        if rng.random() < FRAGMENTED:
            extra = fragment(exact, tile, rng)
            yield from () if extra is None else (extra,)
        if rng.random() < FALSE:
            extra = false_cell(tile, rng)
            yield from () if extra is None else (extra,)


def merged(cells, shape, rng, in_bands):
    height, width = shape
    merger, found = Merger(width, height), []
    tiles = window_grid(width, height, TILE_PX, STRIDE_PX)
    for tile, following in zip(tiles, [*tiles[1:], None], strict=True):
        merger.add_tile(tile, list(seen_in(tile, cells, rng)))
        if in_bands and following is not None and following.row > tile.row:
            found += merger.finish_above(following.y)
    return found + merger.close()


def test_error_of_the_count():
    drawn, found = [], []
    for seed, layout in enumerate([dense_layout, giants_layout, edge_layout] * 2):
        shape, rng = (730 + 40 * seed, 830), np.random.default_rng(seed)  # sides that the stride divides and others
        cells = whole_cells(layout(rng, shape))
        drawn.append(len(cells))
        found.append(len(merged(cells, shape, rng, in_bands=True)))
    errors = np.subtract(found, drawn)
    assert sum(drawn) > 600
    assert abs(errors.sum()) <= MOST_ERROR * sum(drawn), errors
    assert (np.abs(errors) <= MOST_ERROR_OF_A_WELL * np.array(drawn)).all(), errors / drawn


@pytest.mark.parametrize('layout', [dense_layout, giants_layout])
def test_cells_taken_out_early_are_the_same(layout):
    shape = (730, 830)
    cells = whole_cells(layout(np.random.default_rng(9), shape))
    early, late = (merged(cells, shape, np.random.default_rng(1), in_bands) for in_bands in (True, False))
    assert sorted(map(as_key, early)) == sorted(map(as_key, late))


def as_key(cell):
    return cell.x, cell.y, cell.score, cell.mask.shape, cell.mask.tobytes()
