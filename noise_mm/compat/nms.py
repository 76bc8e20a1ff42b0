"""Exact greedy non-maximum suppression (NMS) with bounded memory.

Definition, as in the CPU kernels of MMCV and torchvision: boxes are taken by falling score; a box is kept unless a kept
box with a higher score has IoU strictly greater than the threshold with it.

    IoU = I / (A + B - I),  I = max(0, x2 - x1 + offset) * max(0, y2 - y1 + offset)  of the intersection

- Tied scores are taken in the order of the boxes, lower index first. NaN counts as the highest score, as in torch.sort.
- Calculations are in float32 (float64 for float64 boxes), and the threshold is rounded to that precision first.
- A box without a positive, finite area (empty, inverted, NaN or infinite coordinates) is always kept and suppresses
  nothing; the formula says so for every threshold >= 0.

How the torch form works: the best `block` of the remaining boxes is resolved by itself; its kept boxes then remove what
they suppress from the rest. The kept boxes of a block are sorted along the image and compared in small groups, each
with the boxes that reach into its extent, so that far apart boxes cost nothing. The largest temporary arrays hold one
group times a slice of the rest. One CUDA synchronisation a group of boxes, none a box.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

# torchvision's NMS: boxes, scores and threshold in, indices of the kept boxes by falling score out.
Kernel = Callable[[Tensor, Tensor, float], Tensor]

# Boxes resolved at once: large enough that few blocks are needed, small enough that a block's square table of overlaps
# stays small beside the rest.
_BLOCK = 512
# Entries of a temporary table of overlaps; about six tables live at once. On a CPU they should fit into its cache.
_TABLE_CPU = 2**17
_TABLE_GPU = 2**23
# Kept boxes compared at once. Small groups have small extents; large ones are fewer kernel launches.
_GROUP_CPU = 64
_GROUP_GPU = _BLOCK
# torchvision's CUDA kernel holds a table of one bit for every pair of boxes: 512 MiB here.
_TORCHVISION_MOST_BOXES_GPU = 2**16


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int = 0) -> Tensor:
    """Indices of the boxes that greedy NMS keeps, regardless of class, by falling score.

    Uses torchvision's kernel where torchvision can be imported (and `offset` is 0).

    Args:
        boxes: (n, 4) as x1, y1, x2, y2, any real dtype, any device.
        scores: (n,).
        iou_threshold: IoU above which the lower score is removed, >= 0.
        offset: Added to widths and heights; 1 where x2 and y2 are the last pixels inside the box, as in MMCV.

    Returns:
        (k,) int64 on the device of `boxes`.

    Raises:
        ValueError: If the shapes don't fit or the threshold is negative.
    """
    _check(boxes, scores, iou_threshold)
    kernel = _torchvision_kernel(boxes) if offset == 0 else None
    return _select(boxes, scores, None, iou_threshold, offset, kernel)


def nms_in_torch(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int = 0) -> Tensor:
    """`nms` without torchvision, also where it is installed."""
    _check(boxes, scores, iou_threshold)
    return _select(boxes, scores, None, iou_threshold, offset, None)


def batched_nms(boxes: Tensor, scores: Tensor, labels: Tensor, iou_threshold: float) -> Tensor:
    """Indices of the boxes that greedy NMS within each label keeps, by falling score.

    Labels are compared, where torchvision and MMCV move each class to a place of its own by adding to the coordinates:
    that rounds large coordinates and, in MMCV, lets classes meet where coordinates are negative.

    Args:
        boxes: (n, 4) as x1, y1, x2, y2.
        scores: (n,).
        labels: (n,) integers: classes, images, or both in one number.
        iou_threshold: As in `nms`.

    Returns:
        (k,) int64 on the device of `boxes`.

    Raises:
        ValueError: As in `nms`.
    """
    _check(boxes, scores, iou_threshold)
    if labels.shape != scores.shape:
        raise ValueError(f'labels must have the shape of scores, got {tuple(labels.shape)} and {tuple(scores.shape)}')
    return _select(boxes, scores, labels, iou_threshold, 0, _torchvision_kernel(boxes))


def _check(boxes: Tensor, scores: Tensor, iou_threshold: float) -> None:
    if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != boxes.shape[:1]:
        raise ValueError(f'boxes must be (n, 4) and scores (n,), got {tuple(boxes.shape)} and {tuple(scores.shape)}')
    if not iou_threshold >= 0:
        raise ValueError(f'iou_threshold must not be negative, got {iou_threshold}')


@torch.no_grad()
def _select(
    boxes: Tensor, scores: Tensor, labels: Tensor | None, iou_threshold: float, offset: int, kernel: Kernel | None
) -> Tensor:
    """Puts the boxes in order, in working precision, and lets the kernel or, without one, `_greedy` choose."""
    order = scores.argsort(descending=True, stable=True)
    boxes = boxes.to(torch.promote_types(boxes.dtype, torch.float32))[order]
    labels = None if labels is None else labels[order]
    iou_threshold = torch.tensor(iou_threshold, dtype=boxes.dtype).item()
    if kernel is None:
        return order[_greedy(boxes, labels, iou_threshold, offset)]
    # Ranks in place of scores: the kernel wants the dtype of the boxes, in which different scores may become tied.
    rank = torch.arange(len(boxes), 0, -1, dtype=boxes.dtype, device=boxes.device)
    if labels is None:
        return order[kernel(boxes, rank, iou_threshold)]
    is_kept = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    for label in labels.unique():
        index = (labels == label).nonzero().squeeze(1)
        is_kept[index[kernel(boxes[index], rank[index], iou_threshold)]] = True
    return order[is_kept]


def _torchvision_kernel(boxes: Tensor) -> Kernel | None:
    """torchvision's kernel if it works on the device of `boxes` and with so many of them."""
    if boxes.device.type != 'cpu' and len(boxes) > _TORCHVISION_MOST_BOXES_GPU:
        return None
    return working_torchvision_kernel(boxes.device.type)


@functools.cache
def working_torchvision_kernel(device_type: str) -> Kernel | None:
    """torchvision's NMS kernel, tried out on one box; None if torchvision is missing or doesn't fit this torch.

    Beside a torch it wasn't built for, torchvision fails in several ways: `ImportError`, `RuntimeError: operator
    torchvision::nms does not exist`, `OSError` from its library, and from a second import `AttributeError` because
    the first has left parts of it. Built without CUDA, it raises a `NotImplementedError` (a RuntimeError) on a GPU.
    """
    try:
        import torchvision  # noqa: F401

        kernel = torch.ops.torchvision.nms
        kernel(torch.zeros(1, 4, device=device_type), torch.zeros(1, device=device_type), 0.5)
    except (ImportError, RuntimeError, AttributeError, OSError):
        return None
    return kernel


class _Boxes(NamedTuple):
    """Columns of the boxes, which the tables of overlaps are made from."""

    x1: Tensor
    y1: Tensor
    x2: Tensor
    y2: Tensor
    area: Tensor
    label: Tensor | None

    def at(self, index: Tensor) -> '_Boxes':
        """The boxes at some positions."""
        return _Boxes(*(None if column is None else column[index] for column in self))


def _greedy(boxes: Tensor, labels: Tensor | None, iou_threshold: float, offset: int) -> Tensor:
    """NMS in torch alone.

    Args:
        boxes: (n, 4) by falling score, in working precision.
        labels: (n,) in the same order, or None where all boxes compete.
        iou_threshold: In working precision.
        offset: As in `nms`.

    Returns:
        (n,) bool: which boxes are kept.
    """
    size = boxes[:, 2:] - boxes[:, :2] + offset
    area = size[:, 0] * size[:, 1]
    can_overlap = (size > 0).all(1) & (area > 0) & area.isfinite()
    is_kept = ~can_overlap
    left = can_overlap.nonzero().squeeze(1)
    if len(left) == 0:
        return is_kept
    columns = _Boxes(*boxes.T.contiguous(), area, labels)
    axis = _separating_axis(boxes[left], size[left])
    while len(left):
        block, left = left[:_BLOCK], left[_BLOCK:]
        rivals = columns.at(block)
        kept = block[_resolve(_exceeds(rivals, rivals, iou_threshold, offset))]
        is_kept[kept] = True
        if len(left):
            left = left[~_suppressed(columns.at(left), columns.at(kept), axis, iou_threshold, offset)]
    return is_kept


def _separating_axis(boxes: Tensor, size: Tensor) -> int:
    """The axis (0 or 1) along which more boxes of the mean size find room side by side."""
    room = boxes[:, 2:].amax(0) - boxes[:, :2].amin(0)
    return int((room / size.mean(0)).argmax())


def _exceeds(first: _Boxes, second: _Boxes, iou_threshold: float, offset: int) -> Tensor:
    """(len(first), len(second)) bool: same label and IoU above the threshold."""
    width = torch.minimum(first.x2[:, None], second.x2).sub_(torch.maximum(first.x1[:, None], second.x1))
    height = torch.minimum(first.y2[:, None], second.y2).sub_(torch.maximum(first.y1[:, None], second.y1))
    if offset:
        width.add_(offset)
        height.add_(offset)
    intersection = width.clamp_(min=0).mul_(height.clamp_(min=0))
    union = torch.add(first.area[:, None], second.area, out=height).sub_(intersection)
    exceeds = intersection.div_(union) > iou_threshold
    if first.label is not None:
        exceeds &= first.label[:, None] == second.label
    return exceeds


def _resolve(exceeds: Tensor) -> Tensor:
    """Greedy choice among boxes by falling score, from their (n, n) table: (n,) bool, which are kept.

    The one sequential step, done on the CPU: a pass of Python for each box that suppresses another, not for each pair.
    """
    table = exceeds.triu_(1).cpu().numpy()
    is_kept = np.ones(len(table), dtype=bool)
    for row in table.any(1).nonzero()[0]:
        if is_kept[row]:
            is_kept[table[row]] = False
    return torch.from_numpy(is_kept).to(exceeds.device)


def _suppressed(left: _Boxes, kept: _Boxes, axis: int, iou_threshold: float, offset: int) -> Tensor:
    """(len(left),) bool: which of the boxes that are left overlap a kept one too much."""
    is_cpu = left.x1.device.type == 'cpu'
    group_size, table_size = (_GROUP_CPU, _TABLE_CPU) if is_cpu else (_GROUP_GPU, _TABLE_GPU)
    kept = kept.at(kept[axis].argsort())
    if kept.label is not None:
        kept = kept.at(kept.label.argsort(stable=True))
    is_suppressed = torch.zeros_like(left.x1, dtype=torch.bool)
    for start in range(0, len(kept.x1), group_size):
        group = _Boxes(*(None if column is None else column[start : start + group_size] for column in kept))
        reach = _within_reach(left, group, axis, offset).logical_and_(~is_suppressed).nonzero().squeeze(1)
        for part in reach.split(max(1, table_size // group_size)):
            is_suppressed[part] = _exceeds(group, left.at(part), iou_threshold, offset).any(0)
    return is_suppressed


def _within_reach(left: _Boxes, group: _Boxes, axis: int, offset: int) -> Tensor:
    """(len(left),) bool: False for boxes that lie beside all boxes of the group along an axis, or share no label.

    Not strict, so that rounding never leaves out a box which the formula of the IoU would count.
    """
    low, high = left[axis], left[axis + 2]
    within = (low <= group[axis + 2].amax() + offset) & (high + offset >= group[axis].amin())
    if left.label is not None:
        within &= (left.label >= group.label.amin()) & (left.label <= group.label.amax())
    return within
