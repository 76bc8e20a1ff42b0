import cv2
import numpy as np
import pytest
import tifffile

from noise_mm.geometry.tiles import Window, window_grid
from noise_mm.slides.chunked import Slide
from noise_mm.slides.resample import MOST_SOURCE_PX, ResampledSlide, axis_weights, scaled_length_px, slide_thumbnail
from noise_mm.slides.slide import open_slide


@pytest.fixture(scope='module')
def texture():
    noise = np.random.default_rng(0).integers(0, 256, (60, 70, 3)).astype(np.uint8)
    return cv2.resize(noise, (1400, 1200), interpolation=cv2.INTER_CUBIC)


@pytest.fixture
def slide(tmp_path, texture):
    tifffile.imwrite(tmp_path / 'well.tif', texture, tile=(256, 256), compression='deflate', photometric='rgb')
    with open_slide(tmp_path / 'well.tif') as opened:
        yield opened


def whole(slide):
    return slide.read(0, 0, slide.width_px, slide.height_px)


@pytest.mark.parametrize('factor', [2, 4])
def test_shrinking_by_a_whole_factor_is_area_averaging(slide, texture, factor):
    shape = (texture.shape[1] // factor, texture.shape[0] // factor)
    expected = cv2.resize(texture, shape, interpolation=cv2.INTER_AREA)
    assert np.abs(whole(ResampledSlide(slide, 1 / factor)).astype(int) - expected).max() <= 1  # ties in rounding


def test_enlarging_by_a_whole_factor_is_linear(slide, texture):
    expected = cv2.resize(texture, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
    assert np.abs(whole(ResampledSlide(slide, 2.0)).astype(int) - expected).max() <= 1


@pytest.mark.parametrize('scale', [0.04, 0.3, 0.6423, 0.999, 1.0 / 3, 1.283, 1.9])
def test_windows_agree_with_the_whole(slide, scale):
    """A patch has the pixels of the resampled well to the last bit, wherever it lies."""
    small = ResampledSlide(slide, scale)
    reference = whole(small)
    for window, pixels in zip(
        window_grid(small.width_px, small.height_px, 300, 170),
        small.windows(window_grid(small.width_px, small.height_px, 300, 170)),
        strict=True,
    ):
        part = reference[window.y : window.y + 300, window.x : window.x + 300]
        np.testing.assert_array_equal(pixels[: part.shape[0], : part.shape[1]], part)


@pytest.mark.parametrize('scale', [0.25, 0.41, 0.6423, 1.3])
def test_a_ramp_stays_where_it_was(tmp_path, scale):
    """Coordinates are exact: a ramp of brightness v(x) = x / 4 is found at the scaled place, without drift."""
    ramp = np.repeat((np.arange(1000) // 4).astype(np.uint8)[None, :, None], 50, axis=0).repeat(3, axis=2)
    tifffile.imwrite(tmp_path / 'ramp.tif', ramp, photometric='rgb')
    with open_slide(tmp_path / 'ramp.tif') as slide:
        row = whole(ResampledSlide(slide, scale))[5, :, 0].astype(float)
    centres = (np.arange(len(row)) + 0.5) / scale
    expected = centres / 4 - 0.5  # a step of 4 px around its own centre
    inner = slice(5, -5)
    assert abs(np.mean(row[inner] - expected[inner])) < 0.1
    assert np.abs(row[inner] - expected[inner]).max() < 1.1


@pytest.mark.parametrize('scale', [0.1, 0.37, 0.5, 0.75, 1.2, 3.0])
def test_weights_sum_to_one_and_keep_to_their_span(scale):
    length = scaled_length_px(1000, scale)
    for first, end in [(0, 1), (0, length), (length // 2, length // 2 + 10), (length - 1, length)]:
        weights, (low, high) = axis_weights(first, end, scale, 1000)
        assert weights.shape == (end - first, high - low)
        assert 0 <= low < high <= 1000
        np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)


def test_checkers_do_not_alias(tmp_path):
    """Lines of one pixel become grey when shrunk, not a pattern."""
    lines = np.zeros((400, 400, 3), np.uint8)
    lines[:, ::2] = 255
    tifffile.imwrite(tmp_path / 'lines.tif', lines, photometric='rgb')
    with open_slide(tmp_path / 'lines.tif') as slide:
        small = whole(ResampledSlide(slide, 0.26))
    assert abs(small[:-1, :-1].astype(int) - 128).max() <= 36  # sampling alone would give 0 and 255


@pytest.mark.parametrize(('length_px', 'scale', 'expected'), [(1000, 0.5, 500), (1001, 0.5, 501), (10, 0.01, 1)])
def test_partly_covered_pixels_count(length_px, scale, expected):
    assert scaled_length_px(length_px, scale) == expected
    assert scaled_length_px(3 * 10**5, 1 / 3) == 10**5  # not one more for rounding


def test_source_chunks_are_decoded_once(slide, monkeypatch):
    decoded = []
    original = slide.decode_chunk
    monkeypatch.setattr(
        slide, 'decode_chunk', lambda row, column: decoded.append((row, column)) or original(row, column)
    )
    small = ResampledSlide(slide, 0.7)
    for _ in small.windows(window_grid(small.width_px, small.height_px, 300, 150)):
        pass
    assert len(decoded) == len(set(decoded)) == 5 * 6


def test_resolution_follows(slide):
    assert ResampledSlide(slide, 0.5).mpp is None
    slide._mpp = 0.5
    assert ResampledSlide(slide, 0.5).mpp == 1.0
    small = ResampledSlide(slide, 0.5)
    small.close()
    with pytest.raises(ValueError, match='closed'):
        small.windows([Window(0, 0, 0, 0, 5, 5)]).__next__()


def test_pieces_of_a_strongly_reduced_image_stay_small():
    """The thumbnail of a slide 100,000 px wide is a 25th of its size."""

    class White(Slide):
        largest_px = 0

        def close(self):
            pass

        def decode_chunk(self, row, column):
            return np.full((512, 512, 3), 255, np.uint8)

        def _canvas(self, window):
            self.largest_px = max(self.largest_px, window.width, window.height)
            return super()._canvas(window)

    white = White('white', (102_400, 5_120), (512, 512), None)
    thumbnail = slide_thumbnail(white, 4096)
    assert thumbnail.shape == (205, 4096, 3) and (thumbnail == 255).all()
    assert white.largest_px <= 2 * MOST_SOURCE_PX
