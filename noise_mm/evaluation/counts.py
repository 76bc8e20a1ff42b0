"""Number and total area of cells, detected and annotated, for each well and batch. Pure.

Counted are the detections with at least the confidence of largest F1 at IoU 0.5. That confidence is chosen on the same
images, so the errors are those of a well-chosen threshold. Detections on ignored regions are left out, as these are.

The sums run over PATCHES. Patches that overlap show the same cell several times, and then it is counted several times
on both sides alike: the errors can be compared, but the numbers are not those of the cells in the well.
"""

from dataclasses import dataclass

import numpy as np

from noise_mm.evaluation.evaluate import Evaluation

JsonRow = dict[str, str | int | float | None]


@dataclass(frozen=True)
class _Sums:
    """Sums over each image of the detections that count, or of the objects: (n_images,) each."""

    numbers: np.ndarray
    areas_px2: np.ndarray | None


def count_report(evaluation: Evaluation) -> dict:
    """Counts and areas as `metrics.json` holds them, see `report`."""
    at = evaluation.count_threshold
    scores = evaluation.scores[evaluation.count_kind][at]
    wells, batches = [], []
    for index, (name, score) in enumerate(zip(evaluation.classes, scores, strict=True)):
        if not score.n_objects and not score.n_detections:
            continue
        found, annotated = _detected(evaluation, index, score.confidence), _annotated(evaluation, index)
        keys = [(image.batch, image.well) for image in evaluation.images]
        wells += _rows(keys, ('batch', 'well'), name, found, annotated)
        batches += _rows([key[:1] for key in keys], ('batch',), name, found, annotated)
    return {
        'kind': evaluation.count_kind,
        'iou_thr': evaluation.iou_thrs[at],
        'confidence': {
            name: None if np.isnan(score.confidence) else score.confidence
            for name, score in zip(evaluation.classes, scores, strict=True)
        },
        'batches': batches,
        'wells': wells,
    }


def _detected(evaluation: Evaluation, index: int, confidence: float) -> _Sums:
    """The detections of a class with at least `confidence`; none if that is NaN."""
    overlaps = evaluation.overlaps[evaluation.count_kind]
    ignored = evaluation.matches[evaluation.count_kind][evaluation.count_threshold].ignored
    counted = (overlaps.classes == index) & (overlaps.scores >= confidence) & ~ignored
    return _sums(counted, overlaps.images, [image.areas_px2 for image in evaluation.images])


def _annotated(evaluation: Evaluation, index: int) -> _Sums:
    overlaps = evaluation.overlaps[evaluation.count_kind]
    counted = (overlaps.object_classes == index) & ~overlaps.object_ignored
    return _sums(counted, overlaps.object_images, [image.object_areas_px2 for image in evaluation.images])


def _sums(counted: np.ndarray, images: np.ndarray, areas_px2: list[np.ndarray | None]) -> _Sums:
    n_images = len(areas_px2)
    areas = None
    if all(each is not None for each in areas_px2):
        flat = np.concatenate([np.zeros(0), *areas_px2])
        areas = np.bincount(images[counted], weights=flat[counted], minlength=n_images)
    return _Sums(np.bincount(images[counted], minlength=n_images), areas)


def _rows(
    keys: list[tuple[str, ...]], key_names: tuple[str, ...], name: str, found: _Sums, annotated: _Sums
) -> list[JsonRow]:
    """One row for each different key of the images."""
    different = sorted(set(keys))
    numbers = {key: number for number, key in enumerate(different)}
    of_image = np.array([numbers[key] for key in keys], dtype=np.int64)

    def summed(values: np.ndarray) -> np.ndarray:
        return np.bincount(of_image, weights=values, minlength=len(different))

    n_images = summed(np.ones(len(keys)))
    compared = {'n': [summed(each.numbers).astype(int) for each in (found, annotated)]}
    if found.areas_px2 is not None:
        compared['area_px2'] = [summed(each.areas_px2) for each in (found, annotated)]
    return [
        {
            **dict(zip(key_names, key, strict=True)),
            'class': name,
            'n_images': int(n_images[k]),
            **{
                name: value
                for what, (ours, theirs) in compared.items()
                for name, value in errors(what, theirs[k].item(), ours[k].item()).items()
            },
        }
        for k, key in enumerate(different)
    ]


def errors(what: str, annotated: float, found: float, verb: str = 'detected') -> JsonRow:
    """Return both values, their difference, and that in percent of the truth; None where the truth is 0."""
    return {
        f'{what}_annotated': annotated,
        f'{what}_{verb}': found,
        f'{what}_error': found - annotated,
        f'{what}_error_percent': 100 * (found - annotated) / annotated if annotated else None,
    }
