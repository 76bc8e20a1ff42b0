"""Outlines of cells clipped to windows, scaled and measured. Pure.

All in the pixel convention of `noise_mm.geometry.outline`: pixel corners at whole numbers, so that clipping to a
window of whole pixels and drawing afterwards gives the same mask as drawing the cell and cropping it.
"""

import shapely
from shapely import MultiPolygon, Polygon, affinity

from noise_mm.geometry.outline import polygonal_parts

SMALLEST_FRAGMENT_PX2 = 1e-6
"""Parts below this area are what floating point leaves where an outline runs along the window's border."""


def clipped(
    geometry: Polygon | MultiPolygon, x: float, y: float, width: float, height: float
) -> Polygon | MultiPolygon:
    """The part of an outline inside a window, still in the coordinates of the well.

    The outline is cut exactly along the window's border; holes stay holes, and an outline that enters the window in
    several places comes back as several polygons. The result is empty where the outline at most touches the window.
    """
    window = shapely.box(x, y, x + width, y + height)
    left, top, right, bottom = geometry.bounds
    if left >= x and top >= y and right <= x + width and bottom <= y + height:
        return geometry
    inside = polygonal_parts(geometry.intersection(window))
    parts = [part for part in shapely.get_parts(inside) if part.area > SMALLEST_FRAGMENT_PX2]
    return parts[0] if len(parts) == 1 else MultiPolygon(parts)


def scaled(geometry: Polygon | MultiPolygon, factor: float) -> Polygon | MultiPolygon:
    """The outline `factor` times as large, about the origin (0, 0); areas grow by the square of `factor`."""
    return geometry if factor == 1 else affinity.scale(geometry, factor, factor, origin=(0, 0))


def area_um2(area_px2: float, um_per_px: float) -> float:
    """An area in square micrometres from square pixels; `um_per_px` is the side of a pixel."""
    return area_px2 * um_per_px**2
