"""What is known of the detections that are pending: which overlap, and which are matched as detections of one cell."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import shapely

from noise_mm.inference.merge.strip_matches import Pair, strip_matches
from noise_mm.inference.merge.tile_detection import Box, MergeThresholds, TileDetection, shared_px


class GraphBuilder:
    """Grows with the detections and forgets those that are done.

    Attributes:
        shared: For each detection the detections of its class that share pixels with it, and how many. For slivers also
            those close by, with 0.
        matches: For each detection those of other tiles that are of the same cell, and how well they agree.
    """

    def __init__(self, thresholds: MergeThresholds) -> None:
        self.thresholds = thresholds
        self.shared: dict[int, dict[int, int]] = {}
        self.matches: dict[int, dict[int, float]] = {}

    def add(self, detections: Mapping[int, TileDetection], new: Sequence[int]) -> None:
        """Compare new detections with each other and with all that are pending.

        Args:
            detections: All pending ones, the new ones among them. A tile's detections come all at once.
            new: Keys of those that were not compared yet.
        """
        between: dict[tuple[Box, Box], list[Pair]] = {}
        for key in new:
            self.shared[key], self.matches[key] = {}, {}
        for one, other in _box_pairs(detections, new, 2 * self.thresholds.jitter_px):
            if detections[one].found.label != detections[other].found.label:
                continue
            shared = shared_px(detections[one].found, detections[other].found)
            if not shared and not detections[one].is_sliver and not detections[other].is_sliver:
                continue
            self.shared[one][other] = self.shared[other][one] = shared
            if not shared:
                continue
            if detections[one].tile_box > detections[other].tile_box:
                one, other = other, one
            tiles = detections[one].tile_box, detections[other].tile_box
            if tiles[0] != tiles[1]:
                between.setdefault(tiles, []).append((one, other, shared))
        for pairs in between.values():
            for one, other, agrees in strip_matches(detections, pairs, self.thresholds):
                self.matches[one][other] = self.matches[other][one] = agrees

    def add_matches(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Note pairs of detections that are of one cell although they share nothing to compare."""
        for one, other in pairs:
            self.matches[one].setdefault(other, self.thresholds.strip_iou)
            self.matches[other].setdefault(one, self.thresholds.strip_iou)

    def forget(self, keys: Iterable[int]) -> None:
        """Leave out detections that are done."""
        for key in keys:
            for other in self.shared.pop(key):
                self.shared.get(other, {}).pop(key, None)
            for other in self.matches.pop(key):
                self.matches.get(other, {}).pop(key, None)


def _box_pairs(detections: Mapping[int, TileDetection], new: Sequence[int], near_px: int) -> list[tuple[int, int]]:
    """Return pairs, at least one of each new, of which the boxes meet, or come near if one is a sliver."""
    keys = np.array(list(detections))
    boxes = np.array([detections[key].box for key in keys], dtype=float).reshape(-1, 4)
    is_sliver = np.array([detections[key].is_sliver for key in keys], dtype=bool)
    is_new = np.isin(keys, np.array(new, dtype=keys.dtype))
    reach = boxes + near_px * np.array([-1, -1, 1, 1])
    one, other = shapely.STRtree(shapely.box(*boxes.T)).query(shapely.box(*reach[is_new].T))
    one = np.flatnonzero(is_new)[one]
    once = (one != other) & (~is_new[other] | (one < other))
    meet = (boxes[one, :2] < boxes[other, 2:]).all(axis=1) & (boxes[other, :2] < boxes[one, 2:]).all(axis=1)
    wanted = once & (meet | is_sliver[one] | is_sliver[other])
    return np.stack([keys[one[wanted]], keys[other[wanted]]], axis=1).tolist()
