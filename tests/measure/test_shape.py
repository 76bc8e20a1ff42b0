import cv2
import numpy as np
import pytest
from skimage.measure import regionprops

from noise_mm.measure.shape import shape_of


def random_masks():
    """Specks, blobs of several parts with holes, ellipses and lines."""
    rng = np.random.default_rng(0)
    for number in range(200):
        height, width = rng.integers(1, 80, 2)
        mask = rng.random((height, width)) < rng.choice([0.02, 0.3, 0.99])
        if number % 3 == 1:
            noise = rng.normal(size=(height, width)).astype(np.float32)
            mask = cv2.GaussianBlur(noise, (0, 0), rng.uniform(1, 8)) > 0
        elif number % 3 == 2:
            mask = np.zeros((height, width), np.uint8)
            axes = (int(rng.integers(0, width)), int(rng.integers(0, height)))
            cv2.ellipse(mask, (int(width // 2), int(height // 2)), axes, rng.uniform(0, 180), 0, 360, 1, cv2.FILLED)
        yield mask > 0


def test_masks_measure_as_in_scikit_image():
    for mask in filter(np.any, random_masks()):
        shape, (reference,) = shape_of(mask), regionprops(mask.astype(np.uint8))
        top, left, bottom, right = reference.bbox
        assert shape.box == (left, top, right - left, bottom - top)
        assert shape.area_px2 == reference.area
        assert shape.centroid_px == pytest.approx(reference.centroid[::-1], rel=1e-12)
        assert shape.perimeter_px == pytest.approx(reference.perimeter, rel=1e-12)
        assert shape.solidity == pytest.approx(reference.solidity, rel=1e-12)
        assert shape.eccentricity == pytest.approx(reference.eccentricity, abs=1e-6)


def test_nothing_has_no_shape():
    assert shape_of(np.zeros((5, 7), bool)) is None
