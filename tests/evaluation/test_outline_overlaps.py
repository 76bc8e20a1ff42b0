import numpy as np
import pytest
import shapely

from noise_mm.evaluation.overlaps import compare_outlines
from noise_mm.geometry.outline import Outline, polygonal_parts
from noise_mm.geometry.pixels import fill_pixels

SIZE = 60, 48
CLASSES = ('osteoclast', 'nucleus')
PLACE = {'image_id': 0, 'batch': 'M1', 'well': 'A1'}


def random_outlines(rng, n, label=None):
    """Rotated ellipses with corners between pixels, some with a hole, some of two parts, some beyond the image."""
    outlines = []
    for _ in range(n):
        centre, radii = rng.uniform((-4, -4), (64, 52)), rng.uniform(2, 12, 2)
        geometry = shapely.affinity.scale(shapely.Point(*centre).buffer(1, quad_segs=4), *radii)
        geometry = shapely.affinity.rotate(geometry, rng.uniform(0, 180))
        if rng.random() < 0.3:
            geometry = geometry.difference(shapely.Point(*centre).buffer(radii.min() / 2))
        if rng.random() < 0.2:
            geometry = geometry.difference(shapely.box(centre[0] - 1, -9, centre[0] + 1, 99))
        name = label or CLASSES[rng.integers(2)]
        outlines.append(Outline(polygonal_parts(geometry), label=name, score=rng.random(), ignored=rng.random() < 0.2))
    return outlines


@pytest.mark.parametrize('seed', range(8))
def test_equal_to_masks_of_the_whole_image(seed):
    rng = np.random.default_rng(seed)
    found, objects = random_outlines(rng, 25), random_outlines(rng, 20)
    image = compare_outlines(found, objects, CLASSES, SIZE, **PLACE)
    masks, object_masks = ([fill_pixels(each.geometry, 0, 0, *SIZE) for each in side] for side in (found, objects))
    expected = {}
    for i, one in enumerate(found):
        for j, other in enumerate(objects):
            overlap = (masks[i] & object_masks[j]).sum()
            if overlap and one.label == other.label:
                whole = masks[i].sum() if other.ignored else (masks[i] | object_masks[j]).sum()
                expected[i, j] = overlap / whole
    pairs = image.pairs['segm']
    got = dict(zip(zip(pairs.detections.tolist(), pairs.objects.tolist(), strict=True), pairs.ious, strict=True))
    assert got == expected
    assert image.areas_px2 == pytest.approx([each.geometry.area for each in found])
    assert image.object_ignored.tolist() == [each.ignored for each in objects]


def test_outlines_along_pixels_have_the_overlap_of_their_areas():
    found, objects = [Outline(shapely.box(0, 0, 10, 10), score=0.5)], [Outline(shapely.box(5, 0, 15, 10))]
    assert compare_outlines(found, objects, CLASSES, SIZE, **PLACE).pairs['segm'].ious.tolist() == [50 / 150]


def test_neighbours_that_share_a_border_do_not_overlap():
    found, objects = [Outline(shapely.box(0, 0, 10.5, 10))], [Outline(shapely.box(10.5, 0, 20, 10))]
    assert not len(compare_outlines(found, objects, CLASSES, SIZE, **PLACE).pairs['segm'].ious)


def test_cells_far_apart_in_a_huge_well_cost_nothing():
    size = 100_000, 100_000
    cells = [Outline(shapely.box(x, x, x + 20, x + 20)) for x in (0, 50_000, 99_980)]
    assert compare_outlines(cells, cells, CLASSES, size, **PLACE).pairs['segm'].ious.tolist() == [1.0] * 3


@pytest.mark.parametrize(('n_found', 'n_objects'), [(0, 0), (2, 0), (0, 2)])
def test_an_empty_side(n_found, n_objects):
    cells = [Outline(shapely.box(0, 0, 9, 9))] * 2
    image = compare_outlines(cells[:n_found], cells[:n_objects], CLASSES, SIZE, **PLACE)
    assert (len(image.scores), len(image.object_classes)) == (n_found, n_objects)
    assert not len(image.pairs['segm'].ious)


def test_what_has_no_score_is_certain():
    assert compare_outlines([Outline(shapely.box(0, 0, 9, 9))], [], CLASSES, SIZE, **PLACE).scores.tolist() == [1.0]
