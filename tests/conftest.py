"""What several test files need: where reference data lie, and nothing else."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

pytest_plugins = ['tests.fixtures.outlines']


@pytest.fixture(scope='session')
def repo_dir() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope='session')
def shared_dir() -> Path:
    """The folder with reference data that are not part of the repository; skips the test where it is missing."""
    folder = Path(os.environ.get('NOISE_MM_SHARED', ROOT.parent / 'shared'))
    if not folder.is_dir():
        pytest.skip(f'reference data not found at {folder}; set NOISE_MM_SHARED to their folder')
    return folder


@pytest.fixture(scope='session')
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of two batches, M1 (3 wells, 6 patches) and M2 (2 wells, 2 patches): dark discs on light ground."""
    import cv2
    import numpy as np

    from noise_mm.coco.batch_folder import image_entry, write_batch

    root = tmp_path_factory.mktemp('tiny_data')
    rng = np.random.default_rng(0)
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    for batch, n_wells, per_well in (('M1', 3, 2), ('M2', 2, 1)):
        (root / batch / 'images').mkdir(parents=True)
        images, annotations = [], []
        for number in range(n_wells * per_well):
            picture = np.full((128, 128, 3), 215, np.uint8)
            name = f'images/w{number // per_well}_{number}_0.png'
            for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
                radius = rng.uniform(12, 24)
                centre = np.array([column, row]) * 64 + rng.uniform(radius, 64 - radius, 2)
                ring = centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
                cv2.fillPoly(picture, [np.round(ring).astype(np.int32)], (140, 60, 120))
                box = [*ring.min(0), *(ring.max(0) - ring.min(0))]
                annotations.append(
                    dict(id=len(annotations) + 1, image_id=number + 1, category_id=1, iscrowd=0)
                    | dict(
                        segmentation=[ring.ravel().tolist()],
                        bbox=[float(v) for v in box],
                        area=float(np.pi * radius**2),
                    )
                )
            cv2.imwrite(str(root / batch / name), picture)
            place = dict(batch=batch, well=f'w{number // per_well}', x=0, y=128 * number, mpp=0.7784)
            images.append(image_entry(number + 1, name, 128, 128, **place))
        wells = [dict(well=f'w{i}', width=128, height=128, mpp=0.7784, source='drawn') for i in range(n_wells)]
        write_batch(root / batch, images, annotations, wells)
    return root


@pytest.fixture(scope='session')
def tiny_config(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config of the nano network on `tiny_data`, small enough for a few seconds an epoch."""
    path = tmp_path_factory.mktemp('tiny_config') / 'tiny.py'
    path.write_text(
        f"_base_ = '{ROOT / 'configs/baseline/yolov8-seg.py'}'\n"
        f"model_size = 'n'\ndata_root = '{tiny_data}'\ntrain_batches = ['M1']\ntest_batches = ['M2']\n"
        'network_size_px = 64\nbatch_size = 2\nnum_workers = 0\nmax_epochs = 2\nnominal_batch_size = 2\n'
        'hooks = dict(close_mosaic=dict(num_last_epochs=1))\n'
    )
    return path
