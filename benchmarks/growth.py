"""Measures how time and memory of scoring, and of loading a dataset, grow with the number of annotations.

Each number is measured in a process of its own. Memory is what the process has more than before: at its peak while
scoring, whose results and annotations are parsed already; and after loading, for what a dataset keeps.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil
from metric import PATCH_PX, draw_results
from timing import now, peak_memory_mib, table

from noise_mm.errors import InputError, run_command

OBJECTS = 20  # annotations of a patch
DETECTIONS = 60
WHAT = ('scoring', 'loading')


def main() -> None:
    """Run each measurement in a process of its own and print the tables."""
    options = parse_options()
    if options.measure:
        print(
            json.dumps({'scoring': measure_scoring, 'loading': measure_loading}[options.measure](*options.annotations))
        )
        return
    for what in WHAT:
        rows = []
        for n in options.annotations:
            command = [sys.executable, __file__, '--measure', what, '--annotations', str(n)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise InputError(f'{what} of {n} annotations: {done.stderr.strip()[-300:]}')
            cpu_s, mib = json.loads(done.stdout.splitlines()[-1])
            rows.append([f'{n:,}', cpu_s, 1e3 * cpu_s / n, mib, 1024 * mib / n])
        print(table([f'{what}: annotations', 's of CPU', 'ms each', 'MiB', 'KiB each'], rows), '\n', flush=True)


def measure_scoring(n: int) -> tuple[float, float]:
    """Return processor seconds and MiB of scoring the masks of `n` annotations at five thresholds."""
    import numpy as np

    from noise_mm.evaluation.coco_results import evaluate_coco_results

    evaluate_coco_results(*draw_results(np.random.default_rng(1), 2, OBJECTS, DETECTIONS))  # imports and first calls
    dataset, results = draw_results(np.random.default_rng(0), n // OBJECTS, OBJECTS, DETECTIONS)
    before, began = psutil.Process().memory_info().rss / 2**20, now()
    evaluate_coco_results(dataset, results)
    return (now() - began).cpu_s, max(peak_memory_mib() - before, 0.0)


def measure_loading(n: int) -> tuple[float, float]:
    """Return processor seconds and MiB of loading a batch of `n` annotations, as training does."""
    import numpy as np

    from noise_mm.datasets.patch_datasets import OsteoclastDataset

    def load(n_patches: int) -> tuple:
        with tempfile.TemporaryDirectory() as root:
            write_batch(Path(root) / 'M1', np.random.default_rng(0), n_patches)
            before, began = psutil.Process().memory_info().rss / 2**20, now()
            dataset = OsteoclastDataset(data_root=root, batches=['M1'], split='all')
            took = (now() - began).cpu_s
            return took, psutil.Process().memory_info().rss / 2**20 - before, dataset

    load(2)
    return load(n // OBJECTS)[:2]


def write_batch(folder: Path, rng, n_patches: int) -> None:
    """Write a batch of patches of one well with outlines of 40 vertices; the images are empty files."""
    import numpy as np

    from noise_mm.coco.batch_folder import CATEGORIES

    (folder / 'images').mkdir(parents=True)
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    images, annotations = [], []
    for number in range(1, n_patches + 1):
        name = f'images/{number}.png'
        (folder / name).touch()
        images.append({'id': number, 'file_name': name, 'width': PATCH_PX, 'height': PATCH_PX, 'well': 'A1'})
        for centre, radius in zip(
            rng.uniform(60, PATCH_PX - 60, (OBJECTS, 2)), rng.uniform(15, 50, OBJECTS), strict=True
        ):
            ring = (centre + radius * circle).round(2)
            (left, top), (right, bottom) = ring.min(axis=0).tolist(), ring.max(axis=0).tolist()
            entry = {'bbox': [left, top, right - left, bottom - top], 'segmentation': [ring.ravel().tolist()]}
            entry |= {'id': len(annotations) + 1, 'image_id': number, 'category_id': 1, 'iscrowd': 0}
            annotations.append({**entry, 'area': float(np.pi * radius**2)})
    content = {'images': images, 'annotations': annotations, 'categories': list(CATEGORIES)}
    (folder / 'annotations.json').write_text(json.dumps(content))


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, epilog='example: python benchmarks/growth.py')
    parser.add_argument(
        '--annotations', type=int, nargs='+', default=[100, 1000, 10_000, 100_000], help='default: 100 to 100,000'
    )
    parser.add_argument('--measure', choices=WHAT, help='only this, in this process')
    options = parser.parse_args()
    if min(options.annotations) < OBJECTS:
        raise InputError(f'--annotations {min(options.annotations)}: give at least {OBJECTS}, those of a patch.')
    return options


if __name__ == '__main__':
    run_command(main)
