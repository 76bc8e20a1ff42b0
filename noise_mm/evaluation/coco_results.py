"""Scores COCO results, of this project or of any other tool, against COCO ground truth.

COCO results are a list of {image_id, category_id, score, bbox or segmentation}: box x, y, width, height in pixels of
the image; segmentation an RLE, compressed or not, or polygons. Tools without confidences give every result the same.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from noise_mm.errors import InputError
from noise_mm.evaluation.evaluate import IOU_THRS, Evaluation, check_settings, evaluate
from noise_mm.evaluation.matching import ImageOverlaps
from noise_mm.evaluation.regions import Regions, Rle, as_rles, boxes_of, compare_image
from noise_mm.files import read_json
from noise_mm.geometry.run_lengths import require_whole

RESULT_REMEDY = 'Write COCO results: a list of {image_id, category_id, score, segmentation or bbox}.'
TRUTH_REMEDY = 'data_prep/validate_dataset.py lists all faults of a dataset.'
TRUTH_KEYS = {
    'categories': ('id', 'name'),
    'images': ('id', 'width', 'height'),
    'annotations': ('image_id', 'category_id'),
}
RESULT_KEYS = ('image_id', 'category_id', 'score')


@dataclass(frozen=True)
class _Truth:
    """The annotations of one COCO file.

    Attributes:
        name: The file, for messages.
        place: Its place among the files that are scored together.
        batch: Batch of the images that do not name theirs.
        images: The image entries by id.
        objects: The annotations to score by image id.
        class_indices: Index of the class by category id; None for categories that are not scored.
    """

    name: str
    place: int
    batch: str
    images: dict[int, Mapping]
    objects: dict[int, list[Mapping]]
    class_indices: dict[int, int | None]


def evaluate_coco_results(
    ground_truth: Any,
    results: Any,
    kinds: Sequence[str] = ('segm',),
    iou_thrs: Sequence[float] = IOU_THRS,
    mode: str = 'coco',
    classes: Sequence[str] | None = None,
) -> Evaluation:
    """Scores the results of one COCO dataset.

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
    contents = {'ground truth': ('unknown', ground_truth)}
    classes = _class_names(contents, classes)
    truths = _parse_truths(contents, classes)
    return evaluate(_overlaps(truths, results, 'results', kinds, min(iou_thrs)), classes, kinds, iou_thrs, mode)


def score_results_files(
    ground_truth_paths: Sequence[str | Path],
    results_paths: Sequence[str | Path],
    kinds: Sequence[str] = ('segm',),
    iou_thrs: Sequence[float] = IOU_THRS,
    mode: str = 'coco',
    classes: Sequence[str] | None = None,
) -> Evaluation:
    """Scores files of COCO results, as `evaluate_coco_results` does.

    Args:
        ground_truth_paths: COCO files, one for each batch, such as `data/osteoclast/H1/annotations.json`. Images that
            do not name their batch belong to that of the file's folder.
        results_paths: As many files, each with the results of the batch at the same place; or one file for all batches,
            if no image id occurs in two of them.
        kinds: What to score.
        iou_thrs: IoU thresholds.
        mode: 'coco' or 'ultralytics'.
        classes: Names of the categories to score; None for all.

    Raises:
        InputError: As `evaluate_coco_results`, or if a file can't be read, or the files do not fit each other.
    """
    check_settings(kinds, iou_thrs, mode)
    if not ground_truth_paths or len(results_paths) not in (1, len(ground_truth_paths)):
        raise InputError(
            f'{len(results_paths)} files of results for {len(ground_truth_paths)} of ground truth. '
            'Give one file of results for each batch, or one for all.'
        )
    contents = {str(path): (Path(path).absolute().parent.name, read_json(path)) for path in ground_truth_paths}
    if len(contents) < len(ground_truth_paths):
        raise InputError(f'{ground_truth_paths[0]}: ground truth is given twice. Give each file once.')
    classes = _class_names(contents, classes)
    truths = _parse_truths(contents, classes)
    groups = [truths] if len(results_paths) == 1 else [[truth] for truth in truths]
    images = []
    for path, group in zip(results_paths, groups, strict=True):
        images += _overlaps(group, read_json(path), str(path), kinds, min(iou_thrs))
    return evaluate(images, classes, kinds, iou_thrs, mode)


# --- ground truth


def _class_names(contents: Mapping[str, tuple[str, Any]], wanted: Sequence[str] | None) -> tuple[str, ...]:
    """The names of the classes to score, after a check that the files have the lists and keys of COCO."""
    names: dict[str, None] = {}
    for name, (_, content) in contents.items():
        for key, needed in TRUTH_KEYS.items():
            entries = content.get(key) if isinstance(content, Mapping) else None
            if not isinstance(entries, list):
                raise InputError(f'{name}: no COCO dataset, it has no list {key!r}. Give a file of annotations.')
            for entry in entries:
                _require(entry, needed, f'{name}: an entry of {key!r}', TRUTH_REMEDY)
        names.update(dict.fromkeys(category['name'] for category in content['categories']))
    if not names:
        raise InputError(f'{next(iter(contents))}: has no categories. {TRUTH_REMEDY}')
    missing = [name for name in wanted or () if name not in names]
    if missing:
        raise InputError(
            f'{next(iter(contents))}: no category {missing[0]!r}; there are {", ".join(map(repr, names))}. '
            'Score one of these.'
        )
    return tuple(names if wanted is None else wanted)


def _parse_truths(contents: Mapping[str, tuple[str, Any]], classes: Sequence[str]) -> list[_Truth]:
    return [
        _parse_truth(name, place, batch, content, classes)
        for place, (name, (batch, content)) in enumerate(contents.items())
    ]


def _parse_truth(name: str, place: int, batch: str, content: Mapping, classes: Sequence[str]) -> _Truth:
    images = {image['id']: image for image in content['images']}
    if len(images) < len(content['images']):
        raise InputError(f'{name}: two images have the same id. {TRUTH_REMEDY}')
    indices = {
        category['id']: classes.index(category['name']) if category['name'] in classes else None
        for category in content['categories']
    }
    objects = defaultdict(list)
    for entry in content['annotations']:
        what = f'{name}: annotation {entry.get("id")}'
        _look_up(images, entry, 'image_id', what)
        if _look_up(indices, entry, 'category_id', what) is not None:
            objects[entry['image_id']].append(entry)
    return _Truth(name, place, batch, images, dict(objects), indices)


# --- results


def _overlaps(
    truths: Sequence[_Truth], results: Any, name: str, kinds: Sequence[str], min_iou: float
) -> list[ImageOverlaps]:
    """The overlaps in all images of some ground truth, of which `results` are the detections."""
    by_image = _by_image(truths, results, name)
    return [
        _compare_image(truth, image_id, by_image.get((truth.place, image_id), []), name, kinds, min_iou)
        for truth in truths
        for image_id in truth.images
    ]


def _by_image(truths: Sequence[_Truth], results: Any, name: str) -> dict[tuple[int, int], list[Mapping]]:
    """The results to score by place of the ground truth and image id."""
    owners: dict[int, _Truth] = {}
    for truth in truths:
        for image_id in truth.images:
            other = owners.setdefault(image_id, truth)
            if other is not truth:
                raise InputError(
                    f'{name}: image id {image_id} is both in {other.name} and in {truth.name}. '
                    'Give one file of results for each batch.'
                )
    if not isinstance(results, list):
        raise InputError(f'{name}: not a list. {RESULT_REMEDY}')
    by_image = defaultdict(list)
    for number, entry in enumerate(results, start=1):
        what = f'{name}: result {number}'
        _require(entry, RESULT_KEYS, what, RESULT_REMEDY)
        truth = _look_up(owners, entry, 'image_id', what)
        label = _look_up(truth.class_indices, entry, 'category_id', what)
        score = entry['score']
        if not isinstance(score, int | float) or not math.isfinite(score):
            raise InputError(f'{what} has the score {score!r}. Give a number, or 1 to all.')
        if label is not None:
            by_image[truth.place, entry['image_id']].append(entry)
    return by_image


def _look_up(known: Mapping, entry: Mapping, key: str, what: str) -> Any:
    """What is known by the id that an entry has under `key`."""
    try:
        return known[entry[key]]
    except (KeyError, TypeError) as error:  # TypeError: a list or dictionary in place of an id
        some = ', '.join(map(str, list(known)[:3])) + (', ...' if len(known) > 3 else '')
        raise InputError(
            f'{what} has the {key} {entry[key]!r}, which the ground truth has not ({some or "it has none"}). '
            'Score it against the dataset it was made from.'
        ) from error


def _compare_image(
    truth: _Truth, image_id: int, results: Sequence[Mapping], name: str, kinds: Sequence[str], min_iou: float
) -> ImageOverlaps:
    image, objects = truth.images[image_id], truth.objects.get(image_id, [])
    return compare_image(
        _regions(results, image, truth.class_indices, kinds, f'{name}: a result', RESULT_REMEDY),
        np.array([entry['score'] for entry in results], dtype=np.float64),
        _regions(objects, image, truth.class_indices, kinds, f'{truth.name}: an annotation', TRUTH_REMEDY),
        np.array([bool(entry.get('iscrowd') or entry.get('ignore')) for entry in objects], dtype=bool),
        image_id=(truth.place, image_id),
        batch=str(image.get('batch') or truth.batch),
        well=str(image.get('well') or ''),
        min_iou=min_iou,
    )


def _regions(
    entries: Sequence[Mapping],
    image: Mapping,
    class_indices: Mapping[int, int | None],
    kinds: Sequence[str],
    what: str,
    remedy: str,
) -> Regions:
    """The masks and boxes of the entries of one image, as far as they are scored."""
    classes = np.array([class_indices[entry['category_id']] for entry in entries], dtype=np.int64)
    fault = f'{what} of image {image["id"]}'
    with_boxes = all(entry.get('bbox') is not None for entry in entries)
    masks = boxes = None
    if 'segm' in kinds or not with_boxes:
        masks = _masks(entries, image, fault, remedy)
    if 'bbox' in kinds:
        boxes = _boxes(entries, fault, remedy) if with_boxes else boxes_of(masks)
    return Regions(classes, boxes, masks if 'segm' in kinds else None)


def _masks(entries: Sequence[Mapping], image: Mapping, fault: str, remedy: str) -> list[Rle]:
    height, width = image['height'], image['width']
    if not all(entry.get('segmentation') for entry in entries):
        raise InputError(f'{fault} has no segmentation. Score boxes only, or: {remedy}')
    try:
        masks = as_rles([entry['segmentation'] for entry in entries], height, width)
        wrong = [mask['size'] for mask in masks if list(mask['size']) != [height, width]]
        if wrong:
            raise ValueError(f'a mask is of {list(wrong[0])}, the image is [{height}, {width}]')
        require_whole(masks)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f'{fault} is faulty: {error}. {remedy}') from error
    return masks


def _boxes(entries: Sequence[Mapping], fault: str, remedy: str) -> np.ndarray:
    try:
        boxes = np.array([entry['bbox'] for entry in entries], dtype=np.float64).reshape(len(entries), 4)
    except (ValueError, TypeError) as error:
        raise InputError(f'{fault} has a box that is not four numbers. {remedy}') from error
    if not np.isfinite(boxes).all() or (boxes[:, 2:] < 0).any():
        raise InputError(f'{fault} has a box of negative or infinite size. {remedy}')
    return boxes


def _require(entry: Any, keys: Sequence[str], what: str, remedy: str) -> None:
    """Refuses an entry without one of `keys`."""
    missing = [key for key in keys if key not in entry] if isinstance(entry, dict) else list(keys)
    if missing:
        raise InputError(f'{what} has no {", ".join(missing)}. {remedy}')
