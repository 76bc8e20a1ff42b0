import numpy as np
import pytest

from sample_cultures.fields import hash_uniform, lattice_noise, periodic_texture, periodic_window, stream


def test_lattice_noise_of_a_window_is_a_crop_of_the_whole():
    xs, ys = np.arange(-300, 500), np.arange(-200, 400)
    whole = lattice_noise(5, 37, xs, ys)
    np.testing.assert_array_equal(lattice_noise(5, 37, xs[91:130], ys[50:57]), whole[50:57, 91:130])


def test_lattice_noise_is_smooth_and_of_the_stated_deviation():
    noise = lattice_noise(1, 20, np.arange(2000), np.arange(2000))
    assert abs(noise.mean()) < 0.05
    assert 0.4 < noise.std() < 0.6
    assert np.abs(np.diff(noise, axis=1)).max() < 0.2


def test_seeds_and_streams_give_unrelated_noise():
    x, y = np.arange(300)[None], np.arange(300)[:, None]
    one, other = (hash_uniform(stream(seed, 'light'), x, y).ravel() for seed in (1, 2))
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.02
    assert stream(1, 'light') != stream(1, 'focus')
    assert one.min() >= -1 and one.max() <= 1 and abs(one.mean()) < 0.02


@pytest.mark.parametrize('angle', [0.0, 1.0])
def test_periodic_texture_goes_on_without_seam_and_runs_along_its_grain(angle):
    texture = periodic_texture(np.random.default_rng(0), 256, 2.0, 12.0, angle)
    assert texture.std() == pytest.approx(1, abs=0.05)
    at = np.arange(-5, 300)
    window = periodic_window(texture, at, at)
    np.testing.assert_array_equal(window[:, 5 + 256 :], window[:, 5 : 5 + 300 - 256])
    step_x, step_y = round(6 * np.cos(angle)), round(6 * np.sin(angle))
    along = (texture * np.roll(texture, (-step_y, -step_x), (0, 1))).mean()
    across = (texture * np.roll(texture, (-step_x, step_y), (0, 1))).mean()
    assert along > 0.8 > 0.3 > across
