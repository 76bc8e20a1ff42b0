"""YOLO label files: one line an object, its class and then coordinates as fractions of the image's width and height.

Five values are a box: class, centre x, centre y, width, height. Seven or more, an odd number, are a polygon: class and
then x, y of each vertex. Every other length is an error: read as something else it would be a wrong cell. Fractions
are of the image from its left and upper edge, so they become pixel corners by multiplying with the image's size.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from noise_mm.coco.file_issues import FileFaults, OutlineCollector
from noise_mm.errors import InputError
from noise_mm.files import write_text
from noise_mm.formats.text_rows import read_text
from noise_mm.geometry.outline import Outline
from noise_mm.geometry.rings import single_ring

REMEDY = 'Export the labels again or correct these lines.'
# A vertex on the border may come out a little beyond it when fractions were rounded to three or more decimals.
BEYOND_IMAGE = 1e-3


class YoloRow(NamedTuple):
    """One object of a label file.

    Attributes:
        line: Its line, from 1.
        class_index: Class, from 0.
        values: The fractions as they stand: four of a box, or six or more of a polygon.
    """

    line: int
    class_index: int
    values: tuple[float, ...]

    @property
    def is_box(self) -> bool:
        """Whether the object is a box (centre x, centre y, width, height)."""
        return len(self.values) == 4

    def vertices(self) -> np.ndarray:
        """The vertices (n, 2) as fractions; the four corners of a box."""
        if not self.is_box:
            return np.array(self.values).reshape(-1, 2)
        x, y, width, height = self.values
        left, top, right, bottom = x - width / 2, y - height / 2, x + width / 2, y + height / 2
        return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def read_yolo_rows(path: str | Path) -> list[YoloRow]:
    """The objects of a label file as they stand; an empty file has none.

    Raises:
        InputError: If lines have the wrong length or hold something else than numbers.
    """
    faults = FileFaults(path, REMEDY)
    rows = []
    for line, text in enumerate(read_text(path).splitlines(), start=1):
        words = text.split()
        if not words:
            continue
        try:
            class_index, values = int(words[0]), tuple(float(word) for word in words[1:])
        except ValueError:
            faults.add(f'line {line}', 'not a class index and numbers')
            continue
        if not (len(values) == 4 or (len(values) >= 6 and len(values) % 2 == 0)):
            faults.add(f'line {line}', f'{len(words)} values; a box has 5, a polygon 7 or another odd number above')
        elif not all(map(math.isfinite, values)):
            faults.add(f'line {line}', 'a coordinate is not a finite number')
        else:
            rows.append(YoloRow(line, class_index, values))
    faults.raise_if_any()
    return rows


def read_yolo(
    path: str | Path, size_px: tuple[int, int], names: Sequence[str] = ('osteoclast',), repair: bool = True
) -> list[Outline]:
    """The outlines of a label file; a box becomes a rectangle.

    Args:
        path: The file.
        size_px: Width and height of the image, to turn fractions into pixels.
        names: Class names in the order of their indices.
        repair: Whether self-crossing outlines are repaired (and logged) or faults.

    Raises:
        InputError: As `read_yolo_rows`, or if classes have no name, or vertices lie outside the image.
    """
    collector = OutlineCollector(path, REMEDY, size_px, repair)
    for row in read_yolo_rows(path):
        where, vertices = f'line {row.line}', row.vertices()
        if not 0 <= row.class_index < len(names):
            collector.add(where, f'class {row.class_index}, but the classes are 0 to {len(names) - 1}')
        elif vertices.min() < -BEYOND_IMAGE or vertices.max() > 1 + BEYOND_IMAGE:
            collector.add(where, 'coordinates outside 0 to 1; they must be fractions of the image')
        else:
            collector.add_ring(where, vertices.clip(0, 1) * size_px, label=names[row.class_index])
    return collector.finish()


def write_yolo(
    path: str | Path,
    outlines: Sequence[Outline],
    size_px: tuple[int, int],
    names: Sequence[str] = ('osteoclast',),
    boxes: bool = False,
) -> None:
    """Writes a label file, polygons or boxes; holes and further parts are bridged into one ring (see `rings`).

    The format has no names of objects and no scores, and no regions to ignore.

    Args:
        path: The file.
        outlines: The outlines in pixels of the image.
        size_px: Width and height of the image.
        names: Class names in the order of their indices.
        boxes: Whether boxes are written instead of polygons.

    Raises:
        InputError: If an outline's label is not among the names, or an outline is to be ignored.
    """
    lines = []
    for index, outline in enumerate(outlines):
        if outline.label not in names:
            raise InputError(f'{path}: outline {index} is of class {outline.label!r}, not one of {", ".join(names)}.')
        if outline.ignored:
            raise InputError(f'{path}: outline {index} is to be ignored, which YOLO files cannot say. Write COCO.')
        if boxes:
            left, top, right, bottom = outline.geometry.bounds
            values = np.array([[(left + right) / 2, (top + bottom) / 2], [right - left, bottom - top]])
        else:
            values = single_ring(outline.geometry)
        fractions = (values / size_px).ravel()
        lines.append(' '.join([str(names.index(outline.label)), *(f'{value:.9g}' for value in fractions)]))
    write_text(path, ''.join(f'{line}\n' for line in lines))
