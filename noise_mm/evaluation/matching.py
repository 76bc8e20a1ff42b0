"""Which detections find which objects: overlaps and one-to-one matches. Pure; no files, no framework.

The expensive part, comparing every detection with every object of its image, is done once and kept as the pairs that
overlap (`ImageOverlaps`, joined to the `Overlaps` of a dataset). Every threshold and every metric starts from there.

Two modes. In both, detections choose by descending score among the objects of their class with IoU >= threshold:

* `coco` (pycocotools): each takes the free object of largest IoU. One that finds none free, but overlaps an ignored
  region, is itself ignored: neither right nor wrong. Ignored regions may be taken any number of times.
* `ultralytics`: each is bound to its object of largest IoU, free or not, and is wrong if that is taken. Ignored regions
  are left out of the truth, as in Ultralytics' conversion of COCO files, so detections on them are wrong.

Of equal IoUs the object that comes last counts, of equal scores the detection that comes first, images in order of
their ids: pycocotools' order.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MODES = ('coco', 'ultralytics')


@dataclass(frozen=True)
class Pairs:
    """The overlapping pairs of the n detections and m objects of one image, in any order.

    Attributes:
        detections: (p,) int64 indices of detections.
        objects: (p,) int64 indices of objects.
        ious: (p,) float64. With an ignored region: the share of the detection's area that lies in it.
    """

    detections: np.ndarray
    objects: np.ndarray
    ious: np.ndarray


@dataclass(frozen=True)
class ImageOverlaps:
    """What scoring needs to know of one image; small, and independent of how regions are stored.

    Attributes:
        image_id: Ids that can be sorted; equal scores in two images are ranked by them.
        batch: Name of the image's batch.
        well: Name of its well.
        scores: (n,) float64 confidences of the detections.
        classes: (n,) int64 class indices of the detections.
        areas_px2: (n,) float64 areas of their masks; None where there are only boxes.
        object_classes: (m,) int64 class indices of the annotated objects.
        object_ignored: (m,) bool, True for ignored regions (COCO's `iscrowd`).
        object_areas_px2: (m,) float64, or None.
        pairs: For each kind of region ('segm', 'bbox') the pairs of equal class that overlap.
    """

    image_id: int | str | tuple[int, int]
    batch: str
    well: str
    scores: np.ndarray
    classes: np.ndarray
    areas_px2: np.ndarray | None
    object_classes: np.ndarray
    object_ignored: np.ndarray
    object_areas_px2: np.ndarray | None
    pairs: dict[str, Pairs]


@dataclass(frozen=True)
class Overlaps:
    """All N detections and M objects of a dataset and their overlaps in one kind of region.

    Attributes:
        scores: (N,) float64.
        classes: (N,) int64.
        images: (N,) int64 positions of the detections' images in the list that was joined.
        object_classes: (M,) int64.
        object_ignored: (M,) bool.
        object_images: (M,) int64.
        order: (N,) int64 the detections by descending score.
        candidates: The pairs with objects that are not ignored, by descending score of the detection, then IoU.
            Its `detections` are ranks: positions in `order`.
        ignored_overlaps: (N,) float64 largest overlap with an ignored region, by rank; -1 for none.
    """

    scores: np.ndarray
    classes: np.ndarray
    images: np.ndarray
    object_classes: np.ndarray
    object_ignored: np.ndarray
    object_images: np.ndarray
    order: np.ndarray
    candidates: Pairs
    ignored_overlaps: np.ndarray


@dataclass(frozen=True)
class Matches:
    """What became of the N detections at one threshold, in the order of `Overlaps`.

    Attributes:
        objects: (N,) int64 the object that the detection found, -1 for none.
        ignored: (N,) bool: on an ignored region, so neither right nor wrong.
    """

    objects: np.ndarray
    ignored: np.ndarray

    @property
    def true_positive(self) -> np.ndarray:
        """(N,) bool."""
        return self.objects >= 0


def in_order(images: Sequence[ImageOverlaps]) -> list[ImageOverlaps]:
    """Return the images by their ids: the order in which they are to be joined."""
    return sorted(images, key=lambda image: image.image_id)


def join(images: Sequence[ImageOverlaps], kind: str) -> Overlaps:
    """Return the overlaps of a whole dataset.

    Args:
        images: In the order of their ids, see `in_order`.
        kind: Which of the images' `pairs` to take.
    """
    scores = _joined([image.scores for image in images], np.float64)
    ignored = _joined([image.object_ignored for image in images], bool)
    n_detections = [len(image.scores) for image in images]
    n_objects = [len(image.object_classes) for image in images]
    pairs = [image.pairs[kind] for image in images]
    detections = _shifted([each.detections for each in pairs], n_detections)
    objects = _shifted([each.objects for each in pairs], n_objects)
    ious = _joined([each.ious for each in pairs], np.float64)

    order = np.argsort(-scores, kind='stable')
    ranks = np.empty_like(order)
    ranks[order] = np.arange(len(order))
    ranks_of_pairs = ranks[detections]
    on_ignored = ignored[objects]
    ignored_overlaps = np.full(len(scores), -1.0)
    np.maximum.at(ignored_overlaps, ranks_of_pairs[on_ignored], ious[on_ignored])
    candidates = _by_preference(ranks_of_pairs[~on_ignored], objects[~on_ignored], ious[~on_ignored])
    return Overlaps(
        scores=scores,
        classes=_joined([image.classes for image in images], np.int64),
        images=np.repeat(np.arange(len(images)), n_detections),
        object_classes=_joined([image.object_classes for image in images], np.int64),
        object_ignored=ignored,
        object_images=np.repeat(np.arange(len(images)), n_objects),
        order=order,
        candidates=candidates,
        ignored_overlaps=ignored_overlaps,
    )


def match(overlaps: Overlaps, iou_thr: float, mode: str = 'coco') -> Matches:
    """Match all images at one threshold.

    How it works: in rounds, all at once. Every free detection asks the best object it has not asked yet; every object
    keeps the asker of highest score and sends the others away, one it kept earlier included. As all objects prefer
    high scores, the result is that of letting the detections choose one after the other (Gale and Shapley 1962,
    doi:10.2307/2312726: with one common ranking there is exactly one stable matching). Mode `ultralytics` is the
    first round alone.
    """
    iou_thr = min(iou_thr, 1 - 1e-10)  # as in pycocotools: rounding does not keep equal regions from reaching 1
    reached = overlaps.candidates.ious >= iou_thr
    ranks, objects = overlaps.candidates.detections[reached], overlaps.candidates.objects[reached]
    starts = np.flatnonzero(np.diff(ranks, prepend=-1))  # the first choice of each detection that reaches an object
    ends = np.append(starts[1:], len(ranks))
    next_choice = starts.copy()
    asking = np.arange(len(starts))
    nobody = len(starts)
    kept = np.full(len(overlaps.object_classes), nobody)
    while len(asking):
        asked = objects[next_choice[asking]]
        before = kept[asked]
        np.minimum.at(kept, asked, asking)
        after = kept[asked]
        if mode == 'ultralytics':
            break
        replaced = np.unique(before[(before != after) & (before != nobody)])
        sent_away = np.concatenate([asking[after != asking], replaced])
        next_choice[sent_away] += 1
        asking = sent_away[next_choice[sent_away] < ends[sent_away]]

    found = np.full(len(overlaps.scores), -1)
    taken = np.flatnonzero(kept != nobody)
    found[overlaps.order[ranks[starts[kept[taken]]]]] = taken
    ignored = np.zeros(len(overlaps.scores), dtype=bool)
    if mode == 'coco':
        ignored[overlaps.order] = overlaps.ignored_overlaps >= iou_thr
    return Matches(found, ignored & (found < 0))


def _by_preference(ranks: np.ndarray, objects: np.ndarray, ious: np.ndarray) -> Pairs:
    """Return the pairs by rank of the detection, then descending IoU, then descending number of the object."""
    order = np.lexsort((-objects, -ious, ranks))
    return Pairs(ranks[order], objects[order], ious[order])


def _joined(arrays: list[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype), *arrays]).astype(dtype, copy=False)


def _shifted(indices: list[np.ndarray], sizes: list[int]) -> np.ndarray:
    """Return indices within images as indices within the dataset."""
    starts = np.cumsum([0, *sizes[:-1]])
    return _joined(indices, np.int64) + np.repeat(starts[: len(indices)], [len(each) for each in indices])
