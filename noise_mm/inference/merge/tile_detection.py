"""One detection in one tile. Pure."""

import zlib
from dataclasses import dataclass

import cv2
import numpy as np

from noise_mm.inference.detection import Box, Detection


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
        box: Box of the mask.
        tile_box: Box of what its tile shows of the well.
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

    __slots__ = ('area', 'box', 'core', 'found', 'gaps', 'is_cut', 'is_sliver', 'order', 'tile_box')

    def __init__(self, found: Detection, tile_box: Box, size_px: tuple[int, int], border_px: int) -> None:
        self.found, self.box, self.tile_box = found, found.box, tile_box
        self.core = core_of(tile_box, size_px, border_px)
        self.area = int(np.count_nonzero(found.mask))
        (x1, y1, x2, y2), (left, top, right, bottom) = self.box, self.tile_box
        self.gaps = (
            x1 - left if left > 0 else None,
            y1 - top if top > 0 else None,
            right - x2 if right < size_px[0] else None,
            bottom - y2 if bottom < size_px[1] else None,
        )
        clear_px = min((gap for gap in self.gaps if gap is not None), default=2 * border_px + 1)
        self.is_cut = clear_px <= border_px
        sides = (x2 - x1, y2 - y1) * 2
        depths = (gap + side for gap, side in zip(self.gaps, sides, strict=True) if gap is not None)
        self.is_sliver = self.is_cut and min(depths) <= 2 * border_px
        doubt = self.is_cut + (clear_px <= 2 * border_px)
        place = (top, left, *self.box, found.label, zlib.crc32(found.mask))
        self.order = (doubt, found.is_cut_at_box, -found.score, -self.area, -clear_px, *place)


def core_of(tile: Box, size_px: tuple[int, int], border_px: int) -> Box:
    """Return a tile without what is close to its inner borders, where masks may end too early."""
    left, top, right, bottom = tile
    return (
        left + border_px * (left > 0),
        top + border_px * (top > 0),
        right - border_px * (right < size_px[0]),
        bottom - border_px * (bottom < size_px[1]),
    )


def widened(mask: np.ndarray, by_px: int) -> np.ndarray:
    """Return a mask grown by a disc; same shape."""
    side = 2 * by_px + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return cv2.dilate(mask.view(np.uint8), disc).view(bool)
