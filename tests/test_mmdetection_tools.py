"""What MMDetection's users do with a config file of this project and a checkpoint."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope, init_default_scope

from noise_mm.configuration import load_config
from noise_mm.errors import InputError


@pytest.fixture(scope='module')
def checkpoint(tiny_config, tmp_path_factory):
    """Weights that find something: the classes' biases are high."""
    from mmyolo.registry import MODELS

    with DefaultScope.overwrite_default_scope('mmyolo'):
        model = MODELS.build(load_config(tiny_config).model)
    for branch in model.bbox_head.head_module.cls_preds:
        torch.nn.init.constant_(branch[-1].bias, 0.0)
    path = tmp_path_factory.mktemp('checkpoint') / 'best.pth'
    meta = {'dataset_meta': {'classes': ('osteoclast',), 'palette': [(200, 0, 140)]}}
    torch.save({'state_dict': model.state_dict(), 'meta': meta}, path)
    return path


@pytest.fixture
def patch(tiny_data):
    return str(next((tiny_data / 'M2' / 'images').iterdir()))


@pytest.fixture
def child(tiny_config, tmp_path):
    def write(text):
        path = tmp_path / 'child.py'
        path.write_text(f"_base_ = '{tiny_config}'\n{text}\n")
        return path

    return write


@pytest.mark.parametrize('mask_format', ['rle', 'bitmap', 'undrawn'])
def test_inference_and_pictures_from_the_file_itself(child, checkpoint, patch, tmp_path, mask_format):
    from mmdet.apis import inference_detector, init_detector
    from mmdet.registry import VISUALIZERS

    path = child("network_size_px = 96\nmodel = dict(size='n')")
    model = init_detector(str(path), str(checkpoint), device='cpu')
    model.bbox_head.test_cfg.mask_format = mask_format
    sample = inference_detector(model, patch)
    assert sample.batch_input_shape == (96, 96)  # the setting of the child, not of its base
    model.cfg.visualizer.save_dir = str(tmp_path)
    visualizer = VISUALIZERS.build(model.cfg.visualizer)
    visualizer.dataset_meta = model.dataset_meta
    image = cv2.imread(patch)
    visualizer.add_datasample('x', image, sample, draw_gt=False, pred_score_thr=0.1)
    assert (visualizer.get_image() != image).any()
    from_array = inference_detector(model, image)
    assert torch.allclose(from_array.pred_instances.bboxes, sample.pred_instances.bboxes)


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ("model_size = 's'", "size 's'.*model = dict"),
        ("model = dict(size='n')\nclasses = ('osteoclast', 'nucleus')", 'num_classes 2.*model = d'),
    ],
)
def test_network_that_a_foreign_tool_has_not_built_is_refused(child, text, words):
    from mmdet.apis import init_detector

    with pytest.raises(InputError, match=words):
        init_detector(str(child(text)), None, device='cpu')


def test_inferencer(child, checkpoint, patch, tmp_path):
    from mmdet.apis import DetInferencer

    inferencer = DetInferencer(str(child("model = dict(size='n')")), str(checkpoint), device='cpu', show_progress=False)
    results = inferencer(patch, out_dir=str(tmp_path), pred_score_thr=0.1)
    assert len(results['predictions'][0]['masks']) == len(results['predictions'][0]['scores']) > 0
    assert list((tmp_path / 'vis').iterdir())


def test_browsing_training_samples(tiny_config, tmp_path):
    from mmdet.models.utils import mask2ndarray
    from mmdet.registry import DATASETS, VISUALIZERS
    from mmdet.structures.bbox import BaseBoxes

    config = load_config(tiny_config)
    init_default_scope('mmyolo')
    dataset = DATASETS.build(config.train_dataloader.dataset)
    visualizer = VISUALIZERS.build({**config.visualizer, 'name': 'browse', 'save_dir': str(tmp_path)})
    visualizer.dataset_meta = dataset.metainfo
    for item in dataset:
        image, sample = item['inputs'].permute(1, 2, 0).numpy(), item['data_samples'].numpy()
        found = sample.gt_instances
        if isinstance(found.bboxes, BaseBoxes):
            found.bboxes = found.bboxes.tensor
        found.masks = mask2ndarray(found.masks).astype(bool)
        assert found.masks.shape == (len(found.labels), *image.shape[:2])
        visualizer.add_datasample('x', np.ascontiguousarray(image), sample, draw_pred=False)
    assert (visualizer.get_image() != image).any()


def test_pictures_of_a_test(child, checkpoint, tmp_path):
    """MMDetection's tools/test.py --show-dir."""
    from mmengine.registry import RUNNERS

    config = Config.fromfile(child("model = dict(size='n')"))
    config.work_dir, config.load_from = str(tmp_path), str(checkpoint)
    config.default_hooks.visualization.update(draw=True, test_out_dir='vis', score_thr=0.1)
    numbers = RUNNERS.build(config).test()
    assert 'osteoclast/segm_mAP50' in numbers
    assert list(tmp_path.glob('**/vis/*'))


@pytest.mark.parametrize('masks', [False, True])
def test_augmentation_at_test_time(tiny_config, child, tmp_path, masks):
    """MMDetection's tools/test.py --tta: detectors are joined, masks cannot be."""
    from mmengine.config import ConfigDict
    from mmengine.registry import RUNNERS

    boxes = "model = dict(bbox_head=dict(_delete_=True, type='YOLOv8DetHead'))\n"
    config = Config.fromfile(child('' if masks else boxes + "test_evaluator = dict(metric=['bbox'])"))
    config.model = ConfigDict(**config.tta_model, module=config.model)
    config.test_dataloader.dataset.pipeline = config.tta_pipeline
    config.work_dir = str(tmp_path)
    runner = RUNNERS.build(config)
    if masks:
        with pytest.raises(AssertionError, match='TTA of instance segmentation'):
            runner.test()
    else:
        assert 'osteoclast/bbox_mAP50' in runner.test()


def test_results_of_a_test_in_a_file(child, checkpoint, tmp_path):
    """MMDetection's tools/test.py --out, for its analysis_tools."""
    import pickle

    from mmengine.registry import RUNNERS

    config = Config.fromfile(child("model = dict(size='n')"))
    config.work_dir, config.load_from = str(tmp_path), str(checkpoint)
    dump = dict(type='mmdet.DumpDetResults', out_file_path=str(tmp_path / 'results.pkl'))
    config.test_evaluator = [config.test_evaluator, dump]
    RUNNERS.build(config).test()
    found = pickle.loads((tmp_path / 'results.pkl').read_bytes())[0]['pred_instances']
    assert len(found['masks']) == len(found['scores']) > 0
    assert found['masks'][0]['size'] == [128, 128]


def test_cost_of_the_network(child):
    """MMDetection's analysis_tools/get_flops.py."""
    from mmdet.registry import MODELS
    from mmengine.analysis import get_model_complexity_info

    model = MODELS.build(Config.fromfile(child("model = dict(size='n')")).model).eval()
    assert get_model_complexity_info(model, (3, 64, 64))['flops'] > 1e7
