"""From the entries of COCO results and annotations, each checked, to what overlaps what in their images."""

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
from noise_mm.coco.segmentation import is_flat
from noise_mm.errors import InputError
from noise_mm.evaluation.matching import ImageOverlaps
from noise_mm.evaluation.regions import (
    DamagedMaskError,
    ImageRegions,
    Regions,
    as_rles,
    compare_images,
    counts_of,
)
from noise_mm.geometry.run_lengths import LARGEST_PX2, decode

logger = logging.getLogger(__name__)

RESULT_REMEDY = 'Write COCO results: a list of {image_id, category_id, score, segmentation or bbox}.'
TRUTH_REMEDY = REMEDY
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
        images: The images by id.
        objects: The annotations to score by image id.
        class_names: Names of the classes that are scored.
        class_indices: Index of the class by category id; `UNSCORED` for categories that are not scored.
    """

    name: str
    place: int
    batch: str
    images: dict[Id, CocoImage]
    objects: dict[Id, list[CocoAnnotation]]
    class_names: Sequence[str]
    class_indices: dict[Id, int]


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
    found = _Found(truths, results, name)
    images = [(truth, image) for truth in truths for image in truth.images.values()]
    regions = (
        _image_regions(truth, image, found, found.of_image(place), kinds) for place, (truth, image) in enumerate(images)
    )
    try:
        return list(compare_images(regions, min_iou, THREADS))
    except DamagedMaskError as error:
        place, image_id = error.image.image_id
        (truth,) = (each for each in truths if each.place == place)
        source, remedy = (f'{truth.name}: an annotation', TRUTH_REMEDY) if error.of_object else found.source
        raise InputError(f'{source} of image {image_id} is faulty: {error}. {remedy}') from error


class _Found:
    """The results of one file by image.

    Attributes:
        results: The results.
        scores: (n,) their confidences.
        classes: (n,) the indices of their classes, or `UNSCORED`.
        source: What messages about one of them begin and end with.
    """

    def __init__(self, truths: Sequence[Truth], results: Any, name: str) -> None:
        """Check the results and sort them by image.

        Raises:
            InputError: If an entry is not what COCO results are, or refers to what the ground truth has not.
        """
        if not isinstance(results, list):
            raise InputError(f'{name}: not a list. {RESULT_REMEDY}')
        ids, labels, scores = _columns(results, name)
        owners = _owners(truths, set(ids), name)
        places = {key: place for place, key in enumerate((truth.place, i) for truth in truths for i in truth.images)}
        by_id = {key: places[truth.place, image_id] for key, (truth, image_id) in owners.items()}
        images = _look_up(by_id, ids, 'image_id', results, range(len(results)), name)
        self.results, self.source = results, (f'{name}: a result', RESULT_REMEDY)
        self.scores = _numbers(scores, name)
        self.classes = np.full(len(results), UNSCORED)
        borders = np.cumsum([0, *(len(truth.images) for truth in truths)])
        for truth, first, end in zip(truths, borders[:-1], borders[1:], strict=True):
            own = np.flatnonzero((images >= first) & (images < end))
            wanted = labels if len(own) == len(labels) else [labels[k] for k in own.tolist()]
            self.classes[own] = _look_up(truth.class_indices, wanted, 'category_id', results, own.tolist(), name)
        scored = np.flatnonzero(self.classes != UNSCORED)
        self._order = scored[np.argsort(images[scored], kind='stable')]
        self._borders = np.searchsorted(images[self._order], np.arange(len(places) + 1))

    def of_image(self, place: int) -> NDArray[np.int64]:
        """Return the positions of the results to score in an image, in the order of the file."""
        return self._order[self._borders[place] : self._borders[place + 1]]


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
        sound = numbers.shape == (len(scores),) and all(
            issubclass(each, int | float) for each in set(map(type, scores))
        )
    except (ValueError, TypeError, OverflowError):
        sound = False
    if not sound or not (np.abs(numbers) < LARGEST_NUMBER).all():
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
        for image_id in truth.images:
            other, _ = by_id.setdefault(image_id, (truth, image_id))
            if other is not truth:
                raise InputError(
                    f'{name}: image id {image_id} is both in {other.name} and in {truth.name}. '
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
        for image_id, image in truth.images.items():
            stem = PurePosixPath(base_name(image.file_name)).stem
            for key in {stem, int(stem)} if stem.isdecimal() and len(stem) < 19 else {stem}:
                twice |= {key} & by_stem.keys()
                by_stem[key] = truth, image_id
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


# --- regions


def _image_regions(
    truth: Truth, image: CocoImage, found: _Found, places: NDArray[np.int64], kinds: Sequence[str]
) -> ImageRegions:
    annotations = truth.objects.get(image.id, [])
    classes = np.array([truth.class_names.index(each.category) for each in annotations], dtype=np.int64)
    results = [found.results[place] for place in places.tolist()]
    entries = [annotation.entry for annotation in annotations]
    return ImageRegions(
        image_id=(truth.place, image.id),
        batch=str(image.entry.get('batch') or truth.batch),
        well=str(image.entry.get('well') or ''),
        detections=_regions(results, found.classes[places], image, kinds, *found.source),
        scores=found.scores[places],
        objects=_regions(entries, classes, image, kinds, f'{truth.name}: an annotation', TRUTH_REMEDY),
        ignored=np.array([annotation.ignored for annotation in annotations], dtype=bool),
        size=(image.height, image.width),
    )


def _regions(
    entries: Sequence[Mapping],
    classes: NDArray[np.int64],
    image: CocoImage,
    kinds: Sequence[str],
    source: str,
    remedy: str,
) -> Regions:
    """Return the masks and boxes of the entries of one image, as far as they are scored."""
    boxes, masks = None, None
    if 'segm' in kinds:
        masks = _masks(entries, image, source, remedy)
    if 'bbox' in kinds:
        if all(entry.get('bbox') is not None for entry in entries):
            boxes = _boxes(entries, image, source, remedy)
        else:
            boxes = _boxes_of(masks or _masks(entries, image, source, remedy), image, source, remedy)
    return Regions(classes, boxes, masks)


def _masks(entries: Sequence[Mapping], image: CocoImage, source: str, remedy: str) -> list[str | bytes]:
    """Return the compressed run lengths of entries; whether they are whole is seen when they are decoded."""
    segmentations = [entry.get('segmentation') for entry in entries]
    if not all(segmentations):
        raise InputError(f'{source} of image {image.id} has no segmentation. Score boxes only, or: {remedy}')
    size = [image.height, image.width]
    try:
        if image.width * image.height > LARGEST_PX2:
            raise ValueError(f'pycocotools draws no masks on images of {image.width} x {image.height} px')
        if set(map(type, segmentations)) <= {dict}:
            counts = [each.get('counts') for each in segmentations]
            if set(map(type, counts)) <= {str, bytes} and all(each.get('size') == size for each in segmentations):
                return counts
        segmentations = [[each] if is_flat(each) else each for each in segmentations]
        return counts_of(as_rles(segmentations, *size), *size)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f'{source} of image {image.id} is faulty: {error}. {remedy}') from error


def _boxes_of(masks: list[str | bytes], image: CocoImage, source: str, remedy: str) -> NDArray[np.float64]:
    try:
        return decode(masks, image.height, image.width).boxes().astype(np.float64)
    except ValueError as error:
        raise InputError(f'{source} of image {image.id} is faulty: {error}. {remedy}') from error


def _boxes(entries: Sequence[Mapping], image: CocoImage, source: str, remedy: str) -> NDArray[np.float64]:
    try:
        boxes = np.array([entry['bbox'] for entry in entries], dtype=np.float64).reshape(len(entries), 4)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f'{source} of image {image.id} has a box that is not four numbers. {remedy}') from error
    if not (np.abs(boxes) < LARGEST_NUMBER).all() or (boxes[:, 2:] < 0).any():
        raise InputError(f'{source} of image {image.id} has a box of negative or absurd size. {remedy}')
    return boxes
