import email
import importlib.metadata
import importlib.util
import zipfile

import pytest
from packaging.requirements import Requirement
from packaging.version import Version


@pytest.fixture
def wheel(repo_dir, tmp_path):
    """The stand-in for opencv-python, built."""
    file = repo_dir / 'packaging' / 'opencv-python' / 'empty_wheel.py'
    spec = importlib.util.spec_from_file_location('empty_wheel', file)
    backend = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(backend)
    return tmp_path / backend.build_wheel(str(tmp_path))


def test_wheel_holds_nothing_but_metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        record = archive.read(names[-1]).decode()
    assert all('.dist-info/' in name for name in names)
    assert [line.split(',')[0] for line in record.splitlines()] == names


def test_wheel_satisfies_what_asks_for_opencv_and_brings_the_headless_build(wheel):
    with zipfile.ZipFile(wheel) as archive:
        metadata = email.message_from_bytes(archive.read(archive.namelist()[0]))
    assert metadata['Name'] == 'opencv-python'
    assert metadata['Version'] in wheel.name
    assert Requirement(metadata['Requires-Dist']).name == 'opencv-python-headless'
    asked = [Requirement(text) for text in importlib.metadata.requires('mmengine')]
    [opencv] = [requirement for requirement in asked if requirement.name == 'opencv-python']
    assert Version(metadata['Version']) in opencv.specifier


def test_installed_opencv_is_the_headless_one():
    from cv2 import version

    assert version.headless
