"""How far outlines of cells overlap, in pixels, without drawing the image that they lie in. Pure.

The numbers are those of masks of the whole image, a pixel being inside if its centre is (see `annotations.pixels`):
outlines are only drawn in their own boxes, and pairs where their boxes overlap.
"""

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon

from noise_mm.evaluation.matching import ImageOverlaps, Pairs
from noise_mm.geometry.outline import Outline
from noise_mm.geometry.pixels import fill_pixels

Box = tuple[int, int, int, int]  # left, top, right, bottom in whole pixels


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
    """Compares all that was found in an image with all that is annotated there, by masks.

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
    labels, object_labels = (
        np.array([classes.index(outline.label) for outline in side], dtype=np.int64) for side in (found, objects)
    )
    ignored = np.array([outline.ignored for outline in objects], dtype=bool)
    return ImageOverlaps(
        image_id=image_id,
        batch=batch,
        well=well,
        scores=np.array([1.0 if each.score is None else each.score for each in found], dtype=np.float64),
        classes=labels,
        areas_px2=_areas(found),
        object_classes=object_labels,
        object_ignored=ignored,
        object_areas_px2=_areas(objects),
        pairs={'segm': _overlapping_pairs(found, objects, size_px)},
    )


def _areas(outlines: Sequence[Outline]) -> NDArray[np.float64]:
    return np.array([outline.geometry.area for outline in outlines], dtype=np.float64)


def _overlapping_pairs(found: Sequence[Outline], objects: Sequence[Outline], size_px: tuple[int, int]) -> Pairs:
    """The pairs of equal label that share a pixel, and their overlap as `Pairs` defines it."""
    geometries, object_geometries = (
        np.array([outline.geometry for outline in side], dtype=object) for side in (found, objects)
    )
    # A pixel centre inside both is a point of both, so no pair is missed.
    candidates = shapely.STRtree(object_geometries).query(geometries, predicate='intersects')
    boxes, object_boxes = ([_box(each, size_px) for each in side] for side in (geometries, object_geometries))
    sizes, object_sizes = {}, {}
    detections, partners, ious = [], [], []
    for i, j in zip(*(indices.tolist() for indices in candidates), strict=True):
        if found[i].label != objects[j].label:
            continue
        shared = _common(boxes[i], object_boxes[j])
        overlap = np.count_nonzero(_drawn(geometries[i], shared) & _drawn(object_geometries[j], shared))
        if not overlap:
            continue
        for each, known, geometry, box in (
            (i, sizes, geometries[i], boxes[i]),
            (j, object_sizes, object_geometries[j], object_boxes[j]),
        ):
            if each not in known:
                known[each] = np.count_nonzero(_drawn(geometry, box))
        whole = sizes[i] if objects[j].ignored else sizes[i] + object_sizes[j] - overlap
        detections.append(i)
        partners.append(j)
        ious.append(overlap / whole)
    return Pairs(np.array(detections, np.int64), np.array(partners, np.int64), np.array(ious, np.float64))


def _box(geometry: Polygon | MultiPolygon, size_px: tuple[int, int]) -> Box:
    """The pixels that an outline's bounds touch, as far as they are in the image."""
    left, top, right, bottom = geometry.bounds
    return _common(
        (int(np.floor(left)), int(np.floor(top)), int(np.ceil(right)), int(np.ceil(bottom))), (0, 0, *size_px)
    )


def _common(one: Box, other: Box) -> Box:
    """What two boxes have in common; its right or bottom lies before its left or top where that is nothing."""
    left, top = np.maximum(one[:2], other[:2]).tolist()
    right, bottom = np.minimum(one[2:], other[2:]).tolist()
    return left, top, right, bottom


def _drawn(geometry: Polygon | MultiPolygon, box: Box) -> NDArray[np.bool_]:
    left, top, right, bottom = box
    return fill_pixels(geometry, left, top, max(right - left, 0), max(bottom - top, 0))
