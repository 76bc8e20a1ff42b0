"""The entries of COCO results and annotations, each checked, as the instances of their images."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noise_mm.coco.outlines import base_name
from noise_mm.coco.reader import REMEDY, CocoAnnotation, CocoImage, Id, id_of
from noise_mm.coco.rle import compressed_counts
from noise_mm.errors import InputError
from noise_mm.evaluation.matching import ImageOverlaps
from noise_mm.evaluation.overlaps import DamagedMaskError, ImageInstances, Instances, compare_images
from noise_mm.geometry.run_lengths import LARGEST_PX2, decode

logger = logging.getLogger(__name__)

RESULT_REMEDY = 'Write COCO results: a list of {image_id, category_id, score, segmentation or bbox}.'
RESULT_KEYS = ('image_id', 'category_id', 'score')
LARGEST_NUMBER = 1e9  # of a box or score; sums of larger ones are no longer exact, and no image has such places
UNSCORED, UNKNOWN = -1, -2
THREADS = min(os.cpu_count() or 1, 8)  # more than reading the entries in one of them keeps busy are of no use


@dataclass(frozen=True)
class Truth:
    """The annotations of one COCO file.

    Attributes:
        name: The file, for messages.
        place: Its place among the files that are scored together.
        batch: Batch of the images that do not name theirs.
        images: Its images.
        annotations: Those of the classes that are scored.
        class_indices: Index of the class by category id; `UNSCORED` for categories that are not scored.
        class_names: Names of the classes that are scored.
    """

    name: str
    place: int
    batch: str
    images: list[CocoImage]
    annotations: list[CocoAnnotation]
    class_indices: dict[Id, int]
    class_names: Sequence[str]


@dataclass(frozen=True)
class _Entries:
    """Results or annotations in the order of their images.

    Attributes:
        entries: The n dictionaries of the file.
        classes: (n,) indices of their classes.
        values: (n,) scores of results; of annotations whether they are ignored.
        borders: Where the entries of each image begin, and n.
    """

    entries: list[Mapping]
    classes: NDArray[np.int64]
    values: NDArray
    borders: list[int]

    @classmethod
    def sort(cls, entries: Sequence[Mapping], images: NDArray, classes: NDArray, values: NDArray, n_images: int):
        """Return the entries that are scored, given the position of the image of each."""
        order = np.argsort(images, kind='stable')
        order = order[classes[order] != UNSCORED]
        borders = np.searchsorted(images[order], np.arange(n_images + 1)).tolist()
        return cls([entries[k] for k in order.tolist()], classes[order], values[order], borders)


def compare_results(
    truths: Sequence[Truth], results: Any, name: str, kinds: Sequence[str], min_iou: float
) -> list[ImageOverlaps]:
    """Return the overlaps in all images of some ground truth.

    Args:
        truths: The ground truth.
        results: COCO results, the detections in all of its images.
        name: The file of the results, for messages.
        kinds: What to score: 'segm', 'bbox' or both.
        min_iou: Smallest IoU threshold that will be asked for.

    Raises:
        InputError: If a result or annotation is not as described, or they do not belong together.
    """
    images = [(truth, image) for truth in truths for image in truth.images]
    places = {(truth.place, image.id): k for k, (truth, image) in enumerate(images)}
    found, annotated = _results_of(truths, places, results, name), _annotations_of(truths, places)
    of_results = f'{name}: a result', RESULT_REMEDY

    def instances_in(k: int, truth: Truth, image: CocoImage) -> ImageInstances:
        ours, theirs = (slice(*side.borders[k : k + 2]) for side in (found, annotated))
        of_truth = f'{truth.name}: an annotation', REMEDY
        return ImageInstances(
            image_id=(truth.place, image.id),
            batch=str(image.entry.get('batch') or truth.batch),
            well=str(image.entry.get('well') or ''),
            detections=_instances(found.entries[ours], found.classes[ours], image, kinds, *of_results),
            scores=found.values[ours],
            objects=_instances(annotated.entries[theirs], annotated.classes[theirs], image, kinds, *of_truth),
            ignored=annotated.values[theirs],
            size=(image.height, image.width),
        )

    instances = (instances_in(k, *each) for k, each in enumerate(images))
    try:
        return list(compare_images(instances, min_iou, THREADS))
    except DamagedMaskError as error:
        truth, image = images[places[error.image.image_id]]
        source, remedy = (f'{truth.name}: an annotation', REMEDY) if error.of_object else of_results
        raise InputError(f'{source} of image {image.id} is faulty: {error}. {remedy}') from error


def _annotations_of(truths: Sequence[Truth], places: Mapping[tuple[int, Id], int]) -> _Entries:
    annotations = [(truth, annotation) for truth in truths for annotation in truth.annotations]
    images = np.array([places[truth.place, each.image.id] for truth, each in annotations], dtype=np.int64)
    indices = {id(truth): {name: k for k, name in enumerate(truth.class_names)} for truth in truths}
    classes = np.array([indices[id(truth)][each.category] for truth, each in annotations], dtype=np.int64)
    ignored = np.array([each.ignored for _, each in annotations], dtype=bool)
    return _Entries.sort([each.entry for _, each in annotations], images, classes, ignored, len(places))


def _results_of(truths: Sequence[Truth], places: Mapping[tuple[int, Id], int], results: Any, name: str) -> _Entries:
    """Check the results and sort them by image.

    Raises:
        InputError: If an entry is not what COCO results are, or refers to what the ground truth has not.
    """
    if not isinstance(results, list):
        raise InputError(f'{name}: not a list. {RESULT_REMEDY}')
    ids, labels, scores = _columns(results, name)
    by_id = {key: places[truth.place, each] for key, (truth, each) in _owners(truths, set(ids), name).items()}
    images = _look_up(by_id, ids, 'image_id', results, range(len(results)), name)
    classes = np.full(len(results), UNSCORED)
    borders = np.cumsum([0, *(len(truth.images) for truth in truths)])
    for truth, first, end in zip(truths, borders[:-1], borders[1:], strict=True):
        own = np.flatnonzero((images >= first) & (images < end))
        wanted = labels if len(own) == len(labels) else [labels[k] for k in own.tolist()]
        classes[own] = _look_up(truth.class_indices, wanted, 'category_id', results, own.tolist(), name)
    return _Entries.sort(results, images, classes, _numbers(scores, name), len(places))


def _columns(results: list, name: str) -> tuple[list[Id | None], list[Id | None], list[Any]]:
    """Return image ids, category ids and scores; None for what is no id."""
    try:
        ids, labels, scores = ([entry[key] for entry in results] for key in RESULT_KEYS)
    except (KeyError, TypeError, IndexError) as error:
        for number, entry in enumerate(results, start=1):
            missing = [key for key in RESULT_KEYS if not isinstance(entry, dict) or key not in entry]
            if missing:
                message = f'{name}: result {number} has no {", ".join(missing)}. {RESULT_REMEDY}'
                raise InputError(message) from error
        raise
    ids, labels = (
        column if set(map(type, column)) <= {int, str} else [id_of(value) for value in column]
        for column in (ids, labels)
    )
    return ids, labels, scores


def _numbers(scores: list[Any], name: str) -> NDArray[np.float64]:
    try:
        numbers = np.array(scores, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        numbers = np.array(np.nan)
    are_numbers = all(issubclass(each, int | float) for each in set(map(type, scores)))
    if not are_numbers or not (np.abs(numbers) < LARGEST_NUMBER).all():
        number, score = next(
            (number, score)
            for number, score in enumerate(scores, start=1)
            if not isinstance(score, int | float) or not -LARGEST_NUMBER < score < LARGEST_NUMBER
        )
        raise InputError(f'{name}: result {number} has the score {score!r}. Give a number, or 1 to all.')
    return numbers


def _owners(truths: Sequence[Truth], ids: set[Id | None], name: str) -> dict[Id, tuple[Truth, Id]]:
    """Return the ground truth and image that each `image_id` of the results stands for.

    These are the ids of the ground truth or, as some programs write it, the names of the image files without suffix:
    where some are no ids and all are names, all are taken for names, and the log says so.
    """
    by_id: dict[Id, tuple[Truth, Id]] = {}
    for truth in truths:
        for image in truth.images:
            other, _ = by_id.setdefault(image.id, (truth, image.id))
            if other is not truth:
                raise InputError(
                    f'{name}: image id {image.id} is both in {other.name} and in {truth.name}. '
                    'Give one file of results for each batch.'
                )
    if ids <= by_id.keys():
        return by_id
    by_text = {str(key): owner for key, owner in by_id.items()}
    if None not in ids and all(str(key) in by_text for key in ids):  # text for numbers, or numbers for text
        return {key: by_text[str(key)] for key in ids}
    by_stem: dict[Id, tuple[Truth, Id]] = {}
    twice: set[Id] = set()
    for truth in truths:
        for image in truth.images:
            stem = PurePosixPath(base_name(image.file_name)).stem
            for key in {stem, int(stem)} if stem.isdecimal() and len(stem) < 19 else {stem}:
                twice |= {key} & by_stem.keys()
                by_stem[key] = truth, image.id
    if not ids <= by_stem.keys() - twice:
        return by_id
    logger.warning('%s: image_id is the name of the image file without suffix, as some programs write it', name)
    return by_stem


def _look_up(
    known: Mapping[Id, int], ids: list[Id | None], key: str, results: Sequence[Mapping], own: Sequence[int], name: str
) -> NDArray[np.int64]:
    """Return what is known by each id; `own` are the positions of the results that have these ids under `key`."""
    values = [known.get(each, UNKNOWN) for each in ids]
    if UNKNOWN in values:
        place = own[values.index(UNKNOWN)]
        some = ', '.join(map(str, list(known)[:3])) + (', ...' if len(known) > 3 else '')
        raise InputError(
            f'{name}: result {place + 1} has the {key} {results[place][key]!r}, which the ground truth has not '
            f'({some or "it has none"}). Score it against the dataset it was made from.'
        )
    return np.array(values, dtype=np.int64)


def _instances(
    entries: Sequence[Mapping],
    classes: NDArray[np.int64],
    image: CocoImage,
    kinds: Sequence[str],
    source: str,
    remedy: str,
) -> Instances:
    """Return the masks and boxes of the entries of one image, as far as they are scored."""
    boxes, masks = None, None
    try:
        if 'segm' in kinds or any(entry.get('bbox') is None for entry in entries):
            masks = _masks(entries, image)
        if 'bbox' in kinds:
            boxes = _boxes(entries, masks, image)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f'{source} of image {image.id} is faulty: {error}. {remedy}') from error
    return Instances(classes, boxes, masks if 'segm' in kinds else None)


def _masks(entries: Sequence[Mapping], image: CocoImage) -> list[str | bytes]:
    """Return the compressed run lengths of entries; whether they are whole is seen when they are decoded."""
    segmentations = [entry.get('segmentation') for entry in entries]
    if not all(segmentations):
        raise ValueError('it has no segmentation (boxes alone are scored with metric=bbox)')
    if image.width * image.height > LARGEST_PX2:
        raise ValueError(f'pycocotools draws no masks on images of {image.width} x {image.height} px')
    return compressed_counts(segmentations, image.height, image.width)


def _boxes(entries: Sequence[Mapping], masks: list[str | bytes] | None, image: CocoImage) -> NDArray[np.float64]:
    """Return the boxes of entries (n, 4), those of their masks if an entry has none."""
    if any(entry.get('bbox') is None for entry in entries):
        return decode(masks, image.height, image.width).boxes().astype(np.float64)
    try:
        boxes = np.array([entry['bbox'] for entry in entries], dtype=np.float64).reshape(len(entries), 4)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError('a box is not four numbers') from error
    if not (np.abs(boxes) < LARGEST_NUMBER).all() or (boxes[:, 2:] < 0).any():
        raise ValueError('a box has a negative or absurd size')
    return boxes
