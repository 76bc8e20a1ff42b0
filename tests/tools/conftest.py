"""Loads the command lines of tools/, which are scripts beside each other and no package."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def load_tool(repo_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Gives a function that loads tools/NAME.py anew, under its own name for those that are loaded after it."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, repo_dir / 'tools' / f'{name}.py')
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load
