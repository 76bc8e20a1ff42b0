"""YOLO label files: one line an object, its class and then coordinates as fractions of the image's width and height.

Five values are a box: class, centre x, centre y, width, height. Seven or more, an odd number, are a polygon: class and
then x, y of each vertex. Every other length is an error: read as something else it would be a wrong cell. Fractions
are of the image from its left and upper edge, so they become pixel corners by multiplying with the image's size.
"""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from noise_mm.coco.file_issues import FileIssues
from noise_mm.formats.text_rows import read_text

REMEDY = 'Export the labels again or correct these lines.'


class YoloRow(NamedTuple):
    """One object of a label file: its line from 1, class from 0, and the four fractions of a box or six and more."""

    line: int
    class_index: int
    values: tuple[float, ...]

    @property
    def is_box(self) -> bool:
        """Return whether the object is a box (centre x, centre y, width, height)."""
        return len(self.values) == 4

    def vertices(self) -> np.ndarray:
        """Return the vertices (n, 2) as fractions; the four corners of a box."""
        if not self.is_box:
            return np.array(self.values).reshape(-1, 2)
        x, y, width, height = self.values
        left, top, right, bottom = x - width / 2, y - height / 2, x + width / 2, y + height / 2
        return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def read_yolo_rows(path: str | Path) -> list[YoloRow]:
    """Return the objects of a label file as they stand; an empty file has none.

    Raises:
        InputError: If lines have the wrong length or hold something else than numbers.
    """
    issues = FileIssues(path, REMEDY)
    rows = []
    for line, text in enumerate(read_text(path).splitlines(), start=1):
        words = text.split()
        if not words:
            continue
        try:
            class_index, values = int(words[0]), tuple(float(word) for word in words[1:])
        except ValueError:
            issues.add(f'line {line}', 'not a class index and numbers')
            continue
        if not (len(values) == 4 or (len(values) >= 6 and len(values) % 2 == 0)):
            issues.add(f'line {line}', f'{len(words)} values; a box has 5, a polygon 7 or another odd number above')
        elif not all(map(math.isfinite, values)):
            issues.add(f'line {line}', 'a coordinate is not a finite number')
        else:
            rows.append(YoloRow(line, class_index, values))
    issues.raise_if_any()
    return rows
