import base64

import cv2
import numpy as np
import pytest
from shapely import box

from noise_mm.geometry.cell_masks import cell_masks
from noise_mm.geometry.outline import Outline
from noise_mm.measure.cells import measure_cells, with_pre_osteoclasts
from noise_mm.measure.found import Found
from noise_mm.report.content import measured_content
from noise_mm.report.options import WellOptions
from noise_mm.report.page_material import LARGEST_BYTES, LONGEST_SIDE_PX, histograms, page_picture


@pytest.mark.parametrize(('noise', 'is_full_size'), [(2, True), (120, False)])
def test_pictures_are_small_whatever_they_show(large_slide, monkeypatch, noise, is_full_size):
    slide = large_slide(3000, 2000)
    pixels = np.clip(np.random.default_rng(0).normal(180, noise, (2000, 3000, 3)), 0, 255).astype(np.uint8)
    monkeypatch.setattr(slide, 'thumbnail', lambda side_px: pixels)
    outlines = [Outline(box(0, 0, 1500, 2000), 'osteoclast_0001')]
    uri = page_picture(measured_content('A1', slide, Found(outlines), 1.0, WellOptions()))
    kind, _, text = uri.partition(',')
    data = base64.b64decode(text)
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert kind == 'data:image/jpeg;base64' and len(data) <= LARGEST_BYTES
    assert picture.shape[1] / picture.shape[0] == pytest.approx(1.5, rel=0.02)
    assert (max(picture.shape) == LONGEST_SIDE_PX) == is_full_size
    if is_full_size:
        line = picture[300, 446:454].astype(int)  # at half the width, green in BGR
        assert (line[:, 1] - line[:, 2] > 40).any()


def test_histograms():
    sides = (1, 10, 100, 4000, 10)
    outlines = [Outline(box(0, 0, side, side)) for side in sides]
    nuclei = [0, 3, 29, 99, 1]
    classed = with_pre_osteoclasts(outlines, nuclei, 1)
    counts = histograms(list(measure_cells(classed, cell_masks(classed, (5000, 5000)), (5000, 5000), 1.0, nuclei)))
    areas = {place: count for place, count in enumerate(counts['areas']) if count}
    assert areas == {20: 2, 40: 1, 69: 1}  # 100, 10,000 and more than 10^7 um^2; 1 um^2 is of a pre-osteoclast
    assert {number: count for number, count in enumerate(counts['nuclei']) if count} == {0: 1, 1: 1, 3: 1, 29: 1, 30: 1}


def test_histograms_of_nothing():
    counts = histograms([])
    assert sum(counts['areas']) == 0 and counts['nuclei'] is None
