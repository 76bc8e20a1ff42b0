import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noise_mm.evaluation.matching import ImageOverlaps, Pairs, join, match
from noise_mm.evaluation.precision_recall import CONFIDENCES, mean_score, score_classes


def table_of(scores, right, n_objects, classes=None, object_classes=None, ignored=()):
    """One image whose detections are right or wrong as said; the k-th right one is on object k."""
    right = np.array(right, dtype=bool)
    n_all = n_objects + len(ignored)
    pairs = [(d, k, 0.9) for k, d in enumerate(np.flatnonzero(right))]
    pairs += [(d, n_objects + k, 0.9) for k, d in enumerate(ignored)]
    detections, objects, ious = map(np.array, zip(*pairs, strict=True)) if pairs else (np.zeros(0, int),) * 3
    image = ImageOverlaps(
        image_id=1,
        batch='M1',
        well='w',
        scores=np.array(scores, dtype=float),
        classes=np.zeros(len(scores), int) if classes is None else np.array(classes),
        areas_px2=None,
        object_classes=np.zeros(n_all, int) if object_classes is None else np.array(object_classes),
        object_ignored=np.arange(n_all) >= n_objects,
        object_areas_px2=None,
        pairs={'segm': Pairs(detections, objects, ious)},
    )
    return join([image], 'segm')


def scores_of(table, mode='coco', n_classes=1, images=None):
    return score_classes(table, match(table, 0.5, mode), mode, n_classes, images)


def test_coco_by_hand():
    # ranks: right, wrong, right; 4 objects. Recalls 0.25, 0.25, 0.5; precisions 1, 1/2, 2/3.
    (score,) = scores_of(table_of([0.9, 0.8, 0.7], [1, 0, 1], 4))
    assert score.ap == pytest.approx((26 * 1 + 25 * 2 / 3) / 101)
    assert (score.precision, score.recall, score.confidence) == pytest.approx((2 / 3, 0.5, 0.7))
    assert score.f1 == pytest.approx(4 / 7)
    assert (score.n_objects, score.n_detections, score.n_true_positives) == (4, 3, 2)


def test_coco_reads_at_the_confidence_of_largest_f1():
    (score,) = scores_of(table_of([0.9, 0.8, 0.3, 0.2, 0.1], [1, 1, 0, 0, 1], 4))
    assert (score.precision, score.recall, score.confidence) == (1.0, 0.5, 0.8)


def test_of_equal_f1_the_higher_confidence_counts():
    # F1 is 2/3 after one detection and again after four.
    (score,) = scores_of(table_of([0.9, 0.8, 0.7, 0.6], [1, 0, 0, 1], 2))
    assert (score.f1, score.confidence) == (pytest.approx(2 / 3), 0.9)


def test_a_confidence_takes_in_all_equal_scores():
    (score,) = scores_of(table_of([0.5, 0.5, 0.5], [1, 0, 0], 1))
    assert (score.precision, score.recall, score.confidence) == (pytest.approx(1 / 3), 1.0, 0.5)


def test_ignored_detections_are_neither_right_nor_wrong():
    with_ignored = scores_of(table_of([0.9, 0.8, 0.7], [1, 0, 1], 2, ignored=[1]))[0]
    without = scores_of(table_of([0.9, 0.7], [1, 1], 2))[0]
    assert with_ignored.ap == without.ap == 1.0
    assert with_ignored.n_detections == without.n_detections == 2


def test_only_ignored_detections():
    (score,) = scores_of(table_of([0.9], [0], 1, ignored=[0]))
    assert (score.ap, score.n_detections) == (0.0, 0)


@pytest.mark.parametrize('mode', ['coco', 'ultralytics'])
def test_objects_but_nothing_found(mode):
    for table in (table_of([], [], 3), table_of([0.9, 0.1], [0, 0], 3)):
        (score,) = scores_of(table, mode)
        assert (score.precision, score.recall, score.f1, score.ap) == (0.0, 0.0, 0.0, 0.0)
        assert (score.n_objects, score.n_true_positives) == (3, 0)
    if mode == 'coco':
        assert np.isnan(score.confidence)


@pytest.mark.parametrize('mode', ['coco', 'ultralytics'])
def test_no_objects_is_not_defined(mode):
    for table in (table_of([], [], 0), table_of([0.9], [0], 0)):
        (score,) = scores_of(table, mode)
        assert np.isnan([score.precision, score.recall, score.f1, score.ap, score.confidence]).all()
        assert np.isnan(mean_score([score]).ap)


def test_ultralytics_one_detection_by_hand():
    (score,) = scores_of(table_of([0.5], [1], 1), 'ultralytics')
    # Precision 1 everywhere, recall 1 up to the score: F1 is 1 there, and the smoothed maximum comes first at 0.
    assert (score.precision, score.recall, score.confidence) == (1.0, 1.0, 0.0)
    # The envelope falls to 0 only at recall 1 itself.
    assert score.ap == pytest.approx(0.995)


def test_ultralytics_has_one_confidence_for_all_classes():
    table = table_of([0.9, 0.8, 0.3], [1, 1, 1], 3, classes=[0, 0, 1], object_classes=[0, 0, 1])
    first, second, absent = scores_of(table, 'ultralytics', n_classes=3)
    assert first.confidence == second.confidence
    assert np.isnan(absent.ap)
    assert mean_score([first, second, absent]).confidence == first.confidence
    coco = scores_of(table, 'coco', n_classes=2)
    assert [each.confidence for each in coco] == [0.8, 0.3]
    assert np.isnan(mean_score(coco).confidence)


def test_means_leave_out_classes_without_objects():
    table = table_of([0.9, 0.8, 0.7], [1, 0, 0], 2, classes=[0, 1, 2], object_classes=[0, 1])
    scores = scores_of(table, n_classes=3)
    mean = mean_score(scores)
    assert mean.ap == pytest.approx(0.5)
    assert (mean.n_objects, mean.n_detections) == (2, 3)


def test_some_images_only():
    table = table_of([0.9], [1], 1)
    (score,) = scores_of(table, images=np.array([False]))
    assert (score.n_objects, score.n_detections) == (0, 0)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=30), st.integers(0, 5))
def test_coco_point_and_curve_against_counting(detections, n_missed):
    scores = np.array([score for score, _ in detections]) / 20
    right = np.array([flag for _, flag in detections])
    n_objects = int(right.sum()) + n_missed
    if not n_objects:
        return
    (score,) = scores_of(table_of(scores, right, n_objects))
    by_confidence = {c: 2 * right[scores >= c].sum() / ((scores >= c).sum() + n_objects) for c in np.unique(scores)}
    assert score.f1 == pytest.approx(max(by_confidence.values()))
    if score.f1:
        best = scores >= score.confidence
        assert score.precision == pytest.approx(right[best].sum() / best.sum())
        assert score.recall == pytest.approx(right[best].sum() / n_objects)
    counted = [2 * right[scores >= c].sum() / (max((scores >= c).sum(), 0) + n_objects) for c in CONFIDENCES]
    assert score.f1_at_confidence == pytest.approx(np.array(counted))
