"""Draws the masks that the mask loss compares with, once and at the size of the prototypes.

A cell of the grid is `stride_px` network pixels wide. It belongs to an instance if its CENTRE lies inside the outline.
Over many shapes the mask's area then equals the outline's; cv2.fillPoly also sets every pixel that the line touches.
For a stride of 4 the centre is where four pixels meet; Ultralytics sets the cell if two of these four are set.

How it works: a row of cells is a horizontal line through their centres. Where it crosses a ring it changes from
outside to inside or back, so consecutive pairs of crossings bound the cells to set. All crossings of all rings are
found and sorted at once, and no array is larger than the number of crossings or of cells set.
"""

import numpy as np

from noise_mm.datasets.rings import Rings, count_up

PROTOTYPE_STRIDE_PX = 4  # YOLOv8's prototypes have a quarter of the resolution of the network's input


def index_map(rings: Rings, grid_hw: tuple[int, int], stride_px: int = PROTOTYPE_STRIDE_PX) -> np.ndarray:
    """One map for all instances: 0 for background, k for the k-th instance, counted from 1.

    Where instances overlap, the later one is seen: sort them by falling area, so that small ones lie on large ones.
    Only an instance whose cells are all covered by later ones is not seen.

    Args:
        rings: n outlines in network pixels, inside the frame of `grid_hw` times `stride_px`.
        grid_hw: Rows and columns of the grid.
        stride_px: Width of a cell.

    Returns:
        (rows, columns) int32, so that any number of instances fits.
    """
    cells_by_index = np.zeros(grid_hw[0] * grid_hw[1], dtype=np.int32)
    instances, cells = _covered_cells(rings, grid_hw, stride_px)
    np.maximum.at(cells_by_index, cells, (instances + 1).astype(np.int32))
    return cells_by_index.reshape(grid_hw)


def mask_stack(rings: Rings, grid_hw: tuple[int, int], stride_px: int = PROTOTYPE_STRIDE_PX) -> np.ndarray:
    """One mask for each instance, (n, rows, columns) uint8 of 0 and 1. Arguments as in `index_map`."""
    stack = np.zeros((len(rings), grid_hw[0] * grid_hw[1]), dtype=np.uint8)
    instances, cells = _covered_cells(rings, grid_hw, stride_px)
    stack[instances, cells] = 1
    return stack.reshape(len(rings), *grid_hw)


def _covered_cells(rings: Rings, grid_hw: tuple[int, int], stride_px: int) -> tuple[np.ndarray, np.ndarray]:
    """The cells of each instance, as equally long arrays of instances and of cells (row * columns + column).

    An instance too small to hold the centre of a cell gets the one cell in which the mean of its vertices lies.
    """
    rows, columns = grid_hw
    ring, row, starts, ends = _spans(rings, rows, stride_px)
    # Cells whose centre is at start <= x < end; in units of cells, with centres at whole numbers.
    first = np.clip(np.ceil(starts), 0, columns).astype(np.int64)
    counts = np.clip(np.ceil(ends), 0, columns).astype(np.int64) - first
    cells = np.repeat(row * columns + first, counts) + count_up(counts)
    instances = np.repeat(rings.instances[ring], counts)

    missed = np.setdiff1d(np.flatnonzero(rings.instance_sizes), instances)
    if len(missed):
        begins, _, ring = rings.selected(missed).edges()
        owner = rings.selected(missed).instances[ring]
        sums = [np.bincount(owner, weights=along) for along in begins.T]
        centres = np.stack(sums, axis=1) / np.bincount(owner)[:, None]
        column, line = np.clip(centres // stride_px, 0, [columns - 1, rows - 1]).astype(np.int64).T
        instances, cells = np.concatenate([instances, missed]), np.concatenate([cells, line * columns + column])
    return instances, cells


def _spans(rings: Rings, rows: int, stride_px: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Where the centre line of each row is inside each ring: ring, row, start and end in cells (centres at whole x)."""
    begins, ends, of_ring = rings.edges()
    here, there = begins / stride_px - 0.5, ends / stride_px - 0.5
    # Every edge from its upper end, so that an edge passed in both directions (a slit) gives the same crossing twice.
    upward = (here[:, 1] > there[:, 1])[:, None]
    top, bottom = np.where(upward, there, here), np.where(upward, here, there)
    # An edge has its upper end but not its lower: a line through a vertex crosses as often as one beside it.
    first = np.clip(np.ceil(top[:, 1]), 0, rows).astype(np.int64)
    counts = np.clip(np.ceil(bottom[:, 1]), 0, rows).astype(np.int64) - first

    edge = np.repeat(np.arange(len(top)), counts)
    row = first[edge] + count_up(counts)
    slope = (bottom[edge, 0] - top[edge, 0]) / (bottom[edge, 1] - top[edge, 1])
    x = top[edge, 0] + (row - top[edge, 1]) * slope
    ring = of_ring[edge]

    order = np.lexsort((x, ring * rows + row))
    enter, leave = order[0::2], order[1::2]
    return ring[enter], row[enter], x[enter], x[leave]
