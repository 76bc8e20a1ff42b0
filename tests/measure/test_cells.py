import numpy as np
import pytest
import shapely
from shapely import MultiPolygon, Point, Polygon, affinity, box
from skimage.measure import regionprops

from noise_mm.formats.label_image import write_label_image
from noise_mm.geometry.cell_masks import cell_masks
from noise_mm.geometry.outline import Outline
from noise_mm.measure.cells import PRE_OSTEOCLAST, measure_cells, with_pre_osteoclasts

SIZE_PX = (600, 500)


def measured(outlines, mpp=1.0, nuclei=None):
    return list(measure_cells(outlines, cell_masks(outlines, SIZE_PX), SIZE_PX, mpp, nuclei))


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
    found = measured(cells, 0.5)
    for cell, reference in zip(found, regionprops(drawn), strict=True):
        y, x = reference.centroid
        top, left, bottom, right = reference.bbox
        assert cell.centroid_px == pytest.approx((x + 0.5, y + 0.5))
        assert cell.box_px == (left, top, right - left, bottom - top)
        assert cell.area_px2 == reference.area
        assert cell.perimeter_px == pytest.approx(reference.perimeter)
        assert cell.equivalent_diameter_px == pytest.approx(reference.equivalent_diameter_area)
        assert cell.solidity == pytest.approx(reference.solidity)
        assert cell.eccentricity == pytest.approx(reference.eccentricity)
    assert [cell.touches_edge for cell in found] == [False] * 12 + [True]
    assert [cell.name for cell in found] == [outline.name for outline in cells]


def test_micrometres(cells, drawn):
    spacing = 0.7784
    for cell, reference in zip(measured(cells, spacing), regionprops(drawn, spacing=(spacing, spacing)), strict=True):
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
    (cell,) = measured([Outline(box(*bounds))])
    assert cell.touches_edge == touches


def test_only_what_lies_in_the_image_is_measured():
    (cell,) = measured([Outline(box(-5, 490, 9, 530))])
    assert (cell.area_px2, cell.box_px) == (90, (0, 490, 9, 10))


@pytest.mark.parametrize('bounds', [(10.6, 20.6, 11.4, 21.4), (599.9, 0, 600, 30), (0, 499.8, 30, 500)])
def test_a_sliver_has_no_pixels(bounds):
    (cell,) = measured([Outline(box(*bounds))])
    assert (cell.area_px2, cell.perimeter_px, cell.equivalent_diameter_px) == (0, 0, 0)
    assert (cell.solidity, cell.eccentricity, cell.touches_edge) == (None, None, False)
    assert cell.centroid_px == pytest.approx(((bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2))


def test_cells_with_few_nuclei_are_pre_osteoclasts_and_keep_their_numbers():
    square = box(0, 0, 9, 9)
    outlines = [Outline(square, f'osteoclast_000{i}') for i in (1, 2)] + [Outline(square, 'my cell')]
    classed = with_pre_osteoclasts(outlines, [3, 2, 0], 3)
    assert [outline.name for outline in classed] == ['osteoclast_0001', 'pre-osteoclast_0002', 'my cell']
    assert [outline.label for outline in classed] == ['osteoclast', PRE_OSTEOCLAST, PRE_OSTEOCLAST]
    assert outlines[1].label == 'osteoclast'


def test_areas_do_not_depend_on_where_the_cell_lies():
    cell = Outline(Polygon([(0.2, 0.4), (30.7, 4.2), (22.1, 29.9), (3.3, 17.8)]))
    moved = Outline(affinity.translate(cell.geometry, 101, 77))
    one, other = measured([cell, moved])
    assert (one.area_px2, one.perimeter_px, one.solidity) == (other.area_px2, other.perimeter_px, other.solidity)
