import numpy as np
import pytest
from pycocotools import mask as coco_mask

from noise_mm.evaluation.regions import (
    Regions,
    areas_px2,
    as_rle,
    as_rles,
    boxes_of,
    compare_image,
    overlapping_pairs,
)

SQUARE = [2.0, 2.0, 8.0, 2.0, 8.0, 6.0, 2.0, 6.0]
OTHER = [10.0, 10.0, 14.0, 10.0, 14.0, 14.0, 10.0, 14.0]


def drawn(rows, columns):
    mask = np.zeros((20, 30), dtype=bool)
    mask[rows, columns] = True
    return mask


def test_all_forms_of_a_mask_are_equal():
    mask = drawn(slice(2, 6), slice(2, 8))
    rle = as_rle(mask)
    uncompressed = {'size': [20, 30], 'counts': [42, 4, *[16, 4] * 5, 600 - 42 - 4 - 5 * 20]}
    forms = [
        [rle],
        [{**rle, 'counts': rle['counts'].decode()}],
        [uncompressed],
        [[SQUARE]],
        [[np.array(SQUARE)]],
        mask[None],
        mask[None].astype(np.float32),
    ]
    for form in forms:
        assert (coco_mask.decode(as_rles(form, 20, 30)[0]) == mask).all()
        assert areas_px2(as_rles(form, 20, 30)).tolist() == [24.0]
        assert boxes_of(as_rles(form, 20, 30)).tolist() == [[2.0, 2.0, 6.0, 4.0]]


def test_parts_are_joined_and_kinds_of_masks_may_be_mixed():
    joined, single, run_lengths = as_rles([[SQUARE, OTHER], [OTHER], as_rle(drawn(0, 0))], 20, 30)
    assert areas_px2([joined, single, run_lengths]).tolist() == [40.0, 16.0, 1.0]
    assert areas_px2(as_rles([[SQUARE, OTHER], [OTHER]], 20, 30)).tolist() == [40.0, 16.0]


def test_none():
    assert as_rles([], 20, 30) == []
    assert areas_px2([]).shape == (0,)
    assert boxes_of([]).shape == (0, 4)


@pytest.mark.parametrize(
    'mask', ['text', [], 5, [[1, 2, 3, 4]], [[1, 2, 3, 4, 5, 6, 7]], [1, 2, 3, 4, 5, 6], {'counts': 'a'}, ['abcdef']]
)
def test_what_is_no_mask_is_refused(mask):
    with pytest.raises(ValueError, match='mask|polygon'):
        as_rles([mask], 20, 30)
    with pytest.raises(ValueError, match='mask|polygon'):
        as_rles([mask, as_rle(drawn(0, 0))], 20, 30)


def regions(classes, boxes=None, masks=None):
    boxes = None if boxes is None else np.array(boxes, dtype=float).reshape(-1, 4)
    return Regions(np.array(classes, dtype=np.int64), boxes, masks)


def test_pairs_have_the_same_class_and_crowds_the_share_of_the_detection():
    detections = regions([0, 1, 0], [[0, 0, 10, 10], [0, 0, 10, 10], [50, 50, 5, 5]])
    objects = regions([0, 0, 1], [[0, 0, 10, 20], [0, 0, 20, 20], [0, 0, 10, 10]])
    pairs = overlapping_pairs(detections, objects, np.array([False, True, False]), 'boxes')
    found = dict(zip(zip(pairs.detections.tolist(), pairs.objects.tolist(), strict=True), pairs.ious, strict=True))
    assert found == {(0, 0): 0.5, (0, 1): 1.0, (1, 2): 1.0}
    pairs = overlapping_pairs(detections, objects, np.zeros(3, bool), 'boxes', min_iou=0.5)
    assert sorted(pairs.ious.tolist()) == [0.5, 1.0]


def table(detections, objects, **kwargs):
    scores, ignored = np.full(len(detections.classes), 0.5), np.zeros(len(objects.classes), bool)
    return compare_image(detections, scores, objects, ignored, image_id=1, batch='M1', well='w', **kwargs)


def test_masks_and_boxes_are_compared_where_both_sides_have_them():
    mask = as_rle(drawn(slice(2, 6), slice(2, 8)))
    both = regions([0], [[2, 2, 6, 4]], [mask])
    assert set(table(both, both).pairs) == {'segm', 'bbox'}
    assert set(table(both, regions([0], [[2, 2, 6, 4]])).pairs) == {'bbox'}
    assert set(table(regions([0], masks=[mask]), both).pairs) == {'segm'}
    assert table(both, both, px2_per_cell=64).areas_px2.tolist() == [24 * 64]


def test_masks_of_different_sizes_are_refused():
    with pytest.raises(ValueError, match='different sizes'):
        table(regions([0], masks=[as_rle(np.ones((4, 4)))]), regions([0], masks=[as_rle(np.ones((5, 5)))]))


def test_more_than_255_masks_have_areas():
    masks = np.zeros((700, 20, 30), bool)
    for i, mask in enumerate(masks):
        mask.ravel()[: i % 100 + 1] = True
    assert areas_px2(as_rles(masks, 20, 30)).tolist() == [i % 100 + 1 for i in range(700)]
