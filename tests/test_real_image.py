"""The whole way on a real TRAP image: cut, train until it fits, find its cells. Takes several minutes."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from noise_mm.formats.read import read_outlines

# The image states no pixel size; its cells are of about the reference scale.
UM_PER_PX = '0.7784'
CONFIG = """
_base_ = '{base}'
data_root = 'data'
train_batches = ['real']
test_batches = ['real']
split_unit = 'patch'  # there is one well only
max_epochs = 120
val_interval = 40
num_workers = 0
"""


@pytest.fixture
def real_trap(shared_dir: Path) -> Path:
    folder = shared_dir / 'data' / 'real_trap'
    if not folder.is_dir():
        pytest.skip(f'the real TRAP image is not at {folder}')
    return folder


@pytest.mark.real
@pytest.mark.slow
def test_cells_of_a_real_image_are_found(real_trap, repo_dir, tmp_path):
    def run(script, *arguments):
        subprocess.run([sys.executable, str(repo_dir / script), *arguments], cwd=tmp_path, check=True)

    for name in ('wells', 'rois'):
        (tmp_path / name).mkdir()
    shutil.copy(real_trap / 'oc_finder_example.tif', tmp_path / 'wells' / 'real.tif')
    shutil.copy(real_trap / 'oc_finder_example_RoiSet.zip', tmp_path / 'rois' / 'real.zip')
    (tmp_path / 'real.py').write_text(CONFIG.format(base=repo_dir / 'configs/quickstart/yolov8-n-seg.py'))
    cut = ['--wells', 'wells', '--rois', 'rois', '--batch', 'real', '--out', 'data', '--mpp', UM_PER_PX]
    run('data_prep/extract_patches.py', *cut, '--stride', '208', '--keep-empty', '1')
    run('tools/train.py', 'real.py', '--work-dir', 'work')
    run('tools/predict.py', 'real.py', 'work/best.pth', 'wells', '--out', 'found', '--mpp', UM_PER_PX)

    truth = [outline.geometry for outline in read_outlines(real_trap / 'oc_finder_example_RoiSet.zip')]
    found = [outline.geometry for outline in read_outlines(tmp_path / 'found' / 'real.json')]
    ious = np.array([[cell.intersection(other).area / cell.union(other).area for other in truth] for cell in found])
    print(f'IoU of each annotated cell: {np.round(ious.max(axis=0), 2)}; overlay: {tmp_path / "found"}')
    assert len(truth) == 13
    assert (ious.max(axis=0) >= 0.5).sum() >= 10
    assert (ious.max(axis=1) < 0.5).sum() <= 3
