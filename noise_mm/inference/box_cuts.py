"""Masks that end where their own box ends: found by their long straight ends, and redrawn with a larger box.

YOLOv8 crops a mask to its box. Where the box is too small for the cell, the outline has a straight end that the cell
has not. The prototypes often show the rest, so such a mask is drawn again with a box that is larger on that side. It is
kept if it then ends by itself and grows neither much nor into another cell of the tile; otherwise it stays as it was.
The table of cells has the column `cut_at_box` for those that are still cut.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from noise_mm.inference.detection import (
    CUT_AT_BOX,
    LEFT,
    RIGHT,
    Detection,
    common,
    is_empty,
    without_specks,
)
from noise_mm.models.instance_masks import MaskRegion, UndrawnMasks, draw_masks

STRAIGHT_SHARE, STRAIGHT_PX = 0.4, 16
"""A straight end is as long as this share of the mask's width, and as this at least. On the border of its box a disc of
60 px has a run of 16 px, 0.26 of its width."""

AT_BOX_PX = 1.5
"""How far a mask may end from its box and still be cut off by it."""

GROWTH, LEAST_GROWTH_PX = 0.15, 16
"""A box that cuts is enlarged by this share of its side, and by this at least. Of 0.15, 0.25 and 0.5, 0.15 gave the
outlines nearest to the true ones."""

MOST_GROWTH, MOST_SHARED = 0.6, 0.2
"""A redrawn mask may be larger by this share, and this share of what it gains may lie in other cells of the tile."""


def cut_sides(found: Detection, box: Sequence[float], size_px: tuple[int, int]) -> list[int]:
    """Return the sides, 0 to 3 for left, top, right and bottom, on which a mask has a straight end at its box.

    Args:
        found: The detection, in pixels of its tile.
        box: Its box x1, y1, x2, y2.
        size_px: Width and height of the tile. What ends at its border is cut off by that and not by the box.
    """
    lines = found.mask[:, 0], found.mask[0], found.mask[:, -1], found.mask[-1]
    sides = []
    for side, (end, line) in enumerate(zip(found.box, lines, strict=True)):
        is_inside = end > AT_BOX_PX if side < RIGHT else end < size_px[side - RIGHT] - AT_BOX_PX
        if is_inside and abs(end - box[side]) <= AT_BOX_PX:
            run_px = max(map(len, line.tobytes().split(b'\0')))
            across = 1 if side in (LEFT, RIGHT) else 0
            if run_px >= STRAIGHT_PX and run_px >= STRAIGHT_SHARE * np.count_nonzero(found.mask.any(axis=across)):
                sides.append(side)
    return sides


def mended(
    found: Sequence[Detection | None], boxes: Sequence[Sequence[float]], masks: UndrawnMasks
) -> list[Detection | None]:
    """Redraw the masks of one tile that their boxes cut off, where that helps, and mark those that are still cut.

    Args:
        found: The detections; None where a mask has no pixel.
        boxes: Their boxes x1, y1, x2, y2.
        masks: What their masks are drawn from.
    """
    size_px = masks.frame.width_px, masks.frame.height_px
    sides = [cut_sides(it, box, size_px) if it else [] for it, box in zip(found, boxes, strict=True)]
    cut = [index for index, each in enumerate(sides) if each]
    if not cut:
        return list(found)
    larger = [_enlarged(boxes[index], sides[index]) for index in cut]
    regions = draw_masks(masks.coefs[cut], masks.protos, masks.boxes.new_tensor(larger), masks.frame)
    result = list(found)
    for index, box, region in zip(cut, larger, regions, strict=True):
        redrawn = _parts_met(found[index], region)
        others = [other for other in found if other is not None and other is not found[index]]
        is_better = redrawn and not cut_sides(redrawn, box, size_px) and _grows_well(found[index], redrawn, others)
        result[index] = redrawn if is_better else found[index].marked(CUT_AT_BOX)
    return result


def _enlarged(box: Sequence[float], sides: Sequence[int]) -> list[float]:
    """Return a box that is larger on some sides."""
    larger = list(box)
    for side in sides:
        growth = max(LEAST_GROWTH_PX, GROWTH * (box[side % 2 + 2] - box[side % 2]))
        larger[side] += growth if side >= RIGHT else -growth
    return larger


def _parts_met(detection: Detection, region: MaskRegion) -> Detection | None:
    """Return those parts of a redrawn mask that meet the mask as it was."""
    count, parts = cv2.connectedComponents(region.pixels.view(np.uint8), connectivity=8)
    top, left = detection.y - region.top, detection.x - region.left
    height, width = detection.mask.shape
    is_met = np.zeros(count, dtype=bool)
    is_met[parts[top : top + height, left : left + width][detection.mask]] = True
    is_met[0] = False
    return Detection.from_bitmap(
        without_specks(is_met[parts]), region.left, region.top, detection.score, detection.label
    )


def _grows_well(before: Detection, after: Detection, others: Sequence[Detection]) -> bool:
    """Return whether a redrawn mask gains a little that is not of another cell."""
    gained = after.mask & ~before.canvas(after.box)
    gained_px = np.count_nonzero(gained)
    for other in others:
        if not is_empty(common(after.box, other.box)):
            gained &= ~other.canvas(after.box)
    shared_px = gained_px - np.count_nonzero(gained)
    return gained_px <= MOST_GROWTH * np.count_nonzero(before.mask) and shared_px <= MOST_SHARED * gained_px
