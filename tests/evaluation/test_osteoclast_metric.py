import pickle

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

import noise_mm.register  # noqa: F401
from noise_mm.errors import InputError

SIZE_PX = 64


def ring(x1, y1, x2, y2):
    return np.array([x1, y1, x2, y1, x2, y2, x1, y2], dtype=np.float64)


def instance(box, ignore_flag=0, label=0):
    return {'bbox': list(map(float, box)), 'bbox_label': label, 'ignore_flag': ignore_flag, 'mask': [ring(*box)]}


def bitmap(box, size=SIZE_PX):
    mask = torch.zeros((size, size), dtype=torch.bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


def sample(instances, boxes, scores, masks=None, img_id=1, **changes):
    masks = torch.stack([bitmap(box) for box in boxes]) if masks is None and boxes else masks
    predicted = {
        'bboxes': torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        'scores': torch.tensor(scores),
        'labels': torch.zeros(len(scores), dtype=torch.long),
        'masks': torch.zeros((0, SIZE_PX, SIZE_PX), dtype=torch.bool) if masks is None else masks,
    }
    meta = {'img_id': img_id, 'ori_shape': (SIZE_PX, SIZE_PX), 'batch': 'M1', 'well': 'w', 'instances': instances}
    return {'pred_instances': predicted, **meta, **changes}


def build(**settings):
    from mmyolo.registry import METRICS

    metric = METRICS.build({'type': 'OsteoclastMetric', **settings})
    metric.dataset_meta = {'classes': ('osteoclast',)}
    return metric


CELLS = [(0, 0, 20, 20), (30, 30, 60, 50)]


def test_bitmaps_and_run_lengths_give_the_same_numbers():
    rles = [coco_mask.encode(np.asfortranarray(bitmap(box).numpy().astype(np.uint8))) for box in CELLS]
    truth = [instance(box) for box in CELLS]
    numbers = []
    for masks in (None, rles):
        metric = build()
        metric.process({}, [sample(truth, CELLS, [0.9, 0.8], masks), sample([], [], [], img_id=2)])
        numbers.append(metric.evaluate(2))
        assert metric.report['n_images'] == 2
    assert numbers[0] == numbers[1]
    assert next(iter(numbers[0])) == 'osteoclast/segm_mAP50'
    assert numbers[0]['osteoclast/segm_mAP90'] == numbers[0]['osteoclast/bbox_mAP90'] == 1.0


def test_results_are_small_and_can_be_sent_to_other_ranks():
    metric = build()
    metric.process({}, [sample([instance(box) for box in CELLS], CELLS, [0.9, 0.8])])
    assert len(pickle.dumps(metric.results[0])) < 2000
    assert pickle.loads(pickle.dumps(metric.results[0])).pairs['segm'].ious.tolist() == [1.0, 1.0]


def test_ignored_regions_are_honoured():
    metric = build(metric='segm', iou_thrs=(0.5,))
    metric.process({}, [sample([instance(CELLS[0]), instance(CELLS[1], 1)], CELLS, [0.9, 0.95])])
    assert metric.evaluate(1)['osteoclast/segm_P50'] == 1.0
    assert metric.report['n_ignored'] == 1


def test_detectors_need_no_masks():
    metric = build(metric=('bbox',))
    truth = [{'bbox': [0.0, 0.0, 20.0, 20.0], 'bbox_label': 0, 'ignore_flag': 0}]
    without_masks = sample(truth, [CELLS[0]], [0.9])
    del without_masks['pred_instances']['masks']
    metric.process({}, [without_masks])
    assert metric.evaluate(1)['osteoclast/bbox_mAP50'] == 1.0
    assert 'area_px2_error' not in metric.report['counts']['wells'][0]


def test_data_without_batches_and_wells_is_one_batch():
    metric = build()
    metric.process({}, [{key: value for key, value in sample([], [], []).items() if key not in ('batch', 'well')}])
    metric.evaluate(1)
    assert [row['batch'] for row in metric.report['batches']] == ['unknown']


def test_curves_are_drawn_where_asked_for(tmp_path):
    metric = build(metric='segm', curves_dir=tmp_path)
    metric.process({}, [sample([instance(CELLS[0])], [CELLS[0]], [0.9])])
    metric.evaluate(1)
    assert len(list(tmp_path.glob('*.png'))) == 2


# --- prototype resolution: a patch of 64 px, halved for the network, has 8 x 8 prototypes of 8 patch pixels each


def grid_mask(rows, columns, size=8):
    mask = np.zeros((size, size), dtype=np.uint8)
    mask[rows, columns] = 1
    return coco_mask.encode(np.asfortranarray(mask))


def prototype_sample(instances, masks, **changes):
    boxes = [(0, 0, 8, 8)] * len(masks)
    meta = {'scale_factor': (0.5, 0.5), 'batch_input_shape': (32, 32), 'pad_param': np.zeros(4, np.float32)}
    return sample(instances, boxes, [0.9 - 0.1 * k for k in range(len(masks))], masks, **{**meta, **changes})


def test_the_truth_is_drawn_on_the_prototypes_with_small_objects_on_large_ones():
    from noise_mm.evaluation.osteoclast_metric import prototype_masks

    large, small, ignored = (0, 0, 48, 48), (16, 16, 32, 32), (0, 0, 16, 64)
    truth = [instance(small), instance(large), instance(ignored, 1)]
    masks = prototype_masks(prototype_sample(truth, []), (8, 8))
    expected = np.zeros((3, 8, 8), dtype=np.uint8)
    expected[0, 2:4, 2:4] = 1
    expected[1, :6, :6] = 1
    expected[1, 2:4, 2:4] = 0  # the hole that the small one leaves
    expected[2, :, :2] = 1  # ignored regions neither cover nor are covered
    assert (np.stack(masks) == expected).all()


def test_padding_moves_the_truth():
    from noise_mm.evaluation.osteoclast_metric import prototype_masks

    padded = prototype_sample([instance((0, 0, 16, 16))], [], pad_param=np.array([8, 8, 4, 4], np.float32))
    (mask,) = prototype_masks(padded, (8, 8))
    assert np.argwhere(mask).tolist() == [[2, 1], [2, 2], [3, 1], [3, 2]]


def test_scores_and_areas_at_prototype_resolution():
    metric = build(metric='segm', mask_resolution='prototype')
    metric.process({}, [prototype_sample([instance((16, 16, 32, 32))], [grid_mask(slice(2, 4), slice(2, 4))])])
    assert metric.evaluate(1)['osteoclast/segm_mAP90'] == 1.0
    assert metric.report['mask_resolution'] == 'prototype'
    (row,) = metric.report['counts']['wells']
    assert row['area_px2_annotated'] == row['area_px2_detected'] == 256.0


@pytest.mark.parametrize('resolution', ['native', 'prototype'])
def test_a_network_s_masks_are_scored(resolution, tiny_config):
    """The whole way with an untrained network; what it finds does not matter, that all parts fit does."""
    from mmengine.registry import DefaultScope
    from mmengine.runner import Runner
    from mmyolo.registry import MODELS

    from noise_mm.configuration import load_config

    config = load_config(tiny_config)
    config.model.test_cfg.update(mask_resolution=resolution, score_thr=0.0, max_per_img=20)
    torch.manual_seed(0)
    metric = build(mask_resolution=resolution)
    with DefaultScope.overwrite_default_scope('mmyolo'), torch.no_grad():
        model = MODELS.build(config.model).eval()
        for batch in Runner.build_dataloader(config.test_dataloader):
            metric.process(batch, [each.to_dict() for each in model.test_step(batch)])
    numbers = metric.evaluate(2)
    assert metric.report['n_objects'] == 8
    assert metric.report['n_detections'] > 0
    assert 0 <= numbers['osteoclast/segm_mAP50'] <= 1
    assert {row['batch'] for row in metric.report['counts']['wells']} == {'M2'}


def wrong_native_size():
    return sample([instance(CELLS[0])], [CELLS[0]], [0.9], torch.ones((1, 32, 32), dtype=torch.bool))


def lacking(key):
    whole = sample([instance(CELLS[0])], [CELLS[0]], [0.9])
    return {name: value for name, value in whole.items() if name != key}


def without_masks():
    whole = sample([instance(CELLS[0])], [CELLS[0]], [0.9])
    del whole['pred_instances']['masks']
    return whole


BOX_ONLY = {'bbox': [0.0, 0.0, 20.0, 20.0], 'bbox_label': 0, 'ignore_flag': 0}
AS_RLE = {**instance(CELLS[0]), 'mask': grid_mask(0, 0)}


@pytest.mark.parametrize(
    ('settings', 'faulty', 'message'),
    [
        ({}, lacking('instances'), 'no instances. Add it to meta_keys'),
        ({}, without_masks(), "predicts no masks. Set the evaluator's metric='bbox'"),
        ({}, sample([BOX_ONLY], [], []), 'has no outline'),
        ({}, wrong_native_size(), r'a mask is of \[32, 32\], the image is \[64, 64\]'),
        ({'mask_resolution': 'prototype'}, sample([], [], []), 'needs batch_input_shape and scale_factor'),
        ({'mask_resolution': 'prototype'}, prototype_sample([], [grid_mask(0, 0, 16)]), r'the image is \[8, 8\]'),
        ({'mask_resolution': 'prototype'}, prototype_sample([AS_RLE], []), 'run-length masks'),
    ],
)
def test_samples_that_do_not_fit_are_named(settings, faulty, message):
    with pytest.raises(InputError, match=message):
        build(**settings).process({}, [faulty])


@pytest.mark.parametrize(
    'settings', [{'metric': 'mask'}, {'mode': 'voc'}, {'iou_thrs': (2,)}, {'mask_resolution': 'half'}]
)
def test_wrong_settings_are_named(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        build(**settings)


def test_nothing_to_score_is_minus_one():
    metric = build()
    assert set(metric.compute_metrics([]).values()) == {-1.0}
    metric.process({}, [sample([], [CELLS[0]], [0.9])])
    assert set(metric.evaluate(1).values()) == {-1.0}


def test_class_names_are_needed():
    metric = build()
    metric.dataset_meta = None
    metric.process({}, [sample([], [], [])])
    with pytest.raises(InputError, match='has no classes'):
        metric.evaluate(1)


def test_mmengine_s_hooks_know_that_more_is_better():
    from mmengine.hooks import CheckpointHook, EarlyStoppingHook

    name = 'osteoclast/segm_mAP50'
    assert CheckpointHook(save_best=name).rules == ['greater']
    assert EarlyStoppingHook(monitor=name).rule == 'greater'
