"""Networks and files for the tests of checkpoints."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

import noise_mm.register  # noqa: F401
from noise_mm.checkpoints.checkpoint_keys import ours_to_ultralytics
from noise_mm.configuration import load_config


@pytest.fixture(scope='session')
def network(repo_dir: Path) -> Callable:
    """`network(size, classes, masks)` -> a network of this project as its configs describe it."""
    from mmyolo.registry import MODELS
    from mmyolo.utils import register_all_modules

    register_all_modules()

    def make(size: str = 'n', classes: tuple[str, ...] = ('osteoclast',), masks: bool = True) -> torch.nn.Module:
        config = repo_dir / 'configs/_base_' / f'model_yolov8_{"seg" if masks else "det"}.py'
        return MODELS.build(load_config(config, {'model_size': size, 'classes': classes}).model)

    return make


@pytest.fixture(scope='session')
def weights(network: Callable) -> Callable:
    """`weights(...)` -> random weights of `network(...)` under Ultralytics' names, exact in half precision."""

    def make(**settings) -> dict[str, torch.Tensor]:
        state_dict = ours_to_ultralytics(network(**settings).state_dict())
        return {
            name: value.half().float() if value.is_floating_point() else value for name, value in state_dict.items()
        }

    return make


@pytest.fixture(scope='session')
def reference_shapes(shared_dir: Path) -> Callable:
    """`reference_shapes(file)` -> the shape of each tensor of a genuine model, by Ultralytics' name."""

    def read(file: str) -> dict[str, tuple[int, ...]]:
        shapes = json.loads((shared_dir / 'parity' / file).read_text())
        return {name: tuple(shape) for name, shape in shapes.items() if name != '_meta'}

    return read


@pytest.fixture(scope='session')
def recipe(shared_dir: Path) -> ModuleType:
    """The module that makes the reference weights from names and shapes."""
    spec = importlib.util.spec_from_file_location('recipe', shared_dir / 'parity/recipe.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
