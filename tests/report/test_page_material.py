import base64

import cv2
import numpy as np
import pytest
import shapely
from shapely import box

from noise_mm.geometry.cell_masks import cell_masks
from noise_mm.geometry.outline import Outline
from noise_mm.measure.cells import measure_cells, with_pre_osteoclasts
from noise_mm.measure.found import Found
from noise_mm.measure.nuclei import Nuclei
from noise_mm.report.content import measured_content
from noise_mm.report.options import WellOptions
from noise_mm.report.page_material import (
    LARGEST_BYTES,
    LONGEST_SIDE_PX,
    crops,
    histograms,
    page_cells,
    page_picture,
    reasons,
)
from noise_mm.scale import PixelSize


@pytest.mark.parametrize(('noise', 'is_full_size'), [(2, True), (120, False)])
def test_pictures_are_small_whatever_they_show(large_slide, monkeypatch, noise, is_full_size):
    slide = large_slide(3000, 2000)
    pixels = np.clip(np.random.default_rng(0).normal(180, noise, (2000, 3000, 3)), 0, 255).astype(np.uint8)
    monkeypatch.setattr('noise_mm.report.content.slide_thumbnail', lambda slide, side_px: pixels)
    outlines = [Outline(box(0, 0, 1500, 2000), 'osteoclast_0001')]
    uri, picture_px = page_picture(measured_content('A1', slide, Found(outlines), PixelSize(1.0), WellOptions()))
    kind, _, text = uri.partition(',')
    data = base64.b64decode(text)
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture_px == picture.shape[1::-1]
    assert kind == 'data:image/jpeg;base64' and len(data) <= LARGEST_BYTES
    assert picture.shape[1] / picture.shape[0] == pytest.approx(1.5, rel=0.02)
    assert (max(picture.shape) == LONGEST_SIDE_PX) == is_full_size


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


def content_of(slide, outlines, nuclei=None):
    return measured_content('A1', slide, Found(outlines, nuclei), PixelSize(0.5), WellOptions())


def test_paths_trace_the_outlines_in_the_picture(slide, result):
    content = content_of(slide, result.outlines)
    paths = [cell['path'] for cell in page_cells(content, (320, 240))]
    assert len(paths) == 6
    for path, outline in zip(paths, result.outlines, strict=True):
        assert path.count('M') == path.count('z') == len(shapely.get_rings(shapely.get_parts(outline.geometry)))
        x, y = map(int, path[1 : path.index('l')].split())
        assert outline.geometry.boundary.distance(shapely.Point(x, y)) < 1.5  # half size, in halves of a pixel


def test_doubtful_cells_have_reasons_and_crops(slide):
    marks = frozenset({'cut_at_box', 'joined'})
    outlines = [
        Outline(box(200, 200, 260, 250), 'sure', score=0.9),
        Outline(box(300, 200, 360, 250), 'marked', score=0.8, marks=marks),
        Outline(box(0, 200, 60, 250), 'at the edge', score=0.3),
    ]
    found = crops(content_of(slide, outlines), slide)
    assert [(crop['name'], crop['reasons']) for crop in found] == [
        ('at the edge', ['low score', 'touches the edge']),
        ('marked', ['cut at its box', 'joined over seams']),
    ]
    assert found[0]['picture_px'] == [120, 120]
    assert found[0]['path'].startswith('M')


def test_cells_with_two_to_four_nuclei_are_doubtful(slide):
    outlines = [Outline(box(100 * i, 200, 100 * i + 60, 250), f'{i}', score=0.9) for i in (1, 2, 3)]
    places = [(100 * i + 10 + 8 * n, 220) for i, count in ((1, 1), (2, 4), (3, 5)) for n in range(count)]
    content = content_of(slide, outlines, Nuclei(np.array(places, float), np.ones(10)))
    assert [reasons(cell) for cell in content.cells] == [[], ['2 to 4 nuclei'], []]
