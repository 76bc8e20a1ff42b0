import numpy as np
import pytest
from pycocotools import mask as coco_mask

from noise_mm.evaluation import overlaps as module
from noise_mm.evaluation.overlaps import DamagedMaskError, ImageInstances, Instances, compare_images
from noise_mm.geometry import run_lengths


def drawn(rows, columns):
    mask = np.zeros((20, 30), dtype=bool)
    mask[rows, columns] = True
    return mask


def counts(mask):
    return coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))['counts']


def instances(classes, boxes=None, masks=None):
    boxes = None if boxes is None else np.array(boxes, dtype=float).reshape(-1, 4)
    return Instances(np.array(classes, dtype=np.int64), boxes, masks)


def compared(detections, objects, ignored=None, **settings):
    image = image_instances(detections, objects, ignored, **settings)
    (overlaps,) = compare_images([image])
    return overlaps


def image_instances(detections, objects, ignored=None, **settings):
    scores = np.full(len(detections.classes), 0.5)
    ignored = np.zeros(len(objects.classes), bool) if ignored is None else np.array(ignored)
    return ImageInstances(1, 'M1', 'w', detections, scores, objects, ignored, **{'size': (20, 30), **settings})


def ious_of(pairs):
    return dict(zip(zip(pairs.detections.tolist(), pairs.objects.tolist(), strict=True), pairs.ious, strict=True))


def test_pairs_have_the_same_class_and_crowds_the_share_of_the_detection():
    detections = instances([0, 1, 0], [[0, 0, 10, 10], [0, 0, 10, 10], [50, 50, 5, 5]])
    objects = instances([0, 0, 1], [[0, 0, 10, 20], [0, 0, 20, 20], [0, 0, 10, 10]])
    image = image_instances(detections, objects, [False, True, False])
    assert ious_of(compared(detections, objects, [False, True, False]).pairs['bbox']) == {
        (0, 0): 0.5,
        (0, 1): 1.0,
        (1, 2): 1.0,
    }
    (overlaps,) = compare_images([image_instances(detections, objects)], min_iou=0.5)
    assert sorted(overlaps.pairs['bbox'].ious.tolist()) == [0.5, 1.0]
    assert len(list(compare_images([image] * 3, threads=2))) == 3


def test_masks_and_boxes_are_compared_where_both_sides_have_them():
    mask = counts(drawn(slice(2, 6), slice(2, 8)))
    both = instances([0], [[2, 2, 6, 4]], [mask])
    assert set(compared(both, both).pairs) == {'segm', 'bbox'}
    assert set(compared(both, instances([0], [[2, 2, 6, 4]])).pairs) == {'bbox'}
    assert set(compared(instances([0], masks=[mask]), both).pairs) == {'segm'}
    assert compared(both, both, px2_per_cell=64).areas_px2.tolist() == [24 * 64]


def test_damaged_masks_are_named():
    sound = instances([0], masks=[counts(drawn(0, 0))])
    damaged = instances([0], masks=[counts(np.ones((5, 5)))])
    images = [image_instances(sound, sound), image_instances(sound, damaged)]
    with pytest.raises(DamagedMaskError, match='does not fill') as error:
        list(compare_images(images))
    assert error.value.image is images[1] and error.value.of_object


@pytest.mark.parametrize('masks_at_once', [1, 7, 1000])
@pytest.mark.parametrize('pairs_at_once', [1, 20, 1000])
@pytest.mark.parametrize('min_iou', [0.0, 0.3])
def test_pairs_are_those_of_pycocotools_however_many_are_compared_at_once(
    monkeypatch, masks_at_once, pairs_at_once, min_iou
):
    monkeypatch.setattr(module, 'MASKS_AT_ONCE', masks_at_once)
    monkeypatch.setattr(module, 'PAIRS_AT_ONCE', pairs_at_once)
    monkeypatch.setattr(run_lengths, 'COLUMNS_AT_ONCE', pairs_at_once)
    rng = np.random.default_rng(4)
    images = []
    for n, m in [(5, 4), (0, 3), (6, 0), (0, 0), (9, 7)]:
        masks = [counts(mask) for mask in random_masks(rng, n + m)]
        classes = rng.integers(0, 2, n + m)
        ignored = rng.random(m) < 0.3
        images.append(
            image_instances(instances(classes[:n], masks=masks[:n]), instances(classes[n:], masks=masks[n:]), ignored)
        )
    for image, overlaps in zip(images, compare_images(images, min_iou), strict=True):
        sides = image.detections, image.objects
        rles = [[{'size': [20, 30], 'counts': text} for text in side.masks] for side in sides]
        ious = np.reshape(coco_mask.iou(*rles, image.ignored.astype(np.uint8)), tuple(map(len, rles)))
        same = image.detections.classes[:, None] == image.objects.classes
        expected = {
            (int(i), int(j)): ious[i, j]
            for i, j in zip(*np.nonzero(same & (ious > 0) & (ious >= min_iou)), strict=True)
        }
        assert ious_of(overlaps.pairs['segm']) == expected
        assert overlaps.areas_px2.tolist() == [float(coco_mask.area(rle)) for rle in rles[0]]


def random_masks(rng, n):
    """Rectangles with holes, some of them empty."""
    masks = np.zeros((n, 20, 30), bool)
    for mask in masks:
        y, x, h, w = rng.integers(0, (12, 20, 12, 18))
        mask[y : y + h, x : x + w] = rng.random((h, w))[: 20 - y, : 30 - x] < 0.8
    return masks
