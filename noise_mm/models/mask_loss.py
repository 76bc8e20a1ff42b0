"""The mask loss of YOLOv8's segmentation head, as a function of tensors."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from noise_mm.models.instance_masks import crop_weights

# Pixels of the prototype grid, times anchors, whose loss is computed at a time: 64 MiB an array. The gradient of a
# larger image is computed by parts, each forward pass twice, so that memory does not grow with crowded patches.
PIXELS_AT_ONCE = 2**24


def masks_of_targets(masks: Tensor, gt_inds: Tensor, overlap: bool) -> Tensor:
    """The mask of the target of each anchor, for one image.

    Args:
        masks: With `overlap` one index map (h, w), 0 for background and k for the k-th target (from 1) of the image;
            otherwise a stack (num_gt, h, w) of 0 and 1.
        gt_inds: (n,) the target of each anchor, from 0.
        overlap: Which of the two forms `masks` has.

    Returns:
        (n, h, w) float32 of 0 and 1.
    """
    if overlap:
        return (masks == (gt_inds + 1)[:, None, None]).float()
    return masks[gt_inds].float()


def mask_loss(coefs: Tensor, protos: Tensor, masks: Tensor, gt_inds: Tensor, boxes: Tensor, overlap: bool) -> Tensor:
    """Binary cross entropy of the masks of one image's assigned anchors, summed over the anchors.

    For each anchor the cross entropy between its logits (coefficients times prototypes) and its target's mask, set
    to 0 outside the target's box, is averaged over the WHOLE prototype grid and divided by the box's share of the
    image (YOLACT, arXiv:1904.02689, section 3.1, in the normalisation of Ultralytics 8.0.196 and later). The caller
    divides by the number of assigned anchors of the batch.

    Args:
        coefs: (n, num_protos) of the assigned anchors.
        protos: (num_protos, h, w).
        masks: See `masks_of_targets`; of the size of the prototypes.
        gt_inds: (n,) target of each anchor.
        boxes: (n, 4) x1, y1, x2, y2 of the target of each anchor, as fractions of the network's input.
        overlap: See `masks_of_targets`.

    Returns:
        A scalar, float32 also under autocast.
    """
    coefs, protos = coefs.float(), protos.float()
    anchors_at_once = max(1, PIXELS_AT_ONCE // protos[0].numel())
    parts = [slice(i, i + anchors_at_once) for i in range(0, len(coefs), anchors_at_once)]
    with torch.autocast(protos.device.type, enabled=False):
        if len(parts) == 1:
            return _part_loss(coefs, protos, masks, gt_inds, boxes, overlap)
        losses = [
            checkpoint(_part_loss, coefs[part], protos, masks, gt_inds[part], boxes[part], overlap, use_reentrant=False)
            for part in parts
        ]
    return torch.stack(losses).sum()


def _part_loss(coefs: Tensor, protos: Tensor, masks: Tensor, gt_inds: Tensor, boxes: Tensor, overlap: bool) -> Tensor:
    """`mask_loss` of some anchors, all at once."""
    h, w = protos.shape[-2:]
    logits = (coefs @ protos.flatten(1)).unflatten(1, (h, w))
    targets = masks_of_targets(masks, gt_inds, overlap)
    inside = crop_weights(boxes * boxes.new_tensor([w, h, w, h]), h, w)
    shares = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    weights = inside / (shares * h * w)[:, None, None]
    return F.binary_cross_entropy_with_logits(logits, targets, weights, reduction='sum')
