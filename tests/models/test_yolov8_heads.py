import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from mmyolo.registry import MODELS

from noise_mm.configuration import load_config
from noise_mm.errors import InputError

SIZE_PX = 64


def batch_of(rows, masks, images=2):
    metas = [{'batch_input_shape': (SIZE_PX, SIZE_PX)}] * images
    return {'bboxes_labels': torch.tensor(rows, dtype=torch.float32).reshape(-1, 6), 'masks': masks, 'img_metas': metas}


def index_maps(rows, images=2):
    maps = torch.zeros(images, SIZE_PX // 4, SIZE_PX // 4, dtype=torch.int32)
    seen = [0] * images
    for image, _, x1, y1, x2, y2 in rows:
        seen[image] += 1
        maps[image, int(y1 // 4) : int(-(-y2 // 4)), int(x1 // 4) : int(-(-x2 // 4))] = seen[image]
    return maps


@pytest.mark.parametrize('dtype', [None, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    'rows',
    [
        [],
        [(0, 0, 4, 4, 30, 40), (0, 0, 20, 8, 60, 60)],
        [(1, 0, 8, 8, 9, 9)],
        [(0, 0, 0, 0, 64, 64), (1, 0, 63, 63, 64, 64)],
    ],
    ids=['no target at all', 'one image empty', 'one pixel', 'whole image and corner pixel'],
)
def test_training_step_is_finite(build, rows, dtype):
    torch.manual_seed(0)
    model = build('n').train()
    model.init_weights()
    images = torch.rand(2, 3, SIZE_PX, SIZE_PX)
    with torch.autocast('cpu', dtype=dtype, enabled=dtype is not None):
        losses = model.loss(images, batch_of(rows, index_maps(rows)))
    assert set(losses) == {'loss_cls', 'loss_bbox', 'loss_dfl', 'loss_mask'}
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    if not rows:
        assert float(losses['loss_mask'].detach()) == 0


def test_stack_and_index_map_agree_where_masks_do_not_overlap(build):
    torch.manual_seed(0)
    model = build('n').train()
    rows = [(0, 0, 4, 4, 28, 28), (0, 0, 32, 32, 60, 56), (1, 0, 8, 8, 40, 40)]
    maps = index_maps(rows)
    stack = torch.stack([(maps[0] == 1), (maps[0] == 2), (maps[1] == 1)]).to(torch.uint8)
    images = torch.rand(2, 3, SIZE_PX, SIZE_PX)
    with torch.no_grad():
        overlap = model.loss(images, batch_of(rows, maps))['loss_mask']
        model.bbox_head.overlap_masks = False
        stacked = model.loss(images, batch_of(rows, stack))['loss_mask']
    torch.testing.assert_close(overlap, stacked)


def test_mmdetection_samples_give_the_same_losses(build):
    torch.manual_seed(0)
    model = build('n').train()
    rows = [(0, 0, 4, 4, 28, 28), (0, 0, 32, 32, 60, 56)]
    stack = torch.zeros(2, SIZE_PX, SIZE_PX, dtype=torch.uint8)
    samples = []
    for image in range(2):
        own = [row for row in rows if row[0] == image]
        for k, (_, _, x1, y1, x2, y2) in enumerate(own):
            stack[k, y1:y2, x1:x2] = 1
        sample = DetDataSample(metainfo={'batch_input_shape': (SIZE_PX, SIZE_PX), 'img_shape': (SIZE_PX, SIZE_PX)})
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([row[2:] for row in own], dtype=torch.float32).reshape(-1, 4),
            labels=torch.tensor([row[1] for row in own], dtype=torch.long),
            masks=BitmapMasks(stack[: len(own)].numpy(), SIZE_PX, SIZE_PX),
        )
        samples.append(sample)
    images = torch.rand(2, 3, SIZE_PX, SIZE_PX)
    with torch.no_grad():
        from_samples = model.loss(images, samples)
        from_batch = model.loss(images, batch_of(rows, index_maps(rows)))
    for name, value in from_batch.items():
        torch.testing.assert_close(from_samples[name], value, msg=name)


def test_more_than_512_instances_train_and_predict(build):
    torch.manual_seed(0)
    model = build('n', score_thr=0.0, max_per_img=800, nms={'type': 'nms', 'iou_threshold': 1.0}).train()
    boxes = np.stack(np.meshgrid(np.arange(26) * 2, np.arange(26) * 2), -1).reshape(-1, 2)[:600]
    rows = [(0, 0, x, y, x + 8, y + 8) for x, y in boxes.tolist()]
    losses = model.loss(torch.rand(1, 3, SIZE_PX, SIZE_PX), batch_of(rows, index_maps(rows, 1), images=1))
    assert torch.isfinite(sum(losses.values()))

    sample = DetDataSample(
        metainfo={'batch_input_shape': (224, 224), 'ori_shape': (448, 448), 'scale_factor': (0.5, 0.5)}
    )
    with torch.no_grad():
        (result,) = model.eval().predict(torch.rand(1, 3, 224, 224), [sample])
    found = result.pred_instances
    assert len(found) == 800
    assert len(found.masks) == 800
    assert found.masks[0]['size'] == [448, 448]


def test_masks_and_boxes_share_the_frame(build):
    """A network whose every logit is positive must fill its boxes exactly, in the original image."""
    model = build('n', score_thr=0.001, max_per_img=20, mask_format='bitmap')
    module = model.bbox_head.head_module
    levels = [torch.zeros(1, 1, s, s) for s in (8, 4, 2)]
    outputs = (
        [torch.randn_like(level) for level in levels],
        [torch.rand(1, 4, *level.shape[-2:]) * 3 + 1 for level in levels],
        [torch.ones(1, module.num_protos, *level.shape[-2:]) for level in levels],
        torch.ones(1, module.num_protos, 16, 16),
    )
    meta = {'batch_input_shape': (64, 64), 'ori_shape': (128, 128), 'scale_factor': (0.5, 0.5)}
    (found,) = model.bbox_head.predict_by_feat(*outputs, [meta])
    for box, mask in zip(found.bboxes.tolist(), found.masks.numpy(), strict=True):
        x1, y1, x2, y2 = (int(np.ceil(value)) for value in box)
        expected = np.zeros((128, 128), bool)
        expected[y1:y2, x1:x2] = True
        np.testing.assert_array_equal(mask, expected)


def test_no_detection_gives_empty_results(build):
    model = build('n', score_thr=2.0, mask_format='bitmap')
    sample = DetDataSample(
        metainfo={'batch_input_shape': (64, 64), 'ori_shape': (128, 100), 'scale_factor': (0.5, 0.5)}
    )
    with torch.no_grad():
        (result,) = model.predict(torch.rand(1, 3, 64, 64), [sample])
    assert len(result.pred_instances) == 0
    assert result.pred_instances.masks.shape == (0, 128, 100)


@pytest.mark.parametrize('size', ['n', 's', 'm', 'l', 'x'])
@pytest.mark.parametrize('classes', [1, 3, 120])
def test_every_size_and_class_count_has_yolov8s_shape(repo_dir, size, classes):
    names = tuple(f'class{i}' for i in range(classes))
    config = load_config(repo_dir / 'configs/_base_/model_yolov8_seg.py', {'model_size': size, 'classes': names})
    with torch.device('meta'):
        module = MODELS.build(config.model).bbox_head.head_module
    assert module.cls_preds[0][-1].out_channels == classes
    # YOLOv8's rule: as wide as the first level, or as the classes up to 100.
    assert module.cls_preds[0][0].conv.out_channels == max(module.in_channels[0], min(classes, 100))
    assert module.coef_preds[0][0].conv.out_channels == max(module.in_channels[0] // 4, 32)


@pytest.mark.parametrize('entry', [{'mask_resolution': 'half'}, {'mask_format': 'polygon'}])
def test_unknown_mask_setting_is_refused(build, entry):
    with pytest.raises(InputError, match=next(iter(entry))):
        build('n', **entry)


def test_boxes_leave_autocast_in_full_precision(build):
    model = build('n')
    torch.manual_seed(0)
    x = (torch.randn(1, 64, 8, 8),)
    module = model.bbox_head.head_module
    with torch.no_grad(), torch.autocast('cpu', dtype=torch.bfloat16):
        logits, distances = module.forward_single(x[0], module.cls_preds[0], module.reg_preds[0])
        bins = module.reg_preds[0](x[0]).float().reshape(1, 4, 16, 64)
    expected = (bins.softmax(2) * torch.arange(16.0)[:, None]).sum(2).reshape(1, 4, 8, 8)
    assert logits.dtype == distances.dtype == torch.float32
    torch.testing.assert_close(distances, expected)


def test_config_dict_is_enough_to_build(build):
    head = build('n').bbox_head
    assert isinstance(head.test_cfg, ConfigDict)
    assert head.num_classes == 1


# --- ignored regions

TARGETS = [(0, 0, 4, 4, 28, 30), (0, 1, 34, 30, 52, 52), (1, 1, 10, 10, 30, 28)]
# On nothing; on a target of its class and of the other; two that overlap; larger than all.
IGNORED = [
    (0, 1, 2, 40, 20, 60),
    (0, 0, 30, 28, 60, 60),
    (1, 1, 4, 4, 30, 30),
    (1, 1, 20, 20, 50, 50),
    (1, 0, 0, 0, 64, 64),
]


@pytest.fixture
def sparing(repo_dir):
    """A two-class head in training that spares ignored regions."""
    options = {'model_size': 'n', 'classes': ('osteoclast', 'nucleus'), 'model.bbox_head.spare_ignored': True}
    return MODELS.build(load_config(repo_dir / 'configs/_base_/model_yolov8_det.py', options).model).bbox_head.train()


@pytest.fixture
def detectors(build, sparing):
    """The same head without and with `spare_ignored`, and raw outputs whose logits want gradients."""
    torch.manual_seed(0)
    plain = build('n', ('osteoclast', 'nucleus'), seg=False).train().bbox_head
    sparing.load_state_dict(plain.state_dict())
    outputs = (
        [torch.randn(2, 2, s, s, requires_grad=True) for s in (8, 4, 2)],
        [torch.rand(2, 4, s, s) * 3 for s in (8, 4, 2)],
        [torch.randn(2, s * s, 4, 16) for s in (8, 4, 2)],
    )
    return plain, sparing, outputs


def rows_of(boxes):
    return torch.tensor(boxes, dtype=torch.float32).reshape(-1, 6)


METAS = [{'batch_input_shape': (SIZE_PX, SIZE_PX)}] * 2


def anchors_of(levels=(8, 4, 2)):
    """Centres in the order of the anchors."""
    return [((x + 0.5) * SIZE_PX / s, (y + 0.5) * SIZE_PX / s) for s in levels for y in range(s) for x in range(s)]


def spared_by_hand(foreground, regions):
    """(image, anchor, class) of every pair that is left out, one by one."""
    spared = set()
    for image, label, x1, y1, x2, y2 in regions:
        for anchor, (x, y) in enumerate(anchors_of()):
            if x1 < x < x2 and y1 < y < y2 and not foreground[image, anchor]:
                spared.add((image, anchor, label))
    return spared


def test_ignored_regions_are_spared_pair_by_pair(detectors):
    """Against a loss that is summed over the pairs in a loop."""
    _, head, outputs = detectors
    losses = head.loss_by_feat(*outputs, rows_of(TARGETS), METAS, rows_of(IGNORED))
    foreground, scores = (head.assigner.assignment[key] for key in ('fg_mask_pre_prior', 'assigned_scores'))
    spared = spared_by_hand(foreground, IGNORED)
    inside = spared_by_hand(torch.zeros_like(foreground), IGNORED)
    assert len(inside) > len(spared) > 50  # some anchors in ignored regions belong to targets
    logits = torch.cat([level.flatten(2) for level in outputs[0]], dim=2).transpose(1, 2)
    total = 0.0
    for image, anchor, label in np.ndindex(*logits.shape):
        if (image, anchor, label) not in spared:
            total += torch.nn.functional.binary_cross_entropy_with_logits(
                logits[image, anchor, label].double(), scores[image, anchor, label].double()
            ).item()
    expected = 0.5 * total / max(float(scores.sum()), 1) * 2  # the gain of the class loss, and the batch size
    assert float(losses['loss_cls'].detach()) == pytest.approx(expected, rel=1e-5)

    losses['loss_cls'].backward()
    gradient = torch.cat([level.grad.flatten(2) for level in outputs[0]], dim=2).transpose(1, 2)
    without = {tuple(each) for each in (gradient == 0).nonzero().tolist()}
    assert without == spared


@pytest.mark.parametrize('boxes', [TARGETS, TARGETS[:2], []])
def test_without_ignored_regions_the_losses_are_those_of_today(detectors, boxes):
    plain, sparing, outputs = detectors
    expected = plain.loss_by_feat(*outputs, rows_of(boxes), METAS)
    # Regions of one image leave out nothing of the others, and regions without an anchor nothing at all.
    for regions in ([], [(0, 1, 1, 1, 2, 2)]):
        found = sparing.loss_by_feat(*outputs, rows_of(boxes), METAS, rows_of(regions))
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert torch.equal(found[name], value), name


def test_the_other_losses_stay_as_they_are(detectors):
    plain, sparing, outputs = detectors
    expected = plain.loss_by_feat(*outputs, rows_of(TARGETS), METAS)
    found = sparing.loss_by_feat(*outputs, rows_of(TARGETS), METAS, rows_of(IGNORED))
    assert found['loss_cls'] < expected['loss_cls']
    for name in ('loss_bbox', 'loss_dfl'):
        assert torch.equal(found[name], expected[name])
    # A switched-off head does not look at them.
    assert torch.equal(plain.loss_by_feat(*outputs, rows_of(TARGETS), METAS, None)['loss_cls'], expected['loss_cls'])


def test_a_head_without_a_target_spares_too(detectors):
    plain, sparing, outputs = detectors
    everything = [(image, label, -1, -1, 65, 65) for image in range(2) for label in range(2)]
    assert sparing.loss_by_feat(*outputs, rows_of([]), METAS, rows_of(everything))['loss_cls'] == 0
    assert plain.loss_by_feat(*outputs, rows_of([]), METAS)['loss_cls'] > 0


def test_mmdetection_samples_bring_ignored_regions_too(sparing):
    torch.manual_seed(0)
    head = sparing
    features = [torch.randn(2, channels, s, s) for channels, s in ((64, 8), (128, 4), (256, 2))]
    samples = []
    for image in range(2):
        sample = DetDataSample(metainfo=METAS[0])
        for name, boxes in (('gt_instances', TARGETS), ('ignored_instances', IGNORED)):
            own = torch.tensor([box for box in boxes if box[0] == image], dtype=torch.float32)
            setattr(sample, name, InstanceData(bboxes=own[:, 2:], labels=own[:, 1].long()))
        samples.append(sample)
    batch = {'bboxes_labels': rows_of(TARGETS), 'ignored': rows_of(IGNORED), 'img_metas': METAS}
    with torch.no_grad():
        expected, found = head.loss(features, batch), head.loss(features, samples)
        assert head.loss(features, batch | {'ignored': rows_of([])})['loss_cls'] > expected['loss_cls']
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


def test_a_batch_without_its_ignored_regions_is_refused(detectors):
    _, head, outputs = detectors
    with pytest.raises(InputError, match='collate_with_ignored'):
        head.loss_by_feat(*outputs, rows_of(TARGETS), METAS)
    features = [torch.randn(2, channels, s, s) for channels, s in ((64, 8), (128, 4), (256, 2))]
    with pytest.raises(InputError, match='spare_ignored'):
        head.loss(features, {'bboxes_labels': rows_of(TARGETS), 'img_metas': METAS})
