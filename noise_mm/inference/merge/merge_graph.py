"""The detections that are pending and all that is known of how they belong together."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from noise_mm.inference.merge.tile_detection import Box, MergeThresholds, TileDetection

HOPS = 2  # how far, in steps between overlapping groups of matched detections, the fate of a cell may depend on others
SHOWN = 0.5  # share of a box that a tile has to show well to have a say on what is there


@dataclass(frozen=True)
class MergeGraph:
    """What cells are made from.

    Attributes:
        detections: By their keys.
        shared: For each detection the detections of its class that share pixels with it, and how many.
        matches: For each detection those of other tiles that are of the same cell, and how well they agree.
        cores: (n, 4) boxes of what each tile shows well.
        thresholds: Thresholds.
    """

    detections: Mapping[int, TileDetection]
    shared: Mapping[int, Mapping[int, int]]
    matches: Mapping[int, Mapping[int, float]]
    cores: np.ndarray
    size_px: tuple[int, int]
    thresholds: MergeThresholds

    def gaps_to_edge(self, box: Box) -> tuple[int, int, int, int]:
        """Return the distances of a box from the edges of the image: left, top, right, bottom."""
        width_px, height_px = self.size_px
        return box[0], box[1], width_px - box[2], height_px - box[3]

    def tiles_showing(self, box: Box, share: float = SHOWN) -> set[Box]:
        """Return the cores of the tiles that show a share of a box well."""
        x1, y1, x2, y2 = box
        left, top, right, bottom = self.cores.T
        width = np.minimum(right, x2) - np.maximum(left, x1)
        height = np.minimum(bottom, y2) - np.maximum(top, y1)
        looks = (width > 0) & (height > 0) & (width * height >= share * (x2 - x1) * (y2 - y1))
        return {tuple(core) for core in self.cores[looks].tolist()}

    def settled_and_needed(self, open_keys: set[int]) -> tuple[set[int], set[int]]:
        """Tell what new tiles can't change any more.

        Tied detections form groups. What becomes of a group depends on groups that overlap it, on those that overlap
        them, and so on for `HOPS` steps.

        Args:
            open_keys: Tile detections that new tiles may overlap.

        Returns: Keys of the detections whose cells are settled; and of the detections that have to stay, because cells
            that are not settled depend on them.
        """
        reached: set[int] = set()
        front, within_hops = set(open_keys), set()
        for hop in range(2 * HOPS + 1):
            group = self._matched_to(front - reached)
            reached |= group
            front = {other for key in group for other in self.shared[key]}
            if hop == HOPS:
                within_hops = set(reached)
        return set(self.detections) - within_hops, reached

    def _matched_to(self, keys: Iterable[int]) -> set[int]:
        """Return keys and all that they are matched to, directly or through others."""
        found, stack = set(keys), list(keys)
        while stack:
            for other in self.matches[stack.pop()]:
                if other not in found:
                    found.add(other)
                    stack.append(other)
        return found
