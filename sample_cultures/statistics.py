"""Statistics of cultures beside those of a real annotated image: areas, nuclei, their distances, densities.

    python -m sample_cultures.statistics data/cultures
    python -m sample_cultures.statistics data/cultures --real folder_of_a_real_image

DATA is a folder that data_prep/synthesize.py wrote. The folder of a real image holds the outlines of its osteoclasts as
`*_coco.json` and its nuclei as `*_via.csv`, whose region attribute `cell_type` is `osteoclast` or `pre-osteoclast`.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.spatial import KDTree

from noise_mm.errors import InputError, run_command
from noise_mm.files import read_json
from noise_mm.formats.via import read_via

FRAME_PX = (1920, 1440)  # size of the real image that the cultures are compared with
GIANT_NUCLEI = 10
COLUMNS = (
    'batch',
    'osteoclasts in 1920 x 1440 px',
    'area 5 / 50 / 95 %, max (px)',
    'nuclei per osteoclast, max',
    'with 10 or more nuclei',
    'nearest nucleus min, 5 % (px)',
    'nuclei in pre-osteoclasts',
)


@dataclass
class Sample:
    """What is known of the large cells of one batch or of a real image.

    Attributes:
        area_px: Area of the images together.
        osteoclast_areas_px: Areas of the osteoclasts.
        nuclei: Number of nuclei of each osteoclast.
        pre_nuclei: Nuclei in pre-osteoclasts.
        nearest_px: Distance of each nucleus from the nearest one in its image.
    """

    area_px: float = 0.0
    osteoclast_areas_px: list[float] = field(default_factory=list)
    nuclei: list[int] = field(default_factory=list)
    pre_nuclei: int = 0
    nearest_px: list[float] = field(default_factory=list)


def main() -> None:
    """Read the options and print a Markdown table, one row per batch, the real image last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data', type=Path, metavar='DATA', help='folder that data_prep/synthesize.py wrote')
    parser.add_argument('--real', type=Path, metavar='DIR', help='folder of a real annotated image')
    options = parser.parse_args()
    samples = culture_samples(options.data)
    if options.real is not None:
        samples['real image'] = real_sample(options.real)
    print('| ' + ' | '.join(COLUMNS) + ' |\n|' + ' --- |' * len(COLUMNS))
    for name, sample in samples.items():
        print('| ' + ' | '.join([name, *row_of(sample)]) + ' |')


def culture_samples(folder: Path) -> dict[str, Sample]:
    """Read the cultures in `folder`, by batch.

    Raises:
        InputError: If there are none, or a truth file can't be read.
    """
    samples: dict[str, Sample] = {}
    for path in sorted(folder.glob('*/truth/*.json')):
        truth = read_json(path)
        sample = samples.setdefault(truth['batch'], Sample())
        sample.area_px += truth['size_px'] ** 2
        for cell in truth['cells']:
            if cell['kind'] == 'osteoclast':
                sample.osteoclast_areas_px.append(cell['area_px'])
                sample.nuclei.append(cell['nuclei'])
            elif cell['kind'] == 'pre-osteoclast':
                sample.pre_nuclei += cell['nuclei']
        points = path.parents[1] / 'nuclei' / f'{path.stem}.csv'
        if points.exists():  # --nuclei-wells can leave it out
            sample.nearest_px.extend(_nearest_px(points))
    if not samples:
        raise InputError(f'{folder}: no */truth/*.json in it. Name the folder that data_prep/synthesize.py wrote to.')
    return samples


def real_sample(folder: Path) -> Sample:
    """Read a real image's outlines and nuclei.

    Raises:
        InputError: If there is not exactly one file of each.
    """
    outlines, points = (_only(folder, pattern) for pattern in ('*_coco.json', '*_via.csv'))
    coco = read_json(outlines)
    attributes = [point.attributes for image in read_via(points) for point in image.points]
    cells = [item['cell'] for item in attributes if item['cell_type'] == 'osteoclast']
    return Sample(
        area_px=sum(image['width'] * image['height'] for image in coco['images']),
        osteoclast_areas_px=[item['area'] for item in coco['annotations']],
        nuclei=np.unique(cells, return_counts=True)[1].tolist(),
        pre_nuclei=len(attributes) - len(cells),
        nearest_px=list(_nearest_px(points)),
    )


def row_of(sample: Sample) -> list[str]:
    """Return the cells of a table row, in the order of `COLUMNS` without the first; '-' where nothing is known."""
    frames = sample.area_px / (FRAME_PX[0] * FRAME_PX[1])
    nuclei = np.array(sample.nuclei)
    row = [f'{len(nuclei) / frames:.0f}']
    if len(nuclei):
        low, middle, high = np.percentile(sample.osteoclast_areas_px, [5, 50, 95])
        row.append(f'{low:,.0f} / {middle:,.0f} / {high:,.0f}, {max(sample.osteoclast_areas_px):,.0f}')
        row.append(f'{nuclei.mean():.1f}, {nuclei.max()}')
        row.append(f'{(nuclei >= GIANT_NUCLEI).mean():.0%}')
    else:
        row += ['-', '-', '-']
    near = sample.nearest_px
    row.append(f'{min(near):.1f}, {np.percentile(near, 5):.1f}' if near else '-')
    all_nuclei = int(nuclei.sum()) + sample.pre_nuclei
    row.append(f'{sample.pre_nuclei / all_nuclei:.0%}' if all_nuclei else '-')
    return row


def _nearest_px(path: Path) -> Iterator[float]:
    for image in read_via(path):
        if len(image.points) > 1:
            xy = np.array([(point.x, point.y) for point in image.points])
            yield from KDTree(xy).query(xy, k=2)[0][:, 1].tolist()


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise InputError(f'{folder}: {len(found)} files {pattern} where one is needed. Name another folder.')
    return found[0]


if __name__ == '__main__':
    run_command(main)
