"""NMS against a plain greedy reference in NumPy, written from the definition."""

import builtins

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from noise_mm.compat import nms as module
from noise_mm.compat.nms import nms


def greedy(boxes, scores, iou_threshold, offset=0):
    """Kept indices by falling score; one pair at a time, in the precision of the boxes."""
    boxes, scores = np.asarray(boxes), np.asarray(scores)
    threshold = boxes.dtype.type(iou_threshold)
    kept = []
    with np.errstate(all='ignore'):
        area = (boxes[:, 2] - boxes[:, 0] + offset) * (boxes[:, 3] - boxes[:, 1] + offset)
        for candidate in np.argsort(-scores, kind='stable'):
            low = np.maximum(boxes[candidate, :2], boxes[kept, :2])
            high = np.minimum(boxes[candidate, 2:], boxes[kept, 2:])
            size = np.maximum(high - low + offset, 0)
            overlap = size[:, 0] * size[:, 1]
            if not (overlap / (area[candidate] + area[kept] - overlap) > threshold).any():
                kept.append(candidate)
    return [int(index) for index in kept]


@pytest.fixture(autouse=True)
def _without_torchvision(monkeypatch):
    """OpenCV's form is tested also where torchvision is installed."""
    monkeypatch.setattr(module, 'torchvision_kernel', lambda device_type: None)


def _random_boxes(count, seed, extent_px=300.0, largest_px=80.0):
    random = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=random) * extent_px
    size = torch.rand(count, 2, generator=random) * largest_px
    return torch.cat([corner, corner + size], 1), torch.rand(count, generator=random)


@pytest.mark.parametrize('count', [0, 1, 2, 50, 300, 1300])
@pytest.mark.parametrize('iou_threshold', [0.0, 0.3, 0.65, 0.7, 1.0])
def test_random_boxes(count, iou_threshold):
    boxes, scores = _random_boxes(count, seed=count)
    assert nms(boxes, scores, iou_threshold).tolist() == greedy(boxes, scores, iou_threshold)


# Few values, so that ties, identical, touching, empty and inverted boxes and IoUs equal to the threshold are common.
_corner = st.sampled_from([-2.0, 0.0, 1.0, 2.0, 3.0, 5.0, float('nan'), float('inf'), float('-inf')])
_rows = st.lists(
    st.tuples(_corner, _corner, _corner, _corner, st.sampled_from([0.1, 0.5, 0.9])),
    min_size=1,
    max_size=25,
)


@settings(max_examples=300, deadline=None)
@given(rows=_rows, iou_threshold=st.sampled_from([0.0, 0.25, 0.5, 1.0]), offset=st.sampled_from([0, 1]))
def test_tied_and_degenerate_boxes(rows, iou_threshold, offset):
    table = torch.tensor(rows)
    boxes, scores = table[:, :4], table[:, 4]
    assert nms(boxes, scores, iou_threshold, offset).tolist() == greedy(boxes, scores, iou_threshold, offset)


def test_iou_equal_to_the_threshold_is_kept():
    boxes = torch.tensor([[0.0, 0, 2, 1], [0, 0, 1, 1]])
    scores = torch.tensor([0.9, 0.8])
    assert nms(boxes, scores, 0.5).tolist() == [0, 1]
    assert nms(boxes, scores, 0.499).tolist() == [0]


def test_tied_scores_go_by_index():
    boxes = torch.tensor([[0.0, 0, 10, 10]]).repeat(5, 1)
    assert nms(boxes, torch.ones(5), 0.5).tolist() == [0]
    far = boxes + 100 * torch.arange(5.0)[:, None]
    assert nms(far, torch.ones(5), 0.5).tolist() == [0, 1, 2, 3, 4]


def test_boxes_without_area_are_kept_and_suppress_nothing():
    whole = [0.0, 0, 10, 10]
    nan, inf = float('nan'), float('inf')
    without = [[5, 5, 5, 9], [9, 9, 1, 1], [9, 1, 1, 9], [nan, 0, 10, 10], [0, 0, inf, 10], [-inf, 0, inf, 10]]
    boxes = torch.tensor([*without, whole, *without])
    scores = torch.arange(13.0, 0, -1)
    assert nms(boxes, scores, 0.0).tolist() == list(range(13))


def test_a_score_that_is_nan_comes_first():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9]])
    assert nms(boxes, torch.tensor([1.0, float('nan')]), 0.5).tolist() == [1]


def test_offset_counts_the_last_pixel():
    boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 4]])
    scores = torch.tensor([0.9, 0.8])
    assert nms(boxes, scores, 0.49, offset=1).tolist() == [0]  # 50 / 100
    assert nms(boxes, scores, 0.49, offset=0).tolist() == [0, 1]  # 36 / 81
    single_pixels = torch.tensor([[3.0, 3, 3, 3], [3, 3, 3, 3]])
    assert nms(single_pixels, scores, 0.5, offset=1).tolist() == [0]


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_calculated_in_float32(dtype):
    boxes, scores = _random_boxes(300, seed=3)
    boxes, scores = boxes.to(dtype), scores.to(dtype)
    assert nms(boxes, scores, 0.5).tolist() == greedy(boxes.float(), scores.float(), 0.5)
    # Areas of 300 x 300 are above float16's largest number.
    large = torch.tensor([[0.0, 0, 300, 300], [0, 0, 300, 299]], dtype=dtype)
    assert nms(large, torch.tensor([1.0, 0.5], dtype=dtype), 0.5).tolist() == [0]


def test_float64_and_integers():
    boxes, scores = _random_boxes(300, seed=4)
    assert nms(boxes.double(), scores.double(), 0.5).tolist() == greedy(boxes.double(), scores.double(), 0.5)
    assert nms(boxes.long(), scores, 0.5).tolist() == greedy(boxes.long().float(), scores, 0.5)


def test_boxes_with_gradient():
    boxes, scores = _random_boxes(50, seed=5)
    kept = nms(boxes.requires_grad_(), scores.requires_grad_(), 0.5)
    assert kept.tolist() == greedy(boxes.detach(), scores.detach(), 0.5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
@pytest.mark.parametrize('count', [0, 300, 3000])
def test_cuda_keeps_what_the_definition_keeps(count):
    boxes, scores = _random_boxes(count, seed=count)
    kept = nms(boxes.cuda(), scores.cuda(), 0.5)
    assert kept.is_cuda and kept.tolist() == greedy(boxes, scores, 0.5)


def _kernel(boxes, scores, iou_threshold):
    """Stands for torchvision's."""
    assert boxes.dtype == scores.dtype
    assert iou_threshold == torch.tensor(iou_threshold, dtype=boxes.dtype).item()
    return torch.tensor(greedy(boxes, scores, iou_threshold), dtype=torch.int64)


def test_torchvision_is_used_without_offset(monkeypatch):
    monkeypatch.setattr(module, 'torchvision_kernel', lambda device_type: _kernel)
    boxes, scores = _random_boxes(100, seed=7)
    with monkeypatch.context() as patch:
        patch.setattr(module, '_kept_by_opencv', lambda *args: pytest.fail('torchvision was to be used'))
        scores = 0.5 + (scores * 10).round().double() * 1e-9  # float32 could not tell them apart; and ties
        assert nms(boxes, scores, 0.1).tolist() == greedy(boxes, scores, 0.1)
        assert nms(boxes.half(), scores, 0.3).tolist() == greedy(boxes.half().float(), scores, 0.3)
    monkeypatch.setattr(module, 'torchvision_kernel', lambda device_type: pytest.fail('not with offset'))
    assert nms(boxes, scores, 0.5, offset=1).tolist() == greedy(boxes, scores, 0.5, offset=1)


@pytest.mark.parametrize(
    'error',
    [
        ModuleNotFoundError("No module named 'torchvision'"),
        ImportError('libcudart.so.12: cannot open shared object file'),
        RuntimeError('operator torchvision::nms does not exist'),
        AttributeError("partially initialized module 'torchvision' has no attribute 'extension'"),
        OSError('undefined symbol: _ZN3c10'),
    ],
)
def test_torchvision_that_fails_to_import_is_done_without(monkeypatch, error):
    real_import = builtins.__import__

    def failing_import(name, *args, **kwargs):
        if name == 'torchvision':
            raise error
        return real_import(name, *args, **kwargs)

    monkeypatch.undo()
    module.torchvision_kernel.cache_clear()
    monkeypatch.setattr(builtins, '__import__', failing_import)
    try:
        assert module.torchvision_kernel('cpu') is None
        assert nms(torch.tensor([[0.0, 0, 1, 1]]), torch.ones(1), 0.5).tolist() == [0]
    finally:
        module.torchvision_kernel.cache_clear()
