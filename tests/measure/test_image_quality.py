"""Drawn wells, as they are and damaged in one way each."""

import cv2
import numpy as np
import pytest

from noise_mm.measure.image_quality import count_bubbles, focus_windows, image_quality, quality_flags, shading_percent
from noise_mm.slides.slide import open_slide
from sample_cultures.writing import WellTask, write_well

SIDE_PX = 1248


@pytest.fixture(scope='module', params=['M1', 'M5', 'H1'])
def picture(request, tmp_path_factory):
    """A well; M5 is the softest of the seven batches, H1 the one with the most uneven light."""
    folder = tmp_path_factory.mktemp(request.param)
    task = WellTask(folder, request.param, 'w', seed=3, size_px=SIDE_PX, crowding=1.0, with_nuclei=False)
    write_well(task)
    with open_slide(task.path('wells', '.tif')) as slide:
        return slide.read(0, 0, SIDE_PX, SIDE_PX)


@pytest.fixture(scope='module')
def real(shared_dir):
    with open_slide(shared_dir / 'data' / 'real_trap' / 'oc_finder_example.tif') as slide:
        return slide.read(0, 0, slide.width_px, slide.height_px)


def row_of(picture, scale=1.0):
    height, width = picture.shape[:2]
    windows = focus_windows(picture, (width, height), scale)
    pixels = (picture[each.y : each.y + each.height, each.x : each.x + each.width] for each in windows)
    return {'plate': ''} | image_quality(picture, pixels, scale)


def flags_of(picture):
    return next(quality_flags([row_of(picture)]))


def with_bubble(picture, rim):
    drawn = picture.copy()
    cv2.circle(drawn, (SIDE_PX // 2, SIDE_PX // 2), 90, rim, 7, cv2.LINE_AA)
    return drawn


DAMAGES = {
    'out of focus': lambda picture: cv2.GaussianBlur(picture, (0, 0), 3.5),
    'uneven light': lambda picture: (picture * np.linspace(1, 0.5, picture.shape[1])[:, None]).astype(np.uint8),
    'no TRAP stain': lambda picture: np.repeat(picture[..., 1:2], 3, axis=2),
    'bubbles': lambda picture: with_bubble(picture, (25, 25, 25)),
}


def test_a_good_image_has_no_flag(picture):
    assert flags_of(picture) == ''


@pytest.mark.parametrize('flag', DAMAGES)
def test_damage_is_flagged(picture, flag):
    assert flags_of(DAMAGES[flag](picture)) == flag


def test_the_real_image(real):
    assert flags_of(real) == ''
    assert all(flag in flags_of(DAMAGES[flag](real)) for flag in DAMAGES)


def test_a_slight_blur_shows_against_the_plate(picture):
    good, blurred = row_of(picture), row_of(cv2.GaussianBlur(picture, (0, 0), 2.2))
    flags = list(quality_flags([good, good, good, blurred]))
    assert flags == ['', '', '', 'out of focus']


def test_finer_pixels_are_brought_to_the_reference():
    rng = np.random.default_rng(0)
    coarse = cv2.GaussianBlur(rng.integers(0, 255, (832, 832, 3), np.uint8), (0, 0), 2.0)
    fine = cv2.resize(coarse, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    assert row_of(fine, 0.5)['sharpness'] == pytest.approx(row_of(coarse)['sharpness'], rel=0.05)
    assert row_of(coarse, 2.0)['sharpness'] is None


def test_the_wall_of_a_well_is_neither_shade_nor_a_bubble():
    rows, columns = np.mgrid[:800, :800]
    for outside in (20, 255):
        disc = np.where(np.hypot(rows - 400, columns - 400) < 300, 190, outside).astype(np.uint8)
        picture = np.repeat(disc[..., None], 3, axis=2)
        assert shading_percent(picture) < 5
        assert count_bubbles(picture) == 0


def test_round_cells_are_no_bubbles():
    picture = np.full((1000, 1000, 3), 220, np.uint8)
    for place in range(1, 9):
        cv2.circle(picture, (110 * place, 110 * place), 45, (120, 60, 120), -1, cv2.LINE_AA)
    assert count_bubbles(picture) == 0
