"""From matches to precision, recall, F1 and average precision (AP), in the two modes of `matching`. Pure.

Mode `coco`:
    AP is the mean, over the 101 recalls 0, 0.01, ..., 1, of the largest precision at that recall or a higher one
    (pycocotools' `accumulate`). Precision, recall and F1 are those at the confidence of largest F1; of several such
    confidences, the highest. Every class has its own confidence.

Mode `ultralytics` (YOLOv8's `ap_per_class`):
    Precision and recall are interpolated linearly at 1000 confidences from 0 to 1. The F1 curve, averaged over the
    classes that have objects, is smoothed by the mean of 101 neighbours; precision, recall and F1 are read, not
    smoothed, at its first maximum: one confidence for all classes. AP is the area under the envelope of precision over
    recall, interpolated linearly at the 101 recalls, by the trapezoid rule.

NaN stands for what is not defined: everything of a class without objects, and the confidence if nothing was found.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from noise_mm.evaluation.matching import Matches, Overlaps

RECALLS = np.linspace(0.0, 1.0, 101)
CONFIDENCES = np.linspace(0, 1, 1000)
SMOOTHED = 101  # neighbours, of the 1000 confidences: Ultralytics' fraction of 0.1, made odd


@dataclass(frozen=True)
class Score:
    """How well one class was found at one IoU threshold.

    Attributes:
        precision: At `confidence`.
        recall: At `confidence`.
        f1: At `confidence`.
        confidence: Where precision, recall and F1 were read.
        ap: Average precision.
        n_objects: Annotated objects, ignored regions not counted.
        n_detections: Detections, those on ignored regions not counted.
        n_true_positives: Of these detections the right ones.
        precision_at_recall: (101,) precision at `RECALLS`; zeros where the class was never found, NaN without objects.
        f1_at_confidence: (1000,) F1 of the detections with at least the confidence, at `CONFIDENCES`.
    """

    precision: float
    recall: float
    f1: float
    confidence: float
    ap: float
    n_objects: int
    n_detections: int
    n_true_positives: int
    precision_at_recall: np.ndarray
    f1_at_confidence: np.ndarray


@dataclass(frozen=True)
class _Ranked:
    """The counted detections of one class by descending score: (n,) scores, cumulated true and false positives."""

    scores: np.ndarray
    true: np.ndarray
    false: np.ndarray
    n_objects: int


def score_classes(
    overlaps: Overlaps, matches: Matches, mode: str, n_classes: int, weights: np.ndarray | None = None
) -> list[Score]:
    """Return the scores of all classes at the threshold of `matches`.

    Args:
        overlaps: What was matched.
        matches: The matches at one threshold, made in the same mode.
        mode: One of `matching.MODES`.
        n_classes: Classes are 0 to `n_classes` - 1.
        weights: How often each of the images that were joined counts, whole numbers or bools; None for once.
    """
    ranked = [_rank(overlaps, matches, index, weights) for index in range(n_classes)]
    if mode == 'coco':
        return [_coco_score(each) for each in ranked]
    return _ultralytics_scores(ranked)


def mean_score(scores: Sequence[Score]) -> Score:
    """Return means over the classes that have objects; counts are sums. The confidence is kept if all have the same."""
    present = [each for each in scores if each.n_objects] or list(scores)
    confidences = {each.confidence for each in present}
    names = ('precision', 'recall', 'f1', 'ap', 'precision_at_recall', 'f1_at_confidence')
    counts = ('n_objects', 'n_detections', 'n_true_positives')
    return Score(
        confidence=confidences.pop() if len(confidences) == 1 else np.nan,
        **{name: np.mean([getattr(each, name) for each in present], axis=0) for name in names},
        **{name: sum(getattr(each, name) for each in scores) for name in counts},
    )


def _rank(overlaps: Overlaps, matches: Matches, index: int, weights: np.ndarray | None) -> _Ranked:
    counted = (overlaps.classes == index) & ~matches.ignored
    wanted = (overlaps.object_classes == index) & ~overlaps.object_ignored
    if weights is not None:
        counted = counted * weights[overlaps.images]
        wanted = wanted * weights[overlaps.object_images]
    order = overlaps.order[counted[overlaps.order] > 0]
    right, counts = matches.true_positive[order], counted[order]
    true, false = np.cumsum(counts * right), np.cumsum(counts * ~right)
    return _Ranked(overlaps.scores[order], true, false, int(wanted.sum()))


def _without_point(ranked: _Ranked) -> Score:
    """Return zeros for a class that was not found, NaN for one that has no objects; the confidence is NaN."""
    value = 0.0 if ranked.n_objects else np.nan
    n_true, n_false = (int(sums[-1]) if len(sums) else 0 for sums in (ranked.true, ranked.false))
    flat = np.full(len(RECALLS), value), np.full(len(CONFIDENCES), value)
    return Score(value, value, value, np.nan, value, ranked.n_objects, n_true + n_false, n_true, *flat)


# --- coco


def _coco_score(ranked: _Ranked) -> Score:
    empty = _without_point(ranked)
    if not ranked.n_objects or not empty.n_true_positives:
        return empty
    recall = ranked.true / ranked.n_objects
    # pycocotools divides by one epsilon more, which shows only after the tenth digit.
    precision = ranked.true / (ranked.true + ranked.false)
    f1 = 2 * ranked.true / (ranked.true + ranked.false + ranked.n_objects)
    curve = _envelope_at_recalls(recall, precision)
    # A confidence takes in all detections with that score, so only the last of equal scores is a place to stop.
    stops = np.flatnonzero(np.append(ranked.scores[1:] != ranked.scores[:-1], True))
    best = stops[np.argmax(f1[stops])]
    n_taken = np.searchsorted(-ranked.scores, -CONFIDENCES, side='right')
    return replace(
        empty,
        precision=float(precision[best]),
        recall=float(recall[best]),
        f1=float(f1[best]),
        confidence=float(ranked.scores[best]),
        ap=float(curve.mean()),
        precision_at_recall=curve,
        f1_at_confidence=np.append(0.0, f1)[n_taken],
    )


def _envelope_at_recalls(recall: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """Return (101,) the largest precision from each of `RECALLS` on; 0 where the recall is not reached."""
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return envelope[np.searchsorted(recall, RECALLS, side='left')]


# --- ultralytics


def _ultralytics_scores(ranked: Sequence[_Ranked]) -> list[Score]:
    curves = [_at_confidences(each) for each in ranked]
    present = [k for k, each in enumerate(ranked) if each.n_objects]
    if not present:
        return [_without_point(each) for each in ranked]
    f1 = [2 * p * r / (p + r + 1e-16) for p, r in curves]
    # The end values are repeated, so that the smoothed curve is as long as the other.
    padded = np.pad(np.mean([f1[k] for k in present], axis=0), SMOOTHED // 2, mode='edge')
    best = int(np.argmax(np.convolve(padded, np.full(SMOOTHED, 1 / SMOOTHED), mode='valid')))
    scores = [_without_point(each) for each in ranked]
    for k in present:
        curve = _ultralytics_curve(ranked[k])
        scores[k] = replace(
            scores[k],
            precision=float(curves[k][0][best]),
            recall=float(curves[k][1][best]),
            f1=float(f1[k][best]),
            confidence=float(CONFIDENCES[best]),
            ap=float(((curve[1:] + curve[:-1]) / 2 * np.diff(RECALLS)).sum()),
            precision_at_recall=curve,
            f1_at_confidence=f1[k],
        )
    return scores


def _at_confidences(ranked: _Ranked) -> tuple[np.ndarray, np.ndarray]:
    """Return precision and recall at `CONFIDENCES`, (1000,) each; above the highest score they are 1 and 0."""
    if not ranked.n_objects or not len(ranked.scores):
        return np.zeros(len(CONFIDENCES)), np.zeros(len(CONFIDENCES))
    precision = ranked.true / (ranked.true + ranked.false)
    recall = ranked.true / ranked.n_objects
    return (
        np.interp(-CONFIDENCES, -ranked.scores, precision, left=1),
        np.interp(-CONFIDENCES, -ranked.scores, recall, left=0),
    )


def _ultralytics_curve(ranked: _Ranked) -> np.ndarray:
    """Return (101,) the precision at `RECALLS`, on the envelope from (recall 0, precision 1) to (1, 0)."""
    if not len(ranked.scores):
        return np.zeros(len(RECALLS))
    recall = np.concatenate([[0.0], ranked.true / ranked.n_objects, [1.0]])
    precision = np.concatenate([[1.0], ranked.true / (ranked.true + ranked.false), [0.0]])
    return np.interp(RECALLS, recall, np.maximum.accumulate(precision[::-1])[::-1])
