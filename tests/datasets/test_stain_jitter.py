import numpy as np
import pytest

from noise_mm.configuration import load_config
from noise_mm.datasets.stain_jitter import STAINS_RGB, StainJitter, restain
from noise_mm.errors import InputError

ONES, ZEROS = np.ones(3), np.zeros(3)


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)


def test_no_change_gives_the_image_back(image):
    np.testing.assert_array_equal(restain(image, ONES, ZEROS), image)


def test_more_of_a_stain_darkens_along_its_colour():
    """Twice the haematoxylin on a pixel of haematoxylin alone doubles its optical density in every channel."""
    stain = STAINS_RGB[0] / np.linalg.norm(STAINS_RGB[0])
    pixel = np.full((1, 1, 3), 255.5 * np.exp(-0.5 * stain[::-1])).astype(np.uint8)  # BGR
    doubled = restain(pixel, np.array([2.0, 1, 1]), ZEROS)[0, 0].astype(float)
    np.testing.assert_allclose(doubled, 255.5 * np.exp(-stain[::-1]), atol=2.5)
    np.testing.assert_allclose(restain(pixel, np.array([1.0, 1, 1]), np.array([0.5, 0, 0]))[0, 0], doubled, atol=2.5)


def test_white_stays_white_when_only_amounts_are_scaled():
    white = np.full((3, 3, 3), 255, np.uint8)
    assert restain(white, np.array([0.8, 1.2, 1.1]), ZEROS).min() >= 254


def test_agrees_with_plain_matrices(image):
    """The formula pixel by pixel, in RGB and float64."""
    scales, shifts = np.array([0.85, 1.1, 1.2]), np.array([0.05, -0.03, 0.02])
    stains = STAINS_RGB / np.linalg.norm(STAINS_RGB, axis=1, keepdims=True)
    density = -np.log((image[..., ::-1].reshape(-1, 3) + 0.5) / 255.5)
    amounts = np.linalg.solve(stains.T, density.T).T * scales + shifts
    expected = np.clip(255.5 * np.exp(-amounts @ stains), 0, 255)[:, ::-1].reshape(image.shape)
    assert np.abs(restain(image, scales, shifts).astype(float) - np.floor(expected)).max() <= 1


def test_same_seed_same_stain_and_none_where_it_is_off(image):
    def run(**options):
        np.random.seed(3)
        return StainJitter(**options).transform({'img': image})['img']

    np.testing.assert_array_equal(run(), run())
    assert np.abs(run().astype(int) - image).mean() > 1
    assert run(stain_augmentation=False) is image
    assert run(prob=0.0) is image


@pytest.mark.parametrize('options', [{'sigma': 1.0}, {'sigma': -0.1}, {'bias': -1}, {'prob': 2}])
def test_values_out_of_range_are_refused(options):
    with pytest.raises(InputError, match=next(iter(options))):
        StainJitter(**options)


@pytest.mark.parametrize(
    'name', ['baseline/yolov8_m2h', 'noise/nuclei_detector_yolov8-l', 'noise/pretrain_osteoclast-nuclei_yolov8-l']
)
def test_one_setting_turns_it_on_in_every_training_pipeline(repo_dir, name):
    def switches(**options):
        config = load_config(repo_dir / 'configs' / f'{name}.py', options)
        pipelines = config.train_dataloader.dataset.pipeline, config.default_hooks.close_mosaic.switch_pipeline
        for loader in (config.val_dataloader, config.test_dataloader):
            assert not any(step.type == 'StainJitter' for step in loader.dataset.pipeline)
        return [step.stain_augmentation for steps in pipelines for step in steps if step.type == 'StainJitter']

    assert switches() == [False, False]
    assert switches(stain_augmentation=True) == [True, True]
