import subprocess
import sys
from pathlib import Path

import pytest

import noise_mm
from noise_mm.compat import import_advice


def test_opencv_without_libraries_of_windows():
    advised = import_advice.opencv(ImportError('libGL.so.1: cannot open shared object file: No such file or directory'))
    assert 'has no libGL.so.1' in str(advised)
    assert 'opencv-python-headless' in str(advised)


def test_opencv_not_installed():
    advised = import_advice.opencv(ModuleNotFoundError("No module named 'cv2'", name='cv2'))
    assert isinstance(advised, ModuleNotFoundError)
    assert 'pip install opencv-python-headless' in str(advised)


def test_other_failures_of_opencv_stay():
    assert import_advice.opencv(ImportError('numpy.core.multiarray failed to import')) is None
    assert import_advice.opencv(RuntimeError('recursion is detected')) is None


@pytest.mark.parametrize('kind', [RuntimeError, AttributeError])
def test_torchvision_for_another_torch_counts_as_missing(kind):
    advised = import_advice.torchvision(kind('operator torchvision::nms does not exist'))
    assert isinstance(advised, ModuleNotFoundError)
    assert 'does not fit the installed torch (operator torchvision::nms does not exist)' in str(advised)
    assert import_advice.torchvision(ModuleNotFoundError("No module named 'torchvision'")) is None


def test_compiled_ops():
    assert 'undefined symbol' in str(import_advice.compiled_ops(ImportError('undefined symbol')))
    assert import_advice.compiled_ops(RuntimeError('no kernel image')) is None


def test_openmmlab_versions_that_refuse_each_other(monkeypatch):
    versions = {'mmcv': '2.1.0', 'mmyolo': '0.6.0'}
    monkeypatch.setattr(import_advice, 'installed_version', versions.get)
    advised = str(import_advice.openmmlab(AssertionError('MMCV==2.1.0 is used but incompatible.')))
    assert 'mmcv 2.1.0, mmyolo 0.6.0 (MMCV==2.1.0 is used but incompatible.)' in advised
    assert 'pip uninstall -y mmcv && pip install mmcv-lite==2.0.1' in advised
    del versions['mmcv']
    assert 'uninstall' not in str(import_advice.openmmlab(AssertionError()))


def test_openmmlab_package_missing():
    advised = import_advice.openmmlab(ModuleNotFoundError("No module named 'mmdet'", name='mmdet'))
    assert str(advised).startswith('mmdet is not installed. Install it: pip install mmcv-lite==2.0.1')
    assert advised.name == 'mmdet'


def test_other_failures_of_openmmlab_stay():
    assert import_advice.openmmlab(ModuleNotFoundError("No module named 'yapf'", name='yapf')) is None
    # Advice from further down passes through the imports above it once, and not over again.
    advised = import_advice.openmmlab(ModuleNotFoundError("No module named 'mmcv'", name='mmcv'))
    assert import_advice.openmmlab(advised) is None


def test_installed_version():
    assert import_advice.installed_version('pytest') == pytest.__version__
    assert import_advice.installed_version('no-such-distribution') is None


def _error_of(statement, folder):
    """The last line that an import statement prints when modules in `folder` come first."""
    head = f'import sys; sys.path[:0] = {[str(folder), str(Path(noise_mm.__file__).parents[1])]!r}; import noise_mm; '
    result = subprocess.run([sys.executable, '-c', head + statement], capture_output=True, text=True)
    assert result.returncode == 1
    return result.stderr.strip().splitlines()[-1]


def test_mmcv_on_a_machine_without_libgl(tmp_path):
    (tmp_path / 'cv2').mkdir()
    (tmp_path / 'cv2' / '__init__.py').write_text('raise ImportError("libGL.so.1: cannot open shared object file: No")')
    last_line = _error_of('import mmcv', tmp_path)
    assert last_line.startswith('ImportError: OpenCV cannot be loaded, because this machine has no libGL.so.1.')


def test_mmyolo_beside_a_newer_mmcv(tmp_path):
    for name in ('mmcv', 'mmdet', 'mmengine'):
        (tmp_path / name).mkdir()
        (tmp_path / name / '__init__.py').write_text('__version__ = "2.1.0"')
    (tmp_path / 'mmengine' / '__init__.py').write_text('__version__ = "0.10.7"')
    (tmp_path / 'mmengine' / 'utils.py').write_text('digit_version = lambda text: tuple(map(ord, text))')
    last_line = _error_of('import mmyolo', tmp_path)
    assert last_line.startswith('ImportError: these OpenMMLab packages do not work together:')
    assert 'MMCV==2.1.0 is used but incompatible' in last_line
