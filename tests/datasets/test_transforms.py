"""The training steps: pictures and outlines stay together, boxes are exact, flags follow, batches have their form."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmengine.runner import Runner
from mmyolo.models.data_preprocessors import YOLOv5DetDataPreprocessor
from mmyolo.registry import TRANSFORMS

from noise_mm.configuration import load_config
from noise_mm.datasets.rings import Rings
from noise_mm.errors import InputError

SIZE_PX = 64
META_KEYS = ('img_id', 'img_path', 'ori_shape', 'img_shape')


class Patches:
    """Stands for a dataset: patch i holds outlines of class i, alone in its own colours."""

    COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0))

    def __init__(
        self, outlines: list[list[np.ndarray]], ignored: frozenset[int] = frozenset(), size_px: int = 128
    ) -> None:
        self.outlines = outlines
        self.ignored = ignored
        self.size_px = size_px

    def __len__(self) -> int:
        return len(self.outlines)

    def get_data_info(self, index: int) -> dict:
        fine = np.zeros((self.size_px * 8, self.size_px * 8, 3), dtype=np.uint8)
        for outline in self.outlines[index]:
            # OpenCV's whole numbers are pixel centres, outlines' are corners.
            corners = np.round(outline.reshape(-1, 2) * 8 - 0.5).astype(np.int32)
            cv2.fillPoly(fine, [corners], self.COLOURS[index % 4])
        instances = [
            {'bbox': [0, 0, 1, 1], 'bbox_label': index, 'ignore_flag': int(index in self.ignored), 'mask': [outline]}
            for outline in self.outlines[index]
        ]
        image = cv2.resize(fine, (self.size_px, self.size_px), interpolation=cv2.INTER_AREA)
        return {
            'img': image, 'img_path': f'{index}.png', 'img_id': index, 'height': self.size_px, 'width': self.size_px,
            'instances': instances, 'dataset': self,
        }  # fmt: skip


LOAD = [
    {'type': 'LoadPatch'},
    {'type': 'FitPatch', 'network_size_px': SIZE_PX, 'pad': False},
    {'type': 'LoadTargets', 'with_mask': True},
]


def augment(**affine: object) -> list[dict]:
    """Mosaic of four different patches, then everything else, all with black padding."""
    return [
        *LOAD,
        {
            'type': 'PatchMosaic', 'network_size_px': SIZE_PX, 'pad_val': 0, 'use_cached': False, 'pre_transform': LOAD
        },
        {'type': 'PatchAffine', 'network_size_px': SIZE_PX, 'pad_val': 0, **affine},
        {'type': 'mmdet.RandomFlip', 'prob': 0.5, 'direction': 'horizontal'},
        {'type': 'mmdet.RandomFlip', 'prob': 0.5, 'direction': 'vertical'},
        {'type': 'RandomQuarterTurn', 'prob': 0.5},
    ]  # fmt: skip


@pytest.fixture
def patches(random_outline: Callable) -> Patches:
    """Four patches with one outline each."""
    rng = np.random.default_rng(3)
    return Patches([[random_outline(rng, 128, 45)] for _ in range(4)])


@pytest.fixture
def each_patch_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mosaic of patch 0 takes the patches 1, 2 and 3."""
    mosaic = TRANSFORMS.get('PatchMosaic')
    monkeypatch.setattr(mosaic, 'get_indexes', lambda self, dataset: [1, 2, 3])


def seen_in_picture(image: np.ndarray, label: int) -> np.ndarray:
    """(height, width) bool: the pixels at least half of which have the colour of a class."""
    bright = image > 127
    return (bright == (np.array(Patches.COLOURS[label]) > 0)).all(-1)


def ellipse(centre: tuple[float, float], radii: tuple[float, float], turn: float) -> np.ndarray:
    """An outline without thin tips, which a picture would not show: x1, y1, x2, y2, ..."""
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    x, y = radii[0] * np.cos(angles), radii[1] * np.sin(angles)
    turned = np.stack([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)], axis=1)
    return (centre + turned).reshape(-1)


@pytest.mark.parametrize('turn', [{}, {'max_rotate_degree': 30.0, 'max_shear_degree': 8.0}])
@pytest.mark.usefixtures('each_patch_once')
def test_boxes_are_those_of_what_is_seen(turn: dict) -> None:
    rng = np.random.default_rng(2)
    patches = Patches([[ellipse(rng.uniform(40, 90, 2), rng.uniform(20, 55, 2), rng.uniform(0, 3))] for _ in range(4)])
    pipeline = Compose(augment(**turn))
    checked = 0
    for seed in range(60):
        np.random.seed(seed)
        results = pipeline(patches.get_data_info(0))
        boxes = dict(zip(results['gt_bboxes_labels'].tolist(), results['gt_bboxes'].tensor.numpy(), strict=True))
        for label in range(4):
            rows, columns = np.nonzero(seen_in_picture(results['img'], label))
            if label not in boxes:
                assert len(rows) < 12 or min(np.ptp(rows), np.ptp(columns)) <= 3
            elif min(boxes[label][2:] - boxes[label][:2]) > 6:
                seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                np.testing.assert_allclose(boxes[label], seen, atol=1.5)
                checked += 1
    assert checked > 60


@pytest.mark.usefixtures('each_patch_once')
def test_picture_and_outlines_do_not_shift_against_each_other(patches: Patches) -> None:
    pipeline = Compose(augment(min_bbox_size=0, min_area_ratio=0, max_rotate_degree=20.0))
    centre = np.arange(SIZE_PX) + 0.5
    shifts, area_ratios = [], []
    for seed in range(40):
        np.random.seed(seed)
        results = pipeline(patches.get_data_info(0))
        outlines = Patches([[ring for rings in results['gt_masks'].masks for ring in rings]], size_px=SIZE_PX)
        drawn = outlines.get_data_info(0)['img'].max(-1).astype(float)
        picture = results['img'].max(-1).astype(float)
        area_ratios.append(picture.sum() / drawn.sum())
        for axis in (0, 1):
            shifts.append(picture.sum(axis) @ centre / picture.sum() - drawn.sum(axis) @ centre / drawn.sum())
    assert abs(np.mean(shifts)) < 0.03
    assert np.abs(shifts).max() < 0.25
    assert np.mean(area_ratios) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize('overlap', [True, False])
@pytest.mark.usefixtures('each_patch_once')
def test_flags_and_labels_follow_sorting_and_dropping(random_outline: Callable, overlap: bool) -> None:
    rng = np.random.default_rng(0)
    patches = Patches([[random_outline(rng, 128, 30) for _ in range(6)] for _ in range(4)], ignored=frozenset({1, 3}))
    steps = [
        *augment(), {'type': 'DrawTargetMasks', 'overlap': overlap}, {'type': 'PackDetInputs', 'meta_keys': META_KEYS}
    ]  # fmt: skip
    pipeline = Compose(steps)
    for seed in range(10):
        np.random.seed(seed)
        sample = pipeline(patches.get_data_info(0))['data_samples']
        assert set(sample.gt_instances.labels.tolist()) <= {0, 2}
        assert set(sample.ignored_instances.labels.tolist()) <= {1, 3}
        count = len(sample.gt_instances.labels)
        if overlap:
            masks = sample.gt_panoptic_seg.pan_seg
            assert masks.shape == (1, SIZE_PX // 4, SIZE_PX // 4)
            assert masks.max() <= count
        else:
            assert sample.gt_instances.masks.shape == (count, SIZE_PX // 4, SIZE_PX // 4)
            assert sample.ignored_instances.masks.shape[0] == len(sample.ignored_instances.labels)


@pytest.mark.usefixtures('each_patch_once')
def test_map_and_stack_tell_the_same(random_outline: Callable) -> None:
    rng = np.random.default_rng(1)
    patches = Patches([[random_outline(rng, 128, 30) for _ in range(8)] for _ in range(4)])
    samples = []
    for overlap in (True, False):
        np.random.seed(5)
        steps = [*augment(), {'type': 'DrawTargetMasks', 'overlap': overlap}]
        samples.append(Compose(steps)(patches.get_data_info(0)))
    one, other = samples
    assert torch.equal(one['gt_bboxes'].tensor, other['gt_bboxes'].tensor)
    painted = torch.zeros_like(one['gt_panoptic_seg'][0])
    for number, (mask, box) in enumerate(zip(other['gt_masks'], other['gt_bboxes'].tensor, strict=True), start=1):
        painted[mask > 0] = number
        y, x = (torch.nonzero(mask) * 4.0 + 2).T  # centres of the cells
        if len(x) > 1:  # the one cell of a small object need not have its centre inside
            assert box[0] <= x.min() <= x.max() <= box[2]
            assert box[1] <= y.min() <= y.max() <= box[3]
    assert torch.equal(painted, one['gt_panoptic_seg'][0])
    areas = other['gt_masks'].sum((1, 2)).tolist()
    assert all(small <= large + 8 for large, small in pairwise(areas))


def test_many_objects_in_one_mosaic() -> None:
    side = [np.array([x, y, x + 6, y, x + 6, y + 6, x, y + 6.0]) for x in range(0, 128, 8) for y in range(0, 128, 8)]
    patches = Patches([side] * 4)
    steps = [*LOAD, augment()[3], {'type': 'DrawTargetMasks'}]
    results = Compose(steps)(patches.get_data_info(0))
    count = len(results['gt_bboxes_labels'])
    assert count > 512
    assert results['gt_panoptic_seg'].unique().tolist() == list(range(count + 1))


def loaded(outline: list[float], with_mask: bool = True, size_px: int = SIZE_PX, **more: object) -> dict:
    """One object in an empty patch of 128 px, after loading and padding."""
    points = np.array(outline, dtype=float)
    box = [*points.reshape(-1, 2).min(0), *points.reshape(-1, 2).max(0)]
    instance = {'bbox': box, 'bbox_label': 0, 'ignore_flag': 0, 'mask': [points]}
    info = {'img': np.zeros((128, 128, 3), np.uint8), 'img_path': 'a.png', 'img_id': 1, 'instances': [instance], **more}
    steps = [
        {'type': 'LoadPatch'},
        {'type': 'FitPatch', 'network_size_px': size_px},
        {'type': 'LoadTargets', 'with_mask': with_mask},
    ]
    return Compose(steps)(info)


@pytest.mark.parametrize('with_mask', [True, False])
def test_targets_are_scaled_padded_and_clipped_to_the_patch(with_mask: bool) -> None:
    wide = np.zeros((64, 128, 3), np.uint8)
    results = loaded([-9, 20, 30, 20, 30, 40, -9, 40], with_mask, img=wide)
    np.testing.assert_array_equal(results['gt_bboxes'].tensor, [[0, 26, 15, 36]])
    assert results['img'].shape == (64, 64, 3)
    assert results['ori_shape'] == (64, 128)
    assert results['scale_factor'] == (0.5, 0.5)
    np.testing.assert_array_equal(results['pad_param'], [16, 16, 0, 0])
    np.testing.assert_array_equal(results['img'][0, 0], [114, 114, 114])
    assert ('gt_masks' in results) == with_mask


def test_an_object_outside_the_patch_is_dropped() -> None:
    assert len(loaded([200, 20, 230, 20, 230, 40])['gt_bboxes']) == 0


def test_a_reduced_copy_keeps_the_annotated_size() -> None:
    small = np.zeros((64, 64, 3), np.uint8)
    results = loaded([20, 20, 60, 20, 60, 40], img=small, height=128, width=128)
    assert results['ori_shape'] == (128, 128)
    np.testing.assert_array_equal(results['gt_bboxes'].tensor, [[10, 10, 30, 20]])


def test_a_copy_reduced_too_far_is_refused() -> None:
    with pytest.raises(InputError, match='reduced from 128 to 32 px before, but the network wants 64 px'):
        loaded([0, 0, 1, 0, 1, 1], img=np.zeros((32, 32, 3), np.uint8), height=128, width=128)


def test_other_proportions_than_annotated_are_refused() -> None:
    with pytest.raises(InputError, match=r'a\.png: is 128 x 128 px, but was annotated at 128 x 96 px'):
        loaded([0, 0, 1, 0, 1, 1], height=96, width=128)


def test_a_box_without_outline_is_refused_where_outlines_are_trained() -> None:
    with pytest.raises(InputError, match=r'a\.png: an object has a box but no outline'):
        loaded([0, 0, 1, 0, 1, 1], instances=[{'bbox': [0, 0, 1, 1], 'bbox_label': 0, 'ignore_flag': 0}])


def test_an_object_of_one_pixel_has_a_box_and_a_cell() -> None:
    results = loaded([40, 60, 42, 60, 42, 62, 40, 62])
    results = TRANSFORMS.build({'type': 'DrawTargetMasks'})(results)
    np.testing.assert_array_equal(results['gt_bboxes'].tensor, [[20, 30, 21, 31]])
    assert torch.nonzero(results['gt_panoptic_seg'][0]).tolist() == [[7, 5]]


@pytest.mark.parametrize(
    ('outline', 'stays'),
    [
        ([0, 0, 40, 0, 40, 40, 0, 40], True),
        ([0, 0, 40, 0, 40, 3.9, 0, 3.9], False),  # less than 2 px high at the network's size
        ([0, 0, 40, 0, 40, 4.5, 0, 4.5], True),
    ],
)
def test_objects_too_small_after_augmentation_are_dropped(outline: list, stays: bool) -> None:
    steady = {'max_translate_ratio': 0.0, 'scaling_ratio_range': (1.0, 1.0)}
    results = TRANSFORMS.build({'type': 'PatchAffine', 'network_size_px': SIZE_PX, **steady})(loaded(outline))
    assert len(results['gt_bboxes']) == stays


def test_a_steady_affine_step_changes_nothing(patches: Patches) -> None:
    before = Compose(LOAD)(patches.get_data_info(0))
    steady = {'max_translate_ratio': 0.0, 'scaling_ratio_range': (1.0, 1.0)}
    after = TRANSFORMS.build({'type': 'PatchAffine', 'network_size_px': SIZE_PX, **steady})(dict(before))
    np.testing.assert_array_equal(after['img'], before['img'])
    np.testing.assert_allclose(after['gt_bboxes'].tensor, before['gt_bboxes'].tensor, atol=1e-4)


@pytest.fixture
def data_root(tmp_path: Path, make_batch: Callable) -> Path:
    """Two batches, the second without cells, and the same as nuclei and as pseudo labels."""
    for batch, n_cells in (('M1', 5), ('M2', 0)):
        make_batch(tmp_path, batch, n_cells=n_cells)
        (tmp_path / 'pseudo').mkdir(exist_ok=True)
        (tmp_path / 'pseudo' / f'{batch}.json').write_text((tmp_path / batch / 'annotations.json').read_text())
    make_batch(tmp_path, 'M1', folder='nuclei', category='nucleus', split='train')
    return tmp_path


def batch_of(
    repo_dir: Path, name: str, data_root: Path, batches: list[str], stage: str = 'train', **dataset: object
) -> dict:
    """The first batch that a data config of this project gives."""
    config = load_config(repo_dir / 'configs' / '_base_' / f'{name}.py')
    loader = config[f'{stage}_dataloader']
    loader.update(num_workers=0, persistent_workers=False, pin_memory=False, batch_size=3)
    loader.dataset.update(data_root=str(data_root), batches=batches, split='all', **dataset)
    np.random.seed(0)
    return next(iter(Runner.build_dataloader(loader)))


@pytest.mark.parametrize('name', ['data_osteoclast', 'data_nuclei', 'data_osteoclast_nuclei'])
@pytest.mark.parametrize('batch', ['M1', 'M2'])
def test_training_batches_have_the_form_the_heads_read(repo_dir: Path, data_root: Path, name: str, batch: str) -> None:
    if (name, batch) == ('data_nuclei', 'M2'):
        batch = 'M1'
    data = batch_of(repo_dir, name, data_root, [batch])
    prepared = YOLOv5DetDataPreprocessor(mean=[0, 0, 0], std=[255, 255, 255], bgr_to_rgb=True)(data, training=True)
    assert prepared['inputs'].shape == (3, 3, 416, 416)
    assert 0 <= prepared['inputs'].min() <= prepared['inputs'].max() <= 1
    samples = prepared['data_samples']
    rows = samples['bboxes_labels']
    assert rows.dtype == torch.float32
    assert rows.shape[1] == 6
    assert (len(rows) > 0) == (batch == 'M1')
    assert len(samples['img_metas']) == 3
    assert ('masks' in samples) == (name == 'data_osteoclast')
    if 'masks' in samples:
        assert samples['masks'].shape == (3, 104, 104)
        assert samples['masks'].dtype == torch.int32
        for index in range(3):
            numbers = set(samples['masks'][index].unique().tolist()) - {0}
            assert numbers <= set(range(1, int((rows[:, 0] == index).sum()) + 1))


def test_masks_as_a_stack_reach_the_head_in_the_order_of_the_rows(repo_dir: Path, data_root: Path) -> None:
    config = load_config(repo_dir / 'configs' / '_base_' / 'data_osteoclast.py')
    pipeline = [
        {**step, 'overlap': False} if step['type'] == 'DrawTargetMasks' else step for step in config.train_pipeline
    ]
    for batches in (['M1', 'M2'], ['M2']):
        samples = batch_of(repo_dir, 'data_osteoclast', data_root, batches, pipeline=pipeline)['data_samples']
        assert samples['masks'].shape == (len(samples['bboxes_labels']), 104, 104)
        assert samples['masks'].dtype == torch.uint8


def test_pipelines_of_the_last_epochs_and_of_tests_work(repo_dir: Path, data_root: Path) -> None:
    config = load_config(repo_dir / 'configs' / '_base_' / 'data_osteoclast.py')
    last = batch_of(repo_dir, 'data_osteoclast', data_root, ['M1'], pipeline=config.train_pipeline_no_mosaic)
    assert last['data_samples']['masks'].shape == (3, 104, 104)
    test = batch_of(repo_dir, 'data_osteoclast', data_root, ['M1'], stage='test')
    meta = test['data_samples'][0].metainfo
    assert test['inputs'][0].shape == (3, 416, 416)
    assert meta['ori_shape'] == (128, 128)
    assert meta['scale_factor'] == (416 / 128, 416 / 128)
    assert (meta['batch'], meta['well']) == ('M1', 'well0')
    assert len(meta['instances']) == 5
    assert meta['instances'][0]['bbox'] == [
        *Rings.from_lists([meta['instances'][0]['mask']]).boxes()[0].tolist()
    ]  # not scaled
