"""Scores a dataset: every kind of region, threshold and class, from the overlaps in its images. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from noise_mm.errors import InputError
from noise_mm.evaluation.matching import MODES, ImageOverlaps, Matches, Overlaps, in_order, join, match
from noise_mm.evaluation.precision_recall import Score, mean_score, score_classes

KINDS = ('segm', 'bbox')
IOU_THRS = (0.1, 0.25, 0.5, 0.75, 0.9)  # the columns of the paper's tables
COCO_IOU_THRS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
COUNT_IOU_THR = 0.5  # the paper's default threshold


@dataclass(frozen=True)
class Evaluation:
    """All scores of a dataset, and the overlaps and matches that they come from.

    Attributes:
        images: The images in the order of their ids.
        classes: Class names.
        mode: One of `matching.MODES`.
        iou_thrs: Thresholds, rising.
        overlaps: For each kind of region ('segm', 'bbox') the overlaps.
        matches: For each kind the matches at each threshold.
        scores: For each kind and threshold the scores of the classes.
        seen_in_training: Batches whose results are marked as on data that were seen in training.
    """

    images: list[ImageOverlaps]
    classes: tuple[str, ...]
    mode: str
    iou_thrs: tuple[float, ...]
    overlaps: dict[str, Overlaps]
    matches: dict[str, list[Matches]]
    scores: dict[str, list[list[Score]]]
    seen_in_training: tuple[str, ...] = ()

    @property
    def count_kind(self) -> str:
        """The kind of region by which cells are counted: masks where there are any."""
        return next(iter(kind for kind in KINDS if kind in self.overlaps))

    @property
    def count_threshold(self) -> int:
        """Index of the threshold at which cells are counted: 0.5, or the one that is nearest to it."""
        return int(np.argmin(np.abs(np.array(self.iou_thrs) - COUNT_IOU_THR)))

    def scores_of_images(self, kind: str, selected: np.ndarray) -> list[list[Score]]:
        """For each threshold the scores of the classes in some of the images: bool for each image."""
        if selected.all():
            return self.scores[kind]
        overlaps = self.overlaps[kind]
        return [score_classes(overlaps, each, self.mode, len(self.classes), selected) for each in self.matches[kind]]

    def mean_scores(self, kind: str) -> list[Score]:
        """For each threshold the means over the classes."""
        return [mean_score(scores) for scores in self.scores[kind]]


def ap_at(evaluation: Evaluation, kind: str, iou_thr: float) -> float:
    """Return the AP of a kind of region at one threshold, averaged over the classes; NaN if there is no object."""
    if iou_thr in evaluation.iou_thrs:
        return evaluation.mean_scores(kind)[evaluation.iou_thrs.index(iou_thr)].ap
    overlaps, mode = evaluation.overlaps[kind], evaluation.mode
    return mean_score(score_classes(overlaps, match(overlaps, iou_thr, mode), mode, len(evaluation.classes))).ap


def mean_ap(evaluation: Evaluation, kind: str) -> float:
    """Return the AP averaged over the IoU thresholds 0.50, 0.55, ... 0.95; NaN if there is no object."""
    return float(np.mean([ap_at(evaluation, kind, thr) for thr in COCO_IOU_THRS]))


def fitness(evaluation: Evaluation) -> float:
    """Return Ultralytics' fitness: 0.1 AP at IoU 0.5 + 0.9 mean AP at IoU 0.50 to 0.95, summed over boxes and masks."""
    return sum(0.1 * ap_at(evaluation, kind, 0.5) + 0.9 * mean_ap(evaluation, kind) for kind in evaluation.overlaps)


def check_settings(kinds: Sequence[str], iou_thrs: Sequence[float], mode: str) -> None:
    """Refuse settings that can't be scored by.

    Raises:
        InputError: If a kind of region or the mode is unknown, or thresholds are missing or not in (0, 1].
    """
    if not kinds or not set(kinds) <= set(KINDS):
        raise InputError(f'metric is {tuple(kinds)!r}. Choose from {", ".join(map(repr, KINDS))}.')
    if mode not in MODES:
        raise InputError(f'mode is {mode!r}. Choose one of {", ".join(map(repr, MODES))}.')
    if not len(iou_thrs) or not all(0 < float(thr) <= 1 for thr in iou_thrs):
        raise InputError(f'iou_thrs is {tuple(iou_thrs)!r}. Give thresholds above 0 and up to 1, such as 0.5.')


def evaluate(
    images: Sequence[ImageOverlaps],
    classes: Sequence[str],
    kinds: Sequence[str] = KINDS,
    iou_thrs: Sequence[float] = IOU_THRS,
    mode: str = 'coco',
) -> Evaluation:
    """Score a dataset.

    Args:
        images: Its images, in any order.
        classes: Class names, in the order of the class indices.
        kinds: Which regions to score: 'segm' for masks, 'bbox' for boxes.
        iou_thrs: IoU thresholds.
        mode: 'coco' or 'ultralytics', see `matching` and `precision_recall`.

    Raises:
        InputError: If a setting is wrong.
    """
    check_settings(kinds, iou_thrs, mode)
    iou_thrs = tuple(sorted({float(thr) for thr in iou_thrs}))
    ordered = in_order(images)
    overlaps = {kind: join(ordered, kind) for kind in kinds}
    matches = {kind: [match(overlaps[kind], thr, mode) for thr in iou_thrs] for kind in kinds}
    scores = {
        kind: [score_classes(overlaps[kind], each, mode, len(classes)) for each in matches[kind]] for kind in kinds
    }
    return Evaluation(ordered, tuple(classes), mode, iou_thrs, overlaps, matches, scores)
