"""Scores COCO results, of this project or of any other tool, against COCO ground truth.

COCO results are a list of {image_id, category_id, score, bbox or segmentation}: box x, y, width, height in pixels of
the image; segmentation an RLE, compressed or not, or polygons. Tools without confidences give every result the same.
"""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from noise_mm.coco.outlines import base_name
from noise_mm.coco.reader import REMEDY, CocoContent, CocoImage, Id, id_of, read_content
from noise_mm.coco.segmentation import rings_of
from noise_mm.errors import InputError
from noise_mm.evaluation.evaluate import IOU_THRS, Evaluation, check_settings, evaluate
from noise_mm.evaluation.matching import ImageOverlaps
from noise_mm.evaluation.regions import Regions, Rle, as_rles, boxes_of, compare_image
from noise_mm.files import read_json
from noise_mm.geometry.run_lengths import LARGEST_PX2, require_whole

logger = logging.getLogger(__name__)

RESULT_REMEDY = 'Write COCO results: a list of {image_id, category_id, score, segmentation or bbox}.'
TRUTH_REMEDY = REMEDY
RESULT_KEYS = ('image_id', 'category_id', 'score')
LARGEST_NUMBER = 1e9  # of a box or score; sums of larger ones are no longer exact, and no image has such places


@dataclass(frozen=True)
class _Truth:
    """The annotations of one COCO file.

    Attributes:
        name: The file, for messages.
        place: Its place among the files that are scored together.
        batch: Batch of the images that do not name theirs.
        images: The images by id.
        objects: The entries of the annotations to score by image id.
        class_indices: Index of the class by category id; None for categories that are not scored.
    """

    name: str
    place: int
    batch: str
    images: dict[Id, CocoImage]
    objects: dict[Id, list[Mapping]]
    class_indices: dict[Id, int | None]


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
    contents = {'ground truth': ('unknown', _read_truth(ground_truth, 'ground truth'))}
    classes = _class_names(contents, classes)
    truths = _parse_truths(contents, classes)
    return evaluate(_overlaps(truths, results, 'results', kinds, min(0.5, *iou_thrs)), classes, kinds, iou_thrs, mode)


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
    contents = {
        str(path): (Path(path).absolute().parent.name, _read_truth(read_json(path), str(path)))
        for path in ground_truth_paths
    }
    if len(contents) < len(ground_truth_paths):
        raise InputError(f'{ground_truth_paths[0]}: ground truth is given twice. Give each file once.')
    classes = _class_names(contents, classes)
    truths = _parse_truths(contents, classes)
    groups = [truths] if len(results_paths) == 1 else [[truth] for truth in truths]
    images = []
    for path, group in zip(results_paths, groups, strict=True):
        images += _overlaps(group, read_json(path), str(path), kinds, min(0.5, *iou_thrs))
    return evaluate(images, classes, kinds, iou_thrs, mode)


# --- ground truth


def _read_truth(value: Any, name: str) -> CocoContent:
    """Return what is in a file of ground truth.

    Raises:
        InputError: If it is no COCO dataset, or entries are damaged.
    """
    content = read_content(value, name, file_names=False, annotation_ids=False)
    if not value['categories']:
        raise InputError(f'{name}: has no categories. {TRUTH_REMEDY}')
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


def _parse_truths(contents: Mapping[str, tuple[str, CocoContent]], classes: Sequence[str]) -> list[_Truth]:
    return [
        _parse_truth(name, place, batch, content, classes)
        for place, (name, (batch, content)) in enumerate(contents.items())
    ]


def _parse_truth(name: str, place: int, batch: str, content: CocoContent, classes: Sequence[str]) -> _Truth:
    indices = {key: classes.index(name) if name in classes else None for key, name in content.categories.items()}
    ids = {name: key for key, name in content.categories.items()}
    objects = defaultdict(list)
    for annotation in content.annotations:
        if annotation.category in classes:
            ignored = {'category_id': ids[annotation.category], 'ignored': annotation.ignored}
            objects[annotation.image.id].append({**annotation.entry, **ignored})
    return _Truth(name, place, batch, {image.id: image for image in content.images}, dict(objects), indices)


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


def _by_image(truths: Sequence[_Truth], results: Any, name: str) -> dict[tuple[int, Id], list[Mapping]]:
    """Return the results to score by place of the ground truth and image id."""
    if not isinstance(results, list):
        raise InputError(f'{name}: not a list. {RESULT_REMEDY}')
    for number, entry in enumerate(results, start=1):
        _require(entry, RESULT_KEYS, f'{name}: result {number}', RESULT_REMEDY)
    owners = _owners(truths, results, name)
    by_image = defaultdict(list)
    for number, entry in enumerate(results, start=1):
        what = f'{name}: result {number}'
        truth, image_id = _look_up(owners, entry, 'image_id', what)
        label = _look_up(truth.class_indices, entry, 'category_id', what)
        score = entry['score']
        if not isinstance(score, int | float) or not -LARGEST_NUMBER < score < LARGEST_NUMBER:
            raise InputError(f'{what} has the score {score!r}. Give a number, or 1 to all.')
        if label is not None:
            by_image[truth.place, image_id].append({**entry, 'category_id': id_of(entry['category_id'])})
    return by_image


def _owners(truths: Sequence[_Truth], results: Sequence[Mapping], name: str) -> dict[Id, tuple[_Truth, Id]]:
    """Return the ground truth and image that each `image_id` of the results stands for.

    These are the ids of the ground truth or, as some programs write it, the names of the image files without suffix:
    where some are no ids and all are names, all are taken for names, and the log says so.
    """
    by_id: dict[Id, tuple[_Truth, Id]] = {}
    by_stem: dict[Id, tuple[_Truth, Id]] = {}
    twice: set[Id] = set()
    for truth in truths:
        for image_id, image in truth.images.items():
            other, _ = by_id.setdefault(image_id, (truth, image_id))
            if other is not truth:
                raise InputError(
                    f'{name}: image id {image_id} is both in {other.name} and in {truth.name}. '
                    'Give one file of results for each batch.'
                )
            stem = PurePosixPath(base_name(image.file_name)).stem
            for key in {stem, int(stem)} if stem.isdecimal() and len(stem) < 19 else {stem}:
                twice |= {key} & by_stem.keys()
                by_stem[key] = truth, image_id
    ids = {id_of(entry['image_id']) for entry in results}
    if ids <= by_id.keys():
        return by_id
    by_text = {str(key): owner for key, owner in by_id.items()}
    if all(str(key) in by_text for key in ids):  # text for numbers, or numbers for text
        return {key: by_text[str(key)] for key in ids}
    if not ids <= by_stem.keys() - twice:
        return by_id
    logger.warning('%s: image_id is the name of the image file without suffix, as some programs write it', name)
    return by_stem


def _look_up(known: Mapping, entry: Mapping, key: str, what: str) -> Any:
    """Return what is known by the id that an entry has under `key`."""
    wanted = id_of(entry[key])
    if wanted is None or wanted not in known:
        some = ', '.join(map(str, list(known)[:3])) + (', ...' if len(known) > 3 else '')
        raise InputError(
            f'{what} has the {key} {entry[key]!r}, which the ground truth has not ({some or "it has none"}). '
            'Score it against the dataset it was made from.'
        )
    return known[wanted]


def _compare_image(
    truth: _Truth, image_id: Id, results: Sequence[Mapping], name: str, kinds: Sequence[str], min_iou: float
) -> ImageOverlaps:
    image, objects = truth.images[image_id], truth.objects.get(image_id, [])
    return compare_image(
        _regions(results, image, truth.class_indices, kinds, f'{name}: a result', RESULT_REMEDY),
        np.array([entry['score'] for entry in results], dtype=np.float64),
        _regions(objects, image, truth.class_indices, kinds, f'{truth.name}: an annotation', TRUTH_REMEDY),
        np.array([entry['ignored'] for entry in objects], dtype=bool),
        image_id=(truth.place, image_id),
        batch=str(image.entry.get('batch') or truth.batch),
        well=str(image.entry.get('well') or ''),
        min_iou=min_iou,
    )


def _regions(
    entries: Sequence[Mapping],
    image: CocoImage,
    class_indices: Mapping[Id, int | None],
    kinds: Sequence[str],
    what: str,
    remedy: str,
) -> Regions:
    """The masks and boxes of the entries of one image, as far as they are scored."""
    classes = np.array([class_indices[entry['category_id']] for entry in entries], dtype=np.int64)
    fault = f'{what} of image {image.id}'
    with_boxes = all(entry.get('bbox') is not None for entry in entries)
    masks = boxes = None
    if 'segm' in kinds or not with_boxes:
        masks = _masks(entries, image, fault, remedy)
    if 'bbox' in kinds:
        boxes = _boxes(entries, fault, remedy) if with_boxes else boxes_of(masks)
    return Regions(classes, boxes, masks if 'segm' in kinds else None)


def _masks(entries: Sequence[Mapping], image: CocoImage, fault: str, remedy: str) -> list[Rle]:
    height, width = image.height, image.width
    if not all(entry.get('segmentation') for entry in entries):
        raise InputError(f'{fault} has no segmentation. Score boxes only, or: {remedy}')
    try:
        masks = as_rles([_near_image(entry['segmentation'], image) for entry in entries], height, width)
        wrong = [mask['size'] for mask in masks if list(mask['size']) != [height, width]]
        if wrong:
            raise ValueError(f'a mask is of {list(wrong[0])}, the image is [{height}, {width}]')
        require_whole(masks)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f'{fault} is faulty: {error}. {remedy}') from error
    return masks


def _near_image(segmentation: Any, image: CocoImage) -> Any:
    """Return a segmentation that pycocotools can draw: it trusts coordinates, and absurd ones end the process.

    Raises:
        ValueError: If polygons reach further beyond the image than it is large, or the image is too large for masks.
    """
    if image.width * image.height > LARGEST_PX2:
        raise ValueError(f'pycocotools draws no masks on images of {image.width} x {image.height} px')
    if isinstance(segmentation, dict):
        size = [image.height, image.width]
        return {**segmentation, 'size': size} if segmentation.get('size') == size else segmentation  # 30.0 for 30
    rings = rings_of(segmentation)
    for ring in rings:
        beyond = np.maximum(-ring, ring - [image.width, image.height]).max(axis=0)
        if (beyond > [image.width, image.height]).any():
            raise ValueError(f'a polygon reaches {beyond.max():g} px beyond the image')
    return [ring.ravel().tolist() for ring in rings]


def _boxes(entries: Sequence[Mapping], fault: str, remedy: str) -> np.ndarray:
    try:
        boxes = np.array([entry['bbox'] for entry in entries], dtype=np.float64).reshape(len(entries), 4)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f'{fault} has a box that is not four numbers. {remedy}') from error
    if not (np.abs(boxes) < LARGEST_NUMBER).all() or (boxes[:, 2:] < 0).any():
        raise InputError(f'{fault} has a box of negative or absurd size. {remedy}')
    return boxes


def _require(entry: Any, keys: Sequence[str], what: str, remedy: str) -> None:
    """Refuses an entry without one of `keys`."""
    missing = [key for key in keys if key not in entry] if isinstance(entry, dict) else list(keys)
    if missing:
        raise InputError(f'{what} has no {", ".join(missing)}. {remedy}')
