"""The mask loss of YOLOv8's segmentation head, computed only where it is not zero: inside the boxes of the targets.

How it works: all anchors assigned to one target share its box, and so the pixels of the prototype grid that count. The
pixels of each box are cut into tiles of `TILE_PX` pixels, the tiles of all targets of the batch are stacked, and one
batched product of tiles and coefficients gives the logits of every pair of pixel and anchor. Nothing of the size of
anchors times grid is ever made, and no step loops over images or targets.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.utils.checkpoint import checkpoint

# Pixels of one tile; the last tile of a box is filled up. The box of an osteoclast has a few hundred pixels.
TILE_PX = 32

# Pairs of pixel and anchor whose loss is computed at a time: 64 MiB an array. The gradient of a larger batch is
# computed by parts, each forward pass twice, so that memory does not grow with crowded patches.
PAIRS_AT_ONCE = 2**24


def mask_loss(
    coefs: Tensor,
    protos: Tensor,
    masks: Tensor,
    images: Tensor,
    boxes: Tensor,
    foreground: Tensor,
    gt_inds: Tensor,
    overlap: bool,
) -> Tensor:
    """Return the binary cross entropy of the masks of a batch's assigned anchors, summed over the anchors.

    For each anchor the cross entropy between its logits (coefficients times prototypes) and its target's mask, set
    to 0 outside the target's box, is averaged over the WHOLE prototype grid and divided by the box's share of the
    image (YOLACT, arXiv:1904.02689, section 3.1, in the normalisation of Ultralytics 8.0.196 and later). That is the
    sum over the pixels inside the box, divided by the box's area in pixels of the grid. The caller divides by the
    number of assigned anchors of the batch.

    Args:
        coefs: (batch_size, num_anchors, num_protos).
        protos: (batch_size, num_protos, h, w).
        masks: With `overlap` one index map per image, (batch_size, h, w): 0 for background and k for the k-th target
            (from 1) of the image. Otherwise a stack (n, h, w) of 0 and 1, one per target.
        images: (n,) the image of each target.
        boxes: (n, 4) x1, y1, x2, y2 of each target in pixels of the prototype grid. A pixel with index c is inside if
            x1 <= c < x2, see `noise_mm.models.instance_masks`.
        foreground: (batch_size, num_anchors) bool, which anchors are assigned.
        gt_inds: (batch_size, num_anchors) the target of each assigned anchor, counted within its image from 0.
        overlap: See `masks`.

    Returns:
        A scalar, float32 also under autocast.
    """
    with torch.autocast(protos.device.type, enabled=False):
        coefs, protos = coefs.float(), protos.float()
        image, anchor = foreground.nonzero(as_tuple=True)
        if not len(image):
            return (coefs.sum() + protos.sum()) * 0  # every parameter has a gradient, also without any target
        target, anchors, taken = _anchors_by_target(images, image, anchor, gt_inds)
        boxes, images = boxes[target], images[target].long()
        owner, pixels, inside = _tiles(boxes, *protos.shape[-2:])  # of each tile

        grid_px = protos[0, 0].numel()
        pixels_of_batch = images[owner, None] * grid_px + pixels
        if overlap:
            numbers = gt_inds[images, anchors[:, 0]] + 1
            truth = masks.flatten()[pixels_of_batch] == numbers[owner, None]
        else:
            truth = masks.flatten()[target[owner, None] * grid_px + pixels] > 0
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        weights = inside / areas[owner, None]

        rows = protos.permute(0, 2, 3, 1).flatten(0, 2)  # (batch_size * h * w, num_protos)
        own_coefs = coefs[images[:, None], anchors]  # (targets, k, num_protos)
        arrays = pixels_of_batch, owner, truth, weights
        at_once = max(1, PAIRS_AT_ONCE // (TILE_PX * anchors.shape[1]))
        if len(owner) <= at_once:
            return _part_loss(rows, own_coefs, taken, *arrays)
        losses = [
            checkpoint(_part_loss, rows, own_coefs, taken, *part, use_reentrant=False)
            for part in zip(*(array.split(at_once) for array in arrays), strict=True)
        ]
        return torch.stack(losses).sum()


def _part_loss(
    rows: Tensor, own_coefs: Tensor, taken: Tensor, pixels: Tensor, owner: Tensor, truth: Tensor, weights: Tensor
) -> Tensor:
    """Return the weighted cross entropy of some tiles; `taken` (targets, k) says which coefficients count."""
    tiles = rows.index_select(0, pixels.flatten()).unflatten(0, pixels.shape)
    logits = tiles @ own_coefs[owner].mT  # (tiles, TILE_PX, k)
    weights = weights[..., None] * taken[owner, None]
    return F.binary_cross_entropy_with_logits(
        logits, truth[..., None].to(logits).expand_as(logits), weights, reduction='sum'
    )


def _anchors_by_target(images: Tensor, image: Tensor, anchor: Tensor, gt_inds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the t targets with an anchor (t,), their anchors (t, k) filled up with 0, which of these are (t, k)."""
    order = images.argsort(stable=True)  # of one image after the other
    counts = images.long().bincount(minlength=len(gt_inds))
    rows = order[(counts.cumsum(0) - counts)[image] + gt_inds[image, anchor]]
    target, group, size = rows.unique(return_inverse=True, return_counts=True)
    by_group = group.argsort(stable=True)
    place = torch.arange(len(rows), device=rows.device) - (size.cumsum(0) - size)[group[by_group]]
    taken = torch.arange(int(size.max()), device=rows.device) < size[:, None]
    anchors = torch.zeros_like(taken, dtype=torch.long)
    anchors[group[by_group], place] = anchor[by_group]
    return target, anchors, taken


def _tiles(boxes: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Cut the pixels in boxes into tiles: the box of each (m,), its pixels (m, TILE_PX), which are inside it."""
    limits = boxes.new_tensor([width, height, width, height])
    x1, y1, x2, y2 = torch.minimum(boxes.ceil().clamp(min=0), limits).long().unbind(dim=1)
    columns = (x2 - x1).clamp(min=0)
    sizes = columns * (y2 - y1).clamp(min=0)
    tiles = (sizes + TILE_PX - 1) // TILE_PX
    owner = torch.arange(len(boxes), device=boxes.device).repeat_interleave(tiles)
    number = torch.arange(len(owner), device=boxes.device) - (tiles.cumsum(0) - tiles)[owner]
    places = number[:, None] * TILE_PX + torch.arange(TILE_PX, device=boxes.device)
    inside = places < sizes[owner, None]
    places = places * inside
    pixels = (
        (y1[owner, None] + places // columns[owner, None]) * width + x1[owner, None] + places % columns[owner, None]
    )
    return owner, pixels, inside
