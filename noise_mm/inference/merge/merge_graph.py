"""The tile detections that are pending, and all that is known of how they belong together."""

from bisect import bisect
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import shapely

from noise_mm.geometry.tiles import Window
from noise_mm.inference.detection import Box, Detection, common, is_empty
from noise_mm.inference.merge.strip_matches import Pair, strip_matches
from noise_mm.inference.merge.tile_detection import MergeThresholds, TileDetection, core_of

HOPS = 2  # how far, in steps between overlapping groups of matched detections, the fate of a cell may depend on others
SHOWN = 0.5  # share of a box that a tile has to show well to have a say on what is there


class MergeGraph:
    """Tile detections, which of them overlap, and which are of one cell; those that are done are forgotten.

    Attributes:
        size_px: Width and height of the well at the resolution of the tiles.
        thresholds: Thresholds.
        detections: The pending ones, numbered in the order of adding.
        shared: For each detection the detections of its class that share pixels with it, and how many. For slivers also
            those close by, with 0.
        matches: For each detection those of other tiles that are of the same cell, and how well they agree.
        ends: For each tile, by its box, how many ends of detections come near its inner borders, and how many reach
            them.
    """

    def __init__(self, size_px: tuple[int, int], thresholds: MergeThresholds) -> None:
        self.size_px, self.thresholds = size_px, thresholds
        self.detections: dict[int, TileDetection] = {}
        self.shared: dict[int, dict[int, int]] = {}
        self.matches: dict[int, dict[int, float]] = {}
        self.ends: dict[Box, tuple[int, int]] = {}
        self._count = 0
        self._new: list[int] = []  # those not compared with others yet

    def add_tile(self, tile: Window, found: Sequence[Detection]) -> None:
        """Add what was found in one tile, all at once; what reaches over its borders is cut off."""
        width_px, height_px = self.size_px
        box = tile.x, tile.y, min(tile.x + tile.width, width_px), min(tile.y + tile.height, height_px)
        near_px = self.thresholds.border_px
        inside = [part for detection in found if (part := _clipped(detection, box)) is not None]
        detections = [TileDetection(detection, box, self.size_px, near_px) for detection in inside]
        gaps = [gap for detection in detections for gap in detection.gaps if gap is not None and gap <= near_px]
        self.ends[box] = len(gaps), gaps.count(0)
        self._new += range(self._count, self._count + len(detections))
        self.detections |= enumerate(detections, self._count)
        self._count += len(detections)

    def compare(self) -> None:
        """Compare the new detections with each other and with all that are pending."""
        self._tiles = sorted(self.ends)
        self._cores = [core_of(tile, self.size_px, self.thresholds.border_px) for tile in self._tiles]
        self._widest_px = max((tile[2] - tile[0] for tile in self._tiles), default=0)
        detections = self.detections
        between: dict[tuple[Box, Box], list[Pair]] = {}
        for key in self._new:
            self.shared[key], self.matches[key] = {}, {}
        for one, other in self._box_pairs() if self._new else ():
            if detections[one].found.label != detections[other].found.label:
                continue
            shared = detections[one].found.shared_px(detections[other].found)
            if not shared and not detections[one].is_sliver and not detections[other].is_sliver:
                continue
            self.shared[one][other] = self.shared[other][one] = shared
            if detections[one].tile_box > detections[other].tile_box:
                one, other = other, one
            tiles = detections[one].tile_box, detections[other].tile_box
            if shared and tiles[0] != tiles[1]:
                between.setdefault(tiles, []).append((one, other, shared))
        for pairs in between.values():
            for one, other, agrees in strip_matches(detections, pairs, self.thresholds):
                self.matches[one][other] = self.matches[other][one] = agrees
        self._new = []

    def _box_pairs(self) -> list[tuple[int, int]]:
        """Return pairs, at least one of each new, of which the boxes meet, or come near if one is a sliver."""
        keys = np.array(list(self.detections))
        boxes = np.array([detection.box for detection in self.detections.values()], dtype=float)
        is_sliver = np.array([detection.is_sliver for detection in self.detections.values()])
        is_new = keys >= self._new[0]
        reach = boxes + 2 * self.thresholds.jitter_px * np.array([-1, -1, 1, 1])
        one, other = shapely.STRtree(shapely.box(*boxes.T)).query(shapely.box(*reach[is_new].T))
        one = np.flatnonzero(is_new)[one]
        once = (one != other) & (~is_new[other] | (one < other))
        meet = (boxes[one, :2] < boxes[other, 2:]).all(axis=1) & (boxes[other, :2] < boxes[one, 2:]).all(axis=1)
        wanted = once & (meet | is_sliver[one] | is_sliver[other])
        return np.stack([keys[one[wanted]], keys[other[wanted]]], axis=1).tolist()

    def add_matches(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Note pairs of detections that are of one cell although they share nothing to compare."""
        for one, other in pairs:
            self.matches[one].setdefault(other, self.thresholds.strip_iou)
            self.matches[other].setdefault(one, self.thresholds.strip_iou)

    def forget(self, keys: Iterable[int]) -> None:
        """Leave out detections that are done, and tiles above those that are left."""
        for key in keys:
            del self.detections[key]
            for links in (self.shared, self.matches):
                for other in links.pop(key):
                    links.get(other, {}).pop(key, None)
        top = self.top
        self.ends = {box: ends for box, ends in self.ends.items() if box[3] >= top}

    @property
    def top(self) -> float:
        """Return the upper edge of the uppermost tile with a pending detection."""
        return min((detection.tile_box[1] for detection in self.detections.values()), default=float('inf'))

    def gaps_to_edge(self, box: Box) -> tuple[int, int, int, int]:
        """Return the distances of a box from the edges of the image: left, top, right, bottom."""
        return box[0], box[1], self.size_px[0] - box[2], self.size_px[1] - box[3]

    def tiles_showing(self, box: Box, share: float = SHOWN) -> set[Box]:
        """Return the cores of the tiles that show a share of a box well."""
        least_px2 = max(share * _area(box), 1)
        return {core for _, core in self._tiles_near(box) if _area(common(core, box)) >= least_px2}

    def tiles_meeting(self, box: Box) -> list[Box]:
        """Return the tiles that show some of a box."""
        return [tile for tile, _ in self._tiles_near(box) if not is_empty(common(tile, box))]

    def _tiles_near(self, box: Box) -> Iterator[tuple[Box, Box]]:
        """Yield the tiles that share columns with a box, and their cores."""
        first = bisect(self._tiles, (box[0] - self._widest_px,))
        last = bisect(self._tiles, (box[2],))
        return zip(self._tiles[first:last], self._cores[first:last], strict=True)

    def settled_and_needed(self, open_keys: set[int]) -> tuple[set[int], set[int]]:
        """Tell what new tiles can't change any more.

        Matched detections form groups. What becomes of a group depends on groups that overlap it, on those that overlap
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

    def _matched_to(self, keys: set[int]) -> set[int]:
        """Return keys and all that they are matched to, directly or through others."""
        found, stack = set(keys), list(keys)
        while stack:
            for other in self.matches[stack.pop()]:
                if other not in found:
                    found.add(other)
                    stack.append(other)
        return found


def _area(box: Box) -> int:
    return 0 if is_empty(box) else (box[2] - box[0]) * (box[3] - box[1])


def _clipped(found: Detection, tile: Box) -> Detection | None:
    """Return what of a detection lies inside its tile."""
    box = common(found.box, tile)
    if box == found.box or is_empty(box):
        return None if is_empty(box) else found
    clipped = Detection.from_bitmap(found.window(box), box[0], box[1], found.score, found.label)
    return clipped and clipped.marked(*found.marks)
