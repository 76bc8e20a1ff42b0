"""Measures how the files of a well grow with its cells: time and size of measuring and of each format.

The cells are drawn; their outlines run along pixels and have as many vertices as those of a network.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from timing import now, peak_memory_mib, table

from noise_mm.errors import InputError, run_command

EXAMPLE = 'example: python benchmarks/exports.py --cells 100 1000 10000 100000'
PITCH_PX, SHAPES, NUCLEI = 180, 50, 4  # distance of cells in a grid, different cells, nuclei of each


def main() -> None:
    """Read the options, write wells of growing size and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE)
    parser.add_argument(
        '--cells', type=int, nargs='+', default=[100, 1000, 10_000], metavar='N', help='cells of a well'
    )
    args = parser.parse_args()
    if min(args.cells) < 1:
        raise InputError(f'--cells must be at least 1 (got {min(args.cells)}).')
    formats = ('coco', 'csv', 'nuclei', 'geojson', 'roi')
    header = ['cells', *(f'{name}, us per cell' for name in ('measures', *formats))]
    header += [*(f'{name}, bytes per cell' for name in formats), 'peak memory, MiB']
    print(table(header, [measure(cells, formats) for cells in args.cells]))


def measure(cells: int, formats: tuple[str, ...]) -> list[float]:
    """Return a row of the table: processor time in us and size in bytes, per cell."""
    from noise_mm.geometry.cell_masks import cell_masks
    from noise_mm.measure.cells import measure_cells
    from noise_mm.report.content import WellContent
    from noise_mm.report.exports import WRITERS, is_packed
    from noise_mm.report.output_files import PACKED_GEOJSON, WELL_SUFFIXES
    from noise_mm.scale import PixelSize

    outlines, nuclei, cell_of, size_px = drawn(cells)
    took, sizes = [], []
    began = now()
    masks = cell_masks(outlines, size_px)
    measured = list(measure_cells(outlines, masks, size_px, 0.7784, [NUCLEI] * cells))
    took.append((now() - began).cpu_s)
    content = WellContent(
        'well', 'well.tif', size_px, PixelSize(0.7784), None, outlines, masks, measured, nuclei, cell_of, None, {}, []
    )
    with tempfile.TemporaryDirectory() as folder:
        for name in formats:
            suffix = PACKED_GEOJSON if name == 'geojson' and is_packed(content) else WELL_SUFFIXES[name]
            path = Path(folder) / f'well{suffix}'
            began = now()
            WRITERS[name](path, content)
            took.append((now() - began).cpu_s)
            sizes.append(path.stat().st_size)
    return [cells, *(1e6 * each / cells for each in took), *(each / cells for each in sizes), peak_memory_mib()]


def drawn(cells: int):
    """Return outlines, nuclei, the cell of each nucleus, and the size of the well."""
    import math

    import numpy as np
    from shapely.affinity import translate

    from noise_mm.geometry.outline import Outline
    from noise_mm.geometry.packed_outlines import LazyOutlines
    from noise_mm.geometry.pixels import trace
    from noise_mm.measure.nuclei import Nuclei

    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:160, :160] - 80
    angle, distance = np.arctan2(rows, columns), np.hypot(rows, columns)
    shapes = []
    for _ in range(SHAPES):
        waves = sum(rng.uniform(0, 0.2) * np.cos(k * angle + rng.uniform(0, 6)) for k in range(2, 7))
        shapes.append(trace(distance < rng.uniform(20, 45) * (1 + waves)))
    across = math.ceil(math.sqrt(cells))
    places = [(PITCH_PX * (i % across), PITCH_PX * (i // across)) for i in range(cells)]
    outlines = LazyOutlines(
        cells, lambda i: Outline(translate(shapes[i % SHAPES], *places[i]), f'osteoclast_{i + 1:06d}', score=0.9)
    )
    xy_px = (np.repeat(places, NUCLEI, axis=0) + rng.uniform(70, 90, (NUCLEI * cells, 2))).round(2)
    cell_of = np.repeat(np.arange(cells), NUCLEI)
    return outlines, Nuclei(xy_px, np.full(len(xy_px), 0.8)), cell_of, (PITCH_PX * across, PITCH_PX * across)


if __name__ == '__main__':
    run_command(main)
