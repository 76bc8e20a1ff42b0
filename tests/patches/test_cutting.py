import os

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from noise_mm.errors import InputError
from noise_mm.geometry.tiles import window_grid
from noise_mm.patches import cutting
from noise_mm.patches.cutting import Block, at_reference, cut_block, group_windows, working_bytes
from noise_mm.slides.slide import open_slide

SIDE, STRIDE = 100, 50


@pytest.fixture(scope='module')
def texture():
    noise = np.random.default_rng(0).integers(0, 256, (50, 60, 3)).astype(np.uint8)
    return cv2.resize(noise, (730, 460), interpolation=cv2.INTER_CUBIC)


def block_of(image, out, scale=1.0, stored_px=SIDE):
    with open_slide(image) as slide, at_reference(slide, scale) as reference:
        windows = window_grid(reference.width_px, reference.height_px, SIDE, STRIDE)
    out.mkdir(exist_ok=True)
    files = tuple(out / f'w_{window.y}_{window.x}.png' for window in windows)
    return Block('w', image, scale, stored_px, tuple(windows), files)


def well(tmp_path, texture, **options):
    options = {'tile': (64, 64), 'compression': 'deflate', 'photometric': 'rgb', **options}
    tifffile.imwrite(tmp_path / 'w.tif', texture, **options)
    return tmp_path / 'w.tif'


def test_patches_are_crops(tmp_path, texture):
    block = block_of(well(tmp_path, texture), tmp_path / 'out')
    assert cut_block(block) == len(block.files) == 14 * 9
    for window, file in zip(block.windows, block.files, strict=True):
        expected = texture[window.y : window.y + SIDE, window.x : window.x + SIDE]
        np.testing.assert_array_equal(np.asarray(Image.open(file)), expected)


def test_a_small_well_is_padded_with_white(tmp_path, texture):
    block = block_of(well(tmp_path, texture[:60, :80]), tmp_path / 'out')
    cut_block(block)
    pixels = np.asarray(Image.open(block.files[0]))
    np.testing.assert_array_equal(pixels[:60, :80], texture[:60, :80])
    assert (pixels[60:] == 255).all() and (pixels[:, 80:] == 255).all()


def test_network_size_is_the_mean_of_two_by_two(tmp_path, texture):
    block = block_of(well(tmp_path, texture), tmp_path / 'out', stored_px=SIDE // 2)
    cut_block(block)
    window, pixels = block.windows[17], np.asarray(Image.open(block.files[17]))
    crop = texture[window.y : window.y + SIDE, window.x : window.x + SIDE].astype(float)
    expected = crop.reshape(SIDE // 2, 2, SIDE // 2, 2, 3).mean(axis=(1, 3))
    assert np.abs(pixels - expected).max() <= 0.5


def test_resampled_neighbours_agree(tmp_path, texture):
    block = block_of(well(tmp_path, texture), tmp_path / 'out', scale=0.73)
    cut_block(block)
    pixels = [np.asarray(Image.open(file)) for file in block.files]
    np.testing.assert_array_equal(pixels[0][:, STRIDE:], pixels[1][:, : SIDE - STRIDE])


def test_groups_hold_each_window_once_and_are_neighbours(tmp_path, texture, monkeypatch):
    monkeypatch.setattr(cutting, 'BLOCK_ROWS', 3)
    monkeypatch.setattr(cutting, 'BLOCK_COLUMNS', 4)
    with open_slide(well(tmp_path, texture)) as slide:
        windows = window_grid(730, 460, SIDE, STRIDE)
        groups = group_windows(slide, 1.0, windows)
        assert sorted(window for group in groups for window in group) == windows
        assert len(groups) == 3 * 4  # 9 rows, 14 columns
        for group in groups:
            assert len({(window.row // 3, window.column // 4) for window in group}) == 1
            assert group == sorted(group)
        assert len(group_windows(slide, 0.5, windows)) == 3 * 7  # half as many columns: four times as many pixels
        assert group_windows(slide, 1.0, []) == []


def test_strips_are_not_split_into_columns_and_a_png_not_at_all(tmp_path, texture, monkeypatch):
    monkeypatch.setattr(cutting, 'BLOCK_ROWS', 3)
    monkeypatch.setattr(cutting, 'BLOCK_COLUMNS', 4)
    windows = window_grid(730, 460, SIDE, STRIDE)
    with open_slide(well(tmp_path, texture, tile=None, rowsperstrip=20)) as slide:
        assert [len(group) for group in group_windows(slide, 1.0, windows)] == [42, 42, 42]
    Image.fromarray(texture).save(tmp_path / 'w.png')
    with open_slide(tmp_path / 'w.png') as slide:
        assert group_windows(slide, 1.0, windows) == [windows]
        assert group_windows(slide, 1.0, []) == []


def test_memory_follows_what_has_to_be_held(tmp_path, texture):
    with open_slide(well(tmp_path, texture)) as slide:
        tiles = working_bytes(slide, 1.0, SIDE, STRIDE)
        assert (SIDE + 64) * 730 * 3 <= tiles <= (SIDE + 2 * 64) * 730 * 3
        assert working_bytes(slide, 0.5, SIDE, STRIDE) > tiles
    with open_slide(well(tmp_path, texture, tile=None, rowsperstrip=20)) as slide:
        assert working_bytes(slide, 1.0, SIDE, STRIDE) == (SIDE + 2 * slide.chunk_height_px) * 730 * 3
    Image.fromarray(texture).save(tmp_path / 'w.png')
    with open_slide(tmp_path / 'w.png') as slide:
        assert working_bytes(slide, 1.0, SIDE, STRIDE) == 2 * texture.nbytes


def test_the_key_follows_what_decides_the_pixels(tmp_path, texture):
    image = well(tmp_path, texture)
    block = block_of(image, tmp_path / 'out')
    keys = {block.key()}
    assert block_of(image, tmp_path / 'elsewhere').key() in keys
    keys.add(block_of(image, tmp_path / 'out', stored_px=50).key())
    keys.add(block_of(image, tmp_path / 'out', scale=0.9).key())
    os.utime(image, (1, 1))
    keys.add(block.key())
    assert len(keys) == 4


def test_a_full_disk_is_named_and_leaves_nothing_half_written(tmp_path, texture, monkeypatch):
    block = block_of(well(tmp_path, texture), tmp_path / 'out')

    def fail(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(cutting.Path, 'write_bytes', fail)
    with pytest.raises(InputError, match=r'w_0_0\.png: the disk is full'):
        cut_block(block)
    assert not list((tmp_path / 'out').iterdir())
