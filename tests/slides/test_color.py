import numpy as np
import pytest

from noise_mm.slides.color import eight_bit, rgb_from_ycbcr, rgb_on_white


@pytest.mark.parametrize('bits', [1, 2, 4, 8, 10, 12, 16])
def test_the_whole_range_becomes_the_whole_range(bits):
    samples = np.array([0, 2**bits - 1], np.uint16 if bits > 8 else np.uint8)
    assert eight_bit(samples, bits).tolist() == [0, 255]


def test_of_sixteen_bits_the_upper_eight_are_kept():
    assert eight_bit(np.array([0x12FF, 0xAB00], np.uint16), 16).tolist() == [0x12, 0xAB]


def test_grey_is_repeated():
    np.testing.assert_array_equal(rgb_on_white(np.full((2, 3, 1), 7, np.uint8), False), np.full((2, 3, 3), 7))


@pytest.mark.parametrize(('opacity', 'plain', 'premultiplied'), [(255, 100, 100), (0, 255, 255), (128, 177, 227)])
def test_transparency_is_laid_on_white(opacity, plain, premultiplied):
    """100 on white at 128/255: 100 * 0.502 + 255 * 0.498 = 177; premultiplied, 100 + 127 = 227."""
    samples = np.array([[[100, 100, 100, opacity]]], np.uint8)
    assert rgb_on_white(samples, True).ravel().tolist() == [plain] * 3
    assert rgb_on_white(samples, True, premultiplied=True).max() == premultiplied


def test_grey_with_opacity():
    assert rgb_on_white(np.array([[[10, 0], [10, 255]]], np.uint8), True)[0, :, 0].tolist() == [255, 10]


def test_a_fourth_sample_of_unknown_meaning_is_left_out():
    assert rgb_on_white(np.array([[[1, 2, 3, 0]]], np.uint8), False).ravel().tolist() == [1, 2, 3]


def test_ycbcr_against_the_inverse_written_out():
    rgb = np.random.default_rng(0).integers(0, 256, (50, 50, 3)).astype(float)
    red, green, blue = np.moveaxis(rgb, -1, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue  # ITU-R BT.601
    samples = np.stack([luma, 128 + (blue - luma) / 1.772, 128 + (red - luma) / 1.402], axis=-1)
    back = rgb_from_ycbcr(np.clip(np.rint(samples), 0, 255).astype(np.uint8))
    assert np.abs(back.astype(int) - rgb).max() <= 2  # rounding to 8 bits on the way


def test_more_bits_than_stated_are_white_and_do_not_begin_again():
    assert eight_bit(np.array([4095, 4096, 65535], np.uint16), bits=12).tolist() == [255, 255, 255]
