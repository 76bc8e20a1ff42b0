"""Measures time and memory of merging: synthetic cells, detected in the overlapping tiles of a well.

Only merging is timed, not the making of the detections.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from timing import Took, now, peak_memory_mib, table

from noise_mm.errors import InputError, run_command

EXAMPLE = 'example: python benchmarks/merge.py --tiles 240 --cells 300000'


def main() -> None:
    """Read the options, merge and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE)
    parser.add_argument('--tiles', type=int, default=48, help='tiles along each side of the well (default: 48)')
    parser.add_argument('--cells', type=int, default=12_000, help='cells in the well (default: 12000)')
    parser.add_argument('--tile-px', type=int, default=832, help='side of a tile (default: 832)')
    parser.add_argument('--stride-px', type=int, default=416, help='distance between tiles (default: 416)')
    parser.add_argument('--jitter', action='store_true', help='shift detections by up to 2 px, so that they differ')
    args = parser.parse_args()
    for name in ('tiles', 'cells', 'tile_px', 'stride_px'):
        if getattr(args, name) < 1:
            raise InputError(f'--{name.replace("_", "-")} must be at least 1 (got {getattr(args, name)}).')
    print(measure(args.tiles, args.cells, args.tile_px, args.stride_px, args.jitter))


def measure(tiles: int, cells: int, tile_px: int, stride_px: int, jitter: bool) -> str:
    """Merge the tile detections of synthetic cells, one row of tiles after the other, and return the results."""
    import numpy as np

    from noise_mm.geometry.tiles import window_grid
    from noise_mm.inference.detection import Detection
    from noise_mm.inference.merge.merge import Merger

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
            began = now()
            merger.add_tile(window, seen)
            took += now() - began
        began = now()
        found += len(merger.finish_above(nxt[0].y) if nxt else merger.close())
        took += now() - began
    header = ['cells', 'tile detections', 'tiles', 'merged cells', 's', 'us per detection', 'peak memory, MiB']
    row = [cells, detections, len(windows), found, took.wall_s, 1e6 * took.wall_s / detections, peak_memory_mib()]
    return f'{table(header, [row])}\n{merger.report}'


def _ellipse(radius_x: float, radius_y: float):
    import numpy as np

    rows, columns = np.ogrid[-int(radius_y) : int(radius_y) + 1, -int(radius_x) : int(radius_x) + 1]
    return (columns / radius_x) ** 2 + (rows / radius_y) ** 2 <= 1


if __name__ == '__main__':
    run_command(main)
