import numpy as np
import pytest
import shapely
from shapely import Polygon, box

from noise_mm.geometry.cell_masks import CellMask, cell_masks
from noise_mm.geometry.outline import Outline
from noise_mm.measure.cells import measure_cells, with_pre_osteoclasts
from noise_mm.measure.well import WellArea, covered_px2, measure_well

SIZE_PX = (600, 500)


def star(x, y, radius, rng):
    angles = np.linspace(0, 2 * np.pi, 30, endpoint=False)
    radii = radius * rng.uniform(0.5, 1, 30)
    return Polygon(np.stack([x + radii * np.cos(angles), y + radii * np.sin(angles)], axis=1))


def test_covered_area_counts_overlaps_once():
    rng = np.random.default_rng(1)
    outlines = [Outline(star(*rng.uniform(50, 450, 2), rng.uniform(20, 90), rng)) for _ in range(30)]
    union = shapely.union_all([outline.geometry for outline in outlines])
    whole = CellMask.of(union, SIZE_PX).pixels().sum()
    assert covered_px2(cell_masks(outlines, SIZE_PX)) == whole
    assert sum(mask.pixels().sum() for mask in cell_masks(outlines, SIZE_PX)) > 1.2 * whole
    assert covered_px2([]) == 0


def test_well():
    outlines = [Outline(box(0, 0, 10, 10)), Outline(box(5, 0, 15, 10)), Outline(box(50, 50, 60, 60))]
    classed = with_pre_osteoclasts(outlines, [4, 5, 1], 3)
    cells = list(measure_cells(classed, cell_masks(classed, SIZE_PX), SIZE_PX, 2.0, [4, 5, 1]))
    well = measure_well(
        cells, 150, SIZE_PX, 2.0, well_area=WellArea(1e5, 'given'), nuclei=20, are_classed=True
    )  # fmt: skip
    assert (well['count'], well['pre_osteoclasts']) == (2, 1)
    assert (well['total_area_px2'], well['total_area_um2'], well['mean_area_um2']) == (200, 800, 400)
    assert well['covered_of_image_percent'] == pytest.approx(100 * 150 / 300_000)
    assert (well['image_area_mm2'], well['well_area_mm2']) == (1.2, 0.4)
    assert well['covered_of_well_percent'] == pytest.approx(0.15)
    assert well['count_per_mm2'] == pytest.approx(5)
    assert (well['nuclei'], well['nuclei_in_osteoclasts']) == (20, 9)
    assert (well['nuclei_per_osteoclast'], well['fusion_index']) == (4.5, 0.45)


def test_what_is_not_known_is_none():
    well = measure_well([], 0, SIZE_PX, 1.0)
    assert (well['count'], well['total_area_px2'], well['covered_of_image_percent']) == (0, 0, 0)
    nothing = ['pre_osteoclasts', 'mean_area_um2', 'well_area_mm2', 'covered_of_well_percent', 'count_per_mm2']
    nothing += ['nuclei', 'nuclei_in_osteoclasts', 'nuclei_per_osteoclast', 'fusion_index']
    assert [name for name in nothing if well[name] is not None] == []
    assert measure_well([], 0, SIZE_PX, 1.0, nuclei=0)['fusion_index'] is None
