"""What the names and numbers in the published NOISe dataset mean, after the script that made it. Pure; no files.

`create_patches.py` of https://github.com/michaelwwan/noise cuts a well into windows of 832 px every 416 px and names
them `img_<well>_<row>_<col>.png`, row and column being the window's place divided by 416 and rounded up. Hence:

- A window at the right or lower border is shifted inward, but its name does not say by how much.
- Such a window is also one pixel short (831 px), while its labels are still fractions of 832 px.
- Vertices of a cell outside a window were dropped instead of cutting the outline at the border. Cells at the borders
  of patches are therefore deformed, and that can't be undone without the whole wells.
- Windows without cells were not written.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

import shapely
from shapely import MultiPolygon, Polygon

from noise_mm.formats.yolo import YoloRow
from noise_mm.geometry.outline import polygonal_parts
from noise_mm.geometry.rings import geometry_of_ring

PATCH_PX = 832
STRIDE_PX = 416
NAME = re.compile(r'img_(?P<well>.+)_(?P<row>\d+)_(?P<column>\d+)')


class PatchName(NamedTuple):
    """What a patch's file name says: its well, and row and column as counts or pixels from the top and left."""

    well: str
    row: int
    column: int


class Origin(NamedTuple):
    """Left and upper edge of a patch in well pixels; not `exact` if it may lie up to 415 px further left or up."""

    x: int
    y: int
    exact: bool


class PatchCell(NamedTuple):
    """One cell in pixels of its patch; whether its polygon crossed itself, and reached outside and was cut off."""

    geometry: Polygon | MultiPolygon
    crossing: bool
    outside: bool


def parse_patch_name(stem: str) -> PatchName | None:
    """Return the parts of a name without its suffix, such as `img_3_0_12`; None if it is of another form."""
    match = NAME.fullmatch(stem)
    return PatchName(match['well'], int(match['row']), int(match['column'])) if match else None


def names_hold_offsets(names: Iterable[PatchName]) -> bool:
    """Return whether rows and columns are pixels rather than counts.

    Counts stay below 416 up to a well of 173,000 px; pixels exceed it with the second window but one. So one number
    from 416 on in a batch decides for pixels. Batches with none at all have counts, as the published ones.
    """
    return any(max(name.row, name.column) >= STRIDE_PX for name in names)


def patch_origin(name: PatchName, size_px: tuple[int, int], offsets: bool) -> Origin:
    """Return where a patch of `size_px` (width, height) lies; `offsets` as `names_hold_offsets` says of the batch."""
    if offsets:
        return Origin(name.column, name.row, True)
    # a window that is a pixel short was shifted inward
    shifted = (size_px[0] < PATCH_PX and name.column > 0) or (size_px[1] < PATCH_PX and name.row > 0)
    return Origin(name.column * STRIDE_PX, name.row * STRIDE_PX, not shifted)


def patch_cell(row: YoloRow, size_px: tuple[int, int]) -> PatchCell | None:
    """Return the cell or nucleus of one line of a label file; None if it has no area in a patch of (width, height)."""
    vertices = row.vertices()
    full_px = [PATCH_PX if side_px == PATCH_PX - 1 else side_px for side_px in size_px]  # what fractions are of
    try:
        geometry, crossing = geometry_of_ring(vertices * full_px)
    except ValueError:
        return None
    inside = polygonal_parts(geometry.intersection(shapely.box(0, 0, *size_px)))
    if inside.is_empty:
        return None
    # Boxes around nuclei at the border reach beyond it as a matter of course; polygons should not.
    outside = not row.is_box and bool(vertices.min() < 0 or vertices.max() > 1)
    return PatchCell(inside, crossing, outside)
