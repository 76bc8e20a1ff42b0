"""Steps of MMDetection and MMYOLO between ours."""

import pytest
from mmengine.registry import DefaultScope

from noise_mm.configuration import load_config
from noise_mm.datasets.targets import Targets
from noise_mm.errors import InputError

MIXUP = "dict(type='YOLOv5MixUp', prob=1.0, pre_transform=_p[:5])"
STEPS = {
    'crop': "dict(type='mmdet.RandomCrop', crop_size=(48, 48), allow_negative_crop=True)",
    'resize': "dict(type='mmdet.Resize', scale=(96, 96))",
    'rotate': "dict(type='mmdet.Rotate', prob=1.0)",
    'translate': "dict(type='mmdet.TranslateX', prob=1.0)",
    'shear': "dict(type='mmdet.ShearX', prob=1.0)",
    'mixup': MIXUP,
    'copy-paste': "dict(type='YOLOv5CopyPaste', prob=1.0)",
    'pad': "dict(type='mmdet.Pad', size=(96, 96))",
    'filter': "dict(type='mmdet.FilterAnnotations')",
    'cutout': "dict(type='mmdet.CutOut', n_holes=2, cutout_shape=(8, 8))",
    'flip': "dict(type='mmdet.RandomFlip', prob=1.0)",
    'several': f"dict(type='mmdet.RandomCrop', crop_size=(60, 60)), dict(type='mmdet.Resize', scale=(64, 64)), {MIXUP}",
}


@pytest.fixture
def dataset(tiny_config, tmp_path):
    """`dataset(step)` -> the training data of the tiny config with a step behind `PatchAffine`."""
    from mmyolo.registry import DATASETS

    def build(step):
        path = tmp_path / 'child.py'
        path.write_text(
            f"_base_ = '{tiny_config}'\n_p = _base_.train_pipeline\ntrain_pipeline = [*_p[:5], {step}, *_p[5:]]\n"
        )
        with DefaultScope.overwrite_default_scope('mmyolo'):
            return DATASETS.build(load_config(path).train_dataloader.dataset)

    return build


@pytest.mark.parametrize('name', STEPS)
def test_targets_go_through_steps_of_others(dataset, name):
    data = dataset(STEPS[name])
    for index in range(len(data)):
        sample = data[index]['data_samples']
        boxes = sample.gt_instances.bboxes.tensor
        drawn = set(sample.index_map.pan_seg.unique().tolist()) - {0}
        assert (boxes[:, 2:] >= boxes[:, :2]).all()
        assert drawn <= set(range(1, len(boxes) + 1))
        assert sample.index_map.pan_seg.shape[1:] == tuple(side // 4 for side in sample.img_shape[:2])


@pytest.mark.parametrize('name', ['crop', 'resize', 'rotate', 'mixup', 'copy-paste'])
def test_areas_and_boxes_are_those_of_the_step(dataset, name):
    data = dataset(STEPS[name])
    data.pipeline.transforms = data.pipeline.transforms[:6]  # the foreign step is the last
    for index in range(len(data)):
        results = data[index]
        targets = Targets.from_results(results)
        assert targets.rings.areas() == pytest.approx(results['gt_masks'].areas, rel=1e-6, abs=1e-6)
        assert targets.boxes == pytest.approx(results['gt_bboxes'].tensor.numpy())
        assert len(targets.rings) == len(targets.ignore_flags) == len(targets.labels) > 0


def test_step_that_forgets_masks_is_refused(dataset):
    data = dataset("dict(type='YOLOXMixUp', img_scale=(64, 64), prob=1.0, pre_transform=_p[:5])")
    with pytest.raises(InputError, match='outlines of .* objects but .* boxes'):
        data[0]


def test_masks_that_are_no_outlines_are_refused(dataset):
    data = dataset("dict(type='DrawTargetMasks', overlap=False), dict(type='RandomQuarterTurn', prob=1.0)")
    with pytest.raises(InputError, match='gt_masks is Tensor'):
        data[0]


def test_packing_without_the_flips_that_its_default_meta_keys_name(dataset):
    data = dataset("dict(type='mmdet.FilterAnnotations')")
    from noise_mm.datasets import PackPatch

    data.pipeline.transforms = [
        each for each in data.pipeline.transforms[:-1] if type(each).__name__ != 'RandomFlip'
    ] + [PackPatch()]
    assert 'flip' not in data[0]['data_samples'].metainfo
