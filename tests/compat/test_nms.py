"""NMS against a plain greedy reference in NumPy, written from the definition."""

import builtins
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from noise_mm.compat import nms as module
from noise_mm.compat.nms import batched_nms, nms


def greedy(boxes, scores, iou_threshold, offset=0, labels=None):
    """Kept indices by falling score; one pair at a time, in the precision of the boxes."""
    boxes, scores = np.asarray(boxes), np.asarray(scores)
    threshold = boxes.dtype.type(iou_threshold)
    kept = []
    with np.errstate(all='ignore'):
        area = (boxes[:, 2] - boxes[:, 0] + offset) * (boxes[:, 3] - boxes[:, 1] + offset)
        for candidate in np.argsort(-scores, kind='stable'):
            rivals = [k for k in kept if labels is None or labels[k] == labels[candidate]]
            low = np.maximum(boxes[candidate, :2], boxes[rivals, :2])
            high = np.minimum(boxes[candidate, 2:], boxes[rivals, 2:])
            size = np.maximum(high - low + offset, 0)
            overlap = size[:, 0] * size[:, 1]
            if not (overlap / (area[candidate] + area[rivals] - overlap) > threshold).any():
                kept.append(candidate)
    return [int(index) for index in kept]


@pytest.fixture(autouse=True)
def _without_torchvision(monkeypatch):
    """The torch form is tested also where torchvision is installed."""
    monkeypatch.setattr(module, 'working_torchvision_kernel', lambda device_type: None)


@pytest.fixture
def _small_blocks(monkeypatch):
    """Many blocks, groups and slices with few boxes."""
    _shrink(monkeypatch)


def _shrink(monkeypatch):
    monkeypatch.setattr(module, '_BLOCK', 7)
    monkeypatch.setattr(module, '_GROUP_CPU', 3)
    monkeypatch.setattr(module, '_TABLE_CPU', 12)


def _random_boxes(count, seed, extent_px=300.0, largest_px=80.0):
    random = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=random) * extent_px
    size = torch.rand(count, 2, generator=random) * largest_px
    return torch.cat([corner, corner + size], 1), torch.rand(count, generator=random)


@pytest.mark.parametrize('count', [0, 1, 2, 50, 300, 1300])
@pytest.mark.parametrize('iou_threshold', [0.0, 0.3, 0.7, 1.0])
def test_random_boxes(count, iou_threshold):
    boxes, scores = _random_boxes(count, seed=count)
    assert nms(boxes, scores, iou_threshold).tolist() == greedy(boxes, scores, iou_threshold)


@pytest.mark.parametrize('seed', range(20))
@pytest.mark.parametrize('shape', [(1.0, 1.0), (0.01, 1.0), (1.0, 0.01)])
@pytest.mark.usefixtures('_small_blocks')
def test_blocks_groups_and_slices_of_random_boxes_and_classes(seed, shape):
    boxes, scores = _random_boxes(150, seed)
    boxes *= torch.tensor(shape * 2)
    labels = torch.randint(-2, 3, (150,), generator=torch.Generator().manual_seed(seed))
    assert nms(boxes, scores, 0.4).tolist() == greedy(boxes, scores, 0.4)
    assert batched_nms(boxes, scores, labels, 0.4).tolist() == greedy(boxes, scores, 0.4, labels=labels)


# Few values, so that ties, identical, touching, empty and inverted boxes and IoUs equal to the threshold are common.
_corner = st.sampled_from([-2.0, 0.0, 1.0, 2.0, 3.0, 5.0, float('nan'), float('inf'), float('-inf')])
_rows = st.lists(
    st.tuples(_corner, _corner, _corner, _corner, st.sampled_from([0.1, 0.5, 0.9]), st.integers(0, 2)),
    min_size=1,
    max_size=25,
)


@settings(max_examples=300, deadline=None)
@given(rows=_rows, iou_threshold=st.sampled_from([0.0, 0.1, 0.25, 1 / 3, 0.5, 1.0]), offset=st.sampled_from([0, 1]))
def test_tied_and_degenerate_boxes(rows, iou_threshold, offset):
    table = torch.tensor(rows)
    boxes, scores, labels = table[:, :4], table[:, 4], table[:, 5].long()
    with pytest.MonkeyPatch.context() as monkeypatch:
        _shrink(monkeypatch)
        assert nms(boxes, scores, iou_threshold, offset).tolist() == greedy(boxes, scores, iou_threshold, offset)
        expected = greedy(boxes, scores, iou_threshold, labels=labels)
        assert batched_nms(boxes, scores, labels, iou_threshold).tolist() == expected


def test_iou_equal_to_the_threshold_is_kept():
    boxes = torch.tensor([[0.0, 0, 2, 1], [0, 0, 1, 1]])
    scores = torch.tensor([0.9, 0.8])
    assert nms(boxes, scores, 0.5).tolist() == [0, 1]
    assert nms(boxes, scores, 0.499).tolist() == [0]
    # 0.1 is not a float32: as in MMCV the threshold is rounded, so that an IoU of one tenth is not above it.
    boxes = torch.tensor([[0.0, 0, 10, 1], [0, 0, 1, 1]])
    assert nms(boxes, scores, 0.1).tolist() == [0, 1]


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
    labels = torch.arange(count) % 3
    assert nms(boxes.cuda(), scores.cuda(), 0.5).tolist() == greedy(boxes, scores, 0.5)
    kept = batched_nms(boxes.cuda(), scores.cuda(), labels.cuda(), 0.5)
    assert kept.is_cuda and kept.tolist() == greedy(boxes, scores, 0.5, labels=labels)


def test_inputs_stay_as_they_are():
    boxes, scores = _random_boxes(50, seed=6)
    before = boxes.clone(), scores.clone()
    nms(boxes, scores, 0.5)
    assert torch.equal(boxes, before[0]) and torch.equal(scores, before[1])


def test_classes_stay_apart_far_out_and_below_zero():
    # At 1e7 px, float32 can't tell halves apart once a class offset has been added; nor do negative boxes keep their
    # classes apart when the offset is taken from the largest coordinate.
    unit = torch.tensor([0.0, 0, 4, 4])
    for shift in (1e7, -500.0):
        boxes = torch.stack([unit, unit + 1, unit, unit + 1]) + shift
        scores, labels = torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.tensor([0, 0, 7, 7])
        assert batched_nms(boxes, scores, labels, 0.3).tolist() == [0, 2]
        assert batched_nms(boxes, scores, labels, 0.5).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ('boxes', 'scores', 'message'),
    [((3, 5), (3,), r'boxes must be \(n, 4\)'), ((3, 4), (2,), r'scores \(n,\)'), ((4,), (1,), r'boxes must be')],
)
def test_shapes_are_checked(boxes, scores, message):
    with pytest.raises(ValueError, match=message):
        nms(torch.zeros(boxes), torch.zeros(scores), 0.5)


def test_labels_and_threshold_are_checked():
    with pytest.raises(ValueError, match='labels must have the shape of scores'):
        batched_nms(torch.zeros(2, 4), torch.zeros(2), torch.zeros(3), 0.5)
    for threshold in (-0.1, float('nan')):
        with pytest.raises(ValueError, match='iou_threshold must not be negative'):
            nms(torch.zeros(2, 4), torch.zeros(2), threshold)


class TestTorchvision:
    """The choice between torchvision's kernel and ours, with a kernel that stands for torchvision's."""

    @staticmethod
    def _kernel(boxes, scores, iou_threshold):
        assert boxes.dtype == scores.dtype
        assert iou_threshold == torch.tensor(iou_threshold, dtype=boxes.dtype).item()
        return torch.tensor(greedy(boxes, scores, iou_threshold), dtype=torch.int64)

    def test_kernel_is_used_without_offset(self, monkeypatch):
        monkeypatch.setattr(module, 'working_torchvision_kernel', lambda device_type: self._kernel)
        greedy_in_torch = module._greedy
        monkeypatch.setattr(module, '_greedy', lambda *args: pytest.fail('torchvision was to be used'))
        boxes, scores = _random_boxes(100, seed=7)
        labels = torch.randint(0, 3, (100,), generator=torch.Generator().manual_seed(7))
        # Scores that float32 boxes could not tell apart, and ties.
        scores = 0.5 + (scores * 10).round().double() * 1e-9
        assert nms(boxes, scores, 0.1).tolist() == greedy(boxes, scores, 0.1)
        assert batched_nms(boxes.half(), scores, labels, 0.3).tolist() == greedy(
            boxes.half().float(), scores, 0.3, labels=labels
        )
        monkeypatch.setattr(module, '_greedy', greedy_in_torch)
        assert module.nms_in_torch(boxes, scores, 0.1).tolist() == greedy(boxes, scores, 0.1)

    def test_kernel_is_not_used_with_offset(self, monkeypatch):
        monkeypatch.setattr(module, 'working_torchvision_kernel', lambda device_type: pytest.fail('not with offset'))
        boxes, scores = _random_boxes(100, seed=8)
        assert nms(boxes, scores, 0.5, offset=1).tolist() == greedy(boxes, scores, 0.5, offset=1)

    def test_kernel_on_gpu_only_while_its_table_is_small(self, monkeypatch):
        monkeypatch.setattr(module, 'working_torchvision_kernel', lambda device_type: device_type)
        monkeypatch.setattr(module, '_TORCHVISION_MOST_BOXES_GPU', 10)
        assert module._torchvision_kernel(torch.zeros(11, 4)) == 'cpu'
        assert module._torchvision_kernel(torch.zeros(10, 4, device='meta')) == 'meta'
        assert module._torchvision_kernel(torch.zeros(11, 4, device='meta')) is None

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
    def test_torchvision_that_fails_to_import_is_done_without(self, monkeypatch, error):
        real_import = builtins.__import__

        def failing_import(name, *args, **kwargs):
            if name == 'torchvision':
                raise error
            return real_import(name, *args, **kwargs)

        monkeypatch.undo()
        module.working_torchvision_kernel.cache_clear()
        monkeypatch.setattr(builtins, '__import__', failing_import)
        try:
            assert module.working_torchvision_kernel('cpu') is None
            assert nms(torch.tensor([[0.0, 0, 1, 1]]), torch.ones(1), 0.5).tolist() == [0]
        finally:
            module.working_torchvision_kernel.cache_clear()


@pytest.mark.parametrize('layout', ['crowded', 'apart', pytest.param('identical', marks=pytest.mark.slow)])
def test_memory_for_30000_boxes(layout):
    if not Path('/proc/self/status').exists():
        pytest.skip('needs /proc to see the peak memory of a process')
    program = f"""
import sys, torch
sys.path.insert(0, {str(Path(module.__file__).parents[2])!r})
from noise_mm.compat import nms
def peak_kib():
    return next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('VmHWM'))
count = 30000
corner = torch.rand(count, 2) * {dict(crowded=640, apart=1e6, identical=0)[layout]}
boxes, scores = torch.cat([corner, corner + 50], 1), torch.rand(count)
nms.nms_in_torch(boxes[:100], scores[:100], 0.5)
before = peak_kib()
kept = nms.nms_in_torch(boxes, scores, 0.7)
print(len(kept), peak_kib() - before)
"""
    result = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, check=True)
    kept, growth_kib = map(int, result.stdout.split())
    assert kept > 25000 if layout == 'apart' else kept < 30000
    assert growth_kib < 2**20
