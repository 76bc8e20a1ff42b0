"""Regions of one image, masks and boxes, and how far they overlap. Pure; pycocotools does the arithmetic.

Boxes are x, y, width, height in pixels, as in COCO files. Masks are compared as run lengths (RLE) and never as arrays;
polygons are drawn by pycocotools, so that the numbers are those of COCO's own evaluation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from noise_mm.evaluation.matching import ImageOverlaps, Pairs

Rle = dict[str, Any]


@dataclass(frozen=True)
class Regions:
    """The n detections or annotated objects of one image.

    Attributes:
        classes: (n,) int64 class indices.
        boxes: (n, 4) float64 x, y, width, height; None where boxes are not scored.
        masks: n run lengths of one size; None where masks are not scored.
    """

    classes: np.ndarray
    boxes: np.ndarray | None
    masks: list[Rle] | None


def compare_image(
    detections: Regions,
    scores: np.ndarray,
    objects: Regions,
    ignored: np.ndarray,
    *,
    image_id: int | str | tuple[int, int],
    batch: str,
    well: str,
    min_iou: float = 0.0,
    px2_per_cell: float = 1.0,
) -> ImageOverlaps:
    """Compares all that was detected in an image with all that is annotated there.

    Args:
        detections: The n detections.
        scores: (n,) their confidences.
        objects: The m annotated objects; boxes and masks are compared where both sides have them.
        ignored: (m,) bool, True for regions that are neither object nor background.
        image_id: Id of the image.
        batch: Its batch.
        well: Its well.
        min_iou: Pairs that overlap less are left out. No larger than the smallest threshold that will be asked for.
        px2_per_cell: Area of one pixel of the masks in pixels of the image, if they are smaller than it.

    Raises:
        ValueError: If the masks are of different sizes, which pycocotools would take for no overlap.
    """
    pairs = {}
    with_masks = detections.masks is not None and objects.masks is not None
    if with_masks:
        sizes = {tuple(mask['size']) for mask in [*detections.masks, *objects.masks]}
        if len(sizes) > 1:
            raise ValueError(f'masks of different sizes are compared: {", ".join(map(str, sorted(sizes)))}')
        pairs['segm'] = overlapping_pairs(detections, objects, ignored, 'masks', min_iou)
    if detections.boxes is not None and objects.boxes is not None:
        pairs['bbox'] = overlapping_pairs(detections, objects, ignored, 'boxes', min_iou)
    return ImageOverlaps(
        image_id=image_id,
        batch=batch,
        well=well,
        scores=np.asarray(scores, dtype=np.float64),
        classes=detections.classes,
        areas_px2=areas_px2(detections.masks) * px2_per_cell if with_masks else None,
        object_classes=objects.classes,
        object_ignored=ignored,
        object_areas_px2=areas_px2(objects.masks) * px2_per_cell if with_masks else None,
        pairs=pairs,
    )


def overlapping_pairs(
    detections: Regions, objects: Regions, ignored: np.ndarray, attribute: str, min_iou: float = 0.0
) -> Pairs:
    """The pairs of detection and object of the same class that overlap, by at least `min_iou`.

    Args:
        detections: The n detections.
        objects: The m objects.
        ignored: (m,) bool. With these the overlap is the share of the detection's area instead of the IoU.
        attribute: What to compare: 'masks' or 'boxes'.
        min_iou: Smallest overlap.
    """
    parts = [Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    for index in np.intersect1d(detections.classes, objects.classes):
        ours, theirs = np.flatnonzero(detections.classes == index), np.flatnonzero(objects.classes == index)
        regions = [_take(getattr(each, attribute), wanted) for each, wanted in ((detections, ours), (objects, theirs))]
        ious = coco_mask.iou(*regions, ignored[theirs].astype(np.uint8))  # (ours, theirs)
        rows, columns = np.nonzero((ious > 0) & (ious >= min_iou))
        parts.append(Pairs(ours[rows], theirs[columns], ious[rows, columns]))
    names = ('detections', 'objects', 'ious')
    return Pairs(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def as_rles(masks: Any, height: int, width: int) -> list[Rle]:
    """Masks of one image as compressed run lengths.

    Args:
        masks: An array or tensor (n, height, width) of bools or zeros and ones; or a sequence of masks, each a COCO
            RLE, compressed or not, or a list of polygons x1, y1, x2, y2, ..., the union of which counts.
        height: Of the image that polygons are drawn on.
        width: Of the same.

    Raises:
        ValueError: If a mask is none of these, a polygon has fewer than three points, or a mask has no polygon.
    """
    if hasattr(masks, 'shape'):
        return [as_rle(mask) for mask in np.asarray(masks)]
    if any(isinstance(mask, dict) for mask in masks):
        return [_one_as_rle(mask, height, width) for mask in masks]
    return _polygons_as_rles(masks, height, width)


def as_rle(mask: np.ndarray) -> Rle:
    """One mask (height, width) as compressed run lengths."""
    return coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))


def areas_px2(rles: Sequence[Rle]) -> np.ndarray:
    """(n,) float64 number of pixels of each mask."""
    # Beside NumPy 2, pycocotools 2.0.11 cannot take more than 255 masks at a time.
    parts = [coco_mask.area(list(rles[first : first + 255])) for first in range(0, len(rles), 255)]
    return np.concatenate([np.zeros(0), *parts])


def boxes_of(rles: Sequence[Rle]) -> np.ndarray:
    """(n, 4) x, y, width, height of the pixels of each mask."""
    return np.asarray(coco_mask.toBbox(list(rles)), dtype=np.float64).reshape(len(rles), 4)


def _take(regions: Sequence[Rle] | np.ndarray, indices: np.ndarray) -> list[Rle] | np.ndarray:
    if isinstance(regions, np.ndarray):
        return regions[indices]
    return list(regions) if len(indices) == len(regions) else [regions[i] for i in indices]


def _polygons_as_rles(masks: Sequence[Any], height: int, width: int) -> list[Rle]:
    """All polygons of an image are drawn in one call, which is what takes the time otherwise."""
    rings = [ring for mask in masks for ring in _checked_rings(mask)]
    if not rings:
        return []
    drawn = coco_mask.frPyObjects(rings, height, width)
    ends = np.cumsum([len(mask) for mask in masks])
    parts = [drawn[end - len(mask) : end] for mask, end in zip(masks, ends, strict=True)]
    return [part[0] if len(part) == 1 else coco_mask.merge(part) for part in parts]


def _one_as_rle(mask: Any, height: int, width: int) -> Rle:
    if not isinstance(mask, dict):
        return _polygons_as_rles([mask], height, width)[0]
    size = mask.get('size')
    if 'counts' not in mask or not isinstance(size, Sequence) or len(size) != 2:
        raise ValueError('the mask has no size (height, width) and counts')
    if isinstance(mask['counts'], str | bytes):
        return mask
    return coco_mask.frPyObjects({**mask, 'counts': list(mask['counts'])}, *mask['size'])


def _checked_rings(mask: Any) -> Sequence[Any]:
    """The polygons of a mask; pycocotools takes four numbers for a box, and fewer end in a crash."""
    if isinstance(mask, str) or not isinstance(mask, Sequence) or not len(mask):
        raise ValueError('the mask is neither an RLE nor a list of polygons')
    for ring in mask:
        if isinstance(ring, int | float | str) or len(ring) < 6 or len(ring) % 2:
            raise ValueError('a polygon is not made of three or more pairs of numbers')
    return mask
