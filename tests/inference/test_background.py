"""Which tiles count as background."""

import cv2
import numpy as np
import pytest
import tifffile
from pycocotools.coco import COCO

from noise_mm.geometry.tiles import window_grid
from noise_mm.inference.background import BackgroundRule, is_background
from noise_mm.slides.slide import open_slide
from sample_cultures.writing import WellTask, write_well


def plate(level=(225, 220, 220), noise=3, size=416, seed=0):
    """An empty plate with the noise of a camera."""
    rng = np.random.default_rng(seed)
    return np.clip(np.array(level) + rng.normal(0, noise, (size, size, 3)), 0, 255).astype(np.uint8)


def test_empty_plate_and_white_are_background():
    assert is_background(plate())
    assert is_background(plate(level=(140, 140, 140), noise=5))
    assert is_background(plate(level=(185, 170, 145)))
    assert is_background(plate(level=(145, 170, 185)))
    assert is_background(np.full((832, 832, 3), 255, np.uint8))
    assert is_background(np.full((5, 3, 3), 255, np.uint8))


@pytest.mark.parametrize('level', [(0, 0, 0), (60, 60, 60), (220, 220, 120), (220, 200, 220)])
def test_dark_or_coloured_tiles_are_looked_at(level):
    assert not is_background(plate(level))


@pytest.mark.parametrize('radius_px', [8, 20, 400])
@pytest.mark.parametrize('contrast', [20, 60])
@pytest.mark.parametrize('centre', [(208, 208), (0, 0), (415, 200)])
def test_a_cell_is_never_background(radius_px, contrast, centre):
    tile = plate()
    shade = np.zeros(tile.shape, np.uint8)
    cv2.circle(shade, centre, radius_px, (contrast // 2, contrast, contrast // 2), -1)
    assert not is_background(tile - shade)


def test_uneven_light_and_texture_are_looked_at():
    ramp = np.linspace(-8, 8, 416)[None, :, None]
    assert not is_background((plate() + ramp).astype(np.uint8))
    bone = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 200, (416, 416, 1)), (0, 0), 10)[..., None]
    assert not is_background(np.clip(plate() + bone, 0, 255).astype(np.uint8))


def test_thresholds_are_the_callers_to_choose():
    assert not is_background(plate(level=(140, 140, 140)), BackgroundRule(least_level=200))
    assert is_background(plate(level=(60, 60, 60)), BackgroundRule(least_level=0))


@pytest.mark.parametrize('batch', ['M1', 'M2', 'M3', 'M4', 'M5', 'H1', 'H2'])
def test_no_tile_with_a_cell_of_a_sample_culture_is_skipped(batch, tmp_path):
    write_well(WellTask(tmp_path, batch, 'w', 0, 1024, 0.4, False), lambda done, rows: None)
    pixels, labels = (tifffile.imread(tmp_path / batch / kind / 'w.tif') for kind in ('wells', 'labels'))
    assert_no_cell_is_skipped(pixels, labels > 0)


@pytest.mark.real
def test_no_tile_with_a_cell_of_a_real_image_is_skipped(shared_dir):
    folder = shared_dir / 'data' / 'real_trap'
    annotations = COCO(folder / 'oc_finder_example_coco.json')
    with open_slide(folder / 'oc_finder_example.tif') as slide:
        pixels = slide.read(0, 0, slide.width_px, slide.height_px)
    cells = sum(annotations.annToMask(annotation).astype(int) for annotation in annotations.anns.values()) > 0
    assert assert_no_cell_is_skipped(pixels, cells) > 0  # of the smallest tiles some are empty


def assert_no_cell_is_skipped(pixels, cells):
    """For tiles of several sizes, which see ever smaller pieces of cells; how many tiles are skipped."""
    skipped = 0
    for tile_px in (832, 416, 208, 104):
        for window in window_grid(pixels.shape[1], pixels.shape[0], tile_px, tile_px // 2):
            place = np.s_[window.y : window.y + tile_px, window.x : window.x + tile_px]
            if is_background(pixels[place]):
                skipped += 1
                assert cells[place].sum() <= 4, window  # px: less than a piece of a cell
    return skipped
