"""Measures how time and memory of merging grow with the well: synthetic cells, detected in its overlapping tiles.

Only merging is timed, not the making of the detections. Memory is the largest that the process has had so far, so wells
should be given in rising order.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from timing import Took, now, peak_memory_mib, table

from noise_mm.errors import InputError, run_command

EXAMPLE = 'example: python benchmarks/merge.py --cells 100 1000 10000 100000'


def main() -> None:
    """Read the options, merge and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE)
    parser.add_argument('--cells', type=int, nargs='+', default=[100, 1000, 10_000], help='cells of each well')
    parser.add_argument('--per-tile', type=int, default=20, help='cells on the area of a tile (20)')
    parser.add_argument('--tile-px', type=int, default=832, help='side of a tile (832)')
    parser.add_argument('--stride-px', type=int, default=416, help='distance between tiles (416)')
    parser.add_argument('--jitter', action='store_true', help='shift detections by up to 2 px, so that they differ')
    args = parser.parse_args()
    for name in ('per_tile', 'tile_px', 'stride_px'):
        if getattr(args, name) < 1:
            raise InputError(f'--{name.replace("_", "-")} must be at least 1 (got {getattr(args, name)}).')
    header = ['cells', 'tile detections', 'tiles', 'merged cells', 's of CPU', 'ms per cell', 'peak memory, MiB']
    rows = [measure(cells, args.per_tile, args.tile_px, args.stride_px, args.jitter) for cells in args.cells]
    print(table(header, rows))


def measure(cells: int, per_tile: int, tile_px: int, stride_px: int, jitter: bool) -> list:
    """Merge the tile detections of synthetic cells, one row of tiles after the other, and return a row of the table."""
    import math

    import numpy as np

    from noise_mm.geometry.tiles import window_grid
    from noise_mm.inference.detection import Detection
    from noise_mm.inference.merge.merge import Merger

    tiles = max(1, 1 + math.ceil((math.sqrt(cells / per_tile) - 1) * tile_px / stride_px))
    side_px = tile_px + (tiles - 1) * stride_px
    rng = np.random.default_rng(0)
    shapes = [_ellipse(*rng.uniform(12, 60, 2)) for _ in range(64)]
    most_px = max(max(shape.shape) for shape in shapes)
    corners = np.sort(rng.integers(0, side_px - most_px, (cells, 2)), axis=0)  # sorted by row; columns shuffled below
    rng.shuffle(corners[:, 1])
    kinds = rng.integers(len(shapes), size=cells)
    merger, took, found, detections = Merger(side_px, side_px), Took(0, 0), 0, 0
    windows = window_grid(side_px, side_px, tile_px, stride_px)
    rows = [[window for window in windows if window.row == row] for row in range(tiles)]
    for row, nxt in zip(rows, [*rows[1:], None], strict=True):
        low, high = np.searchsorted(corners[:, 0], [row[0].y - most_px, row[0].y + tile_px])
        for window in row:
            left = corners[low:high, 1] - window.x
            near = low + np.flatnonzero((left > -most_px) & (left < tile_px))
            shift = rng.integers(-2, 3, (len(near), 2)) * jitter
            seen = []
            for i, (dy, dx) in zip(near.tolist(), shift.tolist(), strict=True):
                y, x, mask = int(corners[i, 0]) + dy, int(corners[i, 1]) + dx, shapes[kinds[i]]
                top, left_px = max(window.y - y, 0), max(window.x - x, 0)
                part = mask[top : max(window.y + tile_px - y, 0), left_px : max(window.x + tile_px - x, 0)]
                detection = Detection.from_bitmap(part, x + left_px, y + top, 0.9, 0)
                seen += [detection] if detection is not None else []
            detections += len(seen)
            began = now(with_children=False)
            merger.add_tile(window, seen)
            took += now(with_children=False) - began
        began = now(with_children=False)
        found += len(merger.finish_above(nxt[0].y) if nxt else merger.close())
        took += now(with_children=False) - began
    return [cells, detections, len(windows), found, took.cpu_s, 1e3 * took.cpu_s / cells, peak_memory_mib()]


def _ellipse(radius_x: float, radius_y: float):
    import numpy as np

    rows, columns = np.ogrid[-int(radius_y) : int(radius_y) + 1, -int(radius_x) : int(radius_x) + 1]
    return (columns / radius_x) ** 2 + (rows / radius_y) ** 2 <= 1


if __name__ == '__main__':
    run_command(main)
