import cv2
import numpy as np
import pytest

from noise_mm.measure.well_disc import Disc, find_disc
from noise_mm.slides.resample import slide_thumbnail
from noise_mm.slides.slide import open_slide
from sample_cultures.writing import WellTask, write_well


def drawn(width, height, x, y, radius, inside=200, outside=30, vignetting=0, cells=40, ring=None, noise=6):
    """A picture of a well with cells in it, and a wall of another brightness if `ring` is given."""
    rng = np.random.default_rng(width + height + int(radius))
    rows, columns = np.mgrid[:height, :width] + 0.5
    picture = np.full((height, width), float(inside))
    picture -= vignetting * np.hypot(columns - width / 2, rows - height / 2) ** 2 / np.hypot(width / 2, height / 2) ** 2
    for _ in range(cells):
        centre = (int(rng.uniform(0, width)), int(rng.uniform(0, height)))
        cv2.circle(picture, centre, int(rng.uniform(2, 14)), rng.uniform(70, 140), -1)
    distance = np.hypot(columns - x, rows - y)
    picture[distance > radius] = outside
    if ring is not None:
        picture[(distance > radius) & (distance < 1.08 * radius)] = ring
    picture += rng.normal(0, noise, picture.shape)
    return np.repeat(np.clip(picture, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize(
    'settings',
    [
        dict(width=512, height=512, x=256, y=256, radius=230),
        dict(width=512, height=512, x=250.3, y=262.1, radius=240, vignetting=80),
        dict(width=512, height=512, x=256, y=256, radius=300),  # only corners are outside
        dict(width=512, height=400, x=256, y=150, radius=240),  # cut off at the top
        dict(width=512, height=512, x=100, y=256, radius=240),  # cut off at the left
        dict(width=512, height=512, x=256, y=256, radius=220, inside=190, outside=255),  # laid on white
        dict(width=512, height=512, x=256, y=256, radius=220, outside=225, ring=60),  # a dark wall
        dict(width=512, height=512, x=256, y=256, radius=230, inside=90, outside=60, noise=10),  # little contrast
        dict(width=512, height=512, x=256, y=256, radius=230, cells=400),
        dict(width=90, height=80, x=45, y=40, radius=36, cells=3),
        dict(width=1100, height=900, x=540, y=460, radius=420),
    ],
)
def test_the_disc_is_found(settings):
    disc = find_disc(drawn(**settings))
    assert (disc.x, disc.y) == pytest.approx((settings['x'], settings['y']), abs=0.01 * settings['radius'])
    assert disc.radius == pytest.approx(settings['radius'], rel=0.01)


@pytest.mark.parametrize(
    'settings',
    [
        dict(width=512, height=512, x=256, y=256, radius=900),
        dict(width=512, height=512, x=256, y=256, radius=900, vignetting=150),
        dict(width=512, height=512, x=256, y=256, radius=900, cells=800),
        dict(width=512, height=512, x=256, y=256, radius=900, cells=0, noise=0),
        dict(width=512, height=512, x=256, y=256, radius=900, cells=0, noise=60),
        dict(width=512, height=512, x=0, y=256, radius=240),  # half of it is out of the picture
        dict(width=512, height=512, x=250, y=256, radius=60),  # a bubble
        dict(width=3, height=1, x=1, y=1, radius=9, cells=0),
    ],
)
def test_no_disc_is_made_up(settings):
    assert find_disc(drawn(**settings)) is None


def test_a_square_well_has_no_disc():
    picture = np.full((400, 400, 3), 30, np.uint8)
    picture[40:360, 40:360] = 200
    assert find_disc(picture) is None


@pytest.mark.parametrize('batch', ['M1', 'H1'])
def test_a_sample_culture_has_no_disc(batch, tmp_path):
    write_well(WellTask(tmp_path, batch, 'w1', seed=1, size_px=1024, crowding=1.0, with_nuclei=False))
    with open_slide(tmp_path / batch / 'wells' / 'w1.tif') as slide:
        assert find_disc(slide_thumbnail(slide, 1000)) is None


@pytest.mark.real
def test_the_real_image_has_no_disc(shared_dir):
    with open_slide(shared_dir / 'data' / 'real_trap' / 'oc_finder_example.tif') as slide:
        assert find_disc(slide_thumbnail(slide, 1000)) is None


def test_area_is_what_lies_in_the_image():
    assert Disc(50, 50, 40).area_px2((100, 100)) == pytest.approx(np.pi * 1600, rel=1e-4)
    assert Disc(0, 50, 40).area_px2((100, 100)) == pytest.approx(np.pi * 800, rel=1e-4)
    assert Disc(50, 50, 200).area_px2((100, 100)) == 10_000


def test_scaled():
    assert Disc(10, 20, 30).scaled(2, 2) == Disc(20, 40, 60)
