import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from noise_mm.coco import issues as kinds
from noise_mm.coco.annotations import coco_annotation
from noise_mm.coco.segmentation import coco_segmentation, mask_annotation
from noise_mm.geometry.cell_masks import CellMask
from noise_mm.inspection.patch_entries import Patch
from noise_mm.inspection.shapes import examine

PATCH = Patch(1, 'images/a.png', 100, 80, 'M1', 'a', 0, 0, 0.5, 1.0, None)
FRAME = shapely.box(0, 0, 100, 80)
RING = shapely.Point(40, 40).buffer(30).difference(shapely.Point(40, 40).buffer(10))


def entry(region, **values):
    return {**coco_annotation(1, 1, region), **values}


def coco_rle(region, height, width):
    return mask_annotation(CellMask.of(region, (width, height)), height, width)['segmentation']


def kinds_of(annotation):
    return [kind for kind, _, _ in examine(annotation, PATCH).found]


def inside_by_counting(rings, points):
    """Which points are inside an odd number of times: a ray to the right crosses the rings so often."""
    total = np.zeros(len(points), dtype=int)
    for ring in rings:
        closed = np.concatenate([ring, ring[:1]])
        x1, y1, x2, y2 = closed[:-1, :1], closed[:-1, 1:], closed[1:, :1], closed[1:, 1:]
        straddles = (y1 > points[:, 1]) != (y2 > points[:, 1])
        with np.errstate(divide='ignore', invalid='ignore'):
            right = (x2 - x1) * (points[:, 1] - y1) / (y2 - y1) + x1 > points[:, 0]
        total += (straddles & right).sum(axis=0)
    return total % 2 == 1


@pytest.mark.parametrize(
    'annotation',
    [
        entry(shapely.box(0, 0, 100, 80)),
        entry(RING),
        entry(shapely.union(shapely.box(1, 1, 9, 9), RING)),
        entry(RING, segmentation=coco_rle(RING, 80, 100)),
        entry(shapely.box(1, 1, 9, 9), segmentation=None),
        entry(shapely.box(1, 1, 9, 9), segmentation=[], area=64.9),
        entry(shapely.box(1.4, 1.4, 9.3, 9.3), bbox=[1, 1, 9, 9]),
        entry(shapely.box(0, 0, 100.009, 80)),
    ],
    ids=['whole', 'hole', 'parts', 'rle', 'box', 'box of pixels', 'box around', 'rounded'],
)
def test_what_is_right(annotation):
    examined = examine(annotation, PATCH)
    assert examined.found == [] and examined.fixed == annotation
    assert examined.region.is_valid and examined.region.area > 0


@pytest.mark.parametrize(
    ('annotation', 'kind', 'what', 'fixable'),
    [
        (entry(RING, segmentation=[[1, 2, 3, 4, 5]]), kinds.BAD_OUTLINE, '5 numbers', False),
        (entry(RING, segmentation=[[1, 2, 3, 4]]), kinds.BAD_OUTLINE, 'fewer than three', False),
        (entry(RING, segmentation=[[1, 2, 3, 4, 'a', 6]]), kinds.BAD_OUTLINE, 'something else than numbers', False),
        (entry(RING, segmentation=[[1, 2, 3, float('nan'), 5, 6]]), kinds.BAD_OUTLINE, 'not a finite', False),
        (entry(RING, segmentation=[[1, 1, 5, 5, 9, 9]]), kinds.BAD_OUTLINE, 'no area', False),
        (entry(RING, segmentation=[[]]), kinds.BAD_OUTLINE, 'fewer than three', False),
        (entry(RING, segmentation='abc'), kinds.BAD_OUTLINE, 'neither', False),
        (entry(RING, segmentation=coco_rle(RING, 100, 100)), kinds.BAD_OUTLINE, 'has the size [100, 100]', False),
        (entry(RING, segmentation={'size': [80, 100]}), kinds.BAD_OUTLINE, '', False),
        (entry(RING, segmentation=None, bbox=None), kinds.NO_SHAPE, 'bbox is None', False),
        (entry(RING, segmentation=None, bbox=[1, 1, 0, 5]), kinds.NO_SHAPE, 'bbox is [1, 1, 0, 5]', False),
        (entry(RING, segmentation=None, bbox=[1, 1, 5]), kinds.NO_SHAPE, 'bbox is [1, 1, 5]', False),
        (entry(RING, segmentation=[[1, 1, 9, 9, 9, 1, 1, 9]]), kinds.CROSSING, 'area 32.0 px^2', True),
        (entry(RING, segmentation=[*coco_segmentation(RING), [1, 1, 9, 9, 9, 1, 1, 9]]), kinds.CROSSING, '', True),
        (entry(shapely.box(90, 70, 101, 80.5)), kinds.OUTLINE_OUTSIDE, 'reaches 1.00 px', True),
        (entry(shapely.box(90, 70, 102, 80)), kinds.OUTLINE_OUTSIDE, 'reaches 2.00 px', False),
        (entry(shapely.box(100, 70, 101, 80)), kinds.OUTLINE_OUTSIDE, 'reaches 1.00 px', False),
        (entry(RING, bbox=[-20, 0, 30, 30]), kinds.BOX_OUTSIDE, 'reaches 20.00 px', True),
        (entry(RING, bbox=None), kinds.WRONG_BOX, 'bbox is None', True),
        (entry(RING, bbox=[12, 10, 58, 60]), kinds.WRONG_BOX, '2.0 px off', True),
        (entry(RING, area=3000), kinds.WRONG_AREA, 'area is 3000, measured 25', True),
        (entry(RING, area=None), kinds.WRONG_AREA, 'area is None', True),
        (entry(RING, area=True), kinds.WRONG_AREA, 'area is True', True),
        (entry(shapely.box(90, 70, 100.5, 80), segmentation=None), kinds.BOX_OUTSIDE, '0.50 px', True),
        (entry(shapely.box(90, 70, 105, 80), segmentation=None), kinds.BOX_OUTSIDE, '5.00 px', False),
        (entry(shapely.box(1, 1, 9, 9), segmentation=None, area=10), kinds.WRONG_AREA, 'measured 64.0', True),
    ],
)  # fmt: skip
def test_what_is_wrong(annotation, kind, what, fixable):
    examined = examine(annotation, PATCH)
    assert [(found[0], found[2]) for found in examined.found] == [(kind, fixable)]
    assert what in examined.found[0][1]
    if fixable:
        assert kinds_of(examined.fixed) == []
        assert {**examined.fixed, 'segmentation': 0, 'bbox': 0, 'area': 0} == {
            **annotation, 'segmentation': 0, 'bbox': 0, 'area': 0
        }  # fmt: skip
    else:
        assert examined.fixed == annotation


def test_several_issues_of_one_annotation():
    assert kinds_of(entry(RING, bbox=[0, 0, 200, 5], area=1)) == [kinds.BOX_OUTSIDE, kinds.WRONG_AREA]


def test_an_outline_of_which_only_the_measures_change_keeps_its_vertices():
    annotation = entry(RING, area=1)
    assert examine(annotation, PATCH).fixed['segmentation'] is annotation['segmentation']


@given(
    st.lists(st.tuples(st.integers(0, 100), st.integers(0, 80)), min_size=3, max_size=12),
    st.sampled_from([1, 5.0, 1e4]),
)
def test_any_ring_is_right_or_fixed_to_what_is_inside_an_odd_number_of_times(vertices, area):
    annotation = {'segmentation': [[float(value) for vertex in vertices for value in vertex]], 'area': area}
    examined = examine(annotation, PATCH)
    if examined.region is None:
        assert [kind for kind, _, _ in examined.found] == [kinds.BAD_OUTLINE]
        return
    again = examine(examined.fixed, PATCH)
    assert again.found == []
    assert again.region.area == pytest.approx(examined.region.area)
    assert examined.fixed['area'] == pytest.approx(examined.region.area, rel=0.01, abs=1)
    # points off the grid of the vertices, so that hardly any lies on an edge
    points = np.stack(np.meshgrid(np.arange(0.317, 100, 7), np.arange(0.719, 80, 7)), axis=-1).reshape(-1, 2)
    expected = inside_by_counting([np.array(vertices, dtype=float)], points)
    near = shapely.distance(again.region.boundary, shapely.points(points)) < 1e-6
    assert (shapely.contains_xy(again.region, points)[~near] == expected[~near]).all()


@given(st.integers(1, 99), st.integers(1, 79), st.floats(2, 30), st.integers(3, 20))
def test_drawn_cells_are_right_once_cut_at_the_border(x, y, radius, corners):
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    cell = shapely.Polygon(np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], axis=1))
    assert kinds_of(entry(cell.intersection(FRAME))) == []
