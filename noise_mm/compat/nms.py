"""Greedy non-maximum suppression (NMS): torchvision's kernel where it works, else OpenCV's.

Boxes are taken by descending score; a box is kept unless a kept box has an IoU above the threshold with it. Tied scores
are taken in the order of the boxes, and NaN counts as the highest score, as in torch.sort. A box without a positive,
finite area is kept and suppresses nothing, as the IoU's definition says for every threshold >= 0.
"""

import functools
from collections.abc import Callable

import cv2
import torch
from torch import Tensor


@torch.no_grad()
def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int = 0) -> Tensor:
    """Return the indices of the boxes that greedy NMS keeps, by descending score.

    Args:
        boxes: (n, 4) as x1, y1, x2, y2, any real dtype, any device. Half precision is widened.
        scores: (n,).
        iou_threshold: IoU above which the lower score is removed, >= 0. OpenCV compares to within 1e-7 of it.
        offset: Added to widths and heights; 1 where x2 and y2 are the last pixels inside the box, as in MMCV.

    Returns:
        (k,) int64 on the device of `boxes`.
    """
    order = scores.argsort(descending=True, stable=True)
    boxes = boxes.to(torch.promote_types(boxes.dtype, torch.float32))[order]
    kernel = None if offset else torchvision_kernel(boxes.device.type)
    if kernel is None:
        return order[_kept_by_opencv(boxes, iou_threshold, offset).to(order.device)]
    # Ranks in place of scores: the kernel wants the dtype of the boxes, in which different scores may become tied.
    rank = torch.arange(len(boxes), 0, -1, dtype=boxes.dtype, device=boxes.device)
    return order[kernel(boxes, rank, torch.tensor(iou_threshold, dtype=boxes.dtype).item())]


def _kept_by_opencv(boxes: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Return the kept positions of boxes that are in order, ascending."""
    corner, size = boxes[:, :2].double().cpu(), (boxes[:, 2:] - boxes[:, :2] + offset).double().cpu()
    # Two boxes without area overlap completely in OpenCV, so they take no part.
    takes_part = ((size > 0) & size.isfinite() & corner.isfinite()).all(1) & size.prod(1).isfinite()
    rows = takes_part.nonzero().squeeze(1)
    rectangles = torch.cat([corner, size], 1)[rows].tolist()  # x, y, width, height
    is_kept = ~takes_part
    if rectangles:
        ranks = [float(rank) for rank in range(len(rectangles), 0, -1)]
        is_kept[rows[torch.as_tensor(cv2.dnn.NMSBoxes(rectangles, ranks, 0.0, iou_threshold)).long()]] = True
    return is_kept.nonzero().squeeze(1)


@functools.cache
def torchvision_kernel(device_type: str) -> Callable[[Tensor, Tensor, float], Tensor] | None:
    """Return torchvision's NMS kernel, tried out on one box; None if torchvision is missing or doesn't fit this torch.

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
