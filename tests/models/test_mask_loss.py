import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from noise_mm.models import mask_loss as module
from noise_mm.models.mask_loss import mask_loss

GRID_HW = (12, 16)


def example(images=(0, 0, 1, 1, 1), anchors=20, batch_size=3, grid_hw=GRID_HW):
    """Targets of a batch, every second anchor assigned to one of its image; images without targets have none."""
    generator = torch.Generator().manual_seed(0)
    images = torch.tensor(images)
    coefs = torch.randn(batch_size, anchors, 4, generator=generator).requires_grad_()
    protos = torch.randn(batch_size, 4, *grid_hw, generator=generator).requires_grad_()
    masks = (torch.rand(len(images), *grid_hw, generator=generator) > 0.5).to(torch.uint8)
    corners = torch.rand(len(images), 2, generator=generator) * 0.7 - 0.1  # some reach over the border
    boxes = torch.cat([corners, corners + 0.1 + torch.rand(len(images), 2, generator=generator) * 0.5], dim=1)
    boxes = boxes * torch.tensor([grid_hw[1], grid_hw[0]]).repeat(2)
    counts = images.bincount(minlength=batch_size)
    foreground = (torch.arange(anchors) % 2 == 0) & (counts > 0)[:, None]
    gt_inds = torch.randint(1000, (batch_size, anchors), generator=generator) % counts.clamp(min=1)[:, None]
    return coefs, protos, masks, images, boxes, foreground, gt_inds


def one_by_one(coefs, protos, masks, images, boxes, foreground, gt_inds):
    """The definition, anchor by anchor and pixel by pixel."""
    height, width = protos.shape[-2:]
    total = 0
    for image, anchor in foreground.nonzero().tolist():
        target = (images == image).nonzero()[gt_inds[image, anchor], 0]
        x1, y1, x2, y2 = boxes[target]
        logits = torch.einsum('k,khw->hw', coefs[image, anchor], protos[image])
        entropy = F.binary_cross_entropy_with_logits(logits, masks[target].to(logits), reduction='none')
        inside = torch.tensor([[x1 <= c < x2 and y1 <= r < y2 for c in range(width)] for r in range(height)])
        total = total + (entropy * inside).mean() / ((x2 - x1) * (y2 - y1) / (height * width))
    return total


def index_maps(masks, images, batch_size):
    """Index maps of masks that do not overlap."""
    maps = torch.zeros(batch_size, *masks.shape[1:], dtype=torch.int32)
    for image in range(batch_size):
        for k, mask in enumerate(masks[images == image], 1):
            maps[image][mask > 0] = k
    return maps


def loss_and_gradients(function, coefs, protos, *rest):
    loss = function(coefs, protos, *rest)
    return loss, *torch.autograd.grad(loss, [coefs, protos])


@pytest.mark.parametrize('images', [(0, 0, 1, 1, 1), (1, 0, 2, 1, 0), (1,)], ids=['in order', 'mixed', 'one'])
@pytest.mark.parametrize('tile_px', [1, 7, 32])
def test_equals_the_definition(monkeypatch, images, tile_px):
    monkeypatch.setattr(module, 'TILE_PX', tile_px)
    arrays = example(images)
    expected = loss_and_gradients(one_by_one, *arrays)
    found = loss_and_gradients(lambda *inputs: mask_loss(*inputs, overlap=False), *arrays)
    for value, other in zip(found, expected, strict=True):
        torch.testing.assert_close(value, other, rtol=1e-5, atol=1e-5)


def test_parts_change_neither_loss_nor_gradient(monkeypatch):
    results = []
    for limit in (module.PAIRS_AT_ONCE, 300):
        monkeypatch.setattr(module, 'PAIRS_AT_ONCE', limit)
        results.append(loss_and_gradients(lambda *inputs: mask_loss(*inputs, overlap=False), *example()))
    for whole, parts in zip(*results, strict=True):
        torch.testing.assert_close(whole, parts)


def test_memory_formats_change_neither_loss_nor_gradient():
    coefs, protos, *rest = example()
    channels_last = protos.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    plain = loss_and_gradients(lambda *inputs: mask_loss(*inputs, overlap=False), coefs, protos, *rest)
    other = loss_and_gradients(lambda *inputs: mask_loss(*inputs, overlap=False), coefs, channels_last, *rest)
    for value, same in zip(plain, other, strict=True):
        torch.testing.assert_close(value, same)
    assert other[2].is_contiguous(memory_format=torch.channels_last)  # no copy on the way back


@pytest.mark.parametrize('count', [255, 256, 300, 700])
def test_index_maps_hold_more_than_255_targets(count):
    coefs, protos, _, images, boxes, foreground, gt_inds = example((0,) * count, 2 * count, 1, (32, 32))
    masks = torch.zeros(count, 32, 32, dtype=torch.uint8)
    for k in range(count):
        masks[k, k // 32, k % 32] = 1
    rest = images, boxes, foreground, gt_inds
    maps = index_maps(masks, images, 1)
    torch.testing.assert_close(
        mask_loss(coefs, protos, maps, *rest, overlap=True), mask_loss(coefs, protos, masks, *rest, overlap=False)
    )


def test_boxes_between_pixel_centres_count_nothing():
    coefs, protos, masks, images, boxes, *rest = example()
    boxes[:, 2:] = boxes[:, :2] = boxes[:, :2].floor() + 0.25
    boxes[:, 2:] += 0.5
    loss, *gradients = loss_and_gradients(
        lambda *inputs: mask_loss(*inputs, overlap=False), coefs, protos, masks, images, boxes, *rest
    )
    assert float(loss.detach()) == 0
    assert not any(gradient.any() for gradient in gradients)


def test_is_float32_under_autocast():
    arrays = example()
    expected = mask_loss(*arrays, overlap=False)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = mask_loss(*arrays, overlap=False)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected)
