import io

import cv2
import imagecodecs
import numpy as np
import pytest
from PIL import Image

from noise_mm.patches.png_writer import png_bytes


@pytest.mark.parametrize('shape', [(1, 1), (1, 7), (5, 1), (33, 20), (416, 416)])
def test_every_reader_gets_the_pixels_back(shape):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    data = png_bytes(pixels)
    with Image.open(io.BytesIO(data)) as image:
        image.verify()
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), pixels)
    np.testing.assert_array_equal(imagecodecs.png_decode(data), pixels)
    np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1], pixels)


def test_a_view_that_is_not_contiguous():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)[5:30:2, ::-1]
    np.testing.assert_array_equal(imagecodecs.png_decode(png_bytes(pixels)), pixels)


@pytest.mark.parametrize('pixels', [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3))])
def test_other_arrays_are_refused(pixels):
    with pytest.raises(ValueError, match='uint8 of shape'):
        png_bytes(pixels)
