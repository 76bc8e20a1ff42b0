"""Masks that end where their own box ends: found by their long straight ends, and redrawn with a larger box.

YOLOv8 crops a mask to its box. Where the box is too small for the cell, the outline has a straight end that the cell
has not. The prototypes often show the rest, so such a mask is drawn again with a box that is larger on that side. It is
kept if it then ends by itself and grows neither much nor into another cell of the tile; otherwise it stays as it was.
The table of cells has the column `cut_at_box` for those that are still cut.
"""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from noise_mm.inference.detection import CUT_AT_BOX, Detection, without_specks
from noise_mm.models.instance_masks import UndrawnMasks, draw_masks

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

LEFT, TOP, RIGHT, BOTTOM = range(4)


def cut_sides(found: Detection, box: Sequence[float], size_px: tuple[int, int]) -> list[int]:
    """Return the sides, 0 to 3 for left, top, right and bottom, on which a mask has a straight end at its box.

    Args:
        found: The detection, in pixels of its tile.
        box: Its box x1, y1, x2, y2.
        size_px: Width and height of the tile. What ends at its border is cut off by that and not by the box.
    """
    height, width = found.mask.shape
    ends = found.x, found.y, found.x + width, found.y + height
    lines = found.mask[:, 0], found.mask[0], found.mask[:, -1], found.mask[-1]
    sides = []
    for side, (end, line) in enumerate(zip(ends, lines, strict=True)):
        is_inside = end > AT_BOX_PX if side < RIGHT else end < size_px[side - RIGHT] - AT_BOX_PX
        extent = np.count_nonzero(found.mask.any(axis=1 if side in (LEFT, RIGHT) else 0))
        is_straight = _longest_run(line) >= max(STRAIGHT_PX, STRAIGHT_SHARE * extent)
        if is_inside and is_straight and abs(end - box[side]) <= AT_BOX_PX:
            sides.append(side)
    return sides


def mended(
    found: Sequence[Detection | None], boxes: Sequence[Sequence[float]], masks: UndrawnMasks
) -> Iterator[Detection | None]:
    """Redraw the masks of one tile that their boxes cut off, where that helps, and mark those that are still cut.

    Args:
        found: The detections; None where a mask has no pixel.
        boxes: Their boxes x1, y1, x2, y2.
        masks: What their masks are drawn from.
    """
    size_px = masks.frame.width_px, masks.frame.height_px
    for index, (detection, box) in enumerate(zip(found, boxes, strict=True)):
        sides = [] if detection is None else cut_sides(detection, box, size_px)
        if sides:
            others = [other for i, other in enumerate(found) if i != index and other is not None]
            redrawn = _redrawn(detection, _enlarged(box, sides), masks, index)
            is_better = redrawn is not None and not redrawn.is_cut_at_box and _grows_well(detection, redrawn, others)
            detection = redrawn if is_better else detection.marked(CUT_AT_BOX)
        yield detection


def _longest_run(line: np.ndarray) -> int:
    """Return the length of the longest run of True."""
    edges = np.flatnonzero(np.diff(line, prepend=False, append=False)).reshape(-1, 2)
    return int((edges[:, 1] - edges[:, 0]).max(initial=0))


def _enlarged(box: Sequence[float], sides: Sequence[int]) -> list[float]:
    """Return a box that is larger on some sides."""
    larger = [float(value) for value in box]
    for side in sides:
        length = box[RIGHT] - box[LEFT] if side in (LEFT, RIGHT) else box[BOTTOM] - box[TOP]
        larger[side] += max(LEAST_GROWTH_PX, GROWTH * length) * (1 if side >= RIGHT else -1)
    return larger


def _redrawn(detection: Detection, box: Sequence[float], masks: UndrawnMasks, index: int) -> Detection | None:
    """Draw a mask within another box: those of its parts that meet the mask as it was; marked if the box cuts it."""
    chosen = slice(index, index + 1)
    (region,) = draw_masks(masks.coefs[chosen], masks.protos, masks.boxes.new_tensor([box]), masks.frame)
    _, parts = cv2.connectedComponents(region.pixels.astype(np.uint8), connectivity=8)
    top, left = detection.y - region.top, detection.x - region.left
    height, width = detection.mask.shape
    met = np.unique(parts[top : top + height, left : left + width][detection.mask])
    bitmap = without_specks(np.isin(parts, met[met > 0]))
    redrawn = Detection.from_bitmap(bitmap, region.left, region.top, detection.score, detection.label)
    size_px = masks.frame.width_px, masks.frame.height_px
    return redrawn.marked(CUT_AT_BOX) if redrawn and cut_sides(redrawn, box, size_px) else redrawn


def _grows_well(before: Detection, after: Detection, others: Sequence[Detection]) -> bool:
    """Return whether a redrawn mask gains a little that is not of another cell."""
    gained = after.mask.copy()
    _within(gained, after, before)[...] &= ~_within(before.mask, before, after)
    gained_px, before_px = np.count_nonzero(gained), np.count_nonzero(before.mask)
    for other in others:
        _within(gained, after, other)[...] &= ~_within(other.mask, other, after)
    shared_px = gained_px - np.count_nonzero(gained)
    return gained_px <= MOST_GROWTH * before_px and shared_px <= MOST_SHARED * gained_px


def _within(values: np.ndarray, own: Detection, other: Detection) -> np.ndarray:
    """Return the part of an array on one detection's box that another one's box shares, as a view."""
    top, left = max(own.y, other.y), max(own.x, other.x)
    bottom = min(own.y + own.mask.shape[0], other.y + other.mask.shape[0])
    right = min(own.x + own.mask.shape[1], other.x + other.mask.shape[1])
    return values[top - own.y : max(bottom, top) - own.y, left - own.x : max(right, left) - own.x]
