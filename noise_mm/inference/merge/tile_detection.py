"""One detection in one tile, and the arithmetic of masks within boxes. Pure.

Boxes are (left, top, right, bottom) in pixels of the well; right and bottom are the first column and row beyond.
"""

import zlib
from dataclasses import dataclass

import cv2
import numpy as np

from noise_mm.geometry.tiles import Window
from noise_mm.inference.detection import Detection

Box = tuple[int, int, int, int]
LEFT, TOP, RIGHT, BOTTOM = range(4)


@dataclass(frozen=True)
class MergeThresholds:
    """When two masks are of one cell. Lengths are in pixels of the tile, all else shares from 0 to 1.

    Attributes:
        border_px: A mask that comes so close to an inner border of its tile is taken for cut off there. Networks let
            masks end short of the border, mostly by one cell of their prototypes: 8 px. A cell that really ends there
            loses nothing: another tile shows it whole, or it becomes the union of its detections.
        jitter_px: How far two detections may draw the border of one cell apart.
        strip_iou: Least intersection over union of two detections within what both tiles show.
        part: Share of a connected part of a cut detection, within what both tiles show, that has to lie in another cut
            detection for it to be a part of the same cell.
        covered: Share of a detection that has to lie in another cell for it to be a mere fragment of it.
        duplicate_iou: Intersection over union from which on two masks are of one cell, also within a tile.
        contained: Share of the smaller of two masks of one tile that has to lie in the larger one for them to be of
            one cell, if they are of similar size: a small cell on a big one is another cell.
        similar_size: Least ratio of the areas of two masks of similar size.
    """

    border_px: int = 8
    jitter_px: int = 3
    strip_iou: float = 0.5
    part: float = 0.8
    covered: float = 0.6
    duplicate_iou: float = 0.6
    contained: float = 0.8
    similar_size: float = 0.5


class TileDetection:
    """A detection and the tile that it was seen in.

    Attributes:
        found: The detection, in pixels of the well.
        tile: Its tile.
        box: Box of the mask.
        tile_box: Box of the tile.
        core: What of the tile is not close to its inner borders.
        area: Pixels of the mask.
        gaps: Distance of the mask from each border of its tile, as (left, top, right, bottom); None where the well
            ends there, too.
        is_cut: Whether it comes close to an inner border.
        is_sliver: Whether it is a mere strip along one.
        order: Sorts detections, best first, whatever order they came in: whole before cut, among whole ones those well
            clear of the borders before those that a network may have cut short; then those that their own box does not
            cut off; then by score, area and distance from the borders. What follows only makes the order total.
    """

    __slots__ = ('area', 'box', 'core', 'found', 'gaps', 'is_cut', 'is_sliver', 'order', 'tile', 'tile_box')

    def __init__(self, found: Detection, tile: Window, width_px: int, height_px: int, border_px: int) -> None:
        self.found, self.tile = found, tile
        self.box, self.tile_box = box_of(found), box_of_tile(tile, width_px, height_px)
        self.core = core_of(self.tile_box, width_px, height_px, border_px)
        self.area = int(np.count_nonzero(found.mask))
        (x1, y1, x2, y2), (left, top, right, bottom) = self.box, self.tile_box
        self.gaps = (
            x1 - left if left > 0 else None,
            y1 - top if top > 0 else None,
            right - x2 if right < width_px else None,
            bottom - y2 if bottom < height_px else None,
        )
        clear_px = min((gap for gap in self.gaps if gap is not None), default=2 * border_px + 1)
        self.is_cut = clear_px <= border_px
        sides = (x2 - x1, y2 - y1) * 2
        depths = (gap + side for gap, side in zip(self.gaps, sides, strict=True) if gap is not None)
        self.is_sliver = self.is_cut and min(depths) <= 2 * border_px
        doubt = (clear_px <= border_px) + (clear_px <= 2 * border_px)
        digest = zlib.crc32(found.mask)
        self.order = (
            doubt,
            found.is_cut_at_box,
            -found.score,
            -self.area,
            -clear_px,
            tile.y,
            tile.x,
            *self.box,
            found.label,
            digest,
        )


def box_of(found: Detection) -> Box:
    """Return the box of a detection's mask."""
    height, width = found.mask.shape
    return found.x, found.y, found.x + width, found.y + height


def box_of_tile(tile: Window, width_px: int, height_px: int) -> Box:
    """Return the box of what a tile shows of the well; tiles of small wells are padded."""
    return tile.x, tile.y, min(tile.x + tile.width, width_px), min(tile.y + tile.height, height_px)


def core_of(tile: Box, width_px: int, height_px: int, border_px: int) -> Box:
    """Return a tile without what is close to its inner borders, where masks may end too early."""
    left, top, right, bottom = tile
    return (
        left + border_px * (left > 0),
        top + border_px * (top > 0),
        right - border_px * (right < width_px),
        bottom - border_px * (bottom < height_px),
    )


def common(one: Box, other: Box) -> Box:
    """Return the rectangle that two boxes share; empty if right <= left or bottom <= top."""
    left, top, right, bottom = one
    x1, y1, x2, y2 = other
    # Called for every pair of detections, hence without the calls of `min` and `max`.
    return (
        left if left > x1 else x1,
        top if top > y1 else y1,
        right if right < x2 else x2,
        bottom if bottom < y2 else y2,
    )


def is_empty(box: Box) -> bool:
    """Return whether a box has no pixel."""
    return box[2] <= box[0] or box[3] <= box[1]


def grown(box: Box, by_px: int) -> Box:
    """Return a box with `by_px` more at each side."""
    return box[0] - by_px, box[1] - by_px, box[2] + by_px, box[3] + by_px


def window(found: Detection, box: Box) -> np.ndarray:
    """Return the part of the mask in a box that lies within the mask's own; empty for an empty box."""
    left, top, right, bottom = box
    return found.mask[
        max(top - found.y, 0) : max(bottom - found.y, 0), max(left - found.x, 0) : max(right - found.x, 0)
    ]


def canvas(found: Detection, box: Box) -> np.ndarray:
    """Return the mask on the pixels of a box: (height, width) bool, False beyond the mask's own box."""
    out = np.zeros((max(box[3] - box[1], 0), max(box[2] - box[0], 0)), dtype=bool)
    inside = common(box, box_of(found))
    if not is_empty(inside):
        x1, y1, x2, y2 = inside
        out[y1 - box[1] : y2 - box[1], x1 - box[0] : x2 - box[0]] = window(found, inside)
    return out


def shared_px(one: Detection, other: Detection) -> int:
    """Return the number of pixels that two masks have in common."""
    left, top, right, bottom = box = common(box_of(one), box_of(other))
    if is_empty(box):
        return 0
    ours = one.mask[top - one.y : bottom - one.y, left - one.x : right - one.x]
    theirs = other.mask[top - other.y : bottom - other.y, left - other.x : right - other.x]
    return int(np.count_nonzero(ours & theirs))


def inside_px(found: Detection, box: Box) -> int:
    """Return the number of a mask's pixels in a box."""
    return int(np.count_nonzero(window(found, box)))


def widened(mask: np.ndarray, by_px: int) -> np.ndarray:
    """Return a mask grown by a disc; same shape."""
    side = 2 * by_px + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return cv2.dilate(mask.view(np.uint8), disc).view(bool)
