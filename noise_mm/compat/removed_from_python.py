"""What MMEngine and MMCV still use and Python has removed."""

import importlib.util
import pkgutil
from types import ModuleType, SimpleNamespace
from typing import Any

from noise_mm.compat.on_import import on_import


def install() -> None:
    """Gives `pkgutil.find_loader`, removed in Python 3.14, to the two modules that call it.

    MMEngine asks for `mmcv._ext` with it whenever it builds an optimizer.
    """
    if not hasattr(pkgutil, 'find_loader'):
        for user in ('mmengine.utils.dl_utils.misc', 'mmcv.utils.ext_loader'):
            on_import(user, give_find_loader)


def give_find_loader(module: ModuleType) -> None:
    """Replaces the name `pkgutil` inside one module; the standard library stays as it is."""
    module.pkgutil = SimpleNamespace(find_loader=find_loader)


def find_loader(name: str) -> Any:
    """The loader of a module, or None if there is no such module."""
    spec = importlib.util.find_spec(name)
    return None if spec is None else spec.loader
