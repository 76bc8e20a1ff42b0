import numpy as np
import pytest
import shapely
from shapely import MultiPolygon, Point, Polygon, affinity, box
from skimage.measure import regionprops

from noise_mm.formats.label_image import write_label_image
from noise_mm.geometry.outline import Outline
from noise_mm.measure.cells import (
    PRE_OSTEOCLAST,
    WellArea,
    covered_px2,
    measure_cells,
    measure_well,
    nuclei_of_cells,
    with_pre_osteoclasts,
)

SIZE_PX = (600, 500)


def star(x, y, radius, rng):
    angles = np.linspace(0, 2 * np.pi, 30, endpoint=False)
    radii = radius * rng.uniform(0.5, 1, 30)
    return Polygon(np.stack([x + radii * np.cos(angles), y + radii * np.sin(angles)], axis=1))


@pytest.fixture
def cells():
    """Isolated cells: stars, a ring, one of two parts, one at the border."""
    rng = np.random.default_rng(3)
    geometries = [star(60 + 110 * i, 60 + 120 * j, 48, rng) for i in range(5) for j in range(2)]
    geometries.append(Point(70.3, 320.8).buffer(45) - Point(80.1, 315).buffer(17))
    geometries.append(MultiPolygon([box(150, 300, 190.4, 340), star(230, 320, 30, rng)]))
    geometries.append(shapely.intersection(Point(590, 490).buffer(60), box(0, 0, *SIZE_PX)))
    return [Outline(geometry, f'cell_{i:04d}', score=0.5) for i, geometry in enumerate(geometries, 1)]


@pytest.fixture
def drawn(cells, tmp_path):
    tifffile = pytest.importorskip('tifffile')
    write_label_image(tmp_path / 'labels.tif', cells, SIZE_PX)
    return tifffile.imread(tmp_path / 'labels.tif')


def test_isolated_cells_measure_as_regionprops_measures_the_label_image(cells, drawn):
    measured = list(measure_cells(cells, SIZE_PX, 0.5))
    for cell, reference in zip(measured, regionprops(drawn), strict=True):
        y, x = reference.centroid
        top, left, bottom, right = reference.bbox
        assert cell.centroid_px == pytest.approx((x + 0.5, y + 0.5))
        assert cell.box_px == (left, top, right - left, bottom - top)
        assert cell.area_px2 == reference.area
        assert cell.perimeter_px == pytest.approx(reference.perimeter)
        assert cell.equivalent_diameter_px == pytest.approx(reference.equivalent_diameter_area)
        assert cell.solidity == pytest.approx(reference.solidity)
        assert cell.eccentricity == pytest.approx(reference.eccentricity)
    assert [cell.touches_edge for cell in measured] == [False] * 12 + [True]
    assert [cell.name for cell in measured] == [outline.name for outline in cells]


def test_micrometres(cells, drawn):
    spacing = 0.7784
    for cell, reference in zip(
        measure_cells(cells, SIZE_PX, spacing), regionprops(drawn, spacing=(spacing, spacing)), strict=True
    ):
        assert cell.area_um2 == pytest.approx(reference.area)
        assert cell.perimeter_um == pytest.approx(reference.perimeter)
        assert cell.equivalent_diameter_um == pytest.approx(reference.equivalent_diameter_area)


@pytest.mark.parametrize(
    ('bounds', 'touches'),
    [
        ((0, 9, 9, 20), True),
        ((9, 0, 20, 9), True),
        ((100, 9, 600 - 1e-12, 20), True),
        ((9, 60, 20, 500), True),
        ((1, 1, 599, 499), False),
        ((-5, 20, 9, 30), True),
    ],
)
def test_cells_at_the_edge(bounds, touches):
    (cell,) = measure_cells([Outline(box(*bounds))], SIZE_PX, 1)
    assert cell.touches_edge == touches


def test_only_what_lies_in_the_image_is_measured():
    (cell,) = measure_cells([Outline(box(-5, 490, 9, 530))], SIZE_PX, 1)
    assert (cell.area_px2, cell.box_px) == (90, (0, 490, 9, 10))


@pytest.mark.parametrize('bounds', [(10.6, 20.6, 11.4, 21.4), (599.9, 0, 600, 30), (0, 499.8, 30, 500)])
def test_a_sliver_has_no_pixels(bounds):
    (cell,) = measure_cells([Outline(box(*bounds))], SIZE_PX, 1)
    assert (cell.area_px2, cell.perimeter_px, cell.equivalent_diameter_px) == (0, 0, 0)
    assert (cell.solidity, cell.eccentricity, cell.touches_edge) == (None, None, False)
    assert cell.centroid_px == pytest.approx(((bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2))


def test_nuclei_are_counted_by_cell():
    counts = nuclei_of_cells([2, -1, 0, 2, -1, 2], cells=4)
    assert counts.tolist() == [1, 0, 3, 0]
    assert nuclei_of_cells([], cells=2).tolist() == [0, 0]
    cells = list(measure_cells([Outline(box(0, 0, 9, 9))] * 4, SIZE_PX, 1, counts))
    assert [cell.nuclei for cell in cells] == [1, 0, 3, 0]


def test_cells_with_few_nuclei_are_pre_osteoclasts_and_keep_their_numbers():
    square = box(0, 0, 9, 9)
    outlines = [Outline(square, f'osteoclast_000{i}') for i in (1, 2)] + [Outline(square, 'my cell')]
    classed = with_pre_osteoclasts(outlines, [3, 2, 0], 3)
    assert [outline.name for outline in classed] == ['osteoclast_0001', 'pre-osteoclast_0002', 'my cell']
    assert [outline.label for outline in classed] == ['osteoclast', PRE_OSTEOCLAST, PRE_OSTEOCLAST]
    assert outlines[1].label == 'osteoclast'


def test_covered_area_counts_overlaps_once():
    rng = np.random.default_rng(1)
    outlines = [Outline(star(*rng.uniform(50, 450, 2), rng.uniform(20, 90), rng)) for _ in range(30)]
    union = shapely.union_all([outline.geometry for outline in outlines])
    (whole,) = measure_cells([Outline(union)], SIZE_PX, 1)
    assert covered_px2(outlines, SIZE_PX) == whole.area_px2
    assert sum(cell.area_px2 for cell in measure_cells(outlines, SIZE_PX, 1)) > 1.2 * whole.area_px2
    assert covered_px2([], SIZE_PX) == 0


def test_well():
    outlines = [Outline(box(0, 0, 10, 10)), Outline(box(5, 0, 15, 10)), Outline(box(50, 50, 60, 60))]
    classed = with_pre_osteoclasts(outlines, [4, 5, 1], 3)
    cells = list(measure_cells(classed, SIZE_PX, 2.0, [4, 5, 1]))
    well = measure_well(
        cells, 150, SIZE_PX, 2.0, well_area=WellArea(1e5, 'given'), nuclei=20, are_classed=True
    )  # fmt: skip
    assert (well.count, well.pre_osteoclasts) == (2, 1)
    assert (well.total_area_px2, well.total_area_um2, well.mean_area_um2) == (200, 800, 400)
    assert well.covered_of_image_percent == pytest.approx(100 * 150 / 300_000)
    assert (well.image_area_mm2, well.well_area_mm2) == (1.2, 0.4)
    assert well.covered_of_well_percent == pytest.approx(0.15)
    assert well.count_per_mm2 == pytest.approx(5)
    assert (well.nuclei, well.nuclei_in_osteoclasts) == (20, 9)
    assert (well.nuclei_per_osteoclast, well.fusion_index) == (4.5, 0.45)


def test_what_is_not_known_is_none():
    well = measure_well([], 0, SIZE_PX, 1.0)
    assert (well.count, well.total_area_px2, well.covered_of_image_percent) == (0, 0, 0)
    nothing = ['pre_osteoclasts', 'mean_area_um2', 'well_area_mm2', 'covered_of_well_percent', 'count_per_mm2']
    nothing += ['nuclei', 'nuclei_in_osteoclasts', 'nuclei_per_osteoclast', 'fusion_index']
    assert [name for name in nothing if getattr(well, name) is not None] == []
    assert measure_well([], 0, SIZE_PX, 1.0, nuclei=0).fusion_index is None


def test_areas_do_not_depend_on_where_the_cell_lies():
    cell = Outline(Polygon([(0.2, 0.4), (30.7, 4.2), (22.1, 29.9), (3.3, 17.8)]))
    moved = Outline(affinity.translate(cell.geometry, 101, 77))
    one, other = measure_cells([cell, moved], SIZE_PX, 1)
    assert (one.area_px2, one.perimeter_px, one.solidity) == (other.area_px2, other.perimeter_px, other.solidity)
