"""How far the masks and boxes of detections and annotated objects overlap. Pure.

Boxes are x, y, width, height in pixels, as in COCO files. Masks are run lengths (RLE) and never arrays. The numbers are
those of COCO's own evaluation, to the last bit.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import shapely

from noise_mm.coco.segmentation import column_runs
from noise_mm.evaluation.matching import ImageOverlaps, Pairs
from noise_mm.geometry.cell_masks import cell_masks
from noise_mm.geometry.outline import Outline
from noise_mm.geometry.run_lengths import ColumnRuns, decode, joined

MASKS_AT_ONCE = 1000  # of many images; their runs then stay in the processor's cache
PAIRS_AT_ONCE = 500_000  # pairs of detection and object: some 50 MB; of more, the boxes are searched in a tree


@dataclass(frozen=True)
class Instances:
    """The n detections or annotated objects of one image.

    Attributes:
        classes: (n,) int64 class indices.
        boxes: (n, 4) float64 x, y, width, height; None where boxes are not scored.
        masks: n masks of the size of the image, as compressed run lengths or as runs (first pixels and ends, down the
            columns); None where masks are not scored.
    """

    classes: np.ndarray
    boxes: np.ndarray | None
    masks: Sequence[str | bytes] | Sequence[tuple[np.ndarray, np.ndarray]] | None


@dataclass(frozen=True)
class ImageInstances:
    """All that was detected in an image, and all that is annotated there.

    Attributes:
        image_id: Id of the image.
        batch: Its batch.
        well: Its well.
        detections: The n detections.
        scores: (n,) their confidences.
        objects: The m annotated objects; boxes and masks are compared where both sides have them.
        ignored: (m,) bool, True for regions that are neither object nor background.
        size: Height and width of the masks; None where there are none.
        px2_per_cell: Area of one pixel of the masks in pixels of the image, if they are smaller than it.
    """

    image_id: int | str | tuple[int, int]
    batch: str
    well: str
    detections: Instances
    scores: np.ndarray
    objects: Instances
    ignored: np.ndarray
    size: tuple[int, int] | None = None
    px2_per_cell: float = 1.0

    @property
    def kinds(self) -> tuple[str, ...]:
        """Which regions both sides have: 'segm', 'bbox'."""
        sides = self.detections, self.objects
        kinds = {'segm': [side.masks for side in sides], 'bbox': [side.boxes for side in sides]}
        return tuple(kind for kind, regions in kinds.items() if all(each is not None for each in regions))


class DamagedMaskError(ValueError):
    """Masks of an image can't be compared.

    Attributes:
        image: The image.
        of_object: Whether it is an annotated object's mask, and not a detection's.
    """

    def __init__(self, message: str, image: ImageInstances, of_object: bool) -> None:
        super().__init__(message)
        self.image, self.of_object = image, of_object


def compare_images(images: Iterable[ImageInstances], min_iou: float = 0.0, threads: int = 1) -> Iterator[ImageOverlaps]:
    """Compare what was detected in images with what is annotated there.

    How it works: many images at once. Their masks are decoded together; of all pairs of detection and object those are
    dropped that can't reach `min_iou` by their boxes and areas; the pixels that the others share are counted.

    Args:
        images: The images.
        min_iou: Pairs that overlap less are left out. No larger than the smallest threshold that will be asked for.
        threads: How many groups of images are compared at a time. NumPy works without Python's lock, so that threads
            do what processes would, without sending the masks to them.

    Yields:
        The overlaps in each image.

    Raises:
        DamagedMaskError: If run lengths are damaged, or not of the size of their image.
    """
    groups = (_Group(group) for group in _groups(images))
    if threads == 1:
        for group in groups:
            yield from group.overlaps(min_iou)
        return
    with ThreadPoolExecutor(threads) as pool:
        pending: deque[Future] = deque()
        for group in groups:
            pending.append(pool.submit(group.overlaps, min_iou))
            if len(pending) > 2 * threads:
                yield from pending.popleft().result()
        for future in pending:
            yield from future.result()


def _groups(images: Iterable[ImageInstances]) -> Iterator[list[ImageInstances]]:
    """Yield consecutive images with masks of one size, up to `MASKS_AT_ONCE` regions if there is more than one."""
    for _, alike in groupby(images, key=lambda image: (image.size, image.kinds)):
        group: list[ImageInstances] = []
        n_regions = 0
        for image in alike:
            n_own = len(image.scores) + len(image.ignored)
            if group and n_regions + n_own > MASKS_AT_ONCE:
                yield group
                group, n_regions = [], 0
            group.append(image)
            n_regions += n_own
        yield group


class _Group:
    """Images that are compared together: detections and objects of all are numbered in the order of the images."""

    def __init__(self, images: list[ImageInstances]) -> None:
        self.images = images
        self.n_detections = np.array([len(image.scores) for image in images])
        self.n_objects = np.array([len(image.ignored) for image in images])
        self.first_detections = np.cumsum(self.n_detections) - self.n_detections
        self.first_objects = np.cumsum(self.n_objects) - self.n_objects
        self.classes = np.concatenate([image.detections.classes for image in images])
        self.object_classes = np.concatenate([image.objects.classes for image in images])
        self.ignored = np.concatenate([image.ignored for image in images])

    def overlaps(self, min_iou: float) -> list[ImageOverlaps]:
        """Return the overlaps in each image."""
        pairs, areas = {}, [(None, None)] * len(self.images)
        for kind in self.images[0].kinds:
            if kind == 'segm':
                pairs[kind], areas = self._of_masks(min_iou)
            else:
                pairs[kind] = self._of_boxes(min_iou)
        return [
            ImageOverlaps(
                image_id=image.image_id,
                batch=image.batch,
                well=image.well,
                scores=np.asarray(image.scores, dtype=np.float64),
                classes=image.detections.classes,
                areas_px2=areas[k][0],
                object_classes=image.objects.classes,
                object_ignored=image.ignored,
                object_areas_px2=areas[k][1],
                pairs={kind: each[k] for kind, each in pairs.items()},
            )
            for k, image in enumerate(self.images)
        ]

    def _of_masks(self, min_iou: float) -> tuple[list[Pairs], list[tuple[np.ndarray, np.ndarray]]]:
        """Return the pairs, and the areas of detections and objects in pixels of the image."""
        sides = [[text for image in self.images for text in image.detections.masks]]
        sides.append([text for image in self.images for text in image.objects.masks])
        try:
            runs = _as_runs(sides[0] + sides[1], *self.images[0].size)
        except ValueError as error:
            raise self._damaged(error) from error
        n = len(sides[0])
        boxes, areas = runs.boxes(), runs.areas().astype(np.float64)
        ours, theirs, most = self._touching(boxes[:n], boxes[n:])
        most = np.minimum(most, np.minimum(areas[ours], areas[theirs + n]))
        able = most / self._unions(areas[:n], areas[n:], ours, theirs, most) >= min_iou
        ours, theirs = ours[able], theirs[able]
        common = runs.intersections(ours, theirs + n, boxes)
        ious = common / self._unions(areas[:n], areas[n:], ours, theirs, common)
        px2 = np.array([image.px2_per_cell for image in self.images])
        sides = (areas[:n] * px2.repeat(self.n_detections), areas[n:] * px2.repeat(self.n_objects))
        borders = np.append(self.first_detections, n), np.append(self.first_objects, len(areas) - n)
        in_images = zip(*(_parts(*each) for each in zip(sides, borders, strict=True)), strict=True)
        return self._per_image(ours, theirs, ious, min_iou), list(in_images)

    def _of_boxes(self, min_iou: float) -> list[Pairs]:
        boxes = np.concatenate([image.detections.boxes for image in self.images])
        object_boxes = np.concatenate([image.objects.boxes for image in self.images])
        areas, object_areas = boxes[:, 2] * boxes[:, 3], object_boxes[:, 2] * object_boxes[:, 3]
        ours, theirs, common = self._touching(boxes, object_boxes)
        ious = common / self._unions(areas, object_areas, ours, theirs, common)
        return self._per_image(ours, theirs, ious, min_iou)

    def _touching(self, boxes: np.ndarray, object_boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the pairs of a detection and an object of its image and class whose boxes overlap, and by how much."""
        partners = np.repeat(self.n_objects, self.n_detections)
        if len(self.images) == 1 and partners.sum() > PAIRS_AT_ONCE:
            ours, theirs = shapely.STRtree(_geometries(object_boxes)).query(_geometries(boxes))
        else:
            ours = np.repeat(np.arange(len(partners)), partners)
            begins = np.cumsum(partners) - partners
            firsts = np.repeat(self.first_objects, self.n_detections)
            theirs = np.arange(len(ours)) + np.repeat(firsts - begins, partners)
        if len(set(self.classes.tolist()) | set(self.object_classes.tolist())) > 1:
            alike = self.classes[ours] == self.object_classes[theirs]
            ours, theirs = ours[alike], theirs[alike]
        return _in_common(boxes, object_boxes, ours, theirs)

    def _unions(self, areas, object_areas, ours, theirs, common) -> np.ndarray:
        """Return what an overlap is a share of: the union, or with an ignored region the detection."""
        together = areas[ours] + object_areas[theirs] - common
        return np.where(self.ignored[theirs], areas[ours], together) if self.ignored.any() else together

    def _per_image(self, detections: np.ndarray, objects: np.ndarray, ious: np.ndarray, min_iou: float) -> list[Pairs]:
        reached = (ious > 0) & (ious >= min_iou)
        detections, objects, ious = detections[reached], objects[reached], ious[reached]
        borders = np.append(np.searchsorted(detections, self.first_detections), len(detections))
        images = np.repeat(np.arange(len(self.images)), np.diff(borders))
        own = detections - self.first_detections[images], objects - self.first_objects[images], ious
        return [Pairs(*each) for each in zip(*(_parts(values, borders) for values in own), strict=True)]

    def _damaged(self, error: ValueError) -> DamagedMaskError:
        """Return the error with the image whose masks can't be decoded."""
        for image in self.images:
            for of_object, side in enumerate((image.detections, image.objects)):
                try:
                    _as_runs(side.masks, *image.size)
                except ValueError as own:
                    return DamagedMaskError(str(own), image, bool(of_object))
        return DamagedMaskError(str(error), self.images[0], False)  # together they are too many


def _as_runs(masks: Sequence[Any], height: int, width: int) -> ColumnRuns:
    return joined(masks, height) if masks and isinstance(masks[0], tuple) else decode(masks, height, width)


def _parts(values: np.ndarray, borders: np.ndarray) -> list[np.ndarray]:
    """Return the values between each two borders."""
    return [values[start:end] for start, end in pairwise(borders.tolist())]


def _geometries(boxes: np.ndarray) -> np.ndarray:
    return shapely.box(boxes[:, 0], boxes[:, 1], boxes[:, 0] + boxes[:, 2], boxes[:, 1] + boxes[:, 3])


def _in_common(
    boxes: np.ndarray, object_boxes: np.ndarray, ours: np.ndarray, theirs: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the pairs of boxes that overlap, and the area that they share."""
    sides = []
    for axis in (0, 1):
        low, other_low = (np.ascontiguousarray(each[:, axis]) for each in (boxes, object_boxes))
        high, other_high = low + boxes[:, axis + 2], other_low + object_boxes[:, axis + 2]
        side = np.minimum(high.take(ours), other_high.take(theirs)) - np.maximum(low.take(ours), other_low.take(theirs))
        overlap = np.flatnonzero(side > 0)
        ours, theirs = ours[overlap], theirs[overlap]
        sides = [*(each[overlap] for each in sides), side[overlap]]
    return ours, theirs, sides[0] * sides[1]


def compare_outlines(
    found: Sequence[Outline],
    objects: Sequence[Outline],
    classes: Sequence[str],
    size_px: tuple[int, int],
    *,
    image_id: int | str,
    batch: str,
    well: str,
) -> ImageOverlaps:
    """Compare the outlines that were found in an image with those that are annotated there, by masks.

    How it works: the numbers are those of masks of the whole image, a pixel being inside if its centre is, but each
    outline is drawn once, in its own box, so that images of any size can be compared.

    Args:
        found: The n outlines found; one without a score counts as certain (score 1).
        objects: The m annotated outlines, those to be ignored among them.
        classes: Class names; every label must be one of them.
        size_px: Width and height of the image; what lies beyond it has no pixels.
        image_id: Id of the image.
        batch: Its batch.
        well: Its well.

    Returns:
        With the pairs of kind 'segm'. Areas are those within the outlines, exactly.
    """
    width_px, height_px = size_px
    detections, regions = (
        Instances(
            np.array([classes.index(outline.label) for outline in side], dtype=np.int64),
            None,
            [column_runs(mask, height_px) for mask in cell_masks(side, size_px)],
        )
        for side in (found, objects)
    )
    scores = np.array([1.0 if each.score is None else each.score for each in found], dtype=np.float64)
    ignored = np.array([outline.ignored for outline in objects], dtype=bool)
    image = ImageInstances(image_id, batch, well, detections, scores, regions, ignored, (height_px, width_px))
    (overlaps,) = compare_images([image])
    areas, object_areas = (
        np.array([each.geometry.area for each in side], dtype=np.float64) for side in (found, objects)
    )
    return replace(overlaps, areas_px2=areas, object_areas_px2=object_areas)
