"""Weights of one network as the start of another; reference: the tensors themselves."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.registry import DefaultScope

from noise_mm.checkpoints.loading import class_layer_names, initial_text, load_initial
from noise_mm.configuration import load_config
from noise_mm.errors import InputError
from noise_mm.stages import stage_config

SEG, DET = 'baseline/yolov8-seg.py', 'noise/pretrain_osteoclast-nuclei_yolov8-l.py'


def build(config, classes, seed):
    from mmyolo.registry import MODELS

    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope('mmyolo'):
        model = MODELS.build(load_config(stage_config(config), {'model_size': 'n', 'classes': list(classes)}).model)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor))
    return model


@pytest.fixture
def saved(tmp_path):
    def save(model, classes=None, name='weights.pth'):
        meta = {} if classes is None else {'dataset_meta': {'classes': tuple(classes)}}
        torch.save({'state_dict': model.state_dict(), 'meta': meta}, tmp_path / name)
        return tmp_path / name

    return save


def copied(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize('classes', [('osteoclast', 'nucleus'), ('nucleus', 'osteoclast')])
def test_stage_3_has_every_tensor_of_stage_2(saved, classes):
    detector, segmentor = build(DET, classes, 0), build(SEG, ['osteoclast'], 1)
    before, theirs = copied(segmentor), detector.state_dict()
    report = load_initial(segmentor, saved(detector, classes), ('osteoclast',))
    after, rows = segmentor.state_dict(), class_layer_names(segmentor)
    assert len(rows) == 6 and set(report['remapped']) == rows and report['class_rows'] == ['osteoclast']
    place = classes.index('osteoclast')
    for name, value in after.items():
        if name in rows:
            assert torch.equal(value, theirs[name][place : place + 1])
        elif name in theirs:
            assert torch.equal(value, theirs[name])
        else:
            assert torch.equal(value, before[name])
    assert set(report['not_in_checkpoint']) == after.keys() - theirs.keys()
    assert all('coef_preds' in name or 'proto' in name for name in report['not_in_checkpoint'])
    assert not report['reshaped'] and not report['not_in_network']
    assert 'rows of osteoclast' in initial_text(report)


def test_one_class_becomes_two(saved):
    one, two = build(DET, ['osteoclast'], 0), build(DET, ['nucleus', 'osteoclast'], 1)
    before = copied(two)
    load_initial(two, saved(one, ['osteoclast']), ('nucleus', 'osteoclast'))
    for name in class_layer_names(two):
        assert torch.equal(two.state_dict()[name][1], one.state_dict()[name][0])
        assert torch.equal(two.state_dict()[name][0], before[name][0])


def test_rows_of_unknown_classes_stay_random(saved):
    coco, model = build(DET, [f'thing {i}' for i in range(80)], 0), build(DET, ['osteoclast'], 1)
    before = copied(model)
    report = load_initial(model, saved(coco, [f'thing {i}' for i in range(80)]), ('osteoclast',))
    assert set(report['reshaped']) >= class_layer_names(model)
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in report['reshaped'])
    assert torch.equal(model.backbone.stem.conv.weight, coco.backbone.stem.conv.weight)


def test_mmyolos_own_coco_detector_fits_but_for_its_classes(saved):
    from mmyolo.registry import MODELS

    config = load_config(stage_config(DET), {'model_size': 'n', 'classes': [f'thing {i}' for i in range(80)]})
    config.model.bbox_head = dict(type='YOLOv8Head', head_module={**config.model.bbox_head.head_module})
    config.model.bbox_head.head_module.type = 'YOLOv8HeadModule'
    with DefaultScope.overwrite_default_scope('mmyolo'):
        coco = MODELS.build(config.model)
    model = build(SEG, ['osteoclast'], 1)
    report = load_initial(model, saved(coco), ('osteoclast',))
    assert not report['not_in_network']
    assert all('cls_preds' in name for name in report['reshaped'])  # narrower at size n where classes are few
    assert all('coef_preds' in name or 'proto' in name for name in report['not_in_checkpoint'])
    assert not report['class_rows']


@pytest.mark.parametrize('same_number', [True, False])
def test_checkpoint_without_class_names_is_taken_by_shape(saved, same_number):
    theirs = build(DET, ['a'] if same_number else ['a', 'b'], 0)
    model = build(DET, ['osteoclast'], 1)
    report = load_initial(model, saved(theirs), ('osteoclast',))
    assert not report['remapped']
    assert (set(report['reshaped']) == class_layer_names(model)) != same_number


def test_other_class_of_the_same_number_is_not_taken_for_ours(saved):
    theirs, model = build(DET, ['nucleus'], 0), build(DET, ['osteoclast'], 1)
    before = copied(model)
    load_initial(model, saved(theirs, ['nucleus']), ('osteoclast',))
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in class_layer_names(model))


def test_later_checkpoints_win(saved):
    first, second, model = build(SEG, ['a'], 0), build(DET, ['a'], 1), build(SEG, ['a'], 2)
    load_initial(model, saved(first, ['a']), ('a',))
    load_initial(model, saved(second, ['a'], 'second.pth'), ('a',))
    detector = second.state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(value, detector.get(name, first.state_dict()[name]))


@pytest.mark.parametrize('names', [['osteoclast'], ['thing'], None])
def test_report_names_the_classes_whose_rows_were_loaded(saved, names):
    model = build(DET, ['osteoclast'], 1)
    report = load_initial(model, saved(build(DET, names or ['x'], 0), names), ('osteoclast',))
    assert report['class_rows'] == ([] if names == ['thing'] else ['osteoclast'])


def test_network_of_another_size_is_an_error(saved):
    with DefaultScope.overwrite_default_scope('mmyolo'):
        from mmyolo.registry import MODELS

        small = MODELS.build(load_config(stage_config(DET), {'model_size': 's', 'classes': ['a']}).model)
    with pytest.raises(InputError, match='YOLOv8-s detector with 1 class, and its backbone does not fit a YOLOv8-n'):
        load_initial(build(DET, ['a'], 0), saved(small, ['a']), ('a',))


def test_nothing_that_fits_is_an_error(saved):
    other = SimpleNamespace(state_dict=lambda: {'layer.weight': torch.ones(3)})
    with pytest.raises(InputError, match='nothing in it fits a YOLOv8-n detector with 1 class'):
        load_initial(build(DET, ['a'], 0), saved(other), ('a',))
