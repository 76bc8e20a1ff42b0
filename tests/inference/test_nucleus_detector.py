"""Detectors of nuclei as functions from tiles to centres; weights are random."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from noise_mm.configuration import load_config
from noise_mm.errors import InputError
from noise_mm.geometry.tiles import Window
from noise_mm.inference.nucleus_detector import NucleusDetector, box_centres
from noise_mm.patches.nuclei_boxes import NUCLEUS_BOX_PX, nucleus_boxes

RTMDET = Path(find_spec('mmdet').origin).parent / '.mim' / 'configs' / 'rtmdet' / 'rtmdet_tiny_8xb32-300e_coco.py'
CPU = torch.device('cpu')
TILE = np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)


@pytest.fixture(scope='session')
def yolov8(repo_dir, tmp_path_factory):
    """A config of the nano detector, boxes only."""
    path = tmp_path_factory.mktemp('detector') / 'detector.py'
    bases = [
        str(repo_dir / 'configs/_base_' / name) for name in ('model_yolov8_det.py', 'data_nuclei.py', 'runtime.py')
    ]
    path.write_text(f"_base_ = {bases}\nmodel_size = 'n'\nnetwork_size_px = 64\nnum_workers = 0\n")
    return path


def detector(config, tmp_path, classes=None, score_thr=0.0, biases=None):
    """With random weights, confident in its classes by `biases`."""
    from mmdet.registry import MODELS
    from mmyolo.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(config.get('default_scope') or 'mmdet'):
        model = MODELS.build(config.model)
    if biases is not None:
        for branch in model.bbox_head.head_module.cls_preds:
            torch.nn.init.zeros_(branch[-1].weight)
            branch[-1].bias.data = torch.tensor(biases)
    meta = {'dataset_meta': {'classes': classes}} if classes else {}
    torch.save({'state_dict': model.state_dict(), 'meta': meta}, tmp_path / 'random.pth')
    return NucleusDetector(config, tmp_path / 'random.pth', CPU, score_thr)


def test_centres_and_scores_of_each_tile(yolov8, tmp_path):
    find = detector(load_config(yolov8), tmp_path, biases=[0.5])
    white = np.full((96, 96, 3), 255, np.uint8)
    found = find([TILE, white])
    assert len(found) == 2
    for nuclei in found:
        assert nuclei.dtype == np.float64
        assert nuclei.shape[1] == 3
        assert ((nuclei[:, :2] >= 0) & (nuclei[:, :2] <= 96)).all()
        assert (np.diff(nuclei[:, 2]) <= 0).all()
        assert nuclei[:, 2] == pytest.approx(1 / (1 + np.exp(-0.5)), abs=1e-5)
    np.testing.assert_allclose(find([white])[0], found[1], atol=1e-3)


def test_less_confident_nuclei_are_left_out(yolov8, tmp_path):
    (found,) = detector(load_config(yolov8), tmp_path, score_thr=0.7, biases=[0.5])([TILE])
    assert found.shape == (0, 3)


@pytest.mark.parametrize(('biases', 'is_found'), [([1.0, 2.0], True), ([2.0, 1.0], False)])
def test_of_two_classes_the_one_named_nucleus_counts(yolov8, tmp_path, biases, is_found):
    config = load_config(yolov8, {'classes': ['osteoclast', 'nucleus']})
    find = detector(config, tmp_path, ('osteoclast', 'nucleus'), biases=biases)
    assert find.label == 1
    assert bool(len(find([TILE])[0])) == is_found


def test_networks_that_know_no_nuclei_are_refused(yolov8, tiny_config, tmp_path):
    with pytest.raises(InputError, match="random.pth: finds osteoclast, but no 'nucleus'"):
        detector(load_config(tiny_config), tmp_path, ('osteoclast',))
    with pytest.raises(InputError, match='finds a, b, but'):
        detector(load_config(yolov8, {'classes': ['a', 'b']}), tmp_path, ('a', 'b'))


def test_a_single_class_may_have_another_name(yolov8, tmp_path):
    assert detector(load_config(yolov8), tmp_path, ('nuclei',)).label == 0


@pytest.mark.filterwarnings('ignore')
def test_a_detector_of_mmdetection(tmp_path):
    config = load_config(RTMDET, {'model.bbox_head.num_classes': 1, 'model.test_cfg.nms_pre': 50})
    with DefaultScope.overwrite_default_scope('mmyolo'):
        (found,) = detector(config, tmp_path)([TILE])
        assert DefaultScope.get_current_instance().scope_name == 'mmyolo'  # the caller's scope stays
    assert len(found)
    assert ((found[:, :2] >= 0) & (found[:, :2] <= 96)).all()


def test_a_missing_op_is_named(yolov8, tmp_path):
    find = detector(load_config(yolov8), tmp_path)

    def call_op(batch):
        from mmcv.ops import soft_nms

        soft_nms(torch.zeros(1, 4), torch.zeros(1))

    find.model.test_step = call_op
    with pytest.raises(InputError, match='softnms.*full mmcv'):
        find([TILE])


def test_configs_that_describe_no_detector(tmp_path):
    with pytest.raises(InputError, match='describes no network'):
        NucleusDetector(Config({}), tmp_path / 'none.pth', CPU, 0.25)
    with pytest.raises(InputError, match='no test_pipeline'):
        NucleusDetector(Config({'model': {'type': 'YOLODetector'}}), tmp_path / 'none.pth', CPU, 0.25)


def test_boxes_cut_off_at_borders_as_in_training():
    """The boxes that training makes of marked points, turned back into the points."""
    points = np.array([(50, 40), (0, 30), (5, 60), (99, 20), (60, 2), (30, 79), (100, 80)], dtype=float)
    boxes = nucleus_boxes(points, Window(0, 0, 0, 0, 100, 80), (100, 80), NUCLEUS_BOX_PX)
    found = box_centres([box.bounds for box in boxes], width_px=100, height_px=80)
    np.testing.assert_allclose(found[:-1], points[:-1], atol=1e-9)
    # In a corner both sides are cut; the longer one is the best guess of the whole.
    assert np.abs(found[-1] - points[-1]).max() <= NUCLEUS_BOX_PX / 4


def test_boxes_inside_and_over_the_whole_tile():
    assert box_centres([[10, 20, 14, 40], [0, 30, 100, 50]], 100, 80).tolist() == [[12, 30], [50, 40]]
    assert box_centres(np.empty((0, 4)), 100, 80).shape == (0, 2)
