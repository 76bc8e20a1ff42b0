"""A well through tiles and back, with a detector that sees what was drawn."""

import csv
import json

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from scipy import ndimage
from shapely import Point

from noise_mm.errors import InputError
from noise_mm.wells.detection import Detection
from noise_mm.wells.export import write_well
from noise_mm.wells.predict_well import TileSettings, predict_well
from noise_mm.wells.slide import open_slide

WIDTH, HEIGHT = 1003, 707
DISCS = ((0, 100, 60), (1003, 300, 70), (500, 707, 50), (600, 350, 80), (1003, 707, 60))


@pytest.fixture
def drawn(tmp_path):
    """A well with discs, four of them on its borders, and the number of their pixels."""
    picture = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    for x, y, radius in DISCS:
        cv2.circle(picture, (x, y), radius, (90, 30, 90), -1)
    path = tmp_path / 'A1.png'
    cv2.imwrite(str(path), picture)
    return path, int((picture[..., 0] < 150).sum())


def see_dark(tiles):
    """Each dark region of each tile."""
    found = []
    for tile in tiles:
        labels, count = ndimage.label(tile[..., 0] < 170)
        found.append([Detection.from_bitmap(labels == i, 0, 0, 0.9, 0) for i in range(1, count + 1)])
    return found


@pytest.mark.parametrize('um_per_px', [0.3, 0.5, 0.77, 0.7784, 1.3, 2.0])
def test_discs_come_back_whatever_the_pixel_size(drawn, tmp_path, um_per_px):
    path, truth_px2 = drawn
    with open_slide(path) as slide:
        result = predict_well(slide, see_dark, ('cell',), um_per_px, TileSettings(416, 208, 4), 'A1')
        write_well(tmp_path, 'A1', slide, result.outlines, um_per_px, ('coco', 'csv'))
    assert [outline.name for outline in result.outlines] == [f'cell_{i:04d}' for i in range(1, 6)]
    for x, y, _ in DISCS:
        assert sum(outline.geometry.distance(Point(x, y)) < 1 for outline in result.outlines) == 1
    bounds = np.array([outline.geometry.bounds for outline in result.outlines])
    assert bounds[:, :2].min() >= 0
    assert bounds[:, 2].max() == pytest.approx(WIDTH, abs=1e-9)
    assert bounds[:, 3].max() == pytest.approx(HEIGHT, abs=1e-9)
    assert sum(outline.geometry.area for outline in result.outlines) == pytest.approx(truth_px2, rel=0.005)
    drawn_px = [
        coco_mask.area(a['segmentation']) for a in json.loads((tmp_path / 'A1.json').read_text())['annotations']
    ]
    assert sum(map(int, drawn_px)) == pytest.approx(truth_px2, rel=0.005)
    rows = csv.DictReader((tmp_path / 'A1_cells.csv').open())
    assert sum(int(row['touches_edge']) for row in rows) == 4
    assert not result.seams.unresolved


def test_places_of_unresolved_cells_are_in_pixels_of_the_well(drawn):
    calls = []

    def see_first_tile_only(tiles):
        calls.append(len(tiles))
        return [
            [Detection(80, 40, np.ones((10, 20), bool), 0.9, 0)] if len(calls) == 1 and i == 0 else []
            for i in range(len(tiles))
        ]

    with open_slide(drawn[0]) as slide:
        result = predict_well(slide, see_first_tile_only, ('cell',), 0.7784 / 2, TileSettings(100, 50, 3), 'A1')
    assert result.seams.unresolved == ((180, 90),)
    assert result.outlines[0].geometry.bounds == (160, 80, 200, 100)


def test_batches_are_no_larger_than_asked(drawn):
    sizes = []

    def see_nothing(tiles):
        sizes.append(len(tiles))
        assert all(tile.shape == (208, 208, 3) for tile in tiles)
        return [[] for _ in tiles]

    with open_slide(drawn[0]) as slide:
        result = predict_well(slide, see_nothing, ('cell',), 0.7784, TileSettings(208, 104, 7), 'A1')
    assert result.outlines == []
    assert max(sizes) == 7
    assert sum(sizes) == 9 * 6


def test_damaged_image(drawn):
    path, _ = drawn
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 64] = bytes(64)
    path.write_bytes(data)
    with open_slide(path) as slide, pytest.raises(InputError, match='A1.png'):
        predict_well(slide, see_dark, ('cell',), 0.7784, TileSettings(), 'A1')
