import numpy as np
import pytest
from shapely import box

from noise_mm.geometry.cell_masks import cell_masks
from noise_mm.geometry.outline import Outline
from noise_mm.measure.cells import measure_cells
from noise_mm.measure.image_quality import stained_percent
from noise_mm.report import advice as report_advice

GREY = np.full((100, 100, 3), 200, np.uint8)


def cells(*scores):
    outlines = [Outline(box(10 * i, 10, 10 * i + 8, 20), score=score) for i, score in enumerate(scores)]
    return list(measure_cells(outlines, cell_masks(outlines, (100, 100)), (100, 100), 1.0))


def advice(image, found):
    return report_advice.advice(image, found, stained_percent(image))


def stained(image):
    image = image.copy()
    image[40:60, 40:60] = (150, 90, 150)
    return image


def test_a_usual_well_needs_no_advice():
    assert advice(stained(GREY), cells(0.9, 0.8, 0.4)) == []


@pytest.mark.parametrize(('image', 'words'), [(GREY, 'hardly any stain'), (stained(GREY), 'lower --score-thr')])
def test_nothing_found(image, words):
    (note,) = advice(image, [])
    assert note.startswith('no cells were found') and words in note


def test_low_scores():
    (note,) = advice(stained(GREY), cells(0.3, 0.31, 0.5))
    assert 'median score is below 0.45' in note and '--mpp' in note
    assert advice(stained(GREY), cells(0.3, 0.31)) == []  # too few to tell


def test_colours_far_from_training():
    (note,) = advice(GREY, cells(0.9, 0.8, 0.9))
    assert note.startswith('0 % of the image is red or purple') and 'do not trust the counts' in note
    dark = np.full((100, 100, 3), 20, np.uint8)
    assert any('background is dark' in note for note in advice(dark, cells(0.9)))


def test_a_tinted_background():
    tinted = np.full((100, 100, 3), (230, 200, 150), np.uint8)
    (note,) = advice(stained(tinted), cells(0.9))
    assert '230, 200, 150' in note and 'white balance' in note
