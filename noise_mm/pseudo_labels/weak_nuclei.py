"""From detections of nuclei in a patch to the boxes that are written as labels, and their score threshold. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from noise_mm.errors import InputError
from noise_mm.evaluation.matching import in_order, join, match
from noise_mm.evaluation.overlaps import ImageInstances, Instances, compare_images
from noise_mm.evaluation.precision_recall import score_classes
from noise_mm.geometry.distinct_nuclei import MIN_DISTANCE_PX, distinct_nuclei
from noise_mm.patches.nuclei_boxes import NUCLEUS_BOX_PX

PREDICTED = 'predicted'  # instead of a size: boxes as the detector gave them
SCORE_DECIMALS = 4
BOX_DECIMALS = 2
AT_BORDER_PX = 1.0  # a detection that ends within a pixel of the patch's border is cut off there
IOU_THR = 0.5  # a label within half a nucleus of the truth is right
MAXIMUM_F1 = f'maximum F1 at IoU {IOU_THR:g} on the validation patches of stage 1'
BOX_PX = float(NUCLEUS_BOX_PX)


@dataclass(frozen=True)
class LabelSettings:
    """How detections become labels.

    Attributes:
        score_thr: Least confidence of a nucleus, above 0 and up to 1; None for the one of maximum F1 on the validation
            data of the detector's config.
        uncertain_from: Nuclei from this confidence to `score_thr` become ignored regions; None: there are none.
        box_px: Side of all boxes in pixels of the annotated patch; 'predicted': as the detector says.
        min_distance_px: Smallest distance between the centres of two nuclei; see `distinct_nuclei`.

    Raises:
        InputError: If a value is out of range.
    """

    score_thr: float | None = None
    uncertain_from: float | None = None
    box_px: float | str = BOX_PX
    min_distance_px: float = MIN_DISTANCE_PX

    def __post_init__(self) -> None:
        """Check the values."""
        for name in ('score_thr', 'uncertain_from'):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and 0 < value <= 1):
                raise InputError(f'pseudo-labels: {name} is {value!r}. Give a number above 0 and up to 1.')
        if self.box_px != PREDICTED and not (_is_number(self.box_px) and 0 < self.box_px < float('inf')):
            raise InputError(f'pseudo-labels: box_px is {self.box_px!r}. Give pixels, such as 36, or {PREDICTED!r}.')
        if not (_is_number(self.min_distance_px) and 0 <= self.min_distance_px < float('inf')):
            raise InputError(f'pseudo-labels: min_distance_px is {self.min_distance_px!r}. Give pixels, such as 6.2.')
        if None not in (self.score_thr, self.uncertain_from) and self.uncertain_from >= self.score_thr:
            raise InputError(
                f'pseudo-labels: uncertain_from={self.uncertain_from} is not below score_thr={self.score_thr}. '
                'Uncertain nuclei are those between the two.'
            )

    def made_from(self) -> dict[str, Any]:
        """Return those entries of a file's `made_from` that this decides and the detector doesn't know."""
        score_thr = MAXIMUM_F1 if self.score_thr is None else self.score_thr
        return {'score_thr': score_thr, 'uncertain_from': self.uncertain_from}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True)
class WeakNuclei:
    """The nuclei found in one patch, best first.

    Attributes:
        boxes: (n, 4) float64 x1, y1, x2, y2 in pixels of the annotated patch, clipped to it, rounded as in files.
        scores: (n,) float64 confidences, rounded likewise: thresholds are chosen and applied on what is written.
    """

    boxes: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        """Number of nuclei."""
        return len(self.scores)

    def from_score(self, least: float) -> 'WeakNuclei':
        """Return those with at least this confidence."""
        taken = self.scores >= least
        return WeakNuclei(self.boxes[taken], self.scores[taken])


def weak_nuclei(
    boxes: np.ndarray,
    scores: np.ndarray,
    size_px: tuple[int, int],
    box_px: float | str,
    min_distance_px: float = MIN_DISTANCE_PX,
) -> WeakNuclei:
    """Turn the detections of one patch into labels.

    Detections of one nucleus become one label; see `distinct_nuclei`. The detector's own suppression can't do that: two
    detections of one nucleus that differ in size are two to it, but nearly the same box once they have one size.

    Args:
        boxes: (n, 4) detections x1, y1, x2, y2 in pixels of the patch.
        scores: (n,) their confidences.
        size_px: Width and height of the patch.
        box_px: Side of all boxes, see `uniform_boxes`; or 'predicted'.
        min_distance_px: Smallest distance between the centres of two nuclei.
    """
    boxes, scores = np.asarray(boxes, dtype=np.float64).reshape(-1, 4), np.asarray(scores, dtype=np.float64).reshape(-1)
    if box_px != PREDICTED:
        boxes = uniform_boxes(boxes, size_px, float(box_px))
    kept = distinct_nuclei((boxes[:, :2] + boxes[:, 2:]) / 2, scores, min_distance_px)
    boxes, scores = boxes[kept], scores[kept]
    clipped = np.clip(boxes, 0, [*size_px, *size_px]).round(BOX_DECIMALS)
    seen = (clipped[:, 2:] > clipped[:, :2]).all(axis=1)
    return WeakNuclei(clipped[seen], scores[seen].round(SCORE_DECIMALS))


def uniform_boxes(boxes: np.ndarray, size_px: tuple[int, int], box_px: float) -> np.ndarray:
    """Return boxes of one size at the centres of detections; (n, 4) both, not clipped to the patch.

    Hand-marked boxes are cut off at the patch's border, and so are detections that learnt from them. The middle of
    what is left is not where the nucleus is: of such a detection the inner edge counts, and half a box from it is the
    centre, which for a nucleus of this patch is not outside.
    """
    low, high, size = boxes[:, :2], boxes[:, 2:], np.array(size_px, dtype=np.float64)
    cut = high - low < box_px
    centres = (low + high) / 2
    centres = np.where(cut & (low <= AT_BORDER_PX), np.maximum(high - box_px / 2, 0), centres)
    centres = np.where(cut & (high >= size - AT_BORDER_PX), np.minimum(low + box_px / 2, size), centres)
    return np.hstack([centres - box_px / 2, centres + box_px / 2])


@dataclass(frozen=True)
class Threshold:
    """The score threshold of labels, and how good labels are with it.

    Attributes:
        score_thr: The confidence.
        f1: At `score_thr` and `IOU_THR`, as the next two; None where the confidence was given.
        precision: Share of labels that are right.
        recall: Share of nuclei that are labelled.
        n_images: Patches that it was chosen on.
        n_nuclei: Nuclei marked in them.
    """

    score_thr: float
    f1: float | None = None
    precision: float | None = None
    recall: float | None = None
    n_images: int | None = None
    n_nuclei: int | None = None


def best_threshold(found: Sequence[WeakNuclei], truth: Sequence[Sequence[dict]]) -> Threshold | None:
    """Return the confidence of maximum F1 at IoU 0.5 with hand-marked nuclei; None if nothing is right.

    Args:
        found: The nuclei found in each image, also unlikely ones.
        truth: For each image the marked ones: `bbox` [x1, y1, x2, y2] and `ignore_flag`.
    """
    images = [_instances_of(*pair, i) for i, pair in enumerate(zip(found, truth, strict=True))]
    overlaps = join(in_order(list(compare_images(images))), 'bbox')
    (score,) = score_classes(overlaps, match(overlaps, IOU_THR), 'coco', 1)
    if not score.n_true_positives:
        return None
    numbers = (score.f1, score.precision, score.recall)
    return Threshold(score.confidence, *(round(value, 4) for value in numbers), len(found), score.n_objects)


def _instances_of(found: WeakNuclei, marked: Sequence[dict], image_id: int) -> ImageInstances:
    boxes = np.array([each['bbox'] for each in marked], dtype=np.float64).reshape(-1, 4)
    ignored = np.array([bool(each['ignore_flag']) for each in marked], dtype=bool)
    return ImageInstances(
        image_id, '', '', _boxes_as_instances(found.boxes), found.scores, _boxes_as_instances(boxes), ignored
    )


def _boxes_as_instances(boxes: np.ndarray) -> Instances:
    """Return boxes x1, y1, x2, y2 of one class."""
    return Instances(np.zeros(len(boxes), np.int64), np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]]), None)
