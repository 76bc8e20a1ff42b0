"""Checks the outline, box and area of one annotation and fixes what is safe. Pure; no files.

What is wrong and what `--fix` makes of it is found in one go, so that both always agree.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import shapely
from shapely import MultiPolygon, Polygon

from noise_mm.coco import issues as kinds
from noise_mm.coco.issues import Kind
from noise_mm.coco.segmentation import coco_segmentation, geometry_from_segmentation
from noise_mm.geometry.outline import polygonal_parts
from noise_mm.inspection.patch_entries import Patch, is_number

ROUNDING_PX = 0.01
"""How far an outline or box may reach beyond its image: files are often rounded to two decimals."""

CLIPPED_PX = 1.0
"""What reaches no further beyond the image than this is cut off there; further is the wrong image or a wrong scale."""

BOX_TOLERANCE_PX = 1.0
"""Boxes of whole pixels around an outline are not called wrong."""

AREA_TOLERANCE = 0.01
"""Share by which an area may differ, and 1 px^2: counting pixel centres instead of measuring changes it so much."""

Found = list[tuple[Kind, str, bool]]
"""Kind, what is wrong, and whether `--fix` fixes it."""


class Examined(NamedTuple):
    """The result of checking one annotation.

    Attributes:
        found: What is wrong.
        fixed: The annotation as `--fix` writes it.
        region: Its outline, or its box as a rectangle, fixed; None if it has neither.
    """

    found: Found
    fixed: dict[str, Any]
    region: Polygon | MultiPolygon | None


def examine(annotation: Mapping[str, Any], patch: Patch) -> Examined:
    """Check the outline, box and area of an annotation.

    What can be fixed: outlines that cross themselves (by the even-odd rule, by which masks are drawn from them
    anyway), outlines and boxes that reach up to `CLIPPED_PX` beyond the image, boxes and areas that are not those of
    their outline.

    Args:
        annotation: Its entry in the file.
        patch: The image that it belongs to.
    """
    fixed, found = dict(annotation), []
    segmentation = annotation.get('segmentation')
    if segmentation:
        try:
            region, crosses = geometry_from_segmentation(segmentation, patch.height, patch.width)
        except ValueError as error:
            return Examined([(kinds.BAD_OUTLINE, str(error), False)], fixed, None)
        if crosses:
            found.append((kinds.CROSSING, f'area {region.area:.1f} px^2 by the even-odd rule', True))
    else:
        region = _box(annotation)
        if region is None:
            return Examined([(kinds.NO_SHAPE, f'bbox is {annotation.get("bbox")}', False)], fixed, None)
    beyond_px = _beyond_px(region.bounds, patch)
    if beyond_px > ROUNDING_PX:
        inside = polygonal_parts(region.intersection(shapely.box(0, 0, patch.width, patch.height)))
        fixable = beyond_px <= CLIPPED_PX and not inside.is_empty
        kind = kinds.OUTLINE_OUTSIDE if segmentation else kinds.BOX_OUTSIDE
        found.append((kind, _beyond_text(beyond_px, patch), fixable))
        region = inside if fixable else region
    if any(fixable for _, _, fixable in found):
        if segmentation:
            fixed['segmentation'] = coco_segmentation(region)
    else:
        found += (_found_in_box(annotation, region, patch) if segmentation else []) + _found_in_area(annotation, region)
    if any(fixable for _, _, fixable in found):
        left, top, right, bottom = region.bounds
        fixed.update(bbox=[left, top, right - left, bottom - top], area=region.area)
    return Examined(found, fixed, region)


def _found_in_box(annotation: Mapping[str, Any], region: Polygon | MultiPolygon, patch: Patch) -> Found:
    """Check whether the box is that of the outline."""
    box = _box(annotation)
    if box is None:
        return [(kinds.WRONG_BOX, f'bbox is {annotation.get("bbox")}', True)]
    off_px = float(np.abs(np.subtract(box.bounds, region.bounds)).max())
    beyond_px = _beyond_px(box.bounds, patch)
    if beyond_px > max(ROUNDING_PX, _beyond_px(region.bounds, patch) + ROUNDING_PX):
        return [(kinds.BOX_OUTSIDE, _beyond_text(beyond_px, patch), True)]
    if off_px > BOX_TOLERANCE_PX:
        return [(kinds.WRONG_BOX, f'bbox is {off_px:.1f} px off the extent of the outline', True)]
    return []


def _found_in_area(annotation: Mapping[str, Any], region: Polygon | MultiPolygon) -> Found:
    area = annotation.get('area')
    if is_number(area) and abs(area - region.area) <= max(1.0, AREA_TOLERANCE * region.area):
        return []
    return [(kinds.WRONG_AREA, f'area is {area}, measured {region.area:.1f} px^2', True)]


def _box(annotation: Mapping[str, Any]) -> Polygon | None:
    """Return the box of an annotation as a rectangle; None if it has none with an area."""
    box = annotation.get('bbox')
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)) or min(box[2:]) <= 0:
        return None
    x, y, width, height = box
    return shapely.box(x, y, x + width, y + height)


def _beyond_px(bounds: tuple[float, float, float, float], patch: Patch) -> float:
    """Return how far an extent reaches beyond an image; negative inside."""
    left, top, right, bottom = bounds
    return max(-left, -top, right - patch.width, bottom - patch.height)


def _beyond_text(beyond_px: float, patch: Patch) -> str:
    return f'reaches {beyond_px:.2f} px beyond the image of {patch.width} x {patch.height} px'
