"""Which detections of two overlapping tiles are of one cell, by what they show in the strip that both tiles see. Pure.

A detector that sees the same pixels twice should say the same of them twice. So detections are matched within the
strip, each with the one that it overlaps best there, if that is mutual and good enough. Mutual: of a small cell and the
big one below it, each is matched with its own other detection, however little of them the strip may show.

A giant cell may fall into several parts in one tile that another tile shows connected, and a cut detection may be
broken. So a connected part of a cut detection, if the partner of the detection does not explain it, also matches its
detection to another cut one: when it lies in that one, or is the same as a part of it.
"""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from noise_mm.inference.detection import Box, common, grown, is_empty
from noise_mm.inference.merge.tile_detection import MergeThresholds, TileDetection, widened

Pair = tuple[int, int, int]  # keys of two detections and the pixels that they share
Match = tuple[int, int, float]  # keys of two detections of one cell and how well they agree, from 0 to 1

NEARLY_EQUAL_IOU = 0.9
LEAST_PART_PX = 6  # of the parts that may match detections, unless the two are the same


def strip_matches(
    detections: Mapping[int, TileDetection], pairs: Sequence[Pair], thresholds: MergeThresholds
) -> list[Match]:
    """Return the detections of two tiles that are of one cell.

    Args:
        detections: By their keys.
        pairs: All pairs of detections that share pixels, first one of the first tile, second one of the second.
        thresholds: Thresholds.
    """
    first, second, _ = pairs[0]
    strip = common(detections[first].tile_box, detections[second].tile_box)
    seen = {key: detections[key].found.inside_px(strip) for pair in pairs for key in pair[:2]}
    ious = [shared / (seen[one] + seen[other] - shared) for one, other, shared in pairs]
    ranked = sorted(
        zip(ious, pairs, strict=True), key=lambda it: (-it[0], *(detections[key].order for key in it[1][:2]))
    )
    matches, partner, met = [], {}, set()
    for iou, (one, other, _) in ranked:
        if one not in met and other not in met:
            agrees = (
                iou if iou >= thresholds.strip_iou else _rough_overlap(detections[one], detections[other], thresholds)
            )
            if agrees >= thresholds.strip_iou:
                matches.append((one, other, agrees))
                partner[one], partner[other] = other, one
        met |= {one, other}
    rest = [
        (iou, one, other)
        for iou, (one, other, _) in ranked
        if partner.get(one) != other and detections[one].is_cut and detections[other].is_cut
    ]
    if rest:
        parts = _Parts(detections, [pair[:2] for pair in pairs], partner, strip, thresholds)
        matches += [(one, other, iou) for iou, one, other in rest if parts.match(one, other)]
    return matches


def _rough_overlap(one: TileDetection, other: TileDetection, thresholds: MergeThresholds) -> float:
    """Return how well two detections agree if borders may be drawn apart, and end before the tile does.

    It is the lesser share of one that lies in the other grown by `jitter_px`, where no tile ends nearby.
    """
    near = common(common(one.core, other.core), grown(_bounding(one.box, other.box), thresholds.jitter_px))
    if is_empty(near):
        return 0.0
    a, b = one.found.canvas(near), other.found.canvas(near)
    if not a.any() or not b.any():
        return 0.0
    return min(
        np.count_nonzero(mask & widened(wide, thresholds.jitter_px)) / np.count_nonzero(mask)
        for mask, wide in ((a, b), (b, a))
    )


def _bounding(one: Box, other: Box) -> Box:
    return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])


class _Parts:
    """The connected parts of cut detections within a strip, and the matches that follow from them."""

    def __init__(
        self,
        detections: Mapping[int, TileDetection],
        pairs: Sequence[tuple[int, int]],
        partner: Mapping[int, int],
        strip: Box,
        thresholds: MergeThresholds,
    ) -> None:
        self.detections, self.partner, self.strip, self.thresholds = detections, partner, strip, thresholds
        self.over: dict[int, list[int]] = {}  # what of the other tile a detection overlaps
        for one, other in pairs:
            self.over.setdefault(one, []).append(other)
            self.over.setdefault(other, []).append(one)
        self._free: dict[int, list[tuple[Box, np.ndarray]]] = {}

    def match(self, one: int, other: int) -> bool:
        """Return whether a free part of one detection lies in the other, or the two have a part in common."""
        for part_of, whole in ((one, other), (other, one)):
            for box, part in self.free(part_of):
                area = np.count_nonzero(part)
                shared = np.count_nonzero(part & self.detections[whole].found.canvas(box))
                inside = area >= LEAST_PART_PX and shared >= self.thresholds.part * area
                if shared and (inside or self._same(box, part, whole)) and not self._lies_on(box, part, part_of, whole):
                    return True
        return False

    def free(self, key: int) -> list[tuple[Box, np.ndarray]]:
        """Return a detection's connected parts within the strip that its partner does not explain, with their boxes."""
        if key not in self._free:
            detection = self.detections[key]
            box = common(self.strip, detection.box)
            parts = _connected(detection.found.canvas(box), box)
            partner = self.partner.get(key)
            self._free[key] = [it for it in parts if partner is None or not self._mostly_in(it[1], it[0], partner)]
        return self._free[key]

    def _same(self, box: Box, part: np.ndarray, other: int) -> bool:
        """Return whether a part is also one of another detection."""
        area = np.count_nonzero(part)
        for other_box, other_part in self.free(other):
            both = common(box, other_box)
            if is_empty(both):
                continue
            shared = np.count_nonzero(_cropped(part, box, both) & _cropped(other_part, other_box, both))
            union = area + np.count_nonzero(other_part) - shared
            enough = self.thresholds.strip_iou if area >= LEAST_PART_PX else NEARLY_EQUAL_IOU
            if shared >= enough * union:
                return True
        return False

    def _lies_on(self, box: Box, part: np.ndarray, key: int, whole: int) -> bool:
        """Return whether the part's own tile shows it over another detection of what may be the cell of `whole`."""
        others = (other for other in self.over[whole] if other != key and self.partner.get(other, whole) == whole)
        return any(self._mostly_in(part, box, other) for other in others)

    def _mostly_in(self, part: np.ndarray, box: Box, key: int) -> bool:
        return 2 * np.count_nonzero(part & self.detections[key].found.canvas(box)) >= np.count_nonzero(part)


def _connected(mask: np.ndarray, box: Box) -> list[tuple[Box, np.ndarray]]:
    """Return the parts of a mask that are connected by the sides of their pixels, each with its box."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=4)
    parts = []
    for k in range(1, count):
        x, y, width, height = (int(value) for value in stats[k, :4])
        own = box[0] + x, box[1] + y, box[0] + x + width, box[1] + y + height
        parts.append((own, labels[y : y + height, x : x + width] == k))
    return parts


def _cropped(mask: np.ndarray, box: Box, inner: Box) -> np.ndarray:
    return mask[inner[1] - box[1] : inner[3] - box[1], inner[0] - box[0] : inner[2] - box[0]]
