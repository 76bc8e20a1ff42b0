"""What several test files need: where reference data lie, and nothing else."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


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
