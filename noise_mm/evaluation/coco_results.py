"""Scores COCO results, of this project or of any other tool, against COCO ground truth.

COCO results are a list of {image_id, category_id, score, bbox or segmentation}: box x, y, width, height in pixels of
the image; segmentation an RLE, compressed or not, or polygons. Tools without confidences give every result the same.
"""

import gc
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from noise_mm.coco.reader import REMEDY, CocoContent, read_content
from noise_mm.errors import InputError
from noise_mm.evaluation.evaluate import IOU_THRS, Evaluation, check_settings, evaluate
from noise_mm.evaluation.results_file import UNSCORED, Truth, compare_results
from noise_mm.files import read_json
from noise_mm.seen_batches import refuse_marked

logger = logging.getLogger(__name__)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Pause Python's search for cycles: millions of entries are read here, which have none."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@_collector_paused()
def evaluate_coco_results(
    ground_truth: Any,
    results: Any,
    kinds: Sequence[str] = ('segm',),
    iou_thrs: Sequence[float] = IOU_THRS,
    mode: str = 'coco',
    classes: Sequence[str] | None = None,
) -> Evaluation:
    """Score the results of one COCO dataset.

    Annotations with `iscrowd` or `ignore` are ignored regions. Where boxes are scored, a result or annotation without
    `bbox` has that of its mask. All detections count, however many an image has.

    Args:
        ground_truth: A COCO dataset; images may name their `batch` and `well`.
        results: COCO results.
        kinds: What to score: 'segm', 'bbox' or both.
        iou_thrs: IoU thresholds.
        mode: 'coco' or 'ultralytics', see `matching` and `precision_recall`.
        classes: Names of the categories to score; None for all that the ground truth lists.

    Raises:
        InputError: If settings are wrong, or ground truth or results are not as described, do not belong together or
            lack what is to be scored; the first fault is named.
    """
    check_settings(kinds, iou_thrs, mode)
    contents = {'ground truth': ('unknown', _read_truth(ground_truth, 'ground truth'))}
    classes = _class_names(contents, classes)
    truths = _parse_truths(contents, classes)
    images = compare_results(truths, results, 'results', kinds, min(0.5, *iou_thrs))
    return evaluate(images, classes, kinds, iou_thrs, mode)


@_collector_paused()
def score_results_files(
    ground_truth_paths: Sequence[str | Path],
    results_paths: Sequence[str | Path],
    kinds: Sequence[str] = ('segm',),
    iou_thrs: Sequence[float] = IOU_THRS,
    mode: str = 'coco',
    classes: Sequence[str] | None = None,
    allow_seen: bool = False,
) -> Evaluation:
    """Score files of COCO results, as `evaluate_coco_results` does.

    Args:
        ground_truth_paths: COCO files, one for each batch, such as `data/osteoclast/H1/annotations.json`. Images that
            do not name their batch belong to that of the file's folder.
        results_paths: As many files, each with the results of the batch at the same place; or one file for all batches,
            if no image id occurs in two of them.
        kinds: What to score.
        iou_thrs: IoU thresholds.
        mode: 'coco' or 'ultralytics'.
        classes: Names of the categories to score; None for all.
        allow_seen: Score also results that are marked as on data that were seen in training.

    Raises:
        InputError: As `evaluate_coco_results`, or if a file can't be read, the files do not fit each other, or results
            are marked.
    """
    check_settings(kinds, iou_thrs, mode)
    if not ground_truth_paths or len(results_paths) not in (1, len(ground_truth_paths)):
        raise InputError(
            f'{len(results_paths)} files of results for {len(ground_truth_paths)} of ground truth. '
            'Give one file of results for each batch, or one for all.'
        )
    contents = {
        str(path): (Path(path).absolute().parent.name, _read_truth(read_json(path), str(path)))
        for path in ground_truth_paths
    }
    if len(contents) < len(ground_truth_paths):
        raise InputError(f'{ground_truth_paths[0]}: ground truth is given twice. Give each file once.')
    classes = _class_names(contents, classes)
    truths = _parse_truths(contents, classes)
    groups = [truths] if len(results_paths) == 1 else [[truth] for truth in truths]
    images, seen = [], []
    for path, group in zip(results_paths, groups, strict=True):
        results = read_json(path)
        seen += [truth.batch for truth in group] if refuse_marked(results, path, allow_seen) else []
        images += compare_results(group, results, str(path), kinds, min(0.5, *iou_thrs))
    return replace(evaluate(images, classes, kinds, iou_thrs, mode), seen_in_training=tuple(seen))


# --- ground truth


def _read_truth(value: Any, name: str) -> CocoContent:
    """Return what is in a file of ground truth.

    Raises:
        InputError: If it is no COCO dataset, or entries are damaged.
    """
    content = read_content(value, name, file_names=False, annotation_ids=False)
    if not value['categories']:
        raise InputError(f'{name}: has no categories. {REMEDY}')
    content.raise_if_any(name)
    content.refuse_only_crowds(name)
    for note in content.notes:
        logger.warning('%s: %s', name, note)
    return content


def _class_names(contents: Mapping[str, tuple[str, CocoContent]], wanted: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of the classes to score, after a check that the ground truth has them."""
    names = dict.fromkeys(name for _, content in contents.values() for name in content.categories.values())
    missing = [name for name in wanted or () if name not in names]
    if missing:
        raise InputError(
            f'{next(iter(contents))}: no category {missing[0]!r}; there are {", ".join(map(repr, names))}. '
            'Score one of these.'
        )
    return tuple(names if wanted is None else wanted)


def _parse_truths(contents: Mapping[str, tuple[str, CocoContent]], classes: Sequence[str]) -> list[Truth]:
    indices = {name: k for k, name in enumerate(classes)}
    return [
        Truth(
            name=name,
            place=place,
            batch=batch,
            images=content.images,
            annotations=[each for each in content.annotations if each.category in indices],
            class_indices={key: indices.get(name, UNSCORED) for key, name in content.categories.items()},
            class_names=classes,
        )
        for place, (name, (batch, content)) in enumerate(contents.items())
    ]
