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
    UndrawnMasks,
    crop_weights,
    draw_masks,
    image_window,
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
    ours = np.stack(
        [region.to_bitmap(8, 8) for region in UndrawnMasks(coefs, protos, boxes, MaskFrame(8, 8, window=(0, 0, 8, 8)))]
    )
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


def test_window_without_padding_is_the_whole_grid():
    for whole_cells in (True, False):
        assert image_window((104, 104), (416, 416), (832, 832), (0.5, 0.5), (0, 0), whole_cells) == (0, 0, 104, 104)


def test_window_is_rounded_as_ultralytics_only_on_request():
    letterbox = ((64, 64), (256, 256), (333, 500), (0.512, 0.512), (43, 0))
    assert image_window(*letterbox, whole_cells=True) == (11, 0, 42, 64)
    top, left, height, width = image_window(*letterbox, whole_cells=False)
    assert (top, left) == (43 / 4, 0)
    assert (height, width) == pytest.approx((333 * 0.512 / 4, 64))


# Original image, network input, scale along x and y, padding above and left.
FRAMES = [
    ((64, 64), (64, 64), (1, 1), (0, 0)),
    ((128, 96), (64, 64), (0.5, 0.5), (0, 8)),
    ((128, 96), (64, 64), (0.5, 0.5), (0, 0)),  # padded on the right only, as MMDetection does
    ((40, 30), (64, 64), (1, 1), (12, 17)),  # not enlarged; odd padding
    ((100, 50), (96, 64), (1.28, 0.96), (0, 0)),  # stretched
    ((256, 512), (256, 384), (0.75, 0.75), (32, 0)),
]


@pytest.mark.parametrize(('image', 'network_input', 'scale', 'padding'), FRAMES)
def test_masks_lie_where_their_boxes_do(image, network_input, scale, padding):
    """Prototypes that are positive inside a box only must fill that box of the original image, and no more."""
    grid = (network_input[0] // 4, network_input[1] // 4)
    x1, y1, x2, y2 = (0.25 * image[1], 0.25 * image[0], 0.75 * image[1], 0.75 * image[0])
    in_input = (
        x1 * scale[0] + padding[1],
        y1 * scale[1] + padding[0],
        x2 * scale[0] + padding[1],
        y2 * scale[1] + padding[0],
    )
    fine = torch.full((1, 1, network_input[0] * 8, network_input[1] * 8), -1.0)
    left, top, right, bottom = (round(value * 8) for value in in_input)
    fine[..., top:bottom, left:right] = 1.0
    protos = F.interpolate(fine, size=grid, mode='area')[0]
    window = image_window(grid, network_input, image, scale, padding, whole_cells=False)
    whole = torch.tensor([[0.0, 0.0, image[1], image[0]]])
    (region,) = draw_masks(torch.ones(1, 1), protos, whole, MaskFrame(*image, window=window))
    drawn = region.to_bitmap(*image)
    rows, columns = np.flatnonzero(drawn.any(1)), np.flatnonzero(drawn.any(0))
    cell = max(4 / scale[0], 4 / scale[1])
    found = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    np.testing.assert_allclose(found, (x1, y1, x2, y2), atol=0.3 * cell + 0.6)


@pytest.mark.parametrize('n', [0, 1, 64, 200])
def test_run_lengths_are_those_of_the_regions_however_many_threads_draw(monkeypatch, n):
    generator = torch.Generator().manual_seed(n)
    corners = 40 * torch.rand(n, 2, generator=generator)
    boxes = torch.cat([corners, corners + 20], dim=1)
    coefs, protos = (torch.randn(*shape, generator=generator) for shape in ((n, 4), (4, 16, 16)))
    masks = UndrawnMasks(coefs, protos, boxes, MaskFrame(64, 64, (0, 0, 16, 16)))
    expected = [region.to_rle(64, 64) for region in masks]
    for threads in (1, 3):
        monkeypatch.setattr(torch, 'get_num_threads', lambda threads=threads: threads)
        assert masks.to_rles() == expected
