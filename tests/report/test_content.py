import cv2
import numpy as np
import pytest
from shapely import box

from noise_mm.geometry.outline import Outline
from noise_mm.measure.found import Found
from noise_mm.measure.nuclei import Nuclei
from noise_mm.report.content import measured_content
from noise_mm.report.options import WellOptions
from noise_mm.scale import PixelSize
from noise_mm.slides.slide import open_slide


@pytest.fixture
def round_well(tmp_path):
    picture = np.zeros((4000, 4000, 3), np.uint8)
    cv2.circle(picture, (2000, 1900), 1800, (200, 200, 210), -1)
    picture[1500:2000, 1500:2500] = (150, 80, 140)
    cv2.imwrite(str(tmp_path / 'A1.png'), picture)
    with open_slide(tmp_path / 'A1.png') as slide:
        yield slide


CELLS = Found([Outline(box(1500, 1500, 2500, 2000), 'osteoclast_0001')])


def test_nuclei_make_osteoclasts(slide, result):
    content = measured_content('A1', slide, result, PixelSize(0.5), WellOptions(min_nuclei=3))
    measures = content.measures
    assert (measures['count'], measures['pre_osteoclasts']) == (2, 4)
    assert (measures['nuclei'], measures['nuclei_in_osteoclasts']) == (11, 8)
    assert measures['total_area_px2'] == measures['covered_area_px2'] == sum(c.area_px2 for c in content.cells[:2])
    assert [outline.name for outline in content.outlines][1:3] == ['osteoclast_0002', 'pre-osteoclast_0003']


def test_without_a_least_number_classes_stay(slide, result):
    content = measured_content('A1', slide, result, PixelSize(0.5), WellOptions())
    assert (content.measures['count'], content.measures['pre_osteoclasts']) == (6, None)
    assert [cell.nuclei for cell in content.cells] == [5, 3, 1, 0, 0, 0]
    assert content.outlines == result.outlines


def test_a_least_number_needs_nuclei(slide):
    with pytest.raises(ValueError, match='min_nuclei needs nuclei'):
        measured_content('A1', slide, CELLS, PixelSize(0.5), WellOptions(min_nuclei=3))


def test_area_that_is_given(slide):
    well = Found([Outline(box(0, 0, 100, 50), 'osteoclast_0001')])
    measures = measured_content('A1', slide, well, PixelSize(0.5), WellOptions(well_area_px2=1e5)).measures
    assert measures['covered_of_well_percent'] == pytest.approx(5)
    assert measures['count_per_mm2'] == pytest.approx(1 / 0.025)


def test_an_image_that_uses_few_of_its_bits(tmp_path):
    cv2.imwrite(str(tmp_path / 'A1.png'), np.full((200, 300, 3), 4095 - 300, np.uint16))
    with open_slide(tmp_path / 'A1.png') as slide:
        content = measured_content('A1', slide, Found([]), PixelSize(0.5), WellOptions())
    assert len(content.notes) == 1 and 'nearly black' in content.notes[0]


def test_an_image_without_colour(tmp_path):
    grey = np.full((200, 300), 200, np.uint8)
    grey[50:90, 60:120] = 90
    for name, pixels, n_notes in (('grey', grey, 1), ('colour', np.stack([grey, grey, grey // 2], axis=-1), 0)):
        cv2.imwrite(str(tmp_path / f'{name}.png'), pixels)
        with open_slide(tmp_path / f'{name}.png') as slide:
            notes = measured_content(name, slide, Found([]), PixelSize(0.5), WellOptions()).notes
        assert sum('no colour' in note for note in notes) == n_notes


def test_area_of_the_disc(round_well):
    content = measured_content('A1', round_well, CELLS, PixelSize(0.5), WellOptions(find_well=True))
    assert content.notes == []
    assert content.measures['well_area_px2'] == pytest.approx(np.pi * 1800**2, rel=0.02)
    assert content.measures['covered_of_well_percent'] == pytest.approx(100 * 5e5 / (np.pi * 1800**2), rel=0.02)


def test_cells_outside_the_disc_are_named(round_well):
    outlines = [*CELLS.outlines, Outline(box(20, 20, 90, 90), 'osteoclast_0002')]
    content = measured_content('A1', round_well, Found(outlines), PixelSize(0.5), WellOptions(find_well=True))
    assert content.measures['count'] == 2
    assert content.notes == ['1 cells lie outside the border of the well and are counted; see the overlay']


def test_nuclei_outside_the_disc_are_named(round_well):
    """They are in the denominator of the fusion index."""
    nuclei = Nuclei(np.array([[2000.0, 1700.0], [30.0, 30.0], [3950.0, 3950.0]]), np.ones(3))
    result = Found(CELLS.outlines, nuclei)
    content = measured_content('A1', round_well, result, PixelSize(0.5), WellOptions(find_well=True))
    assert content.notes == ['2 nuclei lie outside the border of the well and are counted; see the overlay']


def test_no_disc_is_said_so(slide):
    content = measured_content('A1', slide, Found([]), PixelSize(0.5), WellOptions(find_well=True))
    assert content.measures['well_area_px2'] is None
    assert 'no border of a round well' in content.notes[0]


def test_an_area_smaller_than_its_cells_is_said_so(slide):
    well = Found([Outline(box(0, 0, 100, 50), 'osteoclast_0001')])
    note, _ = measured_content('A1', slide, well, PixelSize(0.5), WellOptions(well_area_px2=100)).notes
    assert note.startswith('cells cover more than the area of the well, 100 px^2')
