"""What is known of the views that are pending: which overlap, and which are tied as views of one cell."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import shapely

from noise_mm.inference.merge.strips import Pair, strip_ties
from noise_mm.inference.merge.views import Agreement, Box, View, shared_px


class Evidence:
    """Grows with the views and forgets those that are done.

    Attributes:
        shared: For each view the views of its class that share pixels with it, and how many. For slivers also those
            close by, with 0.
        ties: For each view those of other tiles that are of the same cell, and how well they agree.
    """

    def __init__(self, agreement: Agreement) -> None:
        self.agreement = agreement
        self.shared: dict[int, dict[int, int]] = {}
        self.ties: dict[int, dict[int, float]] = {}

    def add(self, views: Mapping[int, View], new: Sequence[int]) -> None:
        """Compares new views with each other and with all that are pending.

        Args:
            views: All pending ones, the new ones among them. A tile's views come all at once.
            new: Keys of those that were not compared yet.
        """
        between: dict[tuple[Box, Box], list[Pair]] = {}
        for key in new:
            self.shared[key], self.ties[key] = {}, {}
        for one, other in _box_pairs(views, new, 2 * self.agreement.jitter_px):
            if views[one].found.label != views[other].found.label:
                continue
            shared = shared_px(views[one].found, views[other].found)
            if not shared and not views[one].is_sliver and not views[other].is_sliver:
                continue
            self.shared[one][other] = self.shared[other][one] = shared
            if not shared:
                continue
            if views[one].tile_box > views[other].tile_box:
                one, other = other, one
            tiles = views[one].tile_box, views[other].tile_box
            if tiles[0] != tiles[1]:
                between.setdefault(tiles, []).append((one, other, shared))
        for pairs in between.values():
            for one, other, agrees in strip_ties(views, pairs, self.agreement):
                self.ties[one][other] = self.ties[other][one] = agrees

    def tie(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Notes pairs of views that are of one cell although they share nothing to compare."""
        for one, other in pairs:
            self.ties[one].setdefault(other, self.agreement.strip_iou)
            self.ties[other].setdefault(one, self.agreement.strip_iou)

    def forget(self, keys: Iterable[int]) -> None:
        """Leaves out views that are done."""
        for key in keys:
            for other in self.shared.pop(key):
                self.shared.get(other, {}).pop(key, None)
            for other in self.ties.pop(key):
                self.ties.get(other, {}).pop(key, None)


def _box_pairs(views: Mapping[int, View], new: Sequence[int], near_px: int) -> list[tuple[int, int]]:
    """Pairs of views whose boxes meet, or come near if one is a sliver; at least one of them new, each pair once."""
    keys = np.array(list(views))
    boxes = np.array([views[key].box for key in keys], dtype=float).reshape(-1, 4)
    is_sliver = np.array([views[key].is_sliver for key in keys], dtype=bool)
    is_new = np.isin(keys, np.array(new, dtype=keys.dtype))
    reach = boxes + near_px * np.array([-1, -1, 1, 1])
    one, other = shapely.STRtree(shapely.box(*boxes.T)).query(shapely.box(*reach[is_new].T))
    one = np.flatnonzero(is_new)[one]
    once = (one != other) & (~is_new[other] | (one < other))
    meet = (boxes[one, :2] < boxes[other, 2:]).all(axis=1) & (boxes[other, :2] < boxes[one, 2:]).all(axis=1)
    wanted = once & (meet | is_sliver[one] | is_sliver[other])
    return np.stack([keys[one[wanted]], keys[other[wanted]]], axis=1).tolist()
