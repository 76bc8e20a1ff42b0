"""A small dataset with nothing wrong in it: two batches, nuclei and pseudo-labels; and a way to spoil it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from noise_mm.coco.annotations import coco_annotation
from noise_mm.coco.batch_folder import NUCLEUS_ID, image_entry, write_batch
from noise_mm.files import write_json
from noise_mm.patches.png_writer import png_bytes

SIDE_PX = 96
MPP = 0.5


def write_cells(root: Path, batch: str, wells: int, rng: np.random.Generator) -> None:
    """Wells of two patches that overlap by half, with one small cell in the first and one large cell in both."""
    images, annotations, facts = [], [], []
    (root / batch / 'images').mkdir(parents=True)
    for number in range(1, wells + 1):
        well = f'{batch}_w{number}'
        pixels = rng.integers(0, 255, (SIDE_PX, SIDE_PX * 3 // 2, 3), dtype=np.uint8)
        cells = [shapely.Point(20, 20 + 10 * number).buffer(10), shapely.Point(72, 40).buffer(14)]
        facts.append({'well': well, 'width': 144, 'height': SIDE_PX, 'mpp': MPP, 'source': f'{well}.tif', 'cells': 2})
        for x in (0, 48):
            name = f'images/{well}_0_{x}.png'
            (root / batch / name).write_bytes(png_bytes(pixels[:, x : x + SIDE_PX]))
            place = {'batch': batch, 'well': well, 'x': x, 'y': 0, 'mpp': MPP, 'scale': 1.0}
            images.append(image_entry(len(images) + 1, name, SIDE_PX, SIDE_PX, **place))
            for cell, outline in enumerate(cells, start=1):
                shown = shapely.affinity.translate(outline, -x, 0)
                if shown.bounds[0] >= 0:
                    ids = (len(annotations) + 1, len(images))
                    annotations.append(coco_annotation(*ids, shown, cell=cell, visible_fraction=1.0))
    write_batch(root / batch, images, annotations, facts, info={'sliver_fraction': 0.1})


def write_nuclei(root: Path, rng: np.random.Generator) -> None:
    """Two images of each batch, the second for validation, with three nuclei each."""
    images, annotations, facts = [], [], []
    (root / 'nuclei' / 'images').mkdir(parents=True)
    for number in range(4):
        batch, well = f'M{number // 2 + 1}', f'M{number // 2 + 1}-n{number}'
        name = f'images/{well}_0_0.png'
        (root / 'nuclei' / name).write_bytes(png_bytes(rng.integers(0, 255, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)))
        place = {'batch': batch, 'well': well, 'x': 0, 'y': 0, 'mpp': MPP, 'split': ('train', 'val')[number % 2]}
        images.append(image_entry(number + 1, name, SIDE_PX, SIDE_PX, **place))
        facts.append({'well': well, 'width': SIDE_PX, 'height': SIDE_PX, 'mpp': MPP, 'source': 'x', 'nuclei': 3})
        for x in (20, 40, 60):
            box = shapely.box(x, 30, x + 18, 48)
            annotations.append(coco_annotation(len(annotations) + 1, number + 1, box, category_id=NUCLEUS_ID))
    write_batch(root / 'nuclei', images, annotations, facts)


def write_pseudo(root: Path, batch: str) -> None:
    """The annotations of a batch and a nucleus, a box without outline, in each patch."""
    dataset = json.loads((root / batch / 'annotations.json').read_text())
    for image in dataset['images']:
        box = {'bbox': [5, 5, 18, 18], 'area': 324, 'iscrowd': 0}
        ids = {'id': len(dataset['annotations']) + 1, 'image_id': image['id'], 'category_id': NUCLEUS_ID}
        dataset['annotations'].append({**ids, **box})
    write_json(root / 'pseudo' / f'{batch}.json', dataset)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """M1 (3 wells, 6 patches), M2 (2 wells, 4 patches), nuclei (4 images) and pseudo-labels of M1."""
    root, rng = tmp_path / 'data', np.random.default_rng(0)
    write_cells(root, 'M1', 3, rng)
    write_cells(root, 'M2', 2, rng)
    write_nuclei(root, rng)
    write_pseudo(root, 'M1')
    return root


@pytest.fixture
def edit(dataset: Path) -> Callable[[str, Callable[[Any], Any]], None]:
    """Applies a function to the content of a JSON file of `dataset`; what it returns, if anything, is written."""

    def apply(name: str, change: Callable[[Any], Any]) -> None:
        content = json.loads((dataset / name).read_text())
        result = change(content)
        (dataset / name).write_text(json.dumps(content if result is None else result))

    return apply
