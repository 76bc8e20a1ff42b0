import numpy as np
import pytest

from sample_cultures.shapes import bent_line, disc, ellipse_distance, largest_blob, ramp, stroke


def test_disc_has_the_area_of_a_disc_and_its_middle_at_the_given_pixel():
    canvas = np.zeros((41, 41), np.uint8)
    disc(canvas, 20.0, 18.0, 9.0)
    weight = canvas / 255
    assert weight.sum() == pytest.approx(np.pi * 81, rel=0.12)  # OpenCV's discs are half a pixel too large
    rows, columns = np.mgrid[:41, :41]
    assert (weight * columns).sum() / weight.sum() == pytest.approx(20, abs=0.1)
    assert (weight * rows).sum() / weight.sum() == pytest.approx(18, abs=0.1)


def test_stroke_tapers():
    canvas = np.zeros((40, 80), np.uint8)
    stroke(canvas, bent_line(np.array([10.0, 20.0]), 0.0, 60.0, 0.0), 12.0, 2.0)
    widths = (canvas / 255).sum(axis=0)
    assert widths[12] > widths[40] > widths[65] > 0
    assert widths[:8].sum() == widths[73:].sum() == 0


def test_bent_line_has_its_length_and_ends_in_its_direction():
    line = bent_line(np.array([1.0, 2.0]), 0.3, 50.0, 0.8, 40)
    steps = np.diff(line, axis=0)
    assert tuple(line[0]) == (1, 2)
    assert np.hypot(*steps.T).sum() == pytest.approx(50)
    assert np.arctan2(*steps[-1][::-1]) == pytest.approx(1.1)


def test_ellipse_distance_is_zero_on_the_rim():
    distance = ellipse_distance(41, 15, 8, 0.0)
    assert distance[20, 35] == pytest.approx(0, abs=1e-5)
    assert distance[28, 20] == pytest.approx(0, abs=1e-5)
    assert distance[20, 20] > 0 > distance[0, 0]


def test_ramp_ends():
    np.testing.assert_allclose(ramp(np.array([-1, 0, 1, 2, 3.0]), 0, 2), [0, 0, 0.5, 1, 1])


def test_largest_blob_is_filled_and_alone():
    mask = np.zeros((30, 30), bool)
    mask[2:5, 2:5] = True
    mask[10:25, 10:25] = True
    mask[15:18, 15:18] = False
    expected = np.zeros_like(mask)
    expected[10:25, 10:25] = True
    np.testing.assert_array_equal(largest_blob(mask), expected)
    assert not largest_blob(np.zeros((5, 5), bool)).any()
