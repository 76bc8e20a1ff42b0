"""The networks, their losses and predictions against arrays made with Ultralytics 8.3.200.

Tolerances are those of the reference's own description: what two implementations of one text differ by in float32.
"""

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from pycocotools import mask as coco_mask

INPUT_PX = 256
META = {'batch_input_shape': (INPUT_PX, INPUT_PX), 'ori_shape': (INPUT_PX, INPUT_PX), 'scale_factor': (1.0, 1.0)}
CASES = ('main', 'img1_empty', 'none', 'one_in_img0', 'one_in_img1')
SEG_ITEMS = ('loss_bbox', 'loss_mask', 'loss_cls', 'loss_dfl')
DET_ITEMS = ('loss_bbox', 'loss_cls', 'loss_dfl')


def raw_outputs(model, images):
    with torch.no_grad():
        return model.bbox_head(model.neck(model.backbone(images)))


def rows_of(ref, prefix=''):
    """(n, 6) image index, class, x1, y1, x2, y2 in input pixels."""
    centre, size = np.split(ref[prefix + 'bboxes'] * INPUT_PX, 2, axis=1)
    columns = [ref[prefix + 'batch_idx'].reshape(-1, 1), ref[prefix + 'cls'].reshape(-1, 1)]
    return torch.from_numpy(np.concatenate([*columns, centre - size / 2, centre + size / 2], 1).astype(np.float32))


def unpack(packed, height, width):
    return np.unpackbits(packed, axis=1)[:, : height * width].reshape(-1, height, width).astype(bool)


def ious(ours, theirs):
    both, either = (ours & theirs).sum((1, 2)), (ours | theirs).sum((1, 2))
    return np.where(either, both / np.maximum(either, 1), 1)


@pytest.mark.parametrize(
    ('size', 'classes', 'seg', 'shapes', 'reference', 'seed', 'shape'),
    [
        ('n', 1, True, 'yolov8n-seg_nc1.shapes.json', 'forward_n-seg.npz', 20240410, (2, 3, 256, 256)),
        ('n', 2, False, 'yolov8n-det_nc2.shapes.json', 'forward_n-det.npz', 20240410, (2, 3, 256, 256)),
        ('l', 1, True, 'yolov8l-seg_nc1.shapes.json', 'forward_l-seg.npz', 20240411, (1, 3, 128, 160)),
    ],
)
def test_forward_equals_reference(build, recipe_weights, arrays, size, classes, seg, shapes, reference, seed, shape):
    model = build(size, tuple('ab'[:classes]), seg)
    model.load_state_dict(recipe_weights(shapes), strict=True)
    ref = arrays(reference)
    images = torch.from_numpy(np.random.default_rng(seed).random(shape).astype(np.float32))
    outputs = raw_outputs(model, images)
    boxes, probabilities = model.bbox_head.decode(*outputs[:2])

    for level, logits in zip((3, 4, 5), outputs[0], strict=True):
        np.testing.assert_allclose(logits, ref[f'cls_P{level}'], atol=1e-4)
    if seg:
        for level, coefs in zip((3, 4, 5), outputs[2], strict=True):
            np.testing.assert_allclose(coefs, ref[f'coef_P{level}'], atol=1e-4)
        np.testing.assert_allclose(outputs[3], ref['proto'], atol=1e-4)
    centre, extent = np.split(ref['decoded'][:, :4], 2, axis=1)
    corners = np.concatenate([centre - extent / 2, centre + extent / 2], axis=1).transpose(0, 2, 1)
    np.testing.assert_allclose(boxes, corners, atol=2e-3)
    np.testing.assert_allclose(probabilities.transpose(1, 2), ref['decoded'][:, 4 : 4 + classes], atol=1e-5)


@pytest.mark.parametrize(
    ('size', 'classes', 'seg', 'trainable'),
    [('n', 1, True, 3_263_795), ('n', 2, False, 3_011_222), ('l', 1, True, 45_936_803)],
)
def test_parameter_counts_equal_reference(build, size, classes, seg, trainable):
    # The reference has 16 more, which are the constant weights of its distribution layer.
    assert sum(p.numel() for p in build(size, tuple('ab'[:classes]), seg).parameters()) == trainable


@pytest.fixture(scope='module')
def seg_head(build):
    return build('n').bbox_head


@pytest.fixture(scope='module')
def det_head(build):
    return build('n', ('osteoclast', 'nucleus'), seg=False).bbox_head


def leaves(ref_forward, names):
    return {name: torch.from_numpy(ref_forward[name]).requires_grad_() for name in names}


def distances_and_bins(head, box_logits):
    """What the head module makes of the stored distribution logits in training."""
    module = head.head_module.train()
    empty = [torch.zeros(len(level), 1, *level.shape[-2:]) for level in box_logits]
    outputs = [
        module.forward_single(x, lambda _: torch.zeros(1), lambda _, level=level: level)
        for x, level in zip(empty, box_logits, strict=True)
    ]
    module.eval()
    return [output[1] for output in outputs], [output[2] for output in outputs]


def reference_losses(head, ref_forward, ref, case, overlap=None):
    """Our losses of the stored predictions, and the leaves that collect their gradients."""
    levels = (3, 4, 5)
    inputs = leaves(ref_forward, [f'{kind}_P{level}' for kind in ('box', 'cls') for level in levels])
    logits = [inputs[f'cls_P{level}'] for level in levels]
    distances, bins = distances_and_bins(head, [inputs[f'box_P{level}'] for level in levels])
    rows, metas = rows_of(ref, f'{case}.'), [META] * 2
    if overlap is None:
        losses = head.loss_by_feat(logits, distances, bins, rows, metas)
    else:
        inputs |= leaves(ref_forward, ['coef_P3', 'coef_P4', 'coef_P5', 'proto'])
        coefs = [inputs[f'coef_P{level}'] for level in levels]
        masks = torch.from_numpy(ref[f'{case}.masks_overlap' if overlap else f'{case}.masks_stack'])
        losses = head.loss_by_feat(
            logits, distances, bins, coefs, inputs['proto'], rows, masks.int(), metas, overlap=overlap
        )
    sum(losses.values()).backward()
    return losses, inputs


def reference_names(ref, case, prefix):
    """Stored gradient name -> our leaf or leaves, joined as the reference joins them."""
    joined = {
        f'{case}.grad_P{level}': lambda g, k=level: torch.cat([g[f'box_P{k}'], g[f'cls_P{k}']], 1)
        for level in (3, 4, 5)
    }
    if prefix:
        joined[f'{case}.{prefix}grad_proto'] = lambda g: g['proto']
        joined[f'{case}.{prefix}grad_coef'] = lambda g: torch.cat([g[f'coef_P{k}'].flatten(2) for k in (3, 4, 5)], 2)
    return joined


def check_losses_and_gradients(head, ref_forward, ref, case, overlap, items, expected_total):
    losses, inputs = reference_losses(head, ref_forward, ref, case, overlap)
    # The box and dfl losses of a single tiny target are near zero: the reference asks for 1e-3 there.
    tolerance = 1e-3 if case.startswith('one_in') else 1e-4
    ours = [float(losses[name].detach()) for name in items]
    np.testing.assert_allclose(ours, expected_total, rtol=tolerance, atol=1e-12)

    prefix = '' if overlap is None else ('overlap.' if overlap else 'stack.')
    gradients = {name: leaf.grad if leaf.grad is not None else torch.zeros_like(leaf) for name, leaf in inputs.items()}
    for name, join in reference_names(ref, case, prefix).items():
        ours = join(gradients).numpy()
        if name in ref:
            np.testing.assert_allclose(ours, ref[name], atol=1e-4 * np.abs(ref[name]).max())
        elif f'{name}_val' in ref:
            values = ref[f'{name}_val']
            np.testing.assert_allclose(
                ours.ravel()[ref[f'{name}_idx']], values, atol=1e-4 * max(np.abs(values).max(), 1e-9)
            )
            np.testing.assert_allclose(np.linalg.norm(ours), ref[f'{name}_norm'], rtol=1e-4, atol=1e-9)


def check_assignment(head, ref, case):
    assignment = head.assigner.assignment
    foreground = ref[f'{case}.fg_mask'].astype(bool)
    assert assignment['fg_mask_pre_prior'].dtype == torch.bool
    np.testing.assert_array_equal(assignment['fg_mask_pre_prior'], foreground)
    np.testing.assert_array_equal(
        assignment['assigned_gt_inds'].numpy()[foreground], ref[f'{case}.target_gt_idx'][foreground]
    )
    np.testing.assert_allclose(assignment['assigned_scores'], ref[f'{case}.target_scores'], atol=1e-5)


@pytest.mark.parametrize('case', CASES)
def test_detection_losses_and_assignment(det_head, arrays, case):
    ref = arrays('loss_n-det.npz')
    check_losses_and_gradients(
        det_head, arrays('forward_n-det.npz'), ref, case, None, DET_ITEMS, ref[f'{case}.loss_total']
    )
    check_assignment(det_head, ref, case)


@pytest.mark.parametrize('overlap', [True, False])
@pytest.mark.parametrize('case', CASES)
def test_segmentation_losses_and_assignment(seg_head, arrays, case, overlap):
    ref = arrays('loss_n-seg.npz')
    expected = ref[f'{case}.{"overlap" if overlap else "stack"}.loss_total']
    if case == 'one_in_img1' and not overlap:
        # An upstream defect that is not copied: with fewer targets than images the reference skips the later images.
        expected = ref[f'{case}.overlap.loss_total']
        losses, _ = reference_losses(seg_head, arrays('forward_n-seg.npz'), ref, case, overlap)
        np.testing.assert_allclose([float(losses[name].detach()) for name in SEG_ITEMS], expected, rtol=1e-3)
    else:
        check_losses_and_gradients(seg_head, arrays('forward_n-seg.npz'), ref, case, overlap, SEG_ITEMS, expected)
    check_assignment(seg_head, ref, case)


def test_one_training_step(build, recipe_weights, arrays, network_input):
    model = build('n')
    model.load_state_dict(recipe_weights('yolov8n-seg_nc1.shapes.json'))
    model.train()
    ref = arrays('trainstep_n-seg.npz')
    batch = {
        'bboxes_labels': rows_of(ref),
        'masks': torch.from_numpy(ref['masks_overlap']).int(),
        'img_metas': [META] * 2,
    }
    losses = model.loss(network_input, batch)
    sum(losses.values()).backward()
    np.testing.assert_allclose([float(losses[name].detach()) for name in SEG_ITEMS], ref['loss_total'], rtol=1e-3)

    from noise_mm.checkpoints.checkpoint_keys import ours_to_ultralytics

    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    state = model.state_dict()
    theirs = ours_to_ultralytics({name: gradients.get(name, state[name]) for name in state})
    norms = dict(zip(ref['grad_names'].tolist(), ref['grad_norms'], strict=True))
    for name, norm in norms.items():
        np.testing.assert_allclose(float(theirs[name].norm()), norm, rtol=1e-2, atol=1e-6, err_msg=name)
    full = [name for name in ref.files if name.startswith('grad:')]
    assert len(full) == 4
    for name in full:
        expected = ref[name]
        np.testing.assert_allclose(theirs[name.removeprefix('grad:')], expected, atol=1e-3 * np.abs(expected).max())

    running = ours_to_ultralytics(state)
    for name, total in zip(ref['bn_names'].tolist(), ref['bn_sums'], strict=True):
        np.testing.assert_allclose(float(running[name].double().sum()), total, rtol=1e-4, atol=1e-4, err_msg=name)
    for name in (name for name in ref.files if name.startswith('bn:')):
        np.testing.assert_allclose(running[name.removeprefix('bn:')], ref[name], rtol=1e-4, atol=1e-5)


def by_anchor(found):
    return {
        (int(anchor), int(label)): row
        for row, (anchor, label) in enumerate(zip(found.anchors, found.labels, strict=True))
    }


def stored_outputs(ref, seg=True):
    levels = (3, 4, 5)
    logits = [torch.from_numpy(ref[f'cls_P{level}']) for level in levels]
    bins = [torch.from_numpy(ref[f'box_P{level}']).unflatten(1, (4, 16)) for level in levels]
    distances = [(level.softmax(2) * torch.arange(16.0)[:, None, None]).sum(2) for level in bins]
    if not seg:
        return logits, distances
    return (
        logits,
        distances,
        [torch.from_numpy(ref[f'coef_P{level}']) for level in levels],
        torch.from_numpy(ref['proto']),
    )


def prediction_cfg(**changes):
    return ConfigDict(
        {
            'multi_label': False,
            'score_thr': 0.05,
            'nms_pre': 30000,
            'nms': {'type': 'nms', 'iou_threshold': 0.7},
            'max_per_img': 300,
        }
        | changes
    )


@pytest.mark.parametrize(
    ('prefix', 'changes'),
    [
        ('single_', {}),
        ('multi_', {'multi_label': True}),
        ('val_', {'multi_label': True, 'score_thr': 0.001}),
    ],
)
def test_detections_are_those_of_the_reference(det_head, arrays, prefix, changes):
    ref = arrays('predict_n-det.npz')
    outputs = stored_outputs(arrays('forward_n-det.npz'), seg=False)
    for i, found in enumerate(det_head.predict_by_feat(*outputs, [META] * 2, prediction_cfg(**changes), rescale=False)):
        stored = {
            name: ref[f'{prefix}img{i}_{name}' if f'{prefix}img{i}_anchor' in ref else f'img{i}_{prefix}{name}']
            for name in ('anchor', 'boxes', 'scores', 'cls')
        }
        assert set(by_anchor(found)) == set(
            zip(stored['anchor'].tolist(), stored['cls'].astype(int).tolist(), strict=True)
        )
        rows = by_anchor(found)
        order = [rows[key] for key in zip(stored['anchor'].tolist(), stored['cls'].astype(int).tolist(), strict=True)]
        np.testing.assert_allclose(found.bboxes[order], stored['boxes'], atol=2e-3)
        np.testing.assert_allclose(found.scores[order], stored['scores'], atol=1e-5)
        assert (found.scores.diff() <= 0).all()


# The frames of the reference's masks: name, our test_cfg, original image (height, width), size of the stored masks.
MASK_FRAMES = [
    ('proto', {'mask_resolution': 'prototype'}, (256, 256), (64, 64)),
    ('input', {'mask_resolution': 'input'}, (256, 256), (256, 256)),
    ('native', {}, (512, 512), (512, 512)),
    ('letterbox', {}, (333, 500), (333, 500)),
]


@pytest.mark.parametrize('mask_format', ['rle', 'bitmap'])
@pytest.mark.parametrize(('frame', 'changes', 'image_shape', 'mask_shape'), MASK_FRAMES)
def test_masks_are_those_of_the_reference(seg_head, arrays, frame, changes, image_shape, mask_shape, mask_format):
    ref = arrays('predict_n-seg.npz')
    gain = min(INPUT_PX / image_shape[0], INPUT_PX / image_shape[1])
    padding = [round((INPUT_PX - length * gain) / 2 - 0.1) for length in image_shape]
    meta = META | {
        'ori_shape': image_shape,
        'scale_factor': (gain, gain),
        'pad_param': (padding[0], padding[0], padding[1], padding[1]),
    }
    outputs = stored_outputs(arrays('forward_n-seg.npz'))
    for i, found in enumerate(
        seg_head.predict_by_feat(*outputs, [meta] * 2, prediction_cfg(mask_format=mask_format, **changes))
    ):
        rows = by_anchor(found)
        anchors = ref[f'img{i}_anchor'].tolist()
        assert {anchor for anchor, _ in rows} == set(anchors)
        order = [rows[anchor, 0] for anchor in anchors]
        masks = coco_mask.decode(found.masks).transpose(2, 0, 1) if mask_format == 'rle' else found.masks.numpy()
        masks = masks[order].astype(bool)
        stored = unpack(ref[f'img{i}_mask_{frame}'], *mask_shape)
        assert masks.shape == stored.shape
        assert ious(masks, stored).min() >= 0.999
        if frame in ('native', 'letterbox'):
            np.testing.assert_allclose(found.bboxes[order], ref[f'img{i}_boxes_{frame}'], atol=1e-2)


def test_own_forward_gives_the_reference_masks(build, recipe_weights, arrays, network_input):
    model = build('n', score_thr=0.05, max_per_img=300, multi_label=False, whole_cell_padding=True)
    model.load_state_dict(recipe_weights('yolov8n-seg_nc1.shapes.json'))
    ref = arrays('predict_n-seg.npz')
    meta = META | {'ori_shape': (512, 512), 'scale_factor': (0.5, 0.5)}
    with torch.no_grad():
        results = model.bbox_head.predict_by_feat(*raw_outputs(model, network_input), [meta] * 2)
    for i, found in enumerate(results):
        rows = by_anchor(found)
        order = [rows[anchor, 0] for anchor in ref[f'img{i}_anchor'].tolist()]
        masks = coco_mask.decode(found.masks).transpose(2, 0, 1)[order].astype(bool)
        assert len(found) == len(order)
        assert ious(masks, unpack(ref[f'img{i}_mask_native'], 512, 512)).min() > 0.995
