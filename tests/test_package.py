"""`import noise_mm`: what it costs, and that everything works after it in processes with other imports before it."""

import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import noise_mm
from noise_mm.compat.registries import PACKAGES

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
    assert 'noise_mm.compat.on_import' in loaded
    assert heavy.isdisjoint(loaded)


@pytest.mark.parametrize(
    'before',
    [
        'import noise_mm',
        'try:\n    import mmdet.models\nexcept ModuleNotFoundError: pass\nimport noise_mm',
        pytest.param(
            'from mmyolo.registry import MODELS, HOOKS; import mmengine.runner; import noise_mm',
            marks=pytest.mark.slow,
        ),
        pytest.param('import torch; import noise_mm', marks=pytest.mark.slow),
        pytest.param('import mmyolo, mmdet; import noise_mm', marks=pytest.mark.slow),
        pytest.param('import noise_mm; import mmdet.models, mmyolo.datasets', marks=pytest.mark.slow),
    ],
)
def test_models_are_found_by_name_whatever_was_imported_before(before, tmp_path):
    program = f"""
{before}
from mmyolo.registry import HOOKS, MODELS
from mmengine.registry import MODELS as ROOT_MODELS, DefaultScope
import torch
print(MODELS.get('YOLOv8InsHead').__module__)
print(ROOT_MODELS.get('mmyolo.YOLOv8InsHead') is MODELS.get('YOLOv8InsHead'))
print(HOOKS.get('CloseMosaicHook').__module__)
import mmdet.models, mmyolo.models, mmyolo.datasets, mmyolo.engine
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


def test_registry_that_has_imported_its_packages_before(tmp_path):
    program = """
import types
foreign = types.ModuleType('mmcv._ext')
foreign.__spec__ = types.SimpleNamespace(loader=None, name='mmcv._ext')  # as others have made it, for mmengine
def missing_op(name):
    if name.startswith('__'):
        raise AttributeError(name)
    return lambda *args, **kwargs: None
foreign.__getattr__ = missing_op
sys.modules['mmcv._ext'] = foreign
from mmyolo.registry import MODELS
print(MODELS.get('YOLOv8InsHead'))
import warnings; warnings.simplefilter('ignore')
import noise_mm
print(MODELS.get('YOLOv8InsHead').__name__)
"""
    assert _run(program, tmp_path)[-2:] == ['None', 'YOLOv8InsHead']


def test_workers_that_are_spawned(tmp_path):
    # No main module that children could import, and a dataset of MMYOLO's, which needs mmcv.ops when it is unpickled.
    program = """
import json
import noise_mm
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


@pytest.mark.parametrize('package', sorted(set(PACKAGES.values())))
def test_locations_of_the_registries_are_packages(package):
    assert importlib.util.find_spec(package).origin is not None


def test_every_registered_class_is_found_through_its_registry():
    from mmyolo import registry as registries

    for package in set(PACKAGES.values()):
        importlib.import_module(package)
    for name, registry in vars(registries).items():
        if isinstance(registry, registries.Registry):
            ours = {cls.__module__ for cls in registry.module_dict.values() if cls.__module__.startswith('noise_mm.')}
            assert all(module.startswith(PACKAGES[name]) for module in ours), name
