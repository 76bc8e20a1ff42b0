import csv

import numpy as np
from shapely import box

from noise_mm.csv_table import write_table
from noise_mm.geometry.cell_masks import cell_masks
from noise_mm.geometry.outline import Outline
from noise_mm.measure.cells import measure_cells
from noise_mm.measure.well import WellArea, measure_well
from noise_mm.report.tables import (
    CELL_COLUMNS,
    NUCLEI_COLUMNS,
    WELL_COLUMNS,
    cell_row,
    nuclei_rows,
    well_row,
)
from noise_mm.scale import PixelSize


def measured(nuclei=None):
    outlines = [Outline(box(10, 20, 30, 50), 'cell_0007', 'cell', 0.87654), Outline(box(50.6, 0, 51.4, 9))]
    return list(measure_cells(outlines, cell_masks(outlines, (120, 80)), (120, 80), 0.5, nuclei))


def test_row_of_a_cell():
    row = cell_row(measured(nuclei=[4, 0])[0], PixelSize(0.5))
    assert tuple(row) == CELL_COLUMNS
    assert row == {
        'name': 'cell_0007',
        'class': 'cell',
        'score': 0.8765,
        'area_px2': 600,
        'area_um2': 150.0,
        'perimeter_px': 96.0,
        'perimeter_um': 48.0,
        'equivalent_diameter_px': 27.64,
        'equivalent_diameter_um': 13.82,
        'solidity': 1.0,
        'eccentricity': 0.7458,
        'centroid_x_px': 20.0,
        'centroid_y_px': 35.0,
        'left_px': 10,
        'top_px': 20,
        'width_px': 20,
        'height_px': 30,
        'nuclei': 4,
        'touches_edge': 0,
        'cut_at_box': 0,
        'joined': 0,
        'unvoted': 0,
        'um_per_px': 0.5,
        'um_per_px_from': 'option',
    }


def test_what_is_not_known_is_empty(tmp_path):
    write_table(tmp_path / 'a.csv', CELL_COLUMNS, (cell_row(cell, PixelSize(0.5)) for cell in measured()))
    rows = list(csv.DictReader((tmp_path / 'a.csv').open()))
    assert [row['nuclei'] for row in rows] == ['', '']
    assert (rows[1]['score'], rows[1]['solidity'], rows[1]['area_px2']) == ('', '', '0')


def test_rows_of_nuclei():
    xy_px, scores = np.array([[1.234, 5], [7, 8]]), np.array([0.5, 0.25])
    first, second = nuclei_rows(xy_px, scores, np.array([1, -1]), ['a', 'b'])
    assert tuple(first) == NUCLEI_COLUMNS
    assert first == {'number': 1, 'x_px': 1.23, 'y_px': 5.0, 'score': 0.5, 'cell': 'b'}
    assert second['cell'] is None


def test_row_of_a_well():
    cells = measured(nuclei=[3, 0])
    well = measure_well(cells, 600, (120, 80), 0.5, well_area=WellArea(6000, 'disc'), nuclei=4, are_classed=True)
    row = well_row('A1', well, PixelSize(0.5))
    assert set(row) == set(WELL_COLUMNS)
    assert (row['well'], row['count'], row['pre_osteoclasts']) == ('A1', 2, 0)
    assert (row['total_area_px2'], row['total_area_um2'], row['mean_area_um2']) == (600, 150.0, 75.0)
    assert (row['covered_of_image_percent'], row['covered_of_well_percent']) == (6.25, 10.0)
    assert (row['well_area_mm2'], row['well_area_from'], row['count_per_mm2']) == (0.0015, 'disc', 1333.3333)
    assert (row['nuclei'], row['nuclei_in_osteoclasts'], row['fusion_index']) == (4, 3, 0.75)


def test_without_a_pixel_size_there_are_no_micrometres():
    pixel = PixelSize(0.7784, 'assumed')
    outlines = [Outline(box(0, 0, 20, 15), 'osteoclast_0001', score=0.9)]
    cells = list(measure_cells(outlines, cell_masks(outlines, (120, 80)), (120, 80), pixel.known_um))
    row = cell_row(cells[0], pixel)
    assert (row['area_px2'], row['area_um2'], row['perimeter_um'], row['equivalent_diameter_um']) == (
        300,
        None,
        None,
        None,
    )
    assert (row['um_per_px'], row['um_per_px_from']) == (0.7784, 'assumed')
    well = well_row('A1', measure_well(cells, 300, (120, 80), pixel.known_um, well_area=WellArea(6000, 'given')), pixel)
    empty = ('total_area_um2', 'mean_area_um2', 'image_area_mm2', 'well_area_mm2', 'count_per_mm2')
    assert [well[name] for name in empty] == [None] * 5
    assert (well['count'], well['covered_of_well_percent']) == (1, 5.0)
    assert PixelSize(0.7784, 'accepted').known_um == 0.7784
