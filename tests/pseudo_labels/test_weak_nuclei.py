"""Boxes of labels and the threshold, against places and counts that are known."""

import itertools

import numpy as np
import pytest

from noise_mm.pseudo_labels.weak_nuclei import WeakNuclei, best_threshold, weak_nuclei
from tests.fixtures.files import read_via_points

SIZE = (200, 100)


def around(x, y, side):
    return [x - side / 2, y - side / 2, x + side / 2, y + side / 2]


def real_nuclei(shared_dir):
    path = shared_dir / 'data' / 'real_trap' / 'oc_finder_example_nuclei_via.json'
    if not path.is_file():
        pytest.skip(f'the real TRAP image is not at {path.parent}')
    (points,) = read_via_points(path).values()
    return [(point.x, point.y) for point in points]


def marked(*boxes, ignored=()):
    return [{'bbox': box, 'ignore_flag': int(i in ignored)} for i, box in enumerate(boxes)]


def test_boxes_have_one_size_and_the_centres_of_the_detections():
    found = weak_nuclei([around(50, 40, 30), around(120, 60, 44)], [0.5, 0.9], SIZE, 36)
    np.testing.assert_allclose(found.boxes, [around(120, 60, 36), around(50, 40, 36)])
    np.testing.assert_allclose(found.scores, [0.9, 0.5])


def test_predicted_boxes_stay_as_they_are_inside_the_patch():
    boxes = [[-4, 10, 20, 30.128], [150, 80, 210, 120]]
    found = weak_nuclei(boxes, [0.8, 0.51239], SIZE, 'predicted')
    np.testing.assert_allclose(found.boxes, [[0, 10, 20, 30.13], [150, 80, 200, 100]])
    assert found.scores.tolist() == [0.8, 0.5124]


@pytest.mark.parametrize('x', [0, 3, 17, 18, 100, 182, 190, 200])
@pytest.mark.parametrize('y', [0, 9, 50, 95, 100])
def test_what_the_border_cuts_off_is_labelled_as_by_hand(x, y):
    """A detection that is the hand-made label, cut off at the border, becomes just that label."""
    by_hand = np.clip(around(x, y, 36), 0, [*SIZE, *SIZE])
    found = weak_nuclei([by_hand], [0.9], SIZE, 36)
    np.testing.assert_allclose(found.boxes[0], by_hand)


def test_detections_of_one_nucleus_become_one_label_and_neighbours_two():
    same = [around(50, 50, 20), around(51, 50, 34)]  # IoU 0.35 as detected, 0.95 as labels
    assert len(weak_nuclei(same, [0.9, 0.8], SIZE, 36)) == 1
    neighbours = [around(50, 50, 36), around(57, 50, 36)]
    assert len(weak_nuclei(neighbours, [0.9, 0.8], SIZE, 36)) == 2
    assert len(weak_nuclei(neighbours, [0.9, 0.8], SIZE, 36, min_distance_px=8)) == 1


@pytest.mark.real
def test_nuclei_of_the_real_image_are_all_labelled(shared_dir):
    points = real_nuclei(shared_dir)
    boxes = [around(x, y, 36) for x, y in points]
    scores = np.random.default_rng(0).random(len(points))
    found = weak_nuclei(boxes, scores, (1920, 1440), 36)
    assert len(found) == len(points) == 159


def test_nothing_found_and_nothing_visible():
    assert len(weak_nuclei(np.zeros((0, 4)), np.zeros(0), SIZE, 36)) == 0
    assert len(weak_nuclei([[300, 10, 310, 20]], [0.9], SIZE, 'predicted')) == 0


def test_least_score_is_inclusive():
    found = WeakNuclei(np.zeros((3, 4)), np.array([0.9, 0.5, 0.3]))
    assert found.from_score(0.5).scores.tolist() == [0.9, 0.5]


def test_the_best_threshold_is_that_of_trying_all():
    rng = np.random.default_rng(0)
    places = np.array(list(itertools.product(range(20, 200, 20), range(20, 100, 20))))
    truth, found = [], []
    for _ in range(3):
        is_nucleus = rng.random(len(places)) < 0.5
        scores = np.clip(rng.normal(0.4 + 0.2 * is_nucleus, 0.15), 0.01, 0.99).round(4)
        boxes = np.array([around(x, y, 10) for x, y in places])
        truth.append((is_nucleus, marked(*boxes[is_nucleus].tolist())))
        found.append(WeakNuclei(boxes, scores))
    chosen = best_threshold(found, [each for _, each in truth])

    is_nucleus = np.concatenate([each for each, _ in truth])
    scores = np.concatenate([each.scores for each in found])

    def f1(thr):
        right = (is_nucleus & (scores >= thr)).sum()
        return 2 * right / ((scores >= thr).sum() + is_nucleus.sum())

    best = max(map(f1, scores))
    assert chosen.f1 == pytest.approx(best, abs=1e-4)
    assert f1(chosen.score_thr) == best
    taken = scores >= chosen.score_thr
    assert chosen.precision == pytest.approx((is_nucleus & taken).sum() / taken.sum(), abs=1e-4)
    assert chosen.recall == pytest.approx((is_nucleus & taken).sum() / is_nucleus.sum(), abs=1e-4)
    assert (chosen.n_images, chosen.n_nuclei) == (3, is_nucleus.sum())


def test_two_labels_of_one_nucleus_count_against_the_threshold():
    boxes = np.array([around(50, 50, 36), around(53, 50, 36)])
    chosen = best_threshold([WeakNuclei(boxes, np.array([0.9, 0.4]))], [marked(around(50, 50, 36))])
    assert (chosen.score_thr, chosen.f1) == (0.9, 1)


def test_ignored_regions_count_neither_for_nor_against():
    boxes = np.array([around(50, 50, 36), around(150, 50, 36)])
    truth = marked(*boxes.tolist(), ignored=[1])
    chosen = best_threshold([WeakNuclei(boxes, np.array([0.4, 0.9]))], [truth])
    assert (chosen.f1, chosen.n_nuclei) == (1, 1)


def test_without_a_right_label_there_is_no_threshold():
    nothing = WeakNuclei(np.zeros((0, 4)), np.zeros(0))
    wrong = WeakNuclei(np.array([around(20, 20, 10)]), np.array([0.9]))
    for found in (nothing, wrong):
        assert best_threshold([found], [marked(around(100, 50, 36))]) is None
    assert best_threshold([wrong], [[]]) is None
