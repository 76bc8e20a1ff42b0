"""COCO's compressed run lengths: their numbers, and whether they are whole, which pycocotools does not ask. Pure.

A run's length is written in digits of five bits, the lowest first, as characters from 48 on. A sixth bit says that more
digits follow, and the highest bit of the last one is the sign. From the fourth run on, the difference to the run two
before is written.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

MAX_DIGITS = 7  # pycocotools' run lengths have 32 bits
LARGEST_PX2 = 2**32 - 1  # so that no image of 65,536 px a side or more can be stored


def require_whole(rles: Sequence[Mapping]) -> None:
    """Check that the runs of each mask are the pixels of its image, no more and no fewer.

    pycocotools reads too many as some other mask, and never ends on too few.

    Args:
        rles: Compressed run lengths.

    Raises:
        ValueError: If a mask is not whole.
    """
    if not len(rles):
        return
    runs, firsts = _runs_of([rle['counts'] for rle in rles])
    areas_px2 = [math.prod(rle['size']) for rle in rles]
    if (runs < 0).any() or (np.add.reduceat(runs, firsts) != areas_px2).any():
        raise ValueError('a run-length mask does not fill its image')


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
    if math.prod(size) > LARGEST_PX2:
        raise ValueError(f'an RLE cannot hold an image of {size[1]} x {size[0]} px; write polygons')
    if isinstance(counts, str | bytes):
        runs = _runs_of([counts])[0]
    else:
        try:
            runs = np.array(counts, dtype=np.int64)
        except (TypeError, OverflowError) as error:
            raise ValueError('the RLE has counts that are no whole numbers') from error
    if runs.ndim != 1 or (runs < 0).any() or (runs > LARGEST_PX2).any() or runs.sum() != math.prod(size):
        raise ValueError('the RLE does not fill its image')
    return runs


def _runs_of(counts: Sequence[str | bytes]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the runs of several compressed masks one after the other, and where in them each mask begins.

    How it works: all masks at once, for there are many. A length is the sum of what is written for every second run up
    to its own; so what is written is put into a table of two columns, which are summed from the top.
    """
    written, firsts = _written_numbers([each.encode() if isinstance(each, str) else each for each in counts])
    n_runs = np.diff(firsts, append=len(written))
    firsts_of_three = firsts[n_runs > 2]
    written[firsts_of_three + 2] -= written[firsts_of_three]  # so that every second run can begin with the first
    n_rows = n_runs // 2 + 1  # a mask begins on a row of its own, in the second column
    first_rows = np.cumsum(n_rows) - n_rows
    places = np.arange(len(written)) + np.repeat(2 * first_rows + 1 - firsts, n_runs)
    table = np.zeros((n_rows.sum(), 2), dtype=np.int64)
    table.reshape(-1)[places] = written
    sums = np.cumsum(table, axis=0)
    sums -= np.repeat((sums - table)[first_rows], n_rows, axis=0)
    return sums.reshape(-1)[places], firsts


def _written_numbers(texts: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """All numbers that are written in some texts, and where in them each text begins; int64 both.

    Raises:
        ValueError: If a text is empty, has characters that are no digits, or ends within a number.
    """
    digits = np.frombuffer(b''.join(texts), np.uint8) - np.uint8(48)
    last_digits = np.cumsum([len(text) for text in texts]) - 1
    are_last = digits < 32
    ends = np.flatnonzero(are_last)
    n_digits = np.diff(ends, prepend=-1)
    are_digits = digits.max(initial=0) < 64 and n_digits.max(initial=0) <= MAX_DIGITS
    if not are_digits or not all(texts) or not are_last[last_digits].all():
        raise ValueError('a run-length mask is not in the compressed form of COCO')
    starts = ends - n_digits + 1
    shifts = 5 * (np.arange(len(digits)) - np.repeat(starts, n_digits))
    numbers = np.add.reduceat((digits & 31).astype(np.int64) << shifts, starts)
    numbers -= (digits[ends] >> 4).astype(np.int64) << 5 * n_digits
    return numbers, np.append(0, np.searchsorted(ends, last_digits[:-1]) + 1)
