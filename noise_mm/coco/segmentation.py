"""COCO segmentations and the geometry they stand for: polygons, and run-length masks (RLE). Pure; no files.

COCO polygons are in pixels with corners at whole numbers; several polygons of one annotation are its parts and their
union counts. COCO has no holes: an outline with holes is written as one ring with a bridge to each hole (see `rings`),
which every COCO tool fills rightly, and read back with its holes. Run-length masks run down the columns of the whole
image, first the pixels outside; they are traced along pixel edges.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from shapely import MultiPolygon, Polygon

from noise_mm.geometry.cell_masks import CellMask
from noise_mm.geometry.outline import parts_of, polygonal_parts
from noise_mm.geometry.pixels import mask_of_runs, row_runs, trace
from noise_mm.geometry.rings import geometry_of_ring, keyholed
from noise_mm.geometry.run_lengths import LARGEST_PX2, run_lengths


def coco_segmentation(geometry: Polygon | MultiPolygon) -> list[list[float]]:
    """Return COCO's list of polygons, each x1, y1, x2, y2, ...: one for each part, holes bridged into it."""
    return [keyholed(part).ravel().tolist() for part in parts_of(geometry)]


def is_flat(segmentation: Any) -> bool:
    """Return whether a segmentation is one polygon as a flat list of numbers, as VIA 2 writes it."""
    return isinstance(segmentation, list) and bool(segmentation) and isinstance(segmentation[0], int | float)


def rings_of(segmentation: Any) -> list[NDArray[np.float64]]:
    """Return the rings of COCO polygons, each an array (n, 2), as they stand.

    Raises:
        ValueError: If it is no list of lists of pairs of finite numbers with three pairs or more.
    """
    if is_flat(segmentation):
        segmentation = [segmentation]
    if not isinstance(segmentation, list) or not all(isinstance(ring, list) for ring in segmentation):
        raise ValueError('the segmentation is neither a list of polygons nor an RLE')
    if not segmentation:
        raise ValueError('the segmentation is empty')
    return [ring_of(ring) for ring in segmentation]


def ring_of(ring: Sequence[float] | NDArray) -> NDArray[np.float64]:
    """Return one COCO polygon, x1, y1, x2, y2, ..., as an array (n, 2).

    Raises:
        ValueError: If it is not made of pairs of finite numbers, three or more.
    """
    if isinstance(ring, str) or not isinstance(ring, Sequence | np.ndarray):
        raise ValueError('a polygon is no list of numbers')
    if len(ring) % 2:
        raise ValueError(f'a polygon has {len(ring)} numbers, which are not pairs')
    try:
        vertices = np.array(ring, dtype=np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError('a polygon has something else than numbers') from error
    if vertices.ndim != 1 or len(vertices) < 6:
        raise ValueError('a polygon has fewer than three vertices')
    if not np.isfinite(vertices).all():
        raise ValueError('a coordinate is not a finite number')
    return vertices.reshape(-1, 2)


def geometry_from_segmentation(segmentation: Any, height: int, width: int) -> tuple[Polygon | MultiPolygon, bool]:
    """Return the geometry of COCO polygons or RLE, bridges to holes undone, and whether a polygon crosses itself.

    Polygons that cross themselves are repaired by the even-odd rule.

    Args:
        segmentation: The value of `segmentation` in a COCO annotation; a flat list of numbers is one polygon.
        height: Height of the image, which an RLE must have too.
        width: Width of the image.

    Raises:
        ValueError: If the value is neither, an RLE does not fill the image, or nothing is inside.
    """
    if isinstance(segmentation, dict):
        return _trace_rle(segmentation, height, width), False
    geometries, crossing = [], False
    for ring in rings_of(segmentation):
        geometry, crosses = geometry_of_ring(ring)
        geometries.append(geometry)
        crossing |= crosses
    return geometries[0] if len(geometries) == 1 else polygonal_parts(shapely.union_all(geometries)), crossing


def mask_annotation(mask: CellMask, height: int, width: int) -> dict[str, Any]:
    """Return `segmentation` as compressed RLE with the `area` and `bbox` of its pixels, as pycocotools has them.

    Args:
        mask: The pixels of a cell.
        height: Height of the image.
        width: Its width.

    Returns:
        Empty for a sliver without pixels, and for images of more than `LARGEST_PX2` pixels: only polygons hold these.
    """
    starts, ends = column_runs(mask, height)
    if not len(starts) or height * width > LARGEST_PX2:
        return {}
    borders = np.concatenate([[0], np.stack([starts, ends], axis=1).ravel(), [height * width]])
    counts = np.diff(borders)
    counts = counts if counts[-1] else counts[:-1]
    rle = coco_mask.frPyObjects({'size': [height, width], 'counts': counts.tolist()}, height, width)
    first, last = starts // height, (ends - 1) // height
    top, bottom = int((starts % height).min()), int(((ends - 1) % height).max()) + 1
    if (last > first).any():  # a run that goes on at the top of the next column
        top, bottom = 0, height
    return {
        'segmentation': {'size': [height, width], 'counts': rle['counts'].decode()},
        'area': float((ends - starts).sum()),
        'bbox': [float(first[0]), float(top), float(last[-1] + 1 - first[0]), float(bottom - top)],
    }


def column_runs(mask: CellMask, height: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the runs of pixels of a mask down the columns of the image: first pixels and ends."""
    _, columns, starts, ends = row_runs(mask.pixels().T)
    first = (columns + mask.x) * height + mask.y
    starts, ends = first + starts, first + ends
    apart = starts[1:] != ends[:-1]  # a run that reaches the lower border may go on at the top of the next column
    return starts[np.r_[True, apart][: len(starts)]], ends[np.r_[apart, True][: len(ends)]]


def _trace_rle(rle: dict[str, Any], height: int, width: int) -> Polygon | MultiPolygon:
    """Return the outline of an RLE; only the part of the image that it covers is ever held in memory."""
    if rle.get('size') != [height, width]:
        raise ValueError(f'the RLE has the size {rle.get("size")}, its image is [{height}, {width}] (height, width)')
    borders = np.concatenate([[0], np.cumsum(run_lengths(rle))])
    starts, ends = borders[1:-1:2], borders[2::2]
    starts, ends = starts[ends > starts], ends[ends > starts]
    if not len(starts):
        raise ValueError('the RLE has no pixel')
    # A run may go on in further columns: it is cut into one piece for each.
    first, last = starts // height, (ends - 1) // height
    pieces = last - first + 1
    run = np.repeat(np.arange(len(starts)), pieces)
    column = first[run] + np.arange(len(run)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    top = np.maximum(starts[run] - column * height, 0)
    bottom = np.minimum(ends[run] - column * height, height)
    mask, y, x = mask_of_runs(column, top, bottom)
    return trace(mask.T, x, y)
