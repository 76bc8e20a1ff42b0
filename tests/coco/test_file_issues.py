import logging

import pytest
import shapely
from shapely import MultiPolygon

from noise_mm.coco.file_issues import FileIssues, OutlineCollector
from noise_mm.errors import InputError

SQUARE = [(0, 0), (4, 0), (4, 4), (0, 4)]
BOW_TIE = [(0, 0), (4, 4), (4, 0), (0, 4)]


def test_no_fault_no_error():
    FileIssues('cells.roi', 'Do it again.').raise_if_any()


def test_the_error_names_file_first_faults_and_their_number():
    issues = FileIssues('cells.zip', 'Save it again.')
    for number in range(15):
        issues.add(f'cell {number}', 'has no area')
    with pytest.raises(InputError) as caught:
        issues.raise_if_any()
    message = str(caught.value)
    assert message == (
        'cells.zip: cell 0: has no area; cell 1: has no area; cell 2: has no area; ... and 12 more. Save it again.'
    )


def test_self_crossing_outline_is_repaired_and_logged(caplog):
    collector = OutlineCollector('cells.csv', '')
    with caplog.at_level(logging.WARNING):
        collector.add_ring('row 7', BOW_TIE, name='a')
    (outline,) = collector.finish()
    assert outline.geometry.area == 8
    assert 'cells.csv' in caplog.text and 'row 7' in caplog.text


def test_self_crossing_outline_is_a_fault_without_repair():
    collector = OutlineCollector('cells.csv', 'Redraw it.', repair=False)
    collector.add_ring('row 7', BOW_TIE)
    with pytest.raises(InputError, match=r'cells\.csv: row 7: the outline crosses itself\. Redraw it\.'):
        collector.finish()


def test_outlines_without_area_are_faults():
    collector = OutlineCollector('cells.csv', 'Redraw.')
    collector.add_ring('row 1', SQUARE[:2])
    collector.add_ring('row 2', [(0, 0), (1, 1), (2, 2)])
    collector.add_geometry('row 3', MultiPolygon())
    with pytest.raises(InputError, match=r'row 1: fewer than three .*; row 2: .* no area; row 3: .* no area'):
        collector.finish()


def test_what_lies_mostly_outside_the_image_is_a_fault():
    collector = OutlineCollector('cells.csv', 'Check.', size_px=(100, 50))
    collector.add_geometry('row 1', shapely.box(10, 45, 20, 60))
    with pytest.raises(InputError, match=r'row 1: lies outside the image of 100 x 50 px \(x 10.0 to 20.0, y 45.0'):
        collector.finish()


def test_what_sticks_out_a_little_is_cut_off_and_logged(caplog):
    collector = OutlineCollector('cells.csv', 'Check.', size_px=(100, 50))
    with caplog.at_level(logging.WARNING):
        collector.add_geometry('row 1', shapely.box(10, 30, 20, 50.5))
        assert not caplog.text  # less than a pixel is rounding
        collector.add_geometry('row 2', shapely.box(-3, 30, 20, 50))
    assert 'row 2: reaches 3.0 px beyond the image' in caplog.text
    assert [outline.geometry.bounds for outline in collector.finish()] == [(10, 30, 20, 50), (0, 30, 20, 50)]
