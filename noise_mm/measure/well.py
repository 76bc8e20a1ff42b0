"""Sums the measures of cells up to measures of the well. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import shapely

from noise_mm.geometry.cell_masks import CellMask
from noise_mm.geometry.windows import area_um2
from noise_mm.measure.cells import PRE_OSTEOCLAST, CellMeasures


class WellArea(NamedTuple):
    """The area of the well that shares and densities refer to.

    Attributes:
        px2: Area in pixels of the well image.
        source: `given`, or `disc` for the well's disc found in the image.
    """

    px2: float
    source: str


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
) -> dict[str, Any]:
    """Sum up a well. Osteoclasts are all cells but those of the class `PRE_OSTEOCLAST`, which are counted apart.

    Args:
        cells: All cells.
        covered_area_px2: Pixels in at least one osteoclast, of `covered_px2`.
        size_px: Width and height of the image.
        mpp: Pixel size in um, if known; areas in um and mm are None without.
        well_area: Area of the well, if known.
        nuclei: All nuclei in the image, in cells or not, if they were counted.
        are_classed: Whether cells with few nuclei are classed as `PRE_OSTEOCLAST`.

    Returns:
        Measures by the names of their columns in `wells.csv`; those that are not known are None. In the total area of
        the osteoclasts pixels where they overlap count for each, in the covered area once.
    """
    osteoclasts = [cell for cell in cells if cell.label != PRE_OSTEOCLAST]
    total, image, well = (
        sum(cell.area_px2 for cell in osteoclasts),
        size_px[0] * size_px[1],
        well_area and well_area.px2,
    )
    return with_shares(
        {
            'count': len(osteoclasts),
            'pre_osteoclasts': len(cells) - len(osteoclasts) if are_classed else None,
            'total_area_px2': total,
            'total_area_um2': mpp and area_um2(total, mpp),
            'covered_area_px2': covered_area_px2,
            'image_area_px2': image,
            'image_area_mm2': mpp and area_um2(image, mpp) / 1e6,
            'well_area_px2': well,
            'well_area_mm2': mpp and well and area_um2(well, mpp) / 1e6,
            'well_area_from': well_area and well_area.source,
            'nuclei': nuclei,
            'nuclei_in_osteoclasts': None if nuclei is None else sum(cell.nuclei for cell in osteoclasts),
        }
    )


def with_shares(sums: Mapping[str, Any]) -> dict[str, Any]:
    """Return sums by column together with the means, shares and densities that follow from them.

    Means over no cell and shares of nothing are None.
    """
    count, nuclei, covered = sums['count'], sums['nuclei_in_osteoclasts'], sums['covered_area_px2']
    return {
        **sums,
        'mean_area_um2': _ratio(sums['total_area_um2'], count),
        'covered_of_image_percent': _ratio(covered, sums['image_area_px2'], 100),
        'covered_of_well_percent': _ratio(covered, sums['well_area_px2'], 100),
        'count_per_mm2': _ratio(count, sums['well_area_mm2']),
        'nuclei_per_osteoclast': _ratio(nuclei, count),
        'fusion_index': _ratio(nuclei, sums['nuclei']),
    }


def _ratio(part: float | None, whole: float | None, factor: float = 1) -> float | None:
    return None if part is None or not whole else factor * part / whole
