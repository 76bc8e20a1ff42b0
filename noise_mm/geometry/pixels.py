"""Outlines to pixels and back, both exact. Pure; no files.

A pixel belongs to an outline if its CENTRE lies inside: outlines that share a border then share no pixel and leave no
gap. The way back follows the pixels' edges, so the area of the traced outline is the number of pixels.
"""

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon


def fill_pixels(
    geometry: Polygon | MultiPolygon, x_px: int, y_px: int, width_px: int, height_px: int
) -> NDArray[np.bool_]:
    """The pixels of a window whose centres are inside `geometry`; holes are outside.

    A centre exactly on a border counts for the side to the right of or below that border, and so for one of two
    neighbours only.

    Args:
        geometry: A valid geometry in well pixels.
        x_px: Left edge of the window.
        y_px: Upper edge of the window.
        width_px: Width of the window.
        height_px: Height of the window.

    Returns:
        Array (height_px, width_px).
    """
    x1, y1, x2, y2 = _edges(geometry)
    y1, y2, x1, x2 = y1 - y_px, y2 - y_px, x1 - x_px, x2 - x_px
    first_row = np.clip(np.ceil(np.minimum(y1, y2) - 0.5), 0, height_px).astype(np.int64)
    end_row = np.clip(np.ceil(np.maximum(y1, y2) - 0.5), 0, height_px).astype(np.int64)
    rows_crossed = end_row - first_row
    edge = np.repeat(np.arange(len(x1)), rows_crossed)
    before = np.repeat(np.cumsum(rows_crossed) - rows_crossed, rows_crossed)
    row = first_row[edge] + np.arange(len(edge)) - before
    crossing = x1[edge] + (row + 0.5 - y1[edge]) * (x2[edge] - x1[edge]) / (y2[edge] - y1[edge])
    column = np.clip(np.ceil(crossing - 0.5), 0, width_px).astype(np.int64)
    # Each crossing of a border turns inside to outside for all pixels to its right.
    toggles = np.bincount(row * (width_px + 1) + column, minlength=height_px * (width_px + 1))
    toggles = (toggles & 1).astype(np.uint8).reshape(height_px, width_px + 1)
    return np.bitwise_xor.accumulate(toggles, axis=1)[:, :width_px].astype(bool)


def trace(mask: NDArray, x_px: int = 0, y_px: int = 0) -> Polygon | MultiPolygon:
    """The outline of the true pixels of a mask, along their edges.

    Pixels that touch by a corner only are separate parts; so a 2 x 2 checkerboard gives two squares.

    Args:
        mask: Array (height, width); anything not zero is inside.
        x_px: Column in the well of the mask's left edge.
        y_px: Row in the well of the mask's upper edge.

    Returns:
        A valid geometry with whole-numbered corners, whose area is the number of true pixels.

    Raises:
        ValueError: If no pixel is true.
    """
    mask = np.asarray(mask) != 0
    if not mask.any():
        raise ValueError('the mask has no pixel')
    rings = [ring + np.array([x_px, y_px], dtype=np.float64) for ring in _boundary_rings(mask)]
    if len(rings) == 1:
        return Polygon(rings[0])
    # Borders run clockwise as seen on the screen (y down) around pixels: positive shoelace area; holes are negative.
    areas = [_shoelace(ring) for ring in rings]
    shells = [ring for ring, area in zip(rings, areas, strict=True) if area > 0]
    holes = [ring for ring, area in zip(rings, areas, strict=True) if area < 0]
    if len(shells) == 1:
        return Polygon(shells[0], holes)
    return MultiPolygon(list(zip(shells, _holes_by_shell(shells, holes), strict=True)))


def row_runs(labels: NDArray) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """The horizontal runs of equal pixels that are not 0: their labels, rows, first columns and end columns.

    Args:
        labels: Array (height, width) of integers or booleans.

    Returns:
        Four arrays of one length, ordered by row and column. End columns are one past the last pixel.
    """
    height, width = labels.shape
    changes = np.ones((height, width + 1), dtype=bool)
    changes[:, 1:width] = labels[:, 1:] != labels[:, :-1]
    inside = labels != 0
    rows, starts = np.nonzero(changes[:, :width] & inside)
    _, lasts = np.nonzero(changes[:, 1:] & inside)
    return labels[rows, starts], rows, starts, lasts + 1


def mask_of_runs(rows: NDArray, starts: NDArray, ends: NDArray) -> tuple[NDArray[np.bool_], int, int]:
    """The smallest mask that holds horizontal runs, with the column and the row of its upper left corner."""
    x, y = int(starts.min()), int(rows.min())
    width, height = int(ends.max()) - x, int(rows.max()) - y + 1
    steps = np.zeros((height, width + 1), dtype=np.int8)
    np.add.at(steps, (rows - y, starts - x), 1)
    np.add.at(steps, (rows - y, ends - x), -1)
    return np.cumsum(steps, axis=1, dtype=np.int8)[:, :width] > 0, x, y


def _edges(geometry: Polygon | MultiPolygon) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """All edges of all rings as x1, y1, x2, y2."""
    rings = shapely.get_rings(shapely.get_parts(geometry))
    coordinates, ring_of = shapely.get_coordinates(rings, return_index=True)
    inner = ring_of[1:] == ring_of[:-1]
    start, end = coordinates[:-1][inner], coordinates[1:][inner]
    return start[:, 0], start[:, 1], end[:, 0], end[:, 1]


def _shoelace(ring: NDArray) -> float:
    """Signed area of a ring (n, 2) without the repeated last point; positive if clockwise on the screen (y down)."""
    x, y = ring[:, 0], ring[:, 1]
    return float(x[:-1] @ y[1:] - x[1:] @ y[:-1] + x[-1] * y[0] - x[0] * y[-1]) / 2


def _holes_by_shell(shells: list[NDArray], holes: list[NDArray]) -> list[list[NDArray]]:
    """For each shell the holes in it: a hole belongs to the smallest of the shells around it."""
    areas = np.array([_shoelace(shell) for shell in shells])
    tree = shapely.STRtree([Polygon(shell) for shell in shells])
    of_shell: list[list[NDArray]] = [[] for _ in shells]
    for hole in holes:
        around = tree.query(Polygon(hole).point_on_surface(), predicate='within')
        of_shell[around[areas[around].argmin()]].append(hole)
    return of_shell


def _boundary_rings(mask: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """The closed paths around the true pixels, each (n, 2) of corners (x, y); none passes a point twice.

    How it works: walk along the pixels' edges with true pixels on the right-hand side. Only corners matter. Read in
    row order, neighbouring corners are the ends of a horizontal piece; in column order, of a vertical one. Where two
    true pixels touch by a corner only, the path turns right, that is, it stays with its pixel. A path that still
    passes a point twice (a hole closed by such a touch) is cut there into simple paths.
    """
    padded = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2), dtype=bool)
    padded[1:-1, 1:-1] = mask
    steps = padded[:, 1:] != padded[:, :-1]  # between neighbours in a row
    # At a corner the step above it is another than that below it; where two pixels touch, both are steps.
    crossed = padded[1:] != padded[:-1]
    is_corner = (steps[1:] != steps[:-1]) | (steps[1:] & steps[:-1] & crossed[:, 1:])
    y, x = np.nonzero(is_corner)
    north_west, north_east, south_west, south_east = (
        padded[y, x],
        padded[y, x + 1],
        padded[y + 1, x],
        padded[y + 1, x + 1],
    )
    touch = (north_west == south_east) & (north_east == south_west)
    by_column = np.lexsort((y, x))
    place = np.empty_like(by_column)
    place[by_column] = np.arange(len(by_column))
    # What lies around each corner says in which directions paths leave it: 0 right, 1 down, 2 left, 3 up.
    leaves = np.stack(
        [
            south_east & ~north_east,
            south_west & ~south_east,
            north_west & ~south_west,
            north_east & ~north_west,
        ],
        axis=-1,
    )
    way_out = leaves.argmax(axis=1)
    right, left = np.arange(len(x)) + 1, np.arange(len(x)) - 1
    down, up = by_column[np.minimum(place + 1, len(x) - 1)], by_column[np.maximum(place - 1, 0)]
    neighbour = np.stack([right, down, left, up])
    if not touch.any():  # one path leaves each corner, and the next corner is known for all at once
        return [np.stack([x[ring], y[ring]], axis=1) for ring in _cycles(neighbour[way_out, right - 1])]
    is_touch, way_out, neighbour = touch.tolist(), way_out.tolist(), neighbour.tolist()
    rings = []
    unvisited = dict.fromkeys(zip(*(part.tolist() for part in np.nonzero(leaves)), strict=True))
    while unvisited:
        index, direction = next(iter(unvisited))
        path = []
        while (index, direction) in unvisited:
            del unvisited[index, direction]
            path.append(index)
            index = neighbour[direction][index]
            direction = (direction + 1) % 4 if is_touch[index] else way_out[index]
        rings.extend(_simple_paths(path, is_touch))
    return [np.stack([x[ring], y[ring]], axis=1) for ring in rings]


def _cycles(following: NDArray[np.intp]) -> list[list[int]]:
    """The cycles of a permutation, each from its lowest member on; `following[i]` comes after i."""
    follow, is_new = following.tolist(), [True] * len(following)
    cycles = []
    for start in range(len(follow)):
        if is_new[start]:
            cycle, index = [], start
            while is_new[index]:
                is_new[index] = False
                cycle.append(index)
                index = follow[index]
            cycles.append(cycle)
    return cycles


def _simple_paths(path: list[int], is_touch: list[bool]) -> list[list[int]]:
    """Cuts a closed path of corners into paths that pass no corner twice; only touching points can be passed twice."""
    simple: list[list[int]] = []
    current: list[int] = []
    for corner in path:
        if is_touch[corner] and corner in current:
            start = current.index(corner)
            simple.append(current[start:])
            current = current[:start]
        current.append(corner)
    return [*simple, current]
