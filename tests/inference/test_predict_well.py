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
from noise_mm.inference.detection import Detection
from noise_mm.inference.predict_well import TileSettings, predict_well
from noise_mm.report.options import WellOptions
from noise_mm.report.well import write_well
from noise_mm.scale import PixelSize
from noise_mm.slides.slide import open_slide

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
        write_well(tmp_path, 'A1', slide, result, PixelSize(um_per_px), ('coco', 'csv'), WellOptions())
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


def see_bright(tiles):
    """The middle of each bright spot of each tile."""
    found = []
    for tile in tiles:
        labels, count = ndimage.label(tile[..., 0] > 250)
        places = np.array(ndimage.center_of_mass(labels > 0, labels, range(1, count + 1))).reshape(-1, 2)
        found.append(np.column_stack([places[:, ::-1] + 0.5, np.full(count, 0.8)]))
    return found


@pytest.mark.parametrize('um_per_px', [0.5, 0.7784])
def test_nuclei_come_back_in_pixels_of_the_well(tmp_path, um_per_px):
    picture = np.full((700, 900, 3), 200, np.uint8)
    spots = [(100, 90), (417, 208), (650, 600), (890, 690)]
    for spot in spots:
        cv2.circle(picture, spot, 8, (255, 255, 255), -1)
    cv2.imwrite(str(tmp_path / 'A1.png'), picture)
    settings = TileSettings(208, 104, 4, skip_background=True)
    with open_slide(tmp_path / 'A1.png') as slide:
        result = predict_well(slide, see_dark, ('cell',), um_per_px, settings, 'A1', nucleus_finder=see_bright)
    found = sorted(map(tuple, result.nuclei.xy_px))
    assert np.array(found) == pytest.approx(np.array(spots) + 0.5, abs=1)
    assert result.nuclei.scores.tolist() == [0.8] * 4


def test_background_is_skipped_and_nothing_lost(tmp_path):
    picture = np.full((2000, 2000, 3), 220, np.uint8)
    cv2.circle(picture, (700, 900), 150, (130, 60, 130), -1)
    cv2.imwrite(str(tmp_path / 'A1.png'), picture)
    seen = []

    def count(tiles):
        seen.extend(tiles)
        return see_dark(tiles)

    results = []
    for skip in (False, True):
        with open_slide(tmp_path / 'A1.png') as slide:
            settings = TileSettings(208, 104, 4, skip_background=skip)
            results.append(predict_well(slide, count, ('cell',), 0.7784, settings, 'A1'))
    every, some = results
    assert (every.tiles, every.skipped) == (361, 0)
    assert some.tiles == 361
    assert 361 - 40 < some.skipped < 361 - 10
    assert len(seen) == 361 + 361 - some.skipped
    assert some.outlines == every.outlines
    assert some.seams == every.seams


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
