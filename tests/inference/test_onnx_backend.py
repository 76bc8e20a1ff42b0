import copy

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.registry import DefaultScope

pytest.importorskip('onnxruntime', reason='the extra cpu is not installed')

from noise_mm.configuration import load_config
from noise_mm.inference import onnx_backend

SIZE_PX = (96, 128)


def build(config, repo_dir):
    """A nano network with weights that find something."""
    torch.manual_seed(0)
    settings = load_config(repo_dir / 'configs' / config, {'model_size': 'n'})
    with DefaultScope.overwrite_default_scope('mmyolo'):
        model = MODELS.build(settings.model)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_var, 0.1, 0.5)
    return model.eval()


@pytest.fixture(params=['baseline/yolov8-seg.py', 'noise/pretrain_osteoclast-nuclei_yolov8-l.py'], scope='module')
def model(request, repo_dir):
    return build(request.param, repo_dir)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(onnx_backend.CACHE_VARIABLE, str(tmp_path / 'cache'))
    return tmp_path / 'cache'


@pytest.mark.parametrize('batch', [1, 3])
def test_the_graph_gives_the_outputs_of_the_model_for_any_batch(model, tmp_path, batch):
    onnx_backend.export(model, tmp_path / 'graph.onnx', SIZE_PX)
    images = torch.rand(batch, 3, *SIZE_PX)
    with torch.inference_mode():
        expected = onnx_backend.DecodedNetwork(model)(images)
    found = onnx_backend.OnnxNetwork(tmp_path / 'graph.onnx', 1).run(images)
    assert len(found) == len(expected)
    for ours, theirs in zip(expected, found, strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-4 * float(ours.abs().max()))


def test_detections_are_those_of_pytorch(model, repo_dir):
    head = model.bbox_head
    head.test_cfg.score_thr = 0.0
    head.test_cfg.max_per_img = 20
    images = torch.rand(2, 3, *SIZE_PX)
    metas = [{'ori_shape': SIZE_PX, 'scale_factor': (1.0, 1.0), 'batch_input_shape': SIZE_PX}] * 2

    def detections(network):
        with torch.inference_mode():
            raw = network.bbox_head.head_module(network.extract_feat(images))
            return network.bbox_head.predict_by_feat(*raw, batch_img_metas=metas)

    fast = copy.deepcopy(model)
    onnx_backend.use_onnx(fast, 'digest', SIZE_PX)
    for ours, theirs in zip(detections(model), detections(fast), strict=True):
        assert len(ours) == len(theirs) == 20
        np.testing.assert_allclose(theirs.bboxes, ours.bboxes, atol=0.01)
        np.testing.assert_allclose(theirs.scores, ours.scores, atol=1e-4)
        assert theirs.get('masks') == ours.get('masks')


def test_a_graph_is_exported_once_for_each_digest_and_size(model, cache, monkeypatch):
    exported = []
    real = onnx_backend.export
    monkeypatch.setattr(onnx_backend, 'export', lambda *args: (exported.append(args[1]), real(*args)))
    for digest, size_px in (('a', (64, 64)), ('a', (64, 64)), ('b', (64, 64)), ('a', (64, 96))):
        onnx_backend.use_onnx(copy.deepcopy(model), digest, size_px)
    assert len(exported) == 3
    assert sorted(path.name for path in (cache / 'onnx').iterdir()) == sorted(path.name for path in exported)


def test_a_graph_of_other_weights_is_refused(model, monkeypatch):
    path = onnx_backend.use_onnx(copy.deepcopy(model), 'a', (64, 64))
    other = copy.deepcopy(model)
    with torch.no_grad():
        next(other.backbone.parameters()).mul_(2)
    with pytest.raises(ArithmeticError, match='differ'):
        onnx_backend.check_equal(other, path, (64, 64))


def test_a_folder_that_cannot_be_written_is_an_os_error(model, tmp_path, monkeypatch):
    (tmp_path / 'file').touch()
    monkeypatch.setenv(onnx_backend.CACHE_VARIABLE, str(tmp_path / 'file'))
    with pytest.raises(OSError):
        onnx_backend.use_onnx(copy.deepcopy(model), 'a', (64, 64))
