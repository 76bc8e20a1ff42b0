"""What a detector found in one tile, and the arithmetic of masks within boxes. Pure.

Boxes are (left, top, right, bottom) in pixels; right and bottom are the first column and row beyond.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np

SCORE_THR = 0.25
"""The usual least confidence of a cell; F1 decides better, on wells with known cells."""

CUT_AT_BOX, JOINED, UNVOTED = 'cut_at_box', 'joined', 'unvoted'
"""Marks: its box cuts it off; put together from several tiles; shown to a single tile, which no other can confirm."""

Box = tuple[int, int, int, int]
LEFT, TOP, RIGHT, BOTTOM = range(4)

# Parts of a mask smaller than this share of its largest part are specks, which networks leave beside a cell.
SPECK_SHARE = 0.05


@dataclass(frozen=True, eq=False)
class Detection:
    """One object: a mask within its own box.

    Attributes:
        x: Left edge of `mask`, in pixels of the well at the resolution of the tiles.
        y: Its upper edge.
        mask: (height, width) bool; its first and last row and column each hold a pixel of the object.
        score: Confidence from 0 to 1.
        label: Class, from 0 as in the detector's list of classes.
        marks: What is in doubt about it; see `noise_mm.geometry.outline.Outline`.
    """

    x: int
    y: int
    mask: np.ndarray
    score: float
    label: int
    marks: frozenset[str] = frozenset()

    @cached_property
    def box(self) -> Box:
        """Return the box of the mask."""
        height, width = self.mask.shape
        return self.x, self.y, self.x + width, self.y + height

    @property
    def is_cut_at_box(self) -> bool:
        """Return whether the network's own box seems to cut the mask off; see `noise_mm.inference.box_cuts`."""
        return CUT_AT_BOX in self.marks

    def marked(self, *marks: str) -> 'Detection':
        """Return the detection with further marks."""
        return replace(self, marks=self.marks | {*marks}) if marks else self

    @classmethod
    def from_bitmap(cls, bitmap: np.ndarray, x: int, y: int, score: float, label: int) -> 'Detection | None':
        """From a mask with empty margins whose upper left corner is at (x, y); None if it holds no pixel."""
        bitmap = np.ascontiguousarray(bitmap, dtype=bool)
        if not bitmap.any():
            return None
        left, top, width, height = cv2.boundingRect(bitmap.view(np.uint8))
        mask = np.ascontiguousarray(bitmap[top : top + height, left : left + width])
        return cls(x + left, y + top, mask, float(score), int(label))

    def window(self, box: Box) -> np.ndarray:
        """Return the part of the mask in a box that lies within the mask's own, as a view; empty for an empty box."""
        left, top, right, bottom = box
        return self.mask[max(top - self.y, 0) : max(bottom - self.y, 0), max(left - self.x, 0) : max(right - self.x, 0)]

    def canvas(self, box: Box) -> np.ndarray:
        """Return the mask on the pixels of a box: (height, width) bool, False beyond the mask's own box."""
        left, top, right, bottom = box
        out = np.zeros((max(bottom - top, 0), max(right - left, 0)), dtype=bool)
        inside = common(box, self.box)
        if not is_empty(inside):
            x1, y1, x2, y2 = inside
            out[y1 - top : y2 - top, x1 - left : x2 - left] = self.window(inside)
        return out

    def inside_px(self, box: Box) -> int:
        """Return the number of pixels in a box."""
        return int(np.count_nonzero(self.window(box)))

    def shared_px(self, other: 'Detection') -> int:
        """Return the number of pixels in common with another one."""
        left, top, right, bottom = both = common(self.box, other.box)
        if is_empty(both):
            return 0
        # Called for every pair of detections whose boxes meet, hence without `window`.
        ours = self.mask[top - self.y : bottom - self.y, left - self.x : right - self.x]
        theirs = other.mask[top - other.y : bottom - other.y, left - other.x : right - other.x]
        return int(np.count_nonzero(ours & theirs))


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


def without_specks(bitmap: np.ndarray) -> np.ndarray:
    """A mask without parts that are much smaller than its largest one; see `SPECK_SHARE`. (height, width) bool."""
    # Without OpenCV's statistics, which take six times as long as the parts.
    count, parts = cv2.connectedComponents(bitmap.view(np.uint8), connectivity=8)
    if count <= 2:  # the background and one part
        return bitmap
    areas = np.bincount(parts.ravel(), minlength=count)[1:]
    kept = np.concatenate([[False], areas >= SPECK_SHARE * areas.max()])
    return kept[parts]
