"""Merging with an oracle: a detector that returns the true instances, clipped to each tile."""

import time

import numpy as np
import pytest
from scipy import ndimage

from noise_mm.formats.read import read_outlines
from noise_mm.geometry.pixels import fill_pixels
from noise_mm.geometry.tiles import Window, window_grid
from noise_mm.inference.detection import Detection
from noise_mm.inference.merge.merge import Merger, MergeThresholds


def disc(labels, value, x, y, radius_x, radius_y=None):
    rows, columns = np.ogrid[: labels.shape[0], : labels.shape[1]]
    inside = ((columns - x) / radius_x) ** 2 + ((rows - y) / (radius_y or radius_x)) ** 2 <= 1
    labels[inside] = value


def oracle(labels, tile, short_px=0):
    """The instances in one tile, in pixels of the well. Those that are cut off end `short_px` before the border, as
    networks draw them, and have the higher score."""
    height, width = labels.shape
    view = labels[tile.y : min(tile.y + tile.height, height), tile.x : min(tile.x + tile.width, width)]
    inner = np.zeros(view.shape, bool)
    rows = slice(short_px if tile.y > 0 else 0, None if tile.y + tile.height >= height else tile.height - short_px)
    columns = slice(short_px if tile.x > 0 else 0, None if tile.x + tile.width >= width else tile.width - short_px)
    inner[rows, columns] = True
    for value in np.unique(view[view > 0]):
        whole = view == value
        is_cut = whole.sum() < (labels == value).sum()
        found = Detection.from_bitmap(whole & inner if is_cut else whole, tile.x, tile.y, 0.95 if is_cut else 0.9, 0)
        if found is not None:
            yield found


def merged(labels, tile_px=100, stride_px=50, shuffle=None, short_px=0):
    height, width = labels.shape
    merger = Merger(width, height)
    tiles = window_grid(width, height, tile_px, stride_px)
    if shuffle is not None:
        tiles = [tiles[i] for i in np.random.default_rng(shuffle).permutation(len(tiles))]
    for tile in tiles:
        found = list(oracle(labels, tile, short_px))
        merger.add_tile(tile, found if shuffle is None else found[::-1])
    return merger.close(), merger.report


def as_labels(cells, shape):
    out = np.zeros(shape, int)
    for value, cell in enumerate(cells, 1):
        height, width = cell.mask.shape
        out[cell.y : cell.y + height, cell.x : cell.x + width][cell.mask] = value
    return out


def assert_equals_truth(cells, labels):
    found = as_labels(cells, labels.shape)
    values = np.unique(labels[labels > 0])
    assert len(cells) == len(values)
    for value in values:
        truth = labels == value
        best = np.bincount(found[truth]).argmax()
        ours = found == best
        assert best > 0
        assert (ours & truth).sum() / (ours | truth).sum() >= 0.99


def random_layout(seed, shape=(330, 410), touching=False):
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, int)
    if touching:
        seeds = rng.random((25, 2)) * shape
        rows, columns = np.mgrid[: shape[0], : shape[1]]
        distances = np.stack([(rows - y) ** 2 + (columns - x) ** 2 for y, x in seeds])
        labels = distances.argmin(0) + 1
        labels[rng.permutation(26)[labels] < 8] = 0
        return labels
    for value in range(1, 25):
        radius = rng.uniform(4, 24, 2)
        disc(labels, value, rng.uniform(0, shape[1]), rng.uniform(0, shape[0]), *radius)
    # Later discs may have cut earlier ones apart: what is left of a cell is its largest part.
    for value in np.unique(labels[labels > 0]):
        parts, count = ndimage.label(labels == value)
        if count > 1:
            sizes = np.bincount(parts.ravel())[1:]
            labels[(parts > 0) & (parts != sizes.argmax() + 1)] = 0
    return labels


@pytest.mark.parametrize('stride_px', [25, 37, 50, 80])
@pytest.mark.parametrize('touching', [False, True])
@pytest.mark.parametrize('seed', range(6))
def test_oracle_gives_the_truth(seed, touching, stride_px):
    labels = random_layout(seed, touching=touching)
    cells, _ = merged(labels, stride_px=stride_px)
    assert_equals_truth(cells, labels)


@pytest.mark.parametrize('short_px', [1, 2, 4, 7, 8])
@pytest.mark.parametrize('touching', [False, True])
@pytest.mark.parametrize('seed', range(4))
def test_cut_views_may_end_before_the_border(seed, touching, short_px):
    labels = random_layout(seed, touching=touching)
    assert_equals_truth(merged(labels, stride_px=50, short_px=short_px)[0], labels)


@pytest.mark.parametrize('short_px', range(9))
@pytest.mark.parametrize('x', [75, 80, 90])
def test_confident_truncated_view_does_not_replace_the_whole_one(x, short_px):
    labels = np.zeros((100, 200), int)
    disc(labels, 1, x, 50, 30)
    cells, report = merged(labels, short_px=short_px)
    assert_equals_truth(cells, labels)
    assert report.on_seam == 1


def test_border_px_is_a_setting():
    tile = window_grid(200, 100, 100, 50)[0]
    for border_px, on_seam in ((0, 0), (4, 0), (5, 1)):
        merger = Merger(200, 100, MergeThresholds(border_px=border_px))
        merger.add_tile(tile, [Detection(75, 40, np.ones((20, 20), bool), 0.9, 0)])
        merger.close()
        assert merger.report.on_seam == on_seam


def test_isolated_cell_is_kept():
    labels = np.zeros((200, 200), int)
    disc(labels, 1, 100, 100, 15)
    cells, report = merged(labels)
    assert_equals_truth(cells, labels)
    assert not report.unresolved


def test_twin_views_give_one_cell():
    labels = np.zeros((100, 150), int)
    disc(labels, 1, 75, 50, 20)
    assert_equals_truth(merged(labels)[0], labels)


@pytest.mark.parametrize('length', [60, 99, 150, 240, 380])
@pytest.mark.parametrize('vertical', [False, True])
def test_cell_longer_than_the_overlap_is_one(length, vertical):
    labels = np.zeros((120, 400), int)
    labels[40:60, 9 : 9 + length] = 1
    labels[60:75, 20:30] = 2
    labels = labels.T.copy() if vertical else labels
    cells, report = merged(labels)
    assert_equals_truth(cells, labels)
    assert report.joined == (length >= 99)


def test_small_cell_on_a_giant_one_is_not_swallowed():
    labels = np.zeros((200, 400), int)
    labels[60:140, 10:390] = 1
    disc(labels, 2, 150, 100, 12)
    disc(labels, 3, 250, 100, 12)
    assert_equals_truth(merged(labels)[0], labels)


def test_tiles_without_overlap_are_joined_along_the_line():
    labels = np.zeros((100, 200), int)
    disc(labels, 1, 100, 50, 30)
    assert_equals_truth(merged(labels, stride_px=100)[0], labels)


@pytest.mark.parametrize('seed', range(4))
def test_order_does_not_matter(seed):
    labels = random_layout(seed)
    first, second = merged(labels)[0], merged(labels, shuffle=seed)[0]
    assert [(c.x, c.y, c.score, c.mask.tobytes()) for c in first] == [
        (c.x, c.y, c.score, c.mask.tobytes()) for c in second
    ]


@pytest.mark.parametrize('tile_px', [200, 333, 512, 832])
@pytest.mark.parametrize('share', [0.37, 0.61, 1])
def test_real_cells_whatever_the_stride(tile_px, share, shared_dir):
    path = shared_dir / 'data' / 'real_trap' / 'oc_finder_example_coco.json'
    if not path.is_file():
        pytest.skip(f'the real TRAP image is not at {path.parent}')
    labels = np.zeros((1440, 1920), int)
    for value, outline in enumerate(read_outlines(path), 1):
        labels[fill_pixels(outline.geometry, 0, 0, 1920, 1440)] = value
    cells, _ = merged(labels, tile_px, int(tile_px * share))
    assert len(cells) == 13
    assert_equals_truth(cells, labels)


def test_well_smaller_than_a_tile():
    labels = np.zeros((60, 70), int)
    disc(labels, 1, 68, 30, 10)
    cells, report = merged(labels)
    assert_equals_truth(cells, labels)
    assert report.on_seam == 0


def test_what_reaches_over_the_well_is_cut_off():
    merger = Merger(50, 50)
    merger.add_tile(Window(0, 0, 0, 0, 100, 100), [Detection(40, 40, np.ones((30, 30), bool), 0.9, 0)])
    (cell,) = merger.close()
    assert (cell.x, cell.y, cell.mask.shape) == (40, 40, (10, 10))
    assert not Merger(50, 50).close()


def test_cut_view_without_counterpart_is_reported():
    merger = Merger(150, 100)
    left, right = window_grid(150, 100, 100, 50)
    merger.add_tile(left, [Detection(70, 40, np.ones((20, 30), bool), 0.9, 0)])
    merger.add_tile(right, [Detection(120, 10, np.ones((5, 5), bool), 0.9, 0)])
    assert len(merger.close()) == 2
    assert merger.report.unresolved == ((85, 50),)


def test_classes_are_not_mixed():
    merger = Merger(150, 100)
    left, right = window_grid(150, 100, 100, 50)
    mask = np.ones((20, 20), bool)
    merger.add_tile(left, [Detection(60, 40, mask, 0.9, 0)])
    merger.add_tile(right, [Detection(60, 40, mask, 0.9, 1)])
    assert [cell.label for cell in merger.close()] == [0, 1]


def in_one_tile(*masks):
    merger = Merger(100, 100)
    tile = Window(0, 0, 0, 0, 100, 100)
    merger.add_tile(tile, [Detection.from_bitmap(mask, 0, 0, score, 0) for score, mask in masks])
    return merger.close()


def rectangle(x1, y1, x2, y2):
    mask = np.zeros((100, 100), bool)
    mask[y1:y2, x1:x2] = True
    return mask


def test_of_several_masks_of_one_cell_the_most_confident_stays():
    cells = in_one_tile(
        (0.5, rectangle(10, 10, 50, 52)), (0.9, rectangle(10, 10, 50, 50)), (0.4, rectangle(10, 10, 70, 60))
    )
    assert [cell.score for cell in cells] == [0.9]


def test_small_cell_on_a_large_one_stays():
    cells = in_one_tile((0.9, rectangle(10, 10, 90, 90)), (0.5, rectangle(40, 40, 60, 60)))
    assert len(cells) == 2


def test_touching_cells_of_one_tile_stay():
    cells = in_one_tile((0.9, rectangle(10, 10, 50, 50)), (0.5, rectangle(48, 10, 90, 50)))
    assert len(cells) == 2


@pytest.mark.slow
def test_many_cells_take_seconds():
    """20,000 cells, each in four tiles or more: a time quadratic in the cells shows here."""
    side_px, rng = 34_800, np.random.default_rng(0)
    merger = Merger(side_px, side_px)
    corners = np.stack(np.unravel_index(rng.choice(579**2, 20_000, replace=False), (579, 579)), axis=1) * 60
    for tile in window_grid(side_px, side_px, 832, 416):
        starts = corners - (tile.x, tile.y)
        starts = starts[((starts > -50) & (starts < 832)).all(axis=1)]
        low, high = np.clip(starts, 0, 832), np.clip(starts + 50, 0, 832)
        seen = zip(np.add(low, tile[2:4]).tolist(), (high - low).tolist(), strict=True)
        merger.add_tile(tile, [Detection(x, y, np.ones((high, wide), bool), 0.9, 0) for (x, y), (wide, high) in seen])
    start = time.perf_counter()
    assert len(merger.close()) == 20_000
    assert time.perf_counter() - start < 60
