"""A drawn well, what was found in it, and a record of it."""

import base64
from pathlib import Path

import cv2
import numpy as np
import pytest
from shapely import MultiPolygon, Point, Polygon, box
from shapely.affinity import scale

from noise_mm.geometry.outline import Outline
from noise_mm.geometry.pixels import fill_pixels, trace
from noise_mm.measure.found import Found
from noise_mm.measure.nuclei import Nuclei
from noise_mm.patches.png_writer import png_bytes
from noise_mm.slides.slide import open_slide

WIDTH_PX, HEIGHT_PX = 640, 480
PICTURE = 'data:image/png;base64,' + base64.b64encode(png_bytes(np.full((3, 4, 3), 120, np.uint8))).decode()


def _star(x, y, radius, rng):
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    radii = radius * rng.uniform(0.5, 1, 24)
    return Polygon(np.stack([x + radii * np.cos(angles), y + radii * np.sin(angles)], axis=1))


@pytest.fixture(scope='session')
def geometries():
    """Six cells that do not overlap: along pixels and not, with a hole, of two parts, and cut off at the border."""
    rng = np.random.default_rng(5)
    mask = fill_pixels(_star(60, 60, 50, rng), 0, 0, 120, 120)
    return [
        trace(mask),
        scale(trace(mask, 160, 0), 1 / 0.7784, 1 / 0.7784, origin=(160, 0)),
        _star(420.3, 90.2, 70, rng),
        Point(120.2, 330.7).buffer(80) - Point(140.1, 320.4).buffer(30),
        MultiPolygon([box(300, 250, 340.4, 300), _star(400, 280, 40, rng)]),
        Polygon([(560.3, 480), (575.1, 390.8), (640, 380.2), (640, 480)]),
    ]


@pytest.fixture(scope='session')
def result(geometries):
    """Those cells, with 5, 3, 1, 0, 0, and 0 nuclei, and two nuclei outside of them."""
    outlines = [
        Outline(geometry, f'osteoclast_{number:04d}', score=0.95 - number / 10)
        for number, geometry in enumerate(geometries, 1)
    ]
    places = []
    for geometry, count in zip(geometries, (5, 3, 1), strict=False):
        point = geometry.representative_point()
        places += [(point.x + shift, point.y) for shift in range(count)]
    places += [(140.1, 320.4), (630, 10)]  # the first in a hole
    return Found(outlines, Nuclei(np.array(places), np.linspace(0.9, 0.5, len(places))))


@pytest.fixture
def slide(tmp_path):
    """A grey well image `A1.png`."""
    path = tmp_path / 'images' / 'A1.png'
    path.parent.mkdir()
    cv2.imwrite(str(path), np.full((HEIGHT_PX, WIDTH_PX, 3), 200, np.uint8))
    with open_slide(path) as opened:
        yield opened


class LargeSlide:
    """Stands in for a well image that is too large to be drawn in a test."""

    path, notes, orientation = Path('large.tif'), (), 1

    def __init__(self, width_px, height_px):
        self.width_px, self.height_px = width_px, height_px

    def read(self, x, y, width, height):
        return np.full((height, width, 3), 200, np.uint8)

    def windows(self, windows):
        return (self.read(*window[2:]) for window in windows)


@pytest.fixture(scope='session')
def large_slide():
    """Makes a `LargeSlide` of a width and a height."""
    return LargeSlide


@pytest.fixture
def grey_thumbnail(monkeypatch):
    """Thumbnails of all slides are small and grey."""
    grey = np.full((300, 300, 3), 200, np.uint8)
    monkeypatch.setattr('noise_mm.report.content.slide_thumbnail', lambda slide, side_px: grey)


def _cell(well):
    return {
        'name': 'osteoclast_0001',
        'label': 'osteoclast',
        'score': 0.4,
        'area_px2': 1000,
        'area_um2': 600.0,
        'nuclei': 3,
        'solidity': 0.9,
        'at': [200, 150],
        'reasons': ['low score'],
        'path': 'M2 2l4 0 0 2-4 0z',
    }


def _record(well, count=10, notes=(), files=None, **row):
    values = dict(
        pre_osteoclasts=None,
        total_area_px2=1000 * count,
        total_area_um2=600.0 * count,
        mean_area_um2=600.0 if count else None,
        covered_area_px2=1000 * count,
        covered_of_image_percent=0.5 * count,
        covered_of_well_percent=None,
        count_per_mm2=None,
        nuclei=None,
        nuclei_in_osteoclasts=None,
        nuclei_per_osteoclast=None,
        fusion_index=None,
        image_area_mm2=1.5,
        well_area_mm2=None,
        well_area_px2=None,
        well_area_from=None,
        um_per_px=0.7784,
        um_per_px_from='file',
        image_area_px2=1000 * 2000,
        quality_flags='',
        sharpness=0.35,
        shading_percent=5.0,
        stained_percent=8.0,
        bubbles=0,
        plate='',
        position='',
        fields=1,
    )
    areas = [0] * 70
    areas[28] = count
    nuclei = None if row.get('nuclei') is None else [0, 0, 0, count] + [0] * 27
    return {
        'row': {'well': well, 'count': count, **values, **row},
        'notes': list(notes),
        'files': files or {'csv': f'{well}_cells.csv'},
        'picture': PICTURE,
        'picture_px': [4, 3],
        'size_px': [400, 300],
        'cells': [_cell(well)] if count else [],
        'outlines_left_out': 0,
        'crops': [_cell(well) | {'picture': PICTURE, 'picture_px': [4, 3], 'scale': 1.0}] if count else [],
        'histograms': {'areas': areas, 'nuclei': nuclei},
    }


@pytest.fixture(scope='session')
def record():
    """Makes the record of a well, of its name, its count, and further values of its row."""
    return _record
