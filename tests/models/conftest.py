"""Networks and reference arrays for the tests of the models."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import noise_mm.register  # noqa: F401
from noise_mm.checkpoints.checkpoint_keys import ultralytics_to_ours
from noise_mm.configuration import load_config

SEED = 20240410


@pytest.fixture(scope='session')
def build(repo_dir: Path) -> Callable:
    """`build(size, classes, seg)` -> a network of this project, in evaluation mode."""
    from mmyolo.registry import MODELS
    from mmyolo.utils import register_all_modules

    register_all_modules()

    def make(
        size: str = 'n', classes: tuple[str, ...] = ('osteoclast',), seg: bool = True, **test_cfg
    ) -> torch.nn.Module:
        name = 'model_yolov8_seg.py' if seg else 'model_yolov8_det.py'
        config = load_config(repo_dir / 'configs/_base_' / name, {'model_size': size, 'classes': classes})
        config.model.test_cfg.update(test_cfg)
        return MODELS.build(config.model).eval()

    return make


@pytest.fixture(scope='session')
def parity_dir(shared_dir: Path) -> Path:
    """Folder of the arrays made with Ultralytics."""
    return shared_dir / 'parity'


@pytest.fixture(scope='session')
def recipe_weights(parity_dir: Path) -> Callable:
    """`recipe_weights(shapes_file)` -> the reference weights under this project's names."""
    spec = importlib.util.spec_from_file_location('recipe', parity_dir / 'recipe.py')
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)

    def make(shapes_file: str) -> dict[str, torch.Tensor]:
        shapes = json.loads((parity_dir / shapes_file).read_text())
        weights = recipe.fill(shapes, SEED)
        assert recipe.digest(weights) == shapes['_meta']['sha256_of_recipe_weights']
        return ultralytics_to_ours({name: torch.from_numpy(np.asarray(value)) for name, value in weights.items()})

    return make


@pytest.fixture(scope='session')
def arrays(parity_dir: Path) -> Callable:
    """`arrays(name)` -> the arrays of one reference file."""
    return lambda name: np.load(parity_dir / name)


@pytest.fixture(scope='session')
def network_input() -> torch.Tensor:
    """The (2, 3, 256, 256) input of most reference arrays."""
    return torch.from_numpy(np.random.default_rng(SEED).random((2, 3, 256, 256)).astype(np.float32))
