"""Targets, and the masks class that MMDetection's own steps see."""

import copy

import numpy as np
import pytest
from mmdet.structures.mask import PolygonMasks

from noise_mm.datasets.rings import Rings
from noise_mm.datasets.targets import RingMasks, Targets

LISTS = [[np.array([0, 0, 6, 1, 3, 5.0])], [np.array([4, 4, 9, 4, 9, 7.0]), np.array([1, 1, 2, 1, 2, 2.0])]]


def targets(with_rings: bool = True) -> Targets:
    rings = Rings.from_lists(LISTS)
    return Targets(rings.boxes(), np.array([0, 1]), np.array([False, True]), rings if with_rings else None)


@pytest.mark.parametrize('direction', ['horizontal', 'vertical', 'diagonal'])
def test_flips_are_those_of_mmdetection(direction: str) -> None:
    ours = RingMasks(Rings.from_lists(LISTS), 8, 10).flip(direction)
    theirs = PolygonMasks(LISTS, 8, 10).flip(direction)
    for one, other in zip(ours.masks, theirs.masks, strict=True):
        for ring, other_ring in zip(one, other, strict=True):
            np.testing.assert_array_equal(ring, other_ring)


@pytest.mark.parametrize('step', ['Rotate', 'TranslateX', 'ShearX', 'ShearY'])
def test_outlines_go_with_the_image_in_steps_of_mmdetection(step: str) -> None:
    import cv2
    from mmdet.registry import TRANSFORMS
    from mmdet.structures.bbox import HorizontalBoxes

    ring = np.array([[20, 40], [60, 40], [60, 100], [20, 100.0]])
    image = cv2.fillPoly(np.full((128, 160, 3), 255, np.uint8), [ring.astype(np.int32)], (0, 0, 0))
    boxes = HorizontalBoxes(np.array([[20, 40, 60, 100]]))
    results = dict(img=image, img_shape=(128, 160), gt_bboxes=boxes, gt_bboxes_labels=np.array([0]))
    results |= dict(gt_ignore_flags=np.array([False]), gt_masks=RingMasks([[ring.reshape(-1)]], 128, 160))
    turned = TRANSFORMS.get(step)(prob=1.0, img_border_value=255)(results)
    dark, mask = turned['img'][..., 0] < 128, turned['gt_masks'].to_ndarray()[0] > 0
    assert (dark & mask).sum() > 0.93 * (dark | mask).sum()


@pytest.mark.parametrize(
    ('index', 'expected'),
    [(1, [1]), (slice(0, 1), [0]), ([1, 0], [1, 0]), (np.array([True, False]), [0]), (np.array([], dtype=int), [])],
)
def test_indexing_selects_instances(index: object, expected: list[int]) -> None:
    selected = RingMasks(Rings.from_lists(LISTS), 8, 10)[index]
    assert len(selected) == len(expected)
    for one, original in zip(selected.masks, expected, strict=True):
        np.testing.assert_array_equal(np.concatenate(one), np.concatenate(LISTS[original]))


def test_the_parent_works_on_flat_arrays_too() -> None:
    masks = RingMasks(Rings.from_lists(LISTS), 8, 10)
    np.testing.assert_array_equal(masks.to_ndarray(), PolygonMasks(LISTS, 8, 10).to_ndarray())
    assert len(copy.deepcopy(masks)) == 2


def test_boxes_follow_the_outlines_through_a_turn() -> None:
    eighth = np.array([[1, -1, 0], [1, 1, 0]]) / np.sqrt(2)
    with_outline, without = targets().moved(eighth), targets(with_rings=False).moved(eighth)
    corners = np.array([[0, 0], [6, 1], [3, 5]]) @ eighth[:, :2].T
    np.testing.assert_allclose(with_outline.boxes[0], [*corners.min(0), *corners.max(0)])
    assert (without.boxes[:, :2] <= with_outline.boxes[:, :2]).all()
    assert (without.boxes[:, 2:] >= with_outline.boxes[:, 2:]).all()


@pytest.mark.parametrize('with_rings', [True, False])
def test_labels_and_flags_follow_when_something_is_clipped_away(with_rings: bool) -> None:
    moved = targets(with_rings).moved(np.array([[1, 0, -6.5], [0, 1, 0]]))
    clipped = moved.clipped(10, 10)
    assert len(clipped) == 2
    seen = clipped.seen()
    np.testing.assert_array_equal(seen.labels, [1])
    np.testing.assert_array_equal(seen.ignore_flags, [True])
    assert (seen.boxes[0, 0], seen.boxes[0, 2]) == (0, 2.5)


def test_results_and_back() -> None:
    results = {'img_shape': (8, 10)}
    targets().write_to(results)
    back = Targets.from_results(results)
    np.testing.assert_array_equal(back.boxes, targets().boxes)
    np.testing.assert_array_equal(back.ignore_flags, [False, True])
    assert back.rings is not None
    boxes_only = {'img_shape': (8, 10)}
    targets(with_rings=False).write_to(boxes_only)
    assert Targets.from_results(boxes_only).rings is None
