"""Ignored regions on their way from the file to the head."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmyolo.datasets import yolov5_collate

from noise_mm.datasets import PatchAffine, collate_with_ignored
from noise_mm.datasets.targets import Targets

SIZE_PX = 64


@pytest.fixture
def root(tmp_path: Path, make_batch: Callable) -> Path:
    """Stage 2 data, half of whose nuclei are uncertain."""
    make_batch(tmp_path, 'M1', n_wells=2, per_well=3)
    content = json.loads((tmp_path / 'M1' / 'annotations.json').read_text())
    for number, image in enumerate(content['images'] * 6):
        x, y = 12 + 18 * (number // 6), 20 + 10 * (number % 6)
        box = {'bbox': [x, y, 12, 12], 'category_id': 2, 'iscrowd': number % 2, 'ignore': number % 2}
        content['annotations'].append({'id': 1000 + number, 'image_id': image['id'], 'segmentation': [], **box})
    (tmp_path / 'pseudo').mkdir()
    (tmp_path / 'pseudo' / 'M1.json').write_text(json.dumps(content))
    return tmp_path


def loader_of(root: Path, *steps: dict) -> object:
    load = [
        {'type': 'LoadPatch'},
        {'type': 'FitPatch', 'network_size_px': SIZE_PX},
        {'type': 'LoadTargets', 'with_mask': False},
    ]
    mosaic = [{**step, 'pre_transform': load} if step['type'] == 'PatchMosaic' else step for step in steps]
    pack = {'type': 'PackDetInputs', 'meta_keys': ('img_id',)}
    dataset = {'type': 'OsteoclastNucleiDataset', 'data_root': str(root), 'pipeline': [*load, *mosaic, pack]}
    return Runner.build_dataloader(
        Config(
            {
                'batch_size': 3,
                'num_workers': 0,
                'sampler': {'type': 'DefaultSampler', 'shuffle': False},
                'collate_fn': {'type': 'collate_with_ignored'},
                'dataset': dataset,
            }
        )
    )


def test_uncertain_nuclei_reach_the_batch_where_they_lie(root: Path) -> None:
    batches = [batch['data_samples'] for batch in loader_of(root)]
    truth = json.loads((root / 'pseudo' / 'M1.json').read_text())
    for number, samples in enumerate(batches):
        for index in range(3):
            image_id = 3 * number + index + 1
            boxes = [
                each['bbox']
                for each in truth['annotations']
                if each['image_id'] == image_id and each['category_id'] == 2 and each['iscrowd']
            ]
            rows = samples['ignored'][samples['ignored'][:, 0] == index]
            expected = [[index, 1, x / 2, y / 2, (x + w) / 2, (y + h) / 2] for x, y, w, h in boxes]
            torch.testing.assert_close(rows, torch.tensor(expected).reshape(-1, 6))


def test_mosaic_and_affine_move_them_like_objects(root: Path) -> None:
    """With every nucleus both an object and ignored, the two lists of boxes stay the same all the way."""
    path = root / 'pseudo' / 'M1.json'
    content = json.loads(path.read_text())
    nuclei = [each for each in content['annotations'] if each['category_id'] == 2]
    for each in nuclei:
        each.update(iscrowd=0, ignore=0)
    content['annotations'] += [{**each, 'id': 5000 + each['id'], 'iscrowd': 1} for each in nuclei]
    path.write_text(json.dumps(content))
    steps = (
        {'type': 'PatchMosaic', 'network_size_px': SIZE_PX, 'use_cached': False},
        {'type': 'PatchAffine', 'network_size_px': SIZE_PX, 'min_area_ratio': 0.0, 'min_bbox_size': 0.0},
        {'type': 'mmdet.RandomFlip', 'prob': 0.5, 'direction': 'horizontal'},
        {'type': 'RandomQuarterTurn', 'prob': 0.5},
    )
    np.random.seed(0)
    n_ignored = 0
    for batch in loader_of(root, *steps):
        rows, ignored = batch['data_samples']['bboxes_labels'], batch['data_samples']['ignored']
        objects = rows[rows[:, 1] == 1]
        n_ignored += len(ignored)
        assert sorted(map(tuple, ignored.tolist())) == sorted(map(tuple, objects.tolist()))
    assert n_ignored > 20


def test_all_else_is_the_fast_collation(root: Path) -> None:
    samples = [loader_of(root).dataset[index] for index in range(4)]
    expected, found = yolov5_collate(samples), collate_with_ignored(samples)
    assert torch.equal(found['inputs'], expected['inputs'])
    assert found['data_samples'].keys() - expected['data_samples'].keys() == {'ignored'}
    assert torch.equal(found['data_samples']['bboxes_labels'], expected['data_samples']['bboxes_labels'])


def test_a_remnant_of_an_ignored_region_is_still_ignored() -> None:
    affine = PatchAffine(SIZE_PX, scaling_ratio_range=(1, 1), max_translate_ratio=0.0, min_area_ratio=0.1)
    boxes = np.array([[-30.0, 10, 1, 20], [-30, 10, 1, 20], [-30, 10, -1, 20], [10, 10, 20, 20]])
    targets = Targets(boxes, np.array([0, 1, 1, 0]), np.array([False, True, True, False]), None)
    results = {'img': np.zeros((SIZE_PX, SIZE_PX, 3), np.uint8), 'img_shape': (SIZE_PX, SIZE_PX)}
    targets.write_to(results)
    after = Targets.from_results(affine.transform(results))
    np.testing.assert_allclose(after.boxes, [[0, 10, 1, 20], [10, 10, 20, 20]], atol=1e-5)
    assert after.ignore_flags.tolist() == [True, False]
