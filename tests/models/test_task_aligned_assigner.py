import subprocess
import sys

import pytest
import torch
from mmyolo.models.losses import bbox_overlaps

from noise_mm.models import task_aligned_assigner as module
from noise_mm.models.task_aligned_assigner import YOLOv8TaskAlignedAssigner


def grid(size_px=64, strides=(8, 16)):
    points = []
    for stride in strides:
        axis = (torch.arange(size_px // stride) + 0.5) * stride
        y, x = torch.meshgrid(axis, axis, indexing='ij')
        points.append(torch.stack([x, y], dim=-1).reshape(-1, 2))
    return torch.cat(points)


def problem(seed, images=3, targets=12, classes=3, size_px=64):
    generator = torch.Generator().manual_seed(seed)
    points = grid(size_px)
    half = 3 + torch.rand(images, len(points), 2, generator=generator) * 12
    pred = torch.cat([points - half, points + half], dim=-1)
    scores = torch.rand(images, len(points), classes, generator=generator)
    corners = torch.rand(images, targets, 2, generator=generator) * (size_px - 20)
    boxes = torch.cat([corners, corners + 2 + torch.rand(images, targets, 2, generator=generator) * 30], dim=-1)
    labels = torch.randint(classes, (images, targets, 1), generator=generator).float()
    real = (torch.arange(targets) < torch.tensor([targets, targets // 2, 0])[:images, None])[..., None]
    return pred, scores, points, labels, boxes * real, real.float()


def assign_by_the_text(pred, scores, points, labels, boxes, real, topk=10):
    """The five steps of the assignment, target by target, in plain loops. One image."""
    anchors = len(points)
    wanted_by = [[] for _ in range(anchors)]
    overlap, metric = {}, {}
    for t in range(len(boxes)):
        if not real[t]:
            continue
        x1, y1, x2, y2 = boxes[t].tolist()
        inside = [a for a, (x, y) in enumerate(points.tolist()) if min(x - x1, y - y1, x2 - x, y2 - y) > 1e-9]
        for a in inside:
            ciou = bbox_overlaps(pred[a : a + 1], boxes[t : t + 1], iou_mode='ciou', bbox_format='xyxy')
            overlap[t, a] = max(float(ciou), 0.0)
            metric[t, a] = float(scores[a, int(labels[t])]) ** 0.5 * overlap[t, a] ** 6
        for a in sorted(inside, key=lambda a: -metric[t, a])[:topk]:
            if metric[t, a] > 0:
                wanted_by[a].append(t)
    owner = {}
    for a, targets in enumerate(wanted_by):
        if len(targets) == 1:
            owner[a] = targets[0]
        elif targets:
            owner[a] = max((t for t in range(len(boxes)) if (t, a) in overlap), key=lambda t: overlap[t, a])
    soft = {}
    for a, t in owner.items():
        mine = [b for b, other in owner.items() if other == t]
        best_overlap, best_metric = max(overlap[t, b] for b in mine), max(metric[t, b] for b in mine)
        soft[a] = metric[t, a] * best_overlap / (best_metric + 1e-9)
    return owner, soft


@pytest.mark.parametrize('seed', range(5))
def test_equals_the_definition(seed):
    inputs = problem(seed)
    result = YOLOv8TaskAlignedAssigner(num_classes=3)(*inputs)
    pred, scores, points, labels, boxes, real = inputs
    for i in range(len(pred)):
        owner, soft = assign_by_the_text(pred[i], scores[i], points, labels[i], boxes[i], real[i])
        positive = result['fg_mask_pre_prior'][i]
        # Ties at metric 0 are any anchor's: what counts is the anchors with a score.
        scored = {a for a in positive.nonzero()[:, 0].tolist() if float(result['assigned_scores'][i, a].sum()) > 0}
        assert scored == {a for a in owner if soft[a] > 0}
        for a in scored:
            t = owner[a]
            assert int(result['assigned_gt_inds'][i, a]) == t
            assert torch.equal(result['assigned_bboxes'][i, a], boxes[i, t])
            assert int(result['assigned_labels'][i, a]) == int(labels[i, t])
            assert float(result['assigned_scores'][i, a, int(labels[i, t])]) == pytest.approx(soft[a], rel=1e-4)


def test_groups_of_targets_change_nothing(monkeypatch):
    inputs = problem(7)
    whole = YOLOv8TaskAlignedAssigner(num_classes=3)(*inputs)
    monkeypatch.setattr(module, 'MAX_PAIRS', 1)
    parts = YOLOv8TaskAlignedAssigner(num_classes=3)(*inputs)
    for key in whole:
        assert torch.equal(whole[key], parts[key])


def test_contested_anchor_goes_to_a_target_that_contains_it():
    # The prediction of the anchor at (4, 4) overlaps the second target most, but only the first and third hold it.
    points = torch.tensor([[4.0, 4.0]])
    pred = torch.tensor([[[20.0, 20.0, 40.0, 40.0]]])
    boxes = torch.tensor([[[0.0, 0, 30, 30], [20, 20, 40, 40], [0, 0, 36, 36]]])
    labels, real = torch.zeros(1, 3, 1), torch.ones(1, 3, 1)
    result = YOLOv8TaskAlignedAssigner(num_classes=1)(pred, torch.ones(1, 1, 1), points, labels, boxes, real)
    assert int(result['assigned_gt_inds'][0, 0]) == 2


def test_no_target_gives_a_boolean_mask():
    pred, scores, points, labels, boxes, real = problem(0)
    result = YOLOv8TaskAlignedAssigner(num_classes=3)(pred, scores, points, labels[:, :0], boxes[:, :0], real[:, :0])
    assert result['fg_mask_pre_prior'].dtype == torch.bool
    assert not result['fg_mask_pre_prior'].any()
    assert result['assigned_scores'].sum() == 0


def test_crowded_batch_stays_within_bounded_memory():
    # 1,000 targets in each of 4 images of 640 px: a plain one-hot of the candidates alone would be 2.7 GB.
    code = """
import resource, torch
import noise_mm.register
from mmyolo.registry import TASK_UTILS
torch.set_num_threads(1)
assigner = TASK_UTILS.build(dict(type='YOLOv8TaskAlignedAssigner', num_classes=2))
g = torch.Generator().manual_seed(0)
n, m, b = 8400, 1000, 4
points = torch.rand(n, 2, generator=g) * 640
pred = torch.cat([points - 9, points + 9], 1).expand(b, -1, -1)
corner = torch.rand(b, m, 2, generator=g) * 620
boxes = torch.cat([corner, corner + 18], -1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
result = assigner(pred, torch.rand(b, n, 2, generator=g), points, torch.zeros(b, m, 1), boxes, torch.ones(b, m, 1))
assert result['fg_mask_pre_prior'].any()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    output = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout
    assert float(output.splitlines()[-1]) < 600
