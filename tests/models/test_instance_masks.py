import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from noise_mm.models.instance_masks import (
    MaskFrame,
    MaskRegion,
    crop_weights,
    draw_masks,
    letterbox_window,
    prototype_masks,
)


@settings(max_examples=200, deadline=None)
@given(
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    seed=st.integers(0, 2**32 - 1),
    share=st.sampled_from([0, 0.1, 0.5, 0.9, 1]),
)
def test_rle_equals_pycocotools(height, width, seed, share):
    rng = np.random.default_rng(seed)
    top, left = rng.integers(height), rng.integers(width)
    h, w = rng.integers(0, height - top + 1), rng.integers(0, width - left + 1)
    region = MaskRegion(int(top), int(left), rng.random((h, w)) < share)
    bitmap = region.to_bitmap(height, width)
    rle = region.to_rle(height, width)
    assert rle == coco_mask.encode(np.asfortranarray(bitmap.astype(np.uint8)))
    np.testing.assert_array_equal(coco_mask.decode(rle), bitmap)


def full_size_masks(coefs, protos, boxes, size):
    """The plain way, with all instances at full size."""
    logits = torch.einsum('nk,khw->nhw', coefs, protos)
    large = F.interpolate(logits[None], size=size, mode='bilinear', align_corners=False)[0]
    return (large * crop_weights(boxes, *size) > 0).numpy()


@pytest.mark.parametrize('size', [(64, 64), (104, 104), (33, 50), (16, 20), (7, 9)])
def test_drawn_masks_equal_full_size_interpolation(size):
    generator = torch.Generator().manual_seed(0)
    coefs, protos = torch.randn(40, 8, generator=generator), torch.randn(8, 16, 20, generator=generator)
    corners = torch.rand(40, 2, generator=generator) * torch.tensor([size[1], size[0]]) * 1.1 - 2
    boxes = torch.cat([corners, corners + torch.rand(40, 2, generator=generator) * 30], dim=1)
    regions = list(draw_masks(coefs, protos, boxes, MaskFrame(*size, window=(0, 0, 16, 20))))
    ours = np.stack([region.to_bitmap(*size) for region in regions])
    np.testing.assert_array_equal(ours, full_size_masks(coefs, protos, boxes, size))


def test_crop_before_enlarging_equals_full_size_interpolation():
    generator = torch.Generator().manual_seed(1)
    coefs, protos = torch.randn(40, 8, generator=generator), torch.randn(8, 16, 20, generator=generator)
    corners = torch.rand(40, 2, generator=generator) * torch.tensor([20, 16])
    boxes = torch.cat([corners, corners + torch.rand(40, 2, generator=generator) * 8], dim=1)
    logits = torch.einsum('nk,khw->nhw', coefs, protos) * crop_weights(boxes, 16, 20)
    expected = F.interpolate(logits[None], size=(64, 80), mode='bilinear', align_corners=False)[0] > 0
    frame = MaskFrame(64, 80, window=(0, 0, 16, 20))
    regions = list(draw_masks(coefs, protos, boxes * 4, frame, proto_boxes=boxes))
    np.testing.assert_array_equal(np.stack([region.to_bitmap(64, 80) for region in regions]), expected)


def test_prototype_masks_are_cropped_logits():
    generator = torch.Generator().manual_seed(2)
    coefs, protos = torch.randn(10, 4, generator=generator), torch.randn(4, 8, 8, generator=generator)
    boxes = torch.tensor([[1.5, 0, 6, 7]]).repeat(10, 1)
    expected = (torch.einsum('nk,khw->nhw', coefs, protos) > 0) & crop_weights(boxes, 8, 8)
    ours = np.stack([region.to_bitmap(8, 8) for region in prototype_masks(coefs, protos, boxes)])
    np.testing.assert_array_equal(ours, expected)


def test_box_without_a_pixel_gives_an_empty_mask():
    protos = torch.ones(1, 8, 8)
    boxes = torch.tensor([[3.2, 3.2, 3.8, 3.8], [5, 5, 2, 2], [-9, -9, -1, -1], [40, 40, 50, 50]])
    for region in draw_masks(torch.ones(4, 1), protos, boxes, MaskFrame(32, 32, window=(0, 0, 8, 8))):
        assert not region.to_bitmap(32, 32).any()
        assert coco_mask.area(region.to_rle(32, 32)) == 0


def test_one_pixel_box_gives_one_pixel():
    boxes = torch.tensor([[3.0, 4.0, 4.0, 5.0]])
    (region,) = draw_masks(torch.ones(1, 1), torch.ones(1, 8, 8), boxes, MaskFrame(32, 32, window=(0, 0, 8, 8)))
    bitmap = region.to_bitmap(32, 32)
    assert bitmap.sum() == 1
    assert bitmap[4, 3]


def test_crop_compares_pixel_indices():
    inside = crop_weights(torch.tensor([[1.0, 0.5, 3.0, 2.0]]), 4, 4)[0]
    expected = np.zeros((4, 4), bool)
    expected[1, 1:3] = True
    np.testing.assert_array_equal(inside, expected)


def test_letterbox_window_without_padding_is_the_whole_grid():
    for whole_cells in (True, False):
        assert letterbox_window((104, 104), (832, 832), whole_cells) == (0, 0, 104, 104)


def test_letterbox_window_rounds_as_ultralytics_only_on_request():
    assert letterbox_window((64, 64), (333, 500), whole_cells=True) == (11, 0, 42, 64)
    top, left, height, width = letterbox_window((64, 64), (333, 500), whole_cells=False)
    assert (left, width) == (0, 64)
    assert height == pytest.approx(64 * 333 / 500)
    assert top == pytest.approx((64 - height) / 2)


def test_exact_window_keeps_masks_on_their_boxes():
    # A bright band in the middle of the prototypes must be drawn in the middle of the image, whatever the padding.
    protos = torch.full((1, 64, 64), -1.0)
    protos[:, 28:36] = 1.0
    size = (333, 500)
    frame = MaskFrame(*size, window=letterbox_window((64, 64), size, whole_cells=False))
    (region,) = draw_masks(torch.ones(1, 1), protos, torch.tensor([[0.0, 0, 500, 333]]), frame)
    rows = np.flatnonzero(region.to_bitmap(*size).any(axis=1))
    assert (rows[0] + rows[-1] + 1) / 2 == pytest.approx(size[0] / 2, abs=0.6)
