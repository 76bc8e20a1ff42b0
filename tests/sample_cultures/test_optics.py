import cv2
import numpy as np
import pytest

from sample_cultures.batches import BATCHES
from sample_cultures.optics import Microscope
from sample_cultures.well import Well


def microscope(batch: str, width_px: int = 700, height_px: int = 560, seed: int = 3) -> Microscope:
    return Microscope(Well(BATCHES[batch], f'{batch}_w01', seed, width_px, height_px))


@pytest.mark.parametrize('batch', ['M1', 'M5', 'H2'])
@pytest.mark.parametrize('tile', [(256, 256), (333, 97)])
def test_pixels_do_not_depend_on_the_tiles(batch, tile):
    whole = microscope(batch).window(0, 0, 700, 560)
    tiled = np.zeros_like(whole)
    camera = microscope(batch)
    for y in range(0, 560, tile[1]):
        for x in reversed(range(0, 700, tile[0])):
            width, height = min(tile[0], 700 - x), min(tile[1], 560 - y)
            tiled[y : y + height, x : x + width] = camera.window(x, y, width, height)
    np.testing.assert_array_equal(tiled, whole)


def test_another_seed_changes_everything():
    one, other = (microscope('H1', seed=seed) for seed in (1, 2))
    plots = [(row, column) for row in range(3) for column in range(3)]
    plans = [[plan for plot in plots for plan in camera.well.large_cells(*plot)] for camera in (one, other)]
    assert {plan.seed for plan in plans[0]}.isdisjoint(plan.seed for plan in plans[1])
    sprites = [camera.well.sprites for camera in (one, other)]
    assert (sprites[0].grain != sprites[1].grain).any()
    assert (sprites[0].nuclei[0].light != sprites[1].nuclei[0].light).any()
    pictures = [camera.window(0, 0, 256, 256)[:, :, 1].astype(float).ravel() for camera in (one, other)]
    assert abs(np.corrcoef(*pictures)[0, 1]) < 0.5


def test_a_window_far_out_in_a_gigapixel_well_needs_no_more_than_its_surroundings():
    picture = microscope('M1', 100_000, 100_000).window(99_000, 98_000, 128, 128)
    assert picture.shape == (128, 128, 3)
    assert picture.std() > 1


def background(batch: str) -> np.ndarray:
    """The brighter half of a picture's pixels, (n, 3) float."""
    pixels = microscope(batch).window(0, 0, 400, 320).reshape(-1, 3).astype(float)
    return pixels[pixels[:, 1] > np.median(pixels[:, 1])]


def test_bone_is_brown_and_uneven_and_plastic_is_neither():
    mouse, human = background('M1'), background('H1')
    assert np.ptp(mouse.mean(0)) < 12
    assert human.mean(0)[0] - human.mean(0)[2] > 25
    assert human.std(0).max() > 2 * mouse.std(0).max()


def test_all_batches_differ_in_colour():
    colours = [
        np.concatenate([background(name).mean(0), BATCHES[name].red_rgb, BATCHES[name].blue_rgb]) for name in BATCHES
    ]
    for i, one in enumerate(colours):
        assert all(np.abs(one - other).max() > 2 for other in colours[:i])


def test_m5_is_blurred():
    def sharpness(name: str) -> float:
        green = cv2.GaussianBlur(microscope(name).window(0, 0, 700, 560)[:, :, 1].astype(np.float32), (0, 0), 1.0)
        return float(np.percentile(np.abs(cv2.Laplacian(green, cv2.CV_32F)), 99))

    assert sharpness('M5') < 0.7 * min(sharpness(name) for name in ('M1', 'M2', 'M3', 'M4'))
