"""Measures of cells -> measures of the well. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely

from noise_mm.geometry.cell_masks import CellMask
from noise_mm.geometry.windows import area_um2
from noise_mm.measure.cells import PRE_OSTEOCLAST, CellMeasures


@dataclass(frozen=True)
class WellArea:
    """The area of the well that shares and densities refer to.

    Attributes:
        px2: Area in pixels of the well image.
        source: Where it is from: `given`, or `disc` for the well's disc found in the image.
    """

    px2: float
    source: str


@dataclass(frozen=True)
class WellMeasures:
    """One well. Osteoclasts are all cells but those of the class `PRE_OSTEOCLAST`, which are counted apart.

    What needs an area of the well, or nuclei, is None without. Means over no cell, and shares of no nucleus, too.

    Attributes:
        count: Osteoclasts.
        pre_osteoclasts: Cells with fewer nuclei than asked for; None if no number was asked for.
        total_area_px2: Sum of the osteoclasts' areas; where they overlap, pixels count for each.
        covered_area_px2: Pixels in at least one osteoclast.
        image_area_px2: Pixels of the well image.
        well_area: Area of the well.
        nuclei: All nuclei that were found.
        nuclei_in_osteoclasts: Those that lie in osteoclasts.
        mpp: Pixel size in um, or None if it is not known; areas in um and mm are then None too.
    """

    count: int
    pre_osteoclasts: int | None
    total_area_px2: int
    covered_area_px2: int
    image_area_px2: int
    well_area: WellArea | None
    nuclei: int | None
    nuclei_in_osteoclasts: int | None
    mpp: float | None

    @property
    def total_area_um2(self) -> float | None:
        """Sum of the osteoclasts' areas in square micrometres."""
        return None if self.mpp is None else area_um2(self.total_area_px2, self.mpp)

    @property
    def mean_area_um2(self) -> float | None:
        """Mean area of the osteoclasts in square micrometres."""
        return self.total_area_um2 / self.count if self.count and self.mpp else None

    @property
    def covered_of_image_percent(self) -> float:
        """Percentage of the image in at least one osteoclast."""
        return 100 * self.covered_area_px2 / self.image_area_px2

    @property
    def image_area_mm2(self) -> float | None:
        """Area of the image in square millimetres."""
        return None if self.mpp is None else area_um2(self.image_area_px2, self.mpp) / 1e6

    @property
    def well_area_mm2(self) -> float | None:
        """Area of the well in square millimetres."""
        return area_um2(self.well_area.px2, self.mpp) / 1e6 if self.well_area and self.mpp else None

    @property
    def covered_of_well_percent(self) -> float | None:
        """Percentage of the well in at least one osteoclast."""
        return 100 * self.covered_area_px2 / self.well_area.px2 if self.well_area else None

    @property
    def count_per_mm2(self) -> float | None:
        """Osteoclasts per square millimetre of the well."""
        return self.count / self.well_area_mm2 if self.well_area_mm2 else None

    @property
    def nuclei_per_osteoclast(self) -> float | None:
        """Mean number of nuclei of the osteoclasts."""
        if self.nuclei_in_osteoclasts is None or not self.count:
            return None
        return self.nuclei_in_osteoclasts / self.count

    @property
    def fusion_index(self) -> float | None:
        """Share of all nuclei that lie in osteoclasts, from 0 to 1."""
        return self.nuclei_in_osteoclasts / self.nuclei if self.nuclei else None


def covered_px2(masks: Sequence[CellMask]) -> int:
    """Return the number of pixels in at least one mask.

    Each cell adds the pixels that no cell before it has; only cells whose windows meet are compared.
    """
    windows = np.array([(mask.x, mask.y, mask.x + mask.width, mask.y + mask.height) for mask in masks]).reshape(-1, 4)
    boxes = shapely.box(*windows.T)
    one, other = shapely.STRtree(boxes).query(boxes)
    before: dict[int, list[int]] = {}
    for index, earlier in zip(one[other < one].tolist(), other[other < one].tolist(), strict=True):
        before.setdefault(index, []).append(earlier)
    covered = 0
    for index, mask in enumerate(masks):
        pixels = mask.pixels()
        for earlier in before.get(index, ()):
            pixels &= ~masks[earlier].window(*mask[:4])
        covered += int(np.count_nonzero(pixels))
    return covered


def measure_well(
    cells: Sequence[CellMeasures],
    covered_area_px2: int,
    size_px: tuple[int, int],
    mpp: float | None,
    *,
    well_area: WellArea | None = None,
    nuclei: int | None = None,
    are_classed: bool = False,
) -> WellMeasures:
    """Sum up a well.

    Args:
        cells: All cells.
        covered_area_px2: Pixels in at least one osteoclast, of `covered_px2`.
        size_px: Width and height of the image.
        mpp: Pixel size in um, if known.
        well_area: Area of the well, if known.
        nuclei: All nuclei in the image, in cells or not, if they were counted.
        are_classed: Whether cells with few nuclei are classed as `PRE_OSTEOCLAST`.
    """
    osteoclasts = [cell for cell in cells if cell.label != PRE_OSTEOCLAST]
    return WellMeasures(
        count=len(osteoclasts),
        pre_osteoclasts=len(cells) - len(osteoclasts) if are_classed else None,
        total_area_px2=sum(cell.area_px2 for cell in osteoclasts),
        covered_area_px2=covered_area_px2,
        image_area_px2=size_px[0] * size_px[1],
        well_area=well_area,
        nuclei=nuclei,
        nuclei_in_osteoclasts=None if nuclei is None else sum(cell.nuclei for cell in osteoclasts),
        mpp=mpp,
    )
