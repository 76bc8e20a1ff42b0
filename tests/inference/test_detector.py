"""Networks of this project and MMDetection's own as functions from tiles to detections; weights are random."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope

from noise_mm.configuration import load_config
from noise_mm.errors import InputError
from noise_mm.inference.detector import TileDetector

SHIPPED = Path(find_spec('mmdet').origin).parent / '.mim' / 'configs'
RTMDET_INS = SHIPPED / 'rtmdet' / 'rtmdet-ins_tiny_8xb32-300e_coco.py'
RTMDET_BOXES = SHIPPED / 'rtmdet' / 'rtmdet_tiny_8xb32-300e_coco.py'
MASK_RCNN = SHIPPED / 'mask_rcnn' / 'mask-rcnn_r50_fpn_1x_coco.py'
CPU = torch.device('cpu')
TILE = np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)


def detector(config, tmp_path, meta=None, score_thr=0.0, weights=None):
    """A detector with random weights; `weights` may change them."""
    from mmyolo.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(config.get('default_scope') or 'mmdet'):
        model = MODELS.build(config.model)
    if weights is not None:
        weights(model)
    torch.save({'state_dict': model.state_dict(), 'meta': meta or {}}, tmp_path / 'random.pth')
    return TileDetector(config, tmp_path / 'random.pth', CPU, score_thr)


def two_classes(**changes):
    config = load_config(RTMDET_INS, {'model.bbox_head.num_classes': 2})
    config.merge_from_dict(changes)
    return config


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize(
    ('meta', 'changes', 'names'),
    [
        ({'dataset_meta': {'classes': ('a', 'b')}}, {'classes': ('c', 'd')}, ('a', 'b')),
        ({'dataset_meta': {'classes': ('a', 'b', 'c')}}, {'classes': ('c', 'd')}, ('c', 'd')),
        ({'dataset_meta': None}, {'test_dataloader.dataset.metainfo': {'classes': ('e', 'f')}}, ('e', 'f')),
        ({}, {}, ('class_0', 'class_1')),
        ({}, {'test_dataloader.dataset.type': 'CityscapesDataset'}, ('class_0', 'class_1')),
    ],
)
def test_every_class_has_a_name(tmp_path, meta, changes, names):
    assert detector(two_classes(**changes), tmp_path, meta).classes == names


def settled(model):
    """Normalisations as after a training: of other statistics and weights than the initial ones."""
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            for values in (module.running_mean, module.bias):
                torch.nn.init.uniform_(values, -0.5, 0.5)
            for values in (module.running_var, module.weight):
                torch.nn.init.uniform_(values, 0.5, 1.5)


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('config', ['yolov8', 'rtmdet'])
def test_norms_within_convolutions_give_the_same(tmp_path, config, repo_dir):
    """RTMDet's levels share convolutions, but not their normalisations."""
    if config == 'yolov8':
        config = load_config(repo_dir / 'configs' / 'quickstart' / 'yolov8-n-seg.py')
    else:
        config = load_config(RTMDET_INS)
    found = detector(config, tmp_path, weights=settled)
    with DefaultScope.overwrite_default_scope(config.get('default_scope') or 'mmdet'):
        plain = MODELS.build(config.model).eval()
    plain.load_state_dict(torch.load(tmp_path / 'random.pth')['state_dict'])
    n_norms = [
        sum(isinstance(module, torch.nn.modules.batchnorm._BatchNorm) for module in model.modules())
        for model in (found.model, plain)
    ]
    assert n_norms[0] < n_norms[1] / 2
    inputs = torch.rand(1, 3, 96, 96)
    with torch.inference_mode():
        ours, theirs = (flat(model(inputs, mode='tensor')) for model in (found.model, plain))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4 * float(other.abs().max()))


def flat(tensors):
    """All tensors within tuples and lists."""
    return [tensors] if isinstance(tensors, torch.Tensor) else [each for part in tensors for each in flat(part)]


@pytest.mark.filterwarnings('ignore')
def test_rtmdet_ins_as_it_is_shipped(tmp_path):
    found = detector(load_config(RTMDET_INS, {'model.test_cfg.nms_pre': 50}), tmp_path)
    assert found.classes[:2] == ('person', 'bicycle')  # by the dataset of the config
    (detections,) = found([TILE])
    assert detections
    for detection in detections:
        height, width = detection.mask.shape
        assert 0 <= detection.x <= 96 - width
        assert 0 <= detection.y <= 96 - height
        assert found.classes[detection.label]


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')
def test_mask_rcnn_as_it_is_shipped_but_smaller(tmp_path):
    smaller = {
        'model.backbone.depth': 18,
        'model.neck.in_channels': [64, 128, 256, 512],
        'model.roi_head.bbox_head.fc_out_channels': 64,
        'model.test_cfg.rpn.max_per_img': 20,
        'test_pipeline.1.scale': (96, 96),
    }
    found = detector(load_config(MASK_RCNN, smaller), tmp_path)
    assert found.model.test_cfg.rcnn.score_thr == 0
    assert found([TILE])[0]


@pytest.mark.filterwarnings('ignore')
def test_steps_of_the_pipeline_may_be_classes(tmp_path):
    from mmdet.datasets.transforms import PackDetInputs

    config = two_classes()
    config.test_pipeline = [dict(type='LoadAnnotations'), dict(type=PackDetInputs, meta_keys=())]
    assert [type(step).__name__ for step in detector(config, tmp_path).pipeline.transforms] == ['PackDetInputs']


def test_a_place_is_of_its_best_class_only(tiny_config, tmp_path):
    """All places are confident in both classes; evaluation counts each in both."""

    def confident(model):
        for branch in model.bbox_head.head_module.cls_preds:
            torch.nn.init.zeros_(branch[-1].weight)
            branch[-1].bias.data = torch.tensor([1.0, 2.0])

    config = load_config(tiny_config, {'classes': ['a', 'b']})
    assert config.model.test_cfg.multi_label
    (found,) = detector(config, tmp_path, score_thr=0.25, weights=confident)([TILE])
    assert {detection.label for detection in found} == {1}
    assert config.model.test_cfg.multi_label  # the caller's config stays as it was


def test_less_confident_objects_are_left_out(tiny_config, tmp_path):
    assert detector(load_config(tiny_config), tmp_path, score_thr=1.0)([TILE, TILE]) == [[], []]


@pytest.mark.filterwarnings('ignore')
def test_boxes_without_masks_are_refused(tmp_path):
    with pytest.raises(InputError, match='boxes without masks'):
        detector(load_config(RTMDET_BOXES), tmp_path, score_thr=1.0)([TILE])


def test_a_missing_op_is_named(tiny_config, tmp_path):
    found = detector(load_config(tiny_config), tmp_path)

    def call_op(batch):
        from mmcv.ops import soft_nms

        soft_nms(torch.zeros(1, 4), torch.zeros(1))

    found.model.test_step = call_op
    with pytest.raises(InputError, match='softnms.*full mmcv'):
        found([TILE])


def test_configs_that_describe_no_segmentor(tmp_path):
    with pytest.raises(InputError, match='describes no network'):
        TileDetector(Config({}), tmp_path / 'none.pth', CPU, 0.25)
    with pytest.raises(InputError, match='no test_pipeline'):
        TileDetector(Config({'model': {'type': 'YOLODetector'}}), tmp_path / 'none.pth', CPU, 0.25)


def test_the_callers_scope_stays(tmp_path):
    with DefaultScope.overwrite_default_scope('mmyolo'):
        detector(two_classes(), tmp_path)
        assert DefaultScope.get_current_instance().scope_name == 'mmyolo'
