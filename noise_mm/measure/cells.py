"""Measures each cell. Pure.

A cell is measured on its own pixels, those whose centres lie in its outline (`noise_mm.geometry.cell_masks`), as
scikit-image's `regionprops` does. Its area is therefore the number of its pixels in the label image, unless another
cell lies over it. Where cells overlap, each is measured whole.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noise_mm.geometry.cell_masks import CellMask
from noise_mm.geometry.outline import Outline
from noise_mm.geometry.packed_outlines import LazyOutlines
from noise_mm.geometry.windows import area_um2
from noise_mm.measure.shape import Shape, shape_of

PRE_OSTEOCLAST = 'pre-osteoclast'
"""Class of cells with fewer nuclei than an osteoclast has."""

PixelBox = tuple[int, int, int, int]
"""Left and upper edge, width and height in whole pixels."""


@dataclass(frozen=True, slots=True)
class CellMeasures:
    """One cell; places in pixels of the well image, with pixel corners at whole numbers.

    `solidity` and `eccentricity` are None for a sliver that holds no pixel's centre; its lengths and areas are 0.

    Attributes:
        name: Name of the outline.
        label: Class.
        score: Confidence from 0 to 1, or None.
        centroid_px: Mean x and y of the pixels' centres.
        box_px: Left and upper edge, width and height of the pixels.
        area_px2: Number of pixels.
        perimeter_px: Length of the border, of holes too.
        equivalent_diameter_px: Diameter of the circle of the same area.
        solidity: Share of the convex hull that is cell.
        eccentricity: Of the ellipse with the same second moments, from 0, a circle, to 1.
        nuclei: Nuclei in the cell, or None where none were looked for.
        touches_edge: Whether the cell has a pixel at the image's border, and so may go on beyond it.
        mpp: Pixel size in um, or None if it is not known; measures in um are then None too.
        marks: What is in doubt about the cell, such as `cut_at_box`.
    """

    name: str
    label: str
    score: float | None
    centroid_px: tuple[float, float]
    box_px: PixelBox
    area_px2: int
    perimeter_px: float
    equivalent_diameter_px: float
    solidity: float | None
    eccentricity: float | None
    nuclei: int | None
    touches_edge: bool
    mpp: float | None
    marks: frozenset[str] = frozenset()

    @property
    def area_um2(self) -> float | None:
        """Area in square micrometres."""
        return None if self.mpp is None else area_um2(self.area_px2, self.mpp)

    @property
    def perimeter_um(self) -> float | None:
        """Length of the border in micrometres."""
        return None if self.mpp is None else self.perimeter_px * self.mpp

    @property
    def equivalent_diameter_um(self) -> float | None:
        """Diameter of the circle of the same area in micrometres."""
        return None if self.mpp is None else self.equivalent_diameter_px * self.mpp


def with_pre_osteoclasts(
    outlines: Sequence[Outline], nuclei: Sequence[int] | NDArray[np.int64], min_nuclei: int
) -> LazyOutlines:
    """Return the outlines, those with fewer than `min_nuclei` nuclei in the class `PRE_OSTEOCLAST`.

    Names that begin with the class follow (`osteoclast_0007` becomes `pre-osteoclast_0007`), so numbers stay.

    Args:
        outlines: The cells.
        nuclei: Nuclei of each.
        min_nuclei: Nuclei that make an osteoclast.
    """
    return LazyOutlines(
        len(outlines), lambda i: _as_pre_osteoclast(outlines[i]) if nuclei[i] < min_nuclei else outlines[i]
    )


def _as_pre_osteoclast(outline: Outline) -> Outline:
    name = outline.name
    if name.startswith(f'{outline.label}_'):
        name = PRE_OSTEOCLAST + name.removeprefix(outline.label)
    return replace(outline, label=PRE_OSTEOCLAST, name=name)


def measure_cells(
    outlines: Sequence[Outline],
    masks: Sequence[CellMask],
    size_px: tuple[int, int],
    mpp: float | None,
    nuclei: Sequence[int] | NDArray[np.int64] | None = None,
) -> Iterator[CellMeasures]:
    """Measure one cell after the other.

    Args:
        outlines: In pixels of the well image.
        masks: Their pixels, of `cell_masks`.
        size_px: Width and height of the image.
        mpp: Pixel size in um, if known.
        nuclei: Nuclei of each cell, if they were counted.
    """
    for index, (outline, mask) in enumerate(zip(outlines, masks, strict=True)):
        shape = shape_of(mask.pixels())
        yield CellMeasures(
            name=outline.name,
            label=outline.label,
            score=outline.score,
            nuclei=None if nuclei is None else int(nuclei[index]),
            mpp=mpp,
            marks=outline.marks,
            **(_sliver(outline, mask) if shape is None else _measured(shape, mask, size_px)),
        )


def _measured(shape: Shape, mask: CellMask, size_px: tuple[int, int]) -> dict[str, Any]:
    """Return the measures of a cell from those in the window of `mask`."""
    left, top, width, height = shape.box
    x, y = mask.x + left, mask.y + top
    return dict(
        # shapes have the centres of pixels at whole numbers, outlines have corners there
        centroid_px=(mask.x + shape.centroid_px[0] + 0.5, mask.y + shape.centroid_px[1] + 0.5),
        box_px=(x, y, width, height),
        area_px2=shape.area_px2,
        perimeter_px=shape.perimeter_px,
        equivalent_diameter_px=math.sqrt(4 * shape.area_px2 / math.pi),
        solidity=shape.solidity,
        eccentricity=shape.eccentricity,
        touches_edge=x == 0 or y == 0 or x + width == size_px[0] or y + height == size_px[1],
    )


def _sliver(outline: Outline, mask: CellMask) -> dict[str, Any]:
    """Return the measures of a cell without a pixel's centre; it lies along the border or is narrower than a pixel."""
    centre = outline.geometry.centroid
    lengths = dict.fromkeys(('perimeter_px', 'equivalent_diameter_px'), 0.0)
    unknown = dict.fromkeys(('solidity', 'eccentricity'))
    place = {'centroid_px': (centre.x, centre.y), 'box_px': (mask.x, mask.y, 0, 0)}
    return {**place, 'area_px2': 0, **lengths, **unknown, 'touches_edge': False}
