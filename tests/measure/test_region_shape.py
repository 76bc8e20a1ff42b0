import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.measure import regionprops

from noise_mm.measure.region_shape import shape_of


def assert_as_regionprops(mask):
    shape, (reference,) = shape_of(mask), regionprops(mask.astype(np.uint8))
    assert shape.area_px2 == reference.area
    assert shape.centroid_px == pytest.approx((reference.centroid[1] + 0.5, reference.centroid[0] + 0.5), abs=1e-9)
    assert shape.perimeter_px == pytest.approx(reference.perimeter, rel=1e-12)
    assert shape.convex_area_px2 == reference.area_convex
    assert shape.solidity == pytest.approx(reference.solidity, rel=1e-12)
    assert shape.eccentricity == pytest.approx(reference.eccentricity, abs=1e-6)
    assert shape.equivalent_diameter_px == pytest.approx(reference.equivalent_diameter_area, rel=1e-12)


@pytest.mark.parametrize(
    'rows',
    [
        ['1'],
        ['11'],
        ['1', '1', '1'],
        ['10', '01'],  # touching by a corner
        ['101'],  # two parts
        ['111', '101', '111'],  # a hole
        ['0110', '1111', '0110'],
        ['10000', '00000', '00001'],
        ['000', '010', '000'],  # not in a corner of its box
        ['11111', '10000', '10000'],
    ],
)
def test_small_regions(rows):
    assert_as_regionprops(np.array([[character == '1' for character in row] for row in rows]))


@settings(max_examples=150, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))).filter(np.any))
def test_any_region(mask):
    assert_as_regionprops(mask)


@pytest.mark.parametrize('seed', range(8))
def test_cells(seed):
    rng = np.random.default_rng(seed)
    mask = np.zeros((180, 220), np.uint8)
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    radii = rng.uniform(30, 85, 40)
    corners = [110, 90] + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], 1)
    cv2.circle(mask, (115, 92), 9, 0, -1)
    assert_as_regionprops(mask.astype(bool))


def test_nothing():
    with pytest.raises(ValueError, match='no pixel'):
        shape_of(np.zeros((3, 4), bool))
