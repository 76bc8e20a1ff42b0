import copy

import pytest

from noise_mm.evaluation.paper_differences import differences_from_paper

TRAINING = {
    'model_size': 'l',
    'patch_size_px': 832,
    'network_size_px': 416,
    'max_epochs': 100,
    'patience': 50,
    'batch_size': 16,
    'best_metric': 'osteoclast/fitness',
    'coco_weights': True,
    'amp': True,
    'split_unit': 'patch',
    'batches': ['M1', 'M2', 'M3', 'M4'],
    'augmentation': ['PatchMosaic', 'PatchAffine', 'YOLOv5HSVRandomAug', 'RandomFlip horizontal'],
}
REPORT = {
    'mode': 'ultralytics',
    'mask_resolution': 'prototype',
    'segm': {},
    'run': {
        'protocol': 'm2m',
        'fold': 'M5',
        'method': 'yolov8',
        'training': TRAINING,
        'test_cfg': {'score_thr': 0.001, 'max_per_img': 300, 'nms': {'type': 'nms', 'iou_threshold': 0.7}},
    },
}


def changed(part, **values):
    report = copy.deepcopy(REPORT)
    node = {'report': report, 'run': report['run'], 'training': report['run']['training']}
    node |= {'test_cfg': report['run']['test_cfg']}
    node[part].update(values)
    return report


def test_the_papers_own_setting_has_none():
    assert differences_from_paper(REPORT) == []


@pytest.mark.parametrize(
    ('part', 'values', 'words'),
    [
        ('report', {'mode': 'coco'}, 'mode coco instead of ultralytics'),
        ('report', {'mask_resolution': 'native'}, 'masks at native resolution instead of prototype'),
        ('test_cfg', {'nms': {'iou_threshold': 0.5}}, 'NMS at IoU 0.5 instead of 0.7'),
        ('test_cfg', {'max_per_img': 1000}, 'detections an image 1000 instead of 300'),
        ('test_cfg', {'score_thr': 0.25}, 'least score 0.25 instead of 0.001'),
        ('training', {'model_size': 'n'}, 'size n instead of l'),
        ('training', {'max_epochs': 50}, 'epochs 50 instead of 100'),
        ('training', {'network_size_px': 640}, 'input of px 640 instead of 416'),
        ('training', {'batch_size': 4}, 'images per iteration 4 instead of 16'),
        ('training', {'best_metric': 'osteoclast/segm_mAP50'}, 'best epoch by osteoclast/segm_mAP50 instead of'),
        ('training', {'coco_weights': False}, 'no COCO weights'),
        ('training', {'amp': False}, 'no mixed precision'),
        ('training', {'split_unit': 'well'}, 'validation by well, the paper: a random 20 %'),
        ('training', {'batches': ['M1']}, 'trained on M1 instead of M1, M2, M3, M4'),
        ('training', {'augmentation': ['PatchAffine', 'StainJitter']}, 'without PatchMosaic, YOLOv5HSVRandomAug'),
        ('training', {'n_patches': 300}, '300 training patches'),
        ('run', {'training': None}, 'how it was trained is not known'),
    ],
)
def test_each_is_named(part, values, words):
    assert any(words in each for each in differences_from_paper(changed(part, **values)))


def test_protocols_are_trained_on_their_own_batches():
    assert differences_from_paper(changed('training', batches=['M1'])) != []
    human = changed('run', protocol='h2h', fold='H1')
    human['run']['training']['batches'] = ['H2']
    assert differences_from_paper(human) == []
    random_start = changed('run', method='random-init')
    random_start['run']['training']['coco_weights'] = False
    assert differences_from_paper(random_start) == []
