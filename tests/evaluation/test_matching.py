import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noise_mm.evaluation.matching import ImageOverlaps, Pairs, in_order, join, match


def image(scores, ious, ignored=None, image_id=1, classes=None, object_classes=None):
    """An image from the matrix of its overlaps, (detections, objects)."""
    ious = np.array(ious, dtype=float)
    rows, columns = np.nonzero(ious)
    n_objects = ious.shape[1]
    return ImageOverlaps(
        image_id=image_id,
        batch='M1',
        well='w',
        scores=np.array(scores, dtype=float),
        classes=np.zeros(len(scores), int) if classes is None else np.array(classes),
        areas_px2=None,
        object_classes=np.zeros(n_objects, int) if object_classes is None else np.array(object_classes),
        object_ignored=np.zeros(n_objects, bool) if ignored is None else np.array(ignored, bool),
        object_areas_px2=None,
        pairs={'segm': Pairs(rows, columns, ious[rows, columns])},
    )


def found(images, iou_thr, mode='coco'):
    return match(join(images, 'segm'), iou_thr, mode).objects.tolist()


def one_after_the_other(scores, ious, ignored, iou_thr):
    """COCO's greedy matching as it is told: (object or -1, ignored) for each detection."""
    objects = [(-1, False)] * len(scores)
    taken = set()
    for detection in np.argsort(-np.array(scores), kind='stable'):
        free = [k for k in range(ious.shape[1]) if k not in taken and not ignored[k] and ious[detection, k] >= iou_thr]
        if free:
            best = max(free, key=lambda k: (ious[detection, k], k))
            taken.add(best)
            objects[detection] = (best, False)
        elif any(ignored[k] and ious[detection, k] >= iou_thr for k in range(ious.shape[1])):
            objects[detection] = (-1, True)
    return objects


def test_a_detection_falls_back_to_its_second_best_object_in_coco_only():
    images = [image([0.9, 0.8], [[0.8, 0.0], [0.7, 0.6]])]
    assert found(images, 0.5, 'coco') == [0, 1]
    assert found(images, 0.5, 'ultralytics') == [0, -1]


def test_an_object_goes_to_the_most_confident_not_to_the_best_overlap():
    images = [image([0.5, 0.9], [[0.95], [0.6]])]
    assert found(images, 0.5, 'coco') == found(images, 0.5, 'ultralytics') == [-1, 0]
    assert found(images, 0.9, 'coco') == [0, -1]


def test_a_long_chain_of_fall_backs():
    n = 40
    ious = np.triu(np.full((n, n), 0.6)) + np.eye(n, k=0) * 0.1
    ious[:, 0] = 0.9  # all want the first one
    scores = np.linspace(0.9, 0.1, n)
    expected = [index for index, _ in one_after_the_other(scores, ious, np.zeros(n, bool), 0.5)]
    assert found([image(scores, ious)], 0.5) == expected


@pytest.mark.parametrize('mode', ['coco', 'ultralytics'])
def test_of_equal_overlaps_the_last_object_is_taken(mode):
    assert found([image([0.9], [[0.7, 0.7, 0.6]])], 0.5, mode) == [1]


def test_of_equal_scores_the_first_detection_comes_first():
    assert found([image([0.5, 0.5], [[0.6], [0.9]])], 0.5) == [0, -1]


def test_ignored_regions_take_any_number_of_detections_but_no_true_positive():
    images = [image([0.9, 0.8, 0.7], [[0.6, 0.9], [0.6, 0.9], [0.0, 0.3]], ignored=[False, True])]
    matches = match(join(images, 'segm'), 0.5)
    assert matches.objects.tolist() == [0, -1, -1]
    assert matches.ignored.tolist() == [False, True, False]
    assert match(join(images, 'segm'), 0.5, 'ultralytics').ignored.tolist() == [False, False, False]


def test_a_threshold_of_one_is_reached_by_equal_regions():
    assert found([image([0.9], [[1.0]])], 1.0) == [0]


def test_images_are_kept_apart_and_ordered_by_id():
    second, first = image([0.9], [[0.8]], image_id=10), image([0.7, 0.6], [[0.0, 0.9], [0.8, 0.0]], image_id=9)
    ordered = in_order([second, first])
    assert [each.image_id for each in ordered] == [9, 10]
    table = join(ordered, 'segm')
    assert match(table, 0.5).objects.tolist() == [1, 0, 2]
    assert table.images.tolist() == [0, 0, 1]
    assert table.object_images.tolist() == [0, 0, 1]


@pytest.mark.parametrize('images', [[], [image([], np.zeros((0, 0)))], [image([], np.zeros((0, 3)))]])
def test_nothing_to_match(images):
    matches = match(join(images, 'segm'), 0.5)
    assert len(matches.objects) == len(matches.ignored) == 0


def test_detections_without_objects_find_nothing():
    assert found([image([0.9, 0.8], np.zeros((2, 0)))], 0.5) == [-1, -1]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 12))
def test_all_rounds_at_once_equal_one_detection_after_the_other(seed, n_detections, n_objects):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 6, n_detections) / 5  # many ties
    ious = rng.integers(0, 8, (n_detections, n_objects)) / 8 * (rng.random((n_detections, n_objects)) < 0.7)
    ignored = rng.random(n_objects) < 0.2
    matches = match(join([image(scores, ious, ignored)], 'segm'), 0.5)
    told = one_after_the_other(scores, ious, ignored, 0.5)
    assert list(zip(matches.objects.tolist(), matches.ignored.tolist(), strict=True)) == told


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 8))
def test_ultralytics_mode_binds_each_detection_to_its_best_object(seed, n_detections, n_objects):
    rng = np.random.default_rng(seed)
    scores, ious = rng.random(n_detections), rng.random((n_detections, n_objects)) * (rng.random(n_objects) < 0.8)
    best_of = {}
    for detection in np.argsort(-scores):
        best = int(np.argmax(ious[detection]))
        if ious[detection, best] >= 0.5:
            best_of.setdefault(best, int(detection))
    expected = [-1] * n_detections
    for best, detection in best_of.items():
        expected[detection] = best
    assert found([image(scores, ious)], 0.5, 'ultralytics') == expected
