"""Masks as COCO's run lengths: read, checked, counted and intersected without drawing them. Pure.

A mask is written as the lengths of runs of pixels, down the columns of its image, first pixels outside, then inside,
and so on. Compressed, a length is written in digits of five bits, the lowest first, as characters from 48 on. A sixth
bit says that more digits follow, and the highest bit of the last one is the sign. From the fourth run on, the
difference to the run two before is written.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_DIGITS = 7  # pycocotools' run lengths have 32 bits
COLUMNS_AT_ONCE = 1_000_000  # that pairs of masks share: some 50 MB
MOST_RUNS = 30_000_000  # to compare at once: 1.5 GiB; a few bytes can stand for 65,535 full columns
NOT_COMPRESSED = 'a run-length mask is not in the compressed form of COCO'
NOT_COUNTS = 'the RLE has counts that are no whole numbers'
NOT_WHOLE = 'a run-length mask does not fill its image'
LARGEST_PX2 = 2**32 - 1  # so that no image of 65,536 px a side or more can be stored


@dataclass(frozen=True)
class ColumnRuns:
    """The n masks of images of one size, as runs of pixels that end with their column at the latest.

    Attributes:
        height: Of the images.
        starts: (r,) first pixel of each run, counted down the columns of its image; rising within a mask.
        ends: (r,) one past its last pixel.
        columns: (r,) its column.
        firsts: (n + 1,) index of the first run of each mask, and r.
    """

    height: int
    starts: NDArray[np.integer]
    ends: NDArray[np.integer]
    columns: NDArray[np.integer]
    firsts: NDArray[np.int64]

    def areas(self) -> NDArray[np.int64]:
        """Return the number of pixels of each mask, (n,)."""
        areas = np.zeros(len(self.firsts) - 1, dtype=np.int64)
        filled = np.flatnonzero(np.diff(self.firsts))
        if len(filled):
            areas[filled] = np.add.reduceat(self.ends - self.starts, self.firsts[filled])
        return areas

    def boxes(self) -> NDArray[np.int64]:
        """Return the smallest box around each mask, (n, 4): x, y, width, height; zeros for a mask without pixels."""
        boxes = np.zeros((len(self.firsts) - 1, 4), dtype=np.int64)
        filled = np.flatnonzero(np.diff(self.firsts))
        if len(filled):
            firsts, lasts = self.firsts[filled], self.firsts[filled + 1] - 1
            before = self.columns * self.height
            tops = np.minimum.reduceat(self.starts - before, firsts)
            bottoms = np.maximum.reduceat(self.ends - before, firsts)
            lefts, rights = self.columns[firsts], self.columns[lasts] + 1
            boxes[filled] = np.stack([lefts, tops, rights - lefts, bottoms - tops], axis=1)
        return boxes

    def intersections(
        self, masks: NDArray[np.integer], others: NDArray[np.integer], boxes: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return the number of common pixels of p pairs of masks, (p,).

        How it works: all columns that the boxes of a pair share are looked at, all pairs at once. Where both masks have
        one run in a column, that is the overlap of two intervals; where they have more, of all pairs of these.

        Args:
            masks: (p,) indices of masks.
            others: (p,) indices of masks.
            boxes: What `boxes` gives.
        """
        columns = self._columns(boxes)
        lefts, rights = boxes[:, 0], boxes[:, 0] + boxes[:, 2]
        left = np.maximum(lefts[masks], lefts[others])
        shared = np.maximum(np.minimum(rights[masks], rights[others]) - left, 0)
        one, other = (columns.offsets[each] + left - lefts[each] for each in (masks, others))
        pixels = np.zeros(len(masks), dtype=np.int64)
        sharing = np.flatnonzero(shared)
        blocks = np.flatnonzero(np.diff(np.cumsum(shared[sharing]) // COLUMNS_AT_ONCE)) + 1
        for pairs in np.split(sharing, blocks):
            if len(pairs):
                pixels[pairs] = self._common(one[pairs], other[pairs], shared[pairs], columns)
        return pixels

    def _common(self, one: NDArray, other: NDArray, n_columns: NDArray, columns: '_Columns') -> NDArray[np.integer]:
        """Return the common pixels of pairs of rows of columns, given where these begin and how many there are."""
        begins = np.cumsum(n_columns) - n_columns
        numbers = np.arange(n_columns.sum())
        one, other = (numbers + np.repeat(each - begins, n_columns) for each in (one, other))
        ends = np.minimum(columns.ends.take(one), columns.ends.take(other))
        common = np.maximum(ends - np.maximum(columns.starts.take(one), columns.starts.take(other)), 0)
        if columns.counts is not None:
            several = np.flatnonzero(columns.counts[one] * columns.counts[other] > 1)
            common[several] = self._common_of_several(one[several], other[several], columns)
        return np.add.reduceat(common, begins)

    def _common_of_several(self, one: NDArray, other: NDArray, columns: '_Columns') -> NDArray[np.integer]:
        """Return the common pixels of pairs of columns with several runs, from all combinations of these."""
        n_one, n_other = columns.counts[one], columns.counts[other]
        combinations = n_one * n_other
        begins = np.cumsum(combinations) - combinations
        which = np.repeat(np.arange(len(one)), combinations)
        of_one, of_other = np.divmod(np.arange(len(which)) - begins[which], n_other[which])
        runs, others = columns.runs[one][which] + of_one, columns.runs[other][which] + of_other
        ends = np.minimum(self.ends[runs], self.ends[others])
        common = np.maximum(ends - np.maximum(self.starts[runs], self.starts[others]), 0)
        return np.add.reduceat(common, begins) if len(begins) else common

    def _columns(self, boxes: NDArray[np.int64]) -> '_Columns':
        """Return the runs by the columns of the boxes."""
        widths = boxes[:, 2]
        offsets = np.cumsum(widths) - widths
        columns = self.columns + np.repeat(offsets - boxes[:, 0], np.diff(self.firsts))
        starts, ends = np.zeros((2, widths.sum()), dtype=self.starts.dtype)
        starts[columns], ends[columns] = self.starts, self.ends
        if not (columns[1:] == columns[:-1]).any():
            return _Columns(offsets, starts, ends, None, None)
        counts = np.bincount(columns, minlength=len(starts))
        several = counts > 1
        starts[several] = ends[several] = 0
        return _Columns(offsets, starts, ends, counts, np.cumsum(counts) - counts)


class _Columns(NamedTuple):
    """The columns of the boxes of all masks, one box after the other.

    Attributes:
        offsets: (n,) the first column of each box.
        starts: (c,) where the only run of each column begins; 0 where there is none, or more than one.
        ends: (c,) and one past where it ends; likewise.
        counts: (c,) number of runs in each column; None if nowhere are more than one.
        runs: (c,) the first of them; None likewise.
    """

    offsets: NDArray[np.int64]
    starts: NDArray[np.integer]
    ends: NDArray[np.integer]
    counts: NDArray[np.int64] | None
    runs: NDArray[np.int64] | None


def decode(counts: Sequence[str | bytes], height: int, width: int) -> ColumnRuns:
    """Return masks of one size from their compressed run lengths.

    Args:
        counts: Text of each mask.
        height: Of the images.
        width: Of the images; no more than `LARGEST_PX2` pixels.

    Raises:
        ValueError: If a text is not in COCO's compressed form, its runs are not the pixels of the image, no more and no
            fewer, or there are more than `MOST_RUNS`.
    """
    area_px2 = height * width
    runs, firsts = _runs_of(counts, area_px2)
    n_runs = np.diff(firsts, append=len(runs))
    is_positive = runs.min(initial=0) >= 0
    runs[firsts[1:]] -= area_px2  # so that every mask is counted from 0
    borders = np.cumsum(runs, dtype=runs.dtype)
    # A sum of 32 bits that grows too large becomes negative first.
    if not is_positive or borders.min(initial=0) < 0 or (borders[firsts + n_runs - 1] != area_px2).any():
        raise ValueError(NOT_WHOLE)
    n_inside = n_runs // 2
    firsts_inside = np.append(0, np.cumsum(n_inside))
    inside = np.arange(0, 2 * firsts_inside[-1], 2)
    inside += np.repeat(firsts - 2 * firsts_inside[:-1], n_inside)
    starts = borders.take(inside)
    inside += 1
    return _within_columns(starts, borders.take(inside), firsts_inside, height, MOST_RUNS)


def joined(masks: Sequence[tuple[NDArray[np.integer], NDArray[np.integer]]], height: int) -> ColumnRuns:
    """Return masks of one size from the runs of each: first pixels and ends, rising."""
    starts, ends = ([np.zeros(0, np.int64), *side] for side in (list(zip(*masks, strict=True)) or [(), ()]))
    firsts = np.cumsum([0, *map(len, starts[1:])])
    return _within_columns(np.concatenate(starts), np.concatenate(ends), firsts, height)


def run_lengths(rle: Mapping) -> NDArray[np.int64]:
    """Return the runs (n,) of one mask, compressed or not: first pixels outside, then inside, and so on.

    Args:
        rle: `size` (height, width) and `counts`, text, bytes or a list.

    Raises:
        ValueError: If it has no size and counts, its image has more than `LARGEST_PX2` pixels, or the runs don't fill
            the image.
    """
    size, counts = rle.get('size'), rle.get('counts')
    if not isinstance(size, Sequence) or len(size) != 2 or not all(isinstance(side, int | float) for side in size):
        raise ValueError('the RLE has no size (height, width)')
    if not all(0 < side < LARGEST_PX2 and side == int(side) for side in size):
        raise ValueError(f'the RLE has the size {size}')
    size = [int(side) for side in size]  # some programs write whole floats
    area_px2 = math.prod(size)
    if area_px2 > LARGEST_PX2:
        raise ValueError(f'an RLE cannot hold an image of {size[1]} x {size[0]} px; write polygons')
    if isinstance(counts, str | bytes):
        runs = _runs_of([counts], area_px2)[0].astype(np.int64)
    else:
        try:
            written = np.array(counts)
        except (ValueError, TypeError, OverflowError) as error:
            raise ValueError(NOT_COUNTS) from error
        if written.dtype.kind not in 'iuf' or (written != np.rint(written)).any():
            raise ValueError(NOT_COUNTS)
        runs = np.clip(written, -1, LARGEST_PX2 + 1).astype(np.int64)
    if runs.ndim != 1 or (runs < 0).any() or (runs > LARGEST_PX2).any() or runs.sum() != area_px2:
        raise ValueError(NOT_WHOLE)
    return runs


def _runs_of(texts: Sequence[str | bytes], area_px2: int) -> tuple[NDArray, NDArray[np.int64]]:
    """Return the runs of several compressed masks one after the other, and where among them each mask begins.

    How it works: a length is the sum of what is written for every second run up to its own. So every second number is
    summed over all masks at once, and what the sum was before a mask is taken away. Sums of 32 bits may overflow on the
    way: no run of a sound mask, and no step to the first wrong one, is too large for them.
    """
    written, firsts = _written_numbers(texts, area_px2)
    borders = np.append(firsts, len(written))
    of_three = firsts[np.diff(borders) > 2]
    written[of_three + 2] -= written[of_three]  # so that every second run can begin with the first
    runs = np.empty_like(written)
    for parity in (0, 1):
        sums = np.cumsum(np.append(0, written[parity::2]).astype(written.dtype), dtype=written.dtype)
        begins = (borders + 1 - parity) // 2
        runs[parity::2] = sums[1:] - np.repeat(sums[begins[:-1]], np.diff(begins))
    return runs, firsts


def _written_numbers(texts: Sequence[str | bytes], largest: int) -> tuple[NDArray, NDArray[np.int64]]:
    """Return all numbers that are written in some texts, and where among them each text begins.

    Args:
        texts: What is written.
        largest: Numbers above it or below its negative are refused; where it has 31 bits, so have the numbers returned.

    Raises:
        ValueError: If a text is empty, has characters that are no digits, ends within a number, or has a number that is
            too large.
    """
    digits, ends = _digits(texts)
    is_last = digits < 32
    if digits.max(initial=0) >= 64 or not is_last[ends - 1].all():
        raise ValueError(NOT_COMPRESSED)
    numbers = (digits[is_last] ^ 16).astype(np.int32 if largest < 2**31 else np.int64)
    numbers -= 16
    # Nearly all numbers have one digit. The others get the lower ones added.
    lower = np.flatnonzero(~is_last)
    if len(lower):
        owners = lower - np.arange(len(lower))
        begins = np.flatnonzero(np.diff(owners, prepend=-1))  # of the lower digits of one number
        n_lower = np.diff(begins, append=len(lower))
        if n_lower.max() >= MAX_DIGITS:
            raise ValueError(NOT_COMPRESSED)
        shifts = 5 * (np.arange(len(lower)) - np.repeat(begins, n_lower))
        values = np.add.reduceat((digits[lower] & 31).astype(np.int64) << shifts, begins)
        values += numbers[owners[begins]].astype(np.int64) << 5 * n_lower
        if np.abs(values).max() > largest:
            raise ValueError(NOT_WHOLE)
        numbers[owners[begins]] = values
    starts = ends - np.diff(ends, prepend=0)
    return numbers, starts - np.searchsorted(lower, starts)


def _digits(texts: Sequence[str | bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the digits of some texts one after the other, and where each text ends; larger than 63 is no digit."""
    try:
        if set(map(type, texts)) <= {str}:
            text = ''.join(texts).encode('ascii')
        else:
            text = b''.join(each if isinstance(each, bytes) else each.encode('ascii') for each in texts)
    except UnicodeEncodeError as error:
        raise ValueError(NOT_COMPRESSED) from error
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    if not lengths.all():
        raise ValueError(NOT_COMPRESSED)
    return np.frombuffer(text, np.uint8) - np.uint8(48), np.cumsum(lengths)


def _within_columns(
    starts: NDArray, ends: NDArray, firsts: NDArray[np.int64], height: int, most: float = np.inf
) -> ColumnRuns:
    """Return runs without the empty ones, cut at the ends of columns.

    Raises:
        ValueError: If there are more than `most`.
    """
    filled = ends > starts
    if not filled.all():
        firsts = np.append(0, np.cumsum(filled))[firsts]
        starts, ends = starts[filled], ends[filled]
    columns = starts // height
    n_more = (ends - 1) // height - columns
    if n_more.any():
        pieces = n_more.astype(np.int64) + 1
        begins = np.append(0, np.cumsum(pieces))
        if begins[-1] > most:
            raise ValueError(f'the masks have {begins[-1]} runs within columns, too many to compare ({most})')
        run = np.repeat(np.arange(len(starts)), pieces)
        columns = columns[run] + (np.arange(len(run)) - begins[run]).astype(starts.dtype)
        starts, ends = np.maximum(starts[run], columns * height), np.minimum(ends[run], (columns + 1) * height)
        firsts = begins[firsts]
    return ColumnRuns(height, starts, ends, columns, firsts)
