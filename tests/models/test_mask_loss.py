import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from noise_mm.models import mask_loss as module
from noise_mm.models.mask_loss import mask_loss, masks_of_targets


def example(anchors=30, targets=5, size=(12, 16)):
    generator = torch.Generator().manual_seed(0)
    coefs = torch.randn(anchors, 4, generator=generator, dtype=torch.float64).requires_grad_()
    protos = torch.randn(4, *size, generator=generator, dtype=torch.float64).requires_grad_()
    masks = (torch.rand(targets, *size, generator=generator) > 0.5).to(torch.uint8)
    gt_inds = torch.randint(targets, (anchors,), generator=generator)
    corners = torch.rand(targets, 2, generator=generator) * 0.5
    boxes = torch.cat([corners, corners + 0.1 + torch.rand(targets, 2, generator=generator) * 0.4], dim=1)[gt_inds]
    return coefs, protos, masks, gt_inds, boxes


def one_by_one(coefs, protos, masks, gt_inds, boxes):
    """The definition, anchor by anchor and pixel by pixel."""
    height, width = protos.shape[-2:]
    total = 0
    for coef, gt, (x1, y1, x2, y2) in zip(coefs, gt_inds, boxes, strict=True):
        logits = torch.einsum('k,khw->hw', coef, protos)
        entropy = F.binary_cross_entropy_with_logits(logits, masks[gt].to(logits), reduction='none')
        inside = torch.tensor(
            [
                [x1 * width <= c < x2 * width and y1 * height <= r < y2 * height for c in range(width)]
                for r in range(height)
            ]
        )
        total = total + (entropy * inside).mean() / ((x2 - x1) * (y2 - y1))
    return total


def test_equals_the_definition():
    coefs, protos, masks, gt_inds, boxes = example()
    expected = one_by_one(coefs, protos, masks, gt_inds, boxes)
    torch.testing.assert_close(
        mask_loss(coefs, protos, masks, gt_inds, boxes, overlap=False).double(), expected, rtol=1e-5, atol=1e-5
    )


def test_parts_change_neither_loss_nor_gradient(monkeypatch):
    results = []
    for limit in (module.PIXELS_AT_ONCE, 7 * 12 * 16):
        monkeypatch.setattr(module, 'PIXELS_AT_ONCE', limit)
        coefs, protos, masks, gt_inds, boxes = example()
        loss = mask_loss(coefs, protos, masks, gt_inds, boxes, overlap=False)
        loss.backward()
        results.append((loss, coefs.grad, protos.grad))
    for whole, parts in zip(*results, strict=True):
        torch.testing.assert_close(whole, parts)


@pytest.mark.parametrize('count', [255, 256, 300, 700])
def test_index_maps_hold_more_than_255_targets(count):
    masks = torch.zeros(count, 32, 32, dtype=torch.uint8)
    for k in range(count):
        masks[k, k // 32, k % 32] = 1
    index_map = (masks.int() * torch.arange(1, count + 1, dtype=torch.int32)[:, None, None]).sum(0)
    gt_inds = torch.arange(count)
    assert torch.equal(masks_of_targets(index_map, gt_inds, True), masks_of_targets(masks, gt_inds, False))


def test_is_float32_under_autocast():
    coefs, protos, masks, gt_inds, boxes = (t.detach().float() if t.is_floating_point() else t for t in example())
    expected = mask_loss(coefs, protos, masks, gt_inds, boxes, overlap=False)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = mask_loss(coefs, protos, masks, gt_inds, boxes, overlap=False)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected)
