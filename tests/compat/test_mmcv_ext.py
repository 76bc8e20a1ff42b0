"""The stand-in for `mmcv._ext`. What depends on the order of imports runs in processes of its own."""

import importlib
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import noise_mm

pytestmark = pytest.mark.filterwarnings('ignore:.*find_loader.*:DeprecationWarning')


def _is_full_mmcv():
    import mmcv

    return any(Path(mmcv.__file__).parent.glob('_ext.*'))


def _run(program, *paths):
    """Standard output of a Python program that finds noise_mm and first the modules in `paths`."""
    folders = [*map(str, paths), str(Path(noise_mm.__file__).parents[1])]
    head = f'import sys; sys.path[:0] = {folders!r}\n'
    result = subprocess.run([sys.executable, '-c', head + program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


@pytest.fixture
def stand_in():
    if _is_full_mmcv():
        pytest.skip('the full mmcv is installed, so its own mmcv._ext is used')
    return importlib.import_module('mmcv._ext')


def test_has_a_spec_and_a_file_as_mmengine_wants(stand_in):
    from mmengine.utils.dl_utils import mmcv_full_available

    assert stand_in.__spec__.name == 'mmcv._ext'
    assert Path(stand_in.__file__).name == 'mmcv_ext_stand_in.py'
    assert importlib.util.find_spec('mmcv._ext') is stand_in.__spec__
    assert mmcv_full_available()


def test_other_ops_raise_only_when_they_are_called(stand_in):
    op = stand_in.roi_pool_forward
    assert op.__name__ == 'roi_pool_forward'
    with pytest.raises(NotImplementedError, match=r"mmcv-lite .* 'roi_pool_forward' .* full mmcv 2\.0\.x"):
        op(1, key=2)


def bilinear(plane, y, x):
    """One sample as MMCV's kernel takes it, written out for one channel."""
    height, width = len(plane), len(plane[0])
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0.0
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = min(int(y), height - 2), min(int(x), width - 2)
    down, right = y - top, x - left
    upper = plane[top][left] * (1 - right) + plane[top][left + 1] * right
    lower = plane[top + 1][left] * (1 - right) + plane[top + 1][left + 1] * right
    return upper * (1 - down) + lower * down


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('sampling_ratio', [0, 1, 2])
def test_roi_align_is_the_mean_of_bilinear_samples(stand_in, aligned, sampling_ratio):
    from mmcv.ops import roi_align

    generator = torch.Generator().manual_seed(0)
    features = torch.rand(2, 3, 9, 13, generator=generator)
    rois = torch.tensor(
        [[0, 3, 4, 30, 28], [1, -20, -9, 60, 50], [1, 10.3, 5.1, 11.2, 5.9], [0, 40, 20, 90, 70], [0, 5, 5, 5, 5]]
    )
    scale, (height, width) = 0.25, (3, 2)
    found = roi_align(features, rois, (height, width), scale, sampling_ratio, 'avg', aligned)
    assert found.shape == (len(rois), 3, height, width)
    for i, (image, *corners) in enumerate(rois.tolist()):
        x1, y1, x2, y2 = (corner * scale - 0.5 * aligned for corner in corners)
        wide, high = (x2 - x1, y2 - y1) if aligned else (max(x2 - x1, 1), max(y2 - y1, 1))
        down = sampling_ratio or math.ceil(high / height)
        across = sampling_ratio or math.ceil(wide / width)
        for channel in range(3):
            plane = features[int(image), channel].tolist()
            for row in range(height):
                for column in range(width):
                    samples = [
                        bilinear(
                            plane,
                            y1 + (row + (a + 0.5) / down) * high / height,
                            x1 + (column + (b + 0.5) / across) * wide / width,
                        )
                        for a in range(down)
                        for b in range(across)
                    ]
                    mean = sum(samples) / max(len(samples), 1)
                    assert found[i, channel, row, column].item() == pytest.approx(mean, abs=1e-5)


def test_roi_align_without_boxes_and_for_maxima(stand_in):
    from mmcv.ops import roi_align

    features = torch.rand(1, 3, 8, 8)
    assert roi_align(features, torch.zeros(0, 5), (7, 7), 1.0, 0, 'avg', True).shape == (0, 3, 7, 7)
    with pytest.raises(NotImplementedError, match='max'):
        roi_align(features, torch.zeros(1, 5), (7, 7), 1.0, 0, 'max', True)


def test_private_names_are_missing(stand_in):
    assert not hasattr(stand_in, '__path__')
    assert not hasattr(stand_in, '_private')


def test_an_op_of_mmcv_says_what_is_missing(stand_in):
    from mmcv.ops import soft_nms

    with pytest.raises(NotImplementedError, match="'softnms'"):
        soft_nms(torch.zeros(1, 4), torch.zeros(1))


def test_environment_report(stand_in):
    from mmcv.utils import collect_env

    assert collect_env()['MMCV Compiler'] == 'n/a'


def test_mmcv_nms_goes_through_ours():
    from mmcv.ops import batched_nms, nms

    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30], [0, 0, 10, 8]])
    scores = torch.tensor([0.5, 0.9, 0.1, 0.8])
    detections, kept = nms(boxes, scores, 0.5)
    assert kept.tolist() == [1, 2]
    assert torch.equal(detections, torch.cat([boxes[kept], scores[kept, None]], 1))
    assert nms(boxes, scores, 0.5, score_threshold=0.2, max_num=1)[1].tolist() == [1]
    assert nms(boxes.numpy(), scores.numpy(), 0.5, offset=1)[1].tolist() == [1, 2]
    labels = torch.tensor([0, 0, 0, 1])
    config = dict(type='nms', iou_threshold=0.5)
    assert batched_nms(boxes, scores, labels, config)[1].tolist() == [1, 3, 2]
    assert batched_nms(boxes, scores, labels, config, class_agnostic=True)[1].tolist() == [1, 2]
    assert batched_nms(boxes, scores, labels, dict(config, split_thr=2))[1].tolist() == [1, 3, 2]


def test_a_compiled_module_is_found_first(tmp_path):
    (tmp_path / 'mmcv').mkdir()
    (tmp_path / 'mmcv' / '__init__.py').write_text('')
    (tmp_path / 'mmcv' / '_ext.py').write_text('COMPILED = "compiled"')
    assert _run('import noise_mm, mmcv._ext; print(mmcv._ext.COMPILED)', tmp_path) == ['compiled']


def test_without_mmcv_nothing_is_put_in_place(tmp_path):
    program = """
sys.path[:] = [path for path in sys.path if 'site-packages' not in path]
import noise_mm
print('mmcv._ext' in sys.modules)
"""
    assert _run(program) == ['False']


def test_what_is_there_already_is_kept():
    program = """
import types
sys.modules['mmcv._ext'] = own = types.ModuleType('mmcv._ext')
import noise_mm
print(sys.modules['mmcv._ext'] is own)
"""
    assert _run(program) == ['True']


@pytest.mark.slow
def test_mmcv_ops_that_failed_before_works_afterwards():
    program = """
try:
    import mmcv.ops
except ModuleNotFoundError as error:
    assert error.name == 'mmcv._ext', error
import noise_mm
import mmcv.ops
import torch
print(mmcv.ops.nms(torch.tensor([[0., 0, 1, 1]]), torch.ones(1), 0.5)[1].tolist()[0])
"""
    assert _run(program) == ['0']
