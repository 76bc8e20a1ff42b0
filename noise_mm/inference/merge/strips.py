"""Which views of two overlapping tiles are of one cell, by what they show in the strip that both tiles see. Pure.

A detector that sees the same pixels twice should say the same of them twice. So views are matched within the strip,
each with the one that it overlaps best there, if that is mutual and good enough. Mutual: of a small cell and the big
one below it, each is matched with its own other view, however little of them the strip may show.

A giant cell may fall into several parts in one tile that another tile shows connected, and a cut view may be broken.
So a connected part of a cut view, if the view's match does not explain it, also ties its view to another cut one: when
it lies in that one, or is the same as a part of it.
"""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from noise_mm.inference.merge.views import Agreement, Box, View, canvas, common, grown, inside_px, is_empty, widened

Pair = tuple[int, int, int]  # keys of two views and the pixels that they share
Tie = tuple[int, int, float]  # keys of two views of one cell and how well they agree, from 0 to 1

NEARLY_EQUAL_IOU = 0.9
LEAST_PART_PX = 6  # of the parts that may tie views, unless the two are the same


def strip_ties(views: Mapping[int, View], pairs: Sequence[Pair], agreement: Agreement) -> list[Tie]:
    """The views of two tiles that are of one cell.

    Args:
        views: By their keys.
        pairs: All pairs of views that share pixels, first one of the first tile, second one of the second.
        agreement: Thresholds.
    """
    first, second, _ = pairs[0]
    strip = common(views[first].tile_box, views[second].tile_box)
    seen = {key: inside_px(views[key].found, strip) for pair in pairs for key in pair[:2]}
    ious = [shared / (seen[one] + seen[other] - shared) for one, other, shared in pairs]
    ranked = sorted(zip(ious, pairs, strict=True), key=lambda it: (-it[0], *(views[key].order for key in it[1][:2])))
    ties, partner, met = [], {}, set()
    for iou, (one, other, _) in ranked:
        if one not in met and other not in met:
            agrees = iou if iou >= agreement.strip_iou else _rough_agreement(views[one], views[other], agreement)
            if agrees >= agreement.strip_iou:
                ties.append((one, other, agrees))
                partner[one], partner[other] = other, one
        met |= {one, other}
    rest = [
        (iou, one, other)
        for iou, (one, other, _) in ranked
        if partner.get(one) != other and views[one].is_cut and views[other].is_cut
    ]
    if rest:
        parts = _Parts(views, [pair[:2] for pair in pairs], partner, strip, agreement)
        ties += [(one, other, iou) for iou, one, other in rest if parts.tie(one, other)]
    return ties


def _rough_agreement(one: View, other: View, agreement: Agreement) -> float:
    """Agreement of two views that allows for borders drawn apart and for views that end before the tile does.

    The lesser share of one that lies in the other grown by `jitter_px`, where no tile ends nearby.
    """
    near = common(common(one.core, other.core), grown(_bounding(one.box, other.box), agreement.jitter_px))
    if is_empty(near):
        return 0.0
    a, b = canvas(one.found, near), canvas(other.found, near)
    if not a.any() or not b.any():
        return 0.0
    return min(
        np.count_nonzero(mask & widened(wide, agreement.jitter_px)) / np.count_nonzero(mask)
        for mask, wide in ((a, b), (b, a))
    )


def _bounding(one: Box, other: Box) -> Box:
    return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])


class _Parts:
    """The connected parts of cut views within a strip, and the ties that follow from them."""

    def __init__(
        self,
        views: Mapping[int, View],
        pairs: Sequence[tuple[int, int]],
        partner: Mapping[int, int],
        strip: Box,
        agreement: Agreement,
    ) -> None:
        self.views, self.partner, self.strip, self.agreement = views, partner, strip, agreement
        self.over: dict[int, list[int]] = {}  # what of the other tile a view overlaps
        for one, other in pairs:
            self.over.setdefault(one, []).append(other)
            self.over.setdefault(other, []).append(one)
        self._free: dict[int, list[tuple[Box, np.ndarray]]] = {}

    def tie(self, one: int, other: int) -> bool:
        """Whether a free part of one view lies in the other, or the two have a part in common."""
        for part_of, whole in ((one, other), (other, one)):
            for box, part in self.free(part_of):
                area = np.count_nonzero(part)
                shared = np.count_nonzero(part & canvas(self.views[whole].found, box))
                inside = area >= LEAST_PART_PX and shared >= self.agreement.part * area
                if shared and (inside or self._same(box, part, whole)) and not self._lies_on(box, part, part_of, whole):
                    return True
        return False

    def free(self, key: int) -> list[tuple[Box, np.ndarray]]:
        """Connected parts of a view within the strip that its partner does not explain, each with its box."""
        if key not in self._free:
            view = self.views[key]
            box = common(self.strip, view.box)
            parts = _connected(canvas(view.found, box), box)
            match = self.partner.get(key)
            self._free[key] = [it for it in parts if match is None or not self._mostly_in(it[1], it[0], match)]
        return self._free[key]

    def _same(self, box: Box, part: np.ndarray, other: int) -> bool:
        """Whether a part is also one of another view."""
        area = np.count_nonzero(part)
        for other_box, other_part in self.free(other):
            both = common(box, other_box)
            if is_empty(both):
                continue
            shared = np.count_nonzero(_cropped(part, box, both) & _cropped(other_part, other_box, both))
            union = area + np.count_nonzero(other_part) - shared
            enough = self.agreement.strip_iou if area >= LEAST_PART_PX else NEARLY_EQUAL_IOU
            if shared >= enough * union:
                return True
        return False

    def _lies_on(self, box: Box, part: np.ndarray, key: int, whole: int) -> bool:
        """Whether the part's own tile shows it on top of another view of what may be the same cell as `whole`."""
        others = (other for other in self.over[whole] if other != key and self.partner.get(other, whole) == whole)
        return any(self._mostly_in(part, box, other) for other in others)

    def _mostly_in(self, part: np.ndarray, box: Box, key: int) -> bool:
        return 2 * np.count_nonzero(part & canvas(self.views[key].found, box)) >= np.count_nonzero(part)


def _connected(mask: np.ndarray, box: Box) -> list[tuple[Box, np.ndarray]]:
    """The parts of a mask that are connected by the sides of their pixels, each with its box."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=4)
    parts = []
    for k in range(1, count):
        x, y, width, height = (int(value) for value in stats[k, :4])
        own = box[0] + x, box[1] + y, box[0] + x + width, box[1] + y + height
        parts.append((own, labels[y : y + height, x : x + width] == k))
    return parts


def _cropped(mask: np.ndarray, box: Box, inner: Box) -> np.ndarray:
    return mask[inner[1] - box[1] : inner[3] - box[1], inner[0] - box[0] : inner[2] - box[0]]
