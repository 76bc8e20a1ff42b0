"""Are COCO's compressed run lengths whole? pycocotools does not ask. Pure.

A run's length is written in digits of five bits, the lowest first, as characters from 48 on. A sixth bit says that more
digits follow, and the highest bit of the last one is the sign. From the fourth run on, the difference to the run two
before is written.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

MAX_DIGITS = 7  # pycocotools' run lengths have 32 bits


def require_whole(rles: Sequence[Mapping]) -> None:
    """Checks that the runs of each mask are the pixels of its image, no more and no fewer.

    pycocotools reads too many as some other mask, and never ends on too few.

    How it works: all masks at once, for there are many. A length is the sum of what is written for every second run up
    to its own; so what is written is put into a table of two columns, which are summed from the top.

    Args:
        rles: Compressed run lengths.

    Raises:
        ValueError: If a mask is not whole.
    """
    if not len(rles):
        return
    texts = [rle['counts'].encode() if isinstance(rle['counts'], str) else rle['counts'] for rle in rles]
    written, firsts = _written_numbers(texts)
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
    runs = sums.reshape(-1)[places]
    areas_px2 = [math.prod(rle['size']) for rle in rles]
    if (runs < 0).any() or (np.add.reduceat(runs, firsts) != areas_px2).any():
        raise ValueError('a run-length mask does not fill its image')


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
