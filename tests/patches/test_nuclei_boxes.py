import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely import box

from noise_mm.patches.nuclei_boxes import nuclei_windows, nucleus_boxes, outside_image


@given(st.integers(1, 500), st.integers(1, 500), st.integers(50, 200), st.integers(0, 2**32 - 1))
def test_every_nucleus_is_in_some_window(width, height, patch, seed):
    random = np.random.default_rng(seed)
    points = np.concatenate([random.integers(0, [width + 1, height + 1], (20, 2)), [[0, 0], [width, height]]])
    windows = nuclei_windows(width, height, patch)
    assert all(w.x + w.width <= width and w.y + w.height <= height for w in windows)
    boxes = [nucleus_boxes([point], window, (width, height), 10) for point in points for window in windows]
    found = [sum(bool(boxes[i * len(windows) + k]) for k in range(len(windows))) for i in range(len(points))]
    assert min(found) >= 1
    if width % patch == 0 and height % patch == 0:
        assert max(found) == 1


def test_boxes_are_cut_off_at_the_border():
    (window,) = nuclei_windows(100, 80, 832)
    boxes = nucleus_boxes([(50, 40), (0, 40), (100, 80)], window, (100, 80), 36)
    assert [found.bounds for found in boxes] == [(32, 22, 68, 58), (0, 22, 18, 58), (82, 62, 100, 80)]


def test_a_nucleus_in_an_overlap_is_in_both_patches():
    windows = nuclei_windows(150, 100, 100)
    assert [(window.x, window.width) for window in windows] == [(0, 100), (50, 100)]
    first, second = (nucleus_boxes([(70, 50)], window, (150, 100), 10) for window in windows)
    assert first[0].equals(box(65, 45, 75, 55))
    assert second[0].equals(box(15, 45, 25, 55))


@pytest.mark.parametrize(('point', 'outside'), [((0, 0), 0), ((10, 5), 0), ((10.5, 5), 1), ((3, -0.1), 1)])
def test_the_border_belongs_to_the_image(point, outside):
    assert outside_image([point], 10, 5) == outside


def test_no_points():
    assert outside_image([], 10, 5) == 0
    assert nucleus_boxes([], nuclei_windows(9, 9, 9)[0], (9, 9), 3) == []
