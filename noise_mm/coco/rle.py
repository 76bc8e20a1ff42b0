"""Masks of any form as COCO's compressed run lengths (RLE). Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from noise_mm.coco.segmentation import is_flat, ring_of
from noise_mm.geometry.run_lengths import run_lengths

LONGEST_PX = 5_000_000  # around a polygon; pycocotools takes 100 bytes for each of these pixels


def compressed_counts(masks: Any, height: int, width: int) -> list[str | bytes]:
    """Return what COCO's compressed RLE has under `counts`, for each mask of one image.

    Args:
        masks: An array (n, height, width) of bools or zeros and ones; or a sequence of masks, each a COCO RLE,
            compressed or not, or a list of polygons x1, y1, x2, y2, ..., the union of which counts, or one polygon.
        height: Of the image.
        width: Of the image.

    Raises:
        ValueError: If a mask is none of these or of another size, a polygon has fewer than three points, or a mask has
            no polygon. Whether compressed run lengths are sound is seen when they are decoded.
    """
    if hasattr(masks, 'shape'):
        masks = [coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8)) for mask in np.asarray(masks)]
    if set(map(type, masks)) == {dict}:  # the usual case, for speed
        counts = [mask.get('counts') for mask in masks]
        sizes = [mask.get('size') for mask in masks]
        if set(map(type, counts)) <= {str, bytes} and sizes.count([height, width]) == len(sizes):
            return counts
    counts = [_counts_of_rle(mask, height, width) if isinstance(mask, dict) else None for mask in masks]
    if None in counts:  # all polygons of an image are drawn in one call, which is what takes the time otherwise
        polygons = [[mask] if is_flat(mask) else mask for mask in masks if not isinstance(mask, dict)]
        drawn = iter(_draw_polygons(polygons, height, width))
        counts = [next(drawn) if each is None else each for each in counts]
    return counts


def _counts_of_rle(rle: Mapping, height: int, width: int) -> str | bytes:
    size, counts = rle.get('size'), rle.get('counts')
    is_text = isinstance(counts, str | bytes)
    runs = None if is_text else run_lengths(rle)
    if size != [height, width] and (not isinstance(size, Sequence) or list(size) != [height, width]):
        raise ValueError(f'a mask is of {size}, the image is [{height}, {width}]')
    if is_text:
        return counts
    return coco_mask.frPyObjects({'size': [height, width], 'counts': runs.tolist()}, height, width)['counts']


def _draw_polygons(masks: Sequence[Any], height: int, width: int) -> list[bytes]:
    for mask in masks:
        if isinstance(mask, str) or not isinstance(mask, Sequence) or not len(mask):
            raise ValueError('the mask is neither an RLE nor a list of polygons')
    rings = [ring_of(ring) for mask in masks for ring in mask]
    _require_drawable(rings, height, width)
    drawn = iter(coco_mask.frPyObjects([ring.ravel() for ring in rings], height, width))
    parts = [[next(drawn) for _ in mask] for mask in masks]
    return [(each[0] if len(each) == 1 else coco_mask.merge(each))['counts'] for each in parts]


def _require_drawable(rings: Sequence[np.ndarray], height: int, width: int) -> None:
    """Refuse polygons for which pycocotools asks for memory without a limit, or ends the process."""
    limits = np.array([width, height])
    points = np.concatenate(rings)
    beyond = np.maximum(-points, points - limits)
    if (beyond > limits).any():
        raise ValueError(f'a polygon reaches {beyond.max():g} px beyond the image')
    for ring in rings:
        if len(ring) * limits.max() > LONGEST_PX and np.abs(np.diff(ring, axis=0)).max(axis=1).sum() > LONGEST_PX:
            raise ValueError(f'a polygon is longer than {LONGEST_PX} px')
