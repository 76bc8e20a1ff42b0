"""Number and total area of cells, detected and annotated, for each well and batch. Pure.

Counted are the detections with at least the confidence of largest F1 at IoU 0.5. That confidence is chosen on the same
images, so the errors are those of a well-chosen threshold. Detections on ignored regions are left out, as these are.

The sums run over PATCHES. Patches that overlap show the same cell several times, and then it is counted several times
on both sides alike: the errors can be compared, but the numbers are not those of the cells in the well.
"""

import numpy as np

from noise_mm.evaluation.evaluate import Evaluation

JsonRow = dict[str, str | int | float | None]


def count_report(evaluation: Evaluation) -> dict:
    """Return counts and areas as `metrics.json` holds them, see `report`."""
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


def _detected(evaluation: Evaluation, index: int, confidence: float) -> dict[str, np.ndarray]:
    """Return sums over each image of the detections of a class with at least `confidence`; of none if that is NaN."""
    overlaps = evaluation.overlaps[evaluation.count_kind]
    ignored = evaluation.matches[evaluation.count_kind][evaluation.count_threshold].ignored
    counted = (overlaps.classes == index) & (overlaps.scores >= confidence) & ~ignored
    return _sums(counted, overlaps.images, [image.areas_px2 for image in evaluation.images])


def _annotated(evaluation: Evaluation, index: int) -> dict[str, np.ndarray]:
    """Return sums over each image of the objects of a class."""
    overlaps = evaluation.overlaps[evaluation.count_kind]
    counted = (overlaps.object_classes == index) & ~overlaps.object_ignored
    return _sums(counted, overlaps.object_images, [image.object_areas_px2 for image in evaluation.images])


def _sums(counted: np.ndarray, images: np.ndarray, areas_px2: list[np.ndarray | None]) -> dict[str, np.ndarray]:
    """Return the number and, where they are known, the areas of what counts in each image."""
    sums = {'n': np.bincount(images[counted], minlength=len(areas_px2))}
    if all(each is not None for each in areas_px2):
        flat = np.concatenate([np.zeros(0), *areas_px2])
        sums['area_px2'] = np.bincount(images[counted], weights=flat[counted], minlength=len(areas_px2))
    return sums


def _rows(
    keys: list[tuple[str, ...]],
    key_names: tuple[str, ...],
    name: str,
    found: dict[str, np.ndarray],
    annotated: dict[str, np.ndarray],
) -> list[JsonRow]:
    """Return one row for each different key of the images."""
    rows = []
    numbers = {key: number for number, key in enumerate(sorted(set(keys)))}
    of_image = np.array([numbers[key] for key in keys], dtype=np.int64)
    for key, number in numbers.items():
        own = of_image == number
        row = {**dict(zip(key_names, key, strict=True)), 'class': name, 'n_images': int(own.sum())}
        for what in found:
            row |= errors(what, annotated[what][own].sum().item(), found[what][own].sum().item())
        rows.append(row)
    return rows


def errors(what: str, annotated: float, found: float, verb: str = 'detected') -> JsonRow:
    """Return both values, their difference, and that in percent of the truth; None where the truth is 0."""
    return {
        f'{what}_annotated': annotated,
        f'{what}_{verb}': found,
        f'{what}_error': found - annotated,
        f'{what}_error_percent': 100 * (found - annotated) / annotated if annotated else None,
    }
