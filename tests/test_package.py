"""What `import noise_mm` costs, and what works after `import noise_mm.register` in processes of their own."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import noise_mm

ROOT = Path(noise_mm.__file__).parents[1]


def _run(program, folder):
    """Standard output of a Python program started in `folder`, by words."""
    head = f'import sys; sys.path.insert(0, {str(ROOT)!r})\n'
    result = subprocess.run([sys.executable, '-c', head + program], capture_output=True, text=True, cwd=folder)
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


def test_version():
    assert re.fullmatch(r'\d+\.\d+\.\d+', noise_mm.__version__)


def test_import_alone_brings_no_heavy_package(tmp_path):
    heavy = {'torch', 'torchvision', 'numpy', 'cv2', 'mmcv', 'mmengine', 'mmdet', 'mmyolo', 'multiprocessing'}
    loaded = _run('import noise_mm, noise_mm.errors\nprint(*sys.modules)', tmp_path)
    assert 'noise_mm.compat.mmcv_ext' in loaded
    assert heavy.isdisjoint(loaded)


@pytest.mark.parametrize(
    'imports',
    [
        'import noise_mm.register',
        'import noise_mm; from mmdet.apis import init_detector; import noise_mm.register',
        pytest.param(
            'import mmengine.runner, mmyolo.registry, mmdet; import noise_mm.register', marks=pytest.mark.slow
        ),
        pytest.param(
            f'from mmengine import Config; Config.fromfile({str(ROOT / "configs/quickstart/yolov8-n-seg.py")!r})',
            marks=pytest.mark.slow,
        ),
    ],
    ids=['register', 'detector', 'mmyolo first', 'config'],
)
def test_classes_are_found_and_checkpoints_loaded_safely(imports, tmp_path):
    program = f"""
{imports}
from mmyolo.registry import HOOKS, MODELS
from mmengine.registry import MODELS as ROOT_MODELS
import torch
print(MODELS.get('YOLOv8InsHead').__module__)
print(ROOT_MODELS.get('mmyolo.YOLOv8InsHead') is MODELS.get('YOLOv8InsHead'))
print(HOOKS.get('CloseMosaicHook').__module__)
from mmcv.ops import nms
print(len(nms(torch.tensor([[0., 0, 1, 1]] * 2), torch.tensor([0.5, 1]), 0.5)[1]))
from mmengine.runner import CheckpointLoader
print(CheckpointLoader._schemes[''].__module__)
"""
    assert _run(program, tmp_path) == [
        'noise_mm.models.yolov8_ins_head',
        'True',
        'noise_mm.hooks.close_mosaic_hook',
        '1',
        'noise_mm.compat.checkpoint_loading',
    ]


def test_torchvision_for_another_torch_counts_as_missing(tmp_path):
    (tmp_path / 'torchvision').mkdir()
    (tmp_path / 'torchvision/__init__.py').write_text('raise RuntimeError("operator torchvision::nms does not exist")')
    program = """
import warnings
sys.path.insert(0, '.')
with warnings.catch_warnings(record=True) as caught:
    import noise_mm.register
print(any('torchvision does not fit' in str(warning.message) for warning in caught))
try:
    import torchvision
except ModuleNotFoundError:
    print('missing')
"""
    assert _run(program, tmp_path) == ['True', 'missing']


def test_workers_that_are_spawned(tmp_path):
    # No main module that children could import, and a dataset of MMYOLO's, which needs mmcv.ops when it is unpickled.
    program = """
import json
import noise_mm.register
from mmyolo.datasets import YOLOv5CocoDataset
from torch.utils.data import DataLoader
json.dump(dict(images=[dict(id=1, file_name='a.png', width=8, height=8)], annotations=[
    dict(id=1, image_id=1, category_id=1, bbox=[1, 1, 4, 4], area=16, iscrowd=0)
], categories=[dict(id=1, name='osteoclast')]), open('annotations.json', 'w'))
dataset = YOLOv5CocoDataset(ann_file='annotations.json', data_prefix=dict(img=''), pipeline=[],
                             metainfo=dict(classes=('osteoclast',)))
loader = DataLoader(dataset, batch_size=None, num_workers=1, multiprocessing_context='spawn')
print(*[item['img_id'] for item in loader])
"""
    assert _run(program, tmp_path)[-1] == '1'


def test_every_registered_class_is_known_after_register(tmp_path):
    """Whichever module of the package registers a class, `noise_mm.register` brings it."""
    files = [path for path in (ROOT / 'noise_mm').rglob('*.py') if '.register_module(' in path.read_text('utf-8')]
    modules = ['.'.join(path.relative_to(ROOT).with_suffix('').parts) for path in files]
    assert len(modules) > 15
    loaded = _run('import noise_mm.register\nprint(*sys.modules)', tmp_path)
    assert set(modules) <= set(loaded)
