"""What a detector found in one tile."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

SCORE_THR = 0.25
"""The usual least confidence of a cell; F1 decides better, on wells with known cells."""

CUT_AT_BOX, JOINED, UNVOTED = 'cut_at_box', 'joined', 'unvoted'
"""Marks: its box cuts it off; put together from several tiles; shown to a single tile, which no other can confirm."""

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
        rows, columns = np.flatnonzero(bitmap.any(axis=1)), np.flatnonzero(bitmap.any(axis=0))
        if not len(rows):
            return None
        top, left = int(rows[0]), int(columns[0])
        mask = np.ascontiguousarray(bitmap[top : rows[-1] + 1, left : columns[-1] + 1], dtype=bool)
        return cls(x + left, y + top, mask, float(score), int(label))


def without_specks(bitmap: np.ndarray) -> np.ndarray:
    """A mask without parts that are much smaller than its largest one; see `SPECK_SHARE`. (height, width) bool."""
    # Without OpenCV's statistics, which take six times as long as the parts.
    count, parts = cv2.connectedComponents(bitmap.astype(np.uint8), connectivity=8)
    if count <= 2:  # the background and one part
        return bitmap
    areas = np.bincount(parts.ravel(), minlength=count)[1:]
    kept = np.concatenate([[False], areas >= SPECK_SHARE * areas.max()])
    return kept[parts]
