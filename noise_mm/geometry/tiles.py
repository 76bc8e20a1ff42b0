"""Grids of overlapping windows over a well: for cutting patches and for prediction alike. Pure; no pixels, no files."""

from typing import NamedTuple


class Window(NamedTuple):
    """One window of a grid, in whole pixels of the well.

    Attributes:
        row: Row of the grid, from 0 at the top.
        column: Column of the grid, from 0 at the left.
        x: Left edge.
        y: Top edge.
        width: Width; the right edge is at `x + width`.
        height: Height; the lower edge is at `y + height`.
    """

    row: int
    column: int
    x: int
    y: int
    width: int
    height: int


def tile_starts(length_px: int, tile_px: int, stride_px: int) -> list[int]:
    """Start positions of the tiles that cover one axis of a well.

    Starts are `stride_px` apart, but the last tile is shifted inward so that it ends at the border of the well: every
    tile then has the size the network was trained on, and no tile is needed twice. An axis no longer than one tile
    gives `[0]`; where it is shorter, the caller pads.

    >>> tile_starts(2000, tile_px=832, stride_px=416)
    [0, 416, 832, 1168]

    Args:
        length_px: Length of the axis in pixels.
        tile_px: Side of a tile in pixels.
        stride_px: Distance between the starts of neighbours; their overlap is `tile_px - stride_px`. Choose the overlap
            larger than the largest cell, or no tile need see that cell whole.

    Returns:
        Increasing positions in pixels; the first is 0, and together the tiles cover `[0, length_px)`.

    Raises:
        ValueError: If a length is not positive, or the stride is larger than the tile and would leave gaps.
    """
    if min(length_px, tile_px, stride_px) < 1:
        raise ValueError(f'lengths must be positive, got {length_px=}, {tile_px=} and {stride_px=}.')
    if stride_px > tile_px:
        raise ValueError(f'stride_px must not exceed tile_px, got {stride_px=} and {tile_px=}. Lower the stride.')
    last = max(length_px - tile_px, 0)
    return [*range(0, last, stride_px), last]


def window_grid(width_px: int, height_px: int, tile_px: int, stride_px: int) -> list[Window]:
    """The square windows that cover a well, row by row from the upper left.

    Each window is `tile_px` wide and high even where the well is smaller than that; the caller pads.

    Raises:
        ValueError: As `tile_starts` does.
    """
    columns = list(enumerate(tile_starts(width_px, tile_px, stride_px)))
    rows = list(enumerate(tile_starts(height_px, tile_px, stride_px)))
    return [Window(row, column, x, y, tile_px, tile_px) for row, y in rows for column, x in columns]
