"""Hooks into the import of other packages, so that `import noise_mm` need not import them itself.

`on_import` runs a function once a module has been imported; `translate_import_error` replaces the exception with
which its import fails. Both serve modules that have not been imported yet and may never be.

How it works: one finder stands first in `sys.meta_path`. For the watched names only, it asks the finders behind it and
wraps the loader they return. The wrapper hands everything on to the real loader, puts the real loader back before the
module's code runs, and calls what was registered when that code has finished. Namespace packages have no code and
can't be watched.
"""

import sys
import threading
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

Callback = Callable[[ModuleType], None]
# Takes the exception of a failed import, gives the one to raise in its place, or None to leave it as it is.
Translate = Callable[[Exception], Exception | None]

# The exceptions with which imports of compiled or version-checking packages fail.
_IMPORT_FAILURES = (ImportError, AssertionError, AttributeError, OSError, RuntimeError)

_lock = threading.RLock()
_callbacks: dict[str, list[Callback]] = {}
_translations: dict[str, Translate] = {}
# Modules that were in the middle of their import when they were first watched: too late to wrap their loader.
_half_imported: set[str] = set()


def on_import(module_name: str, callback: Callback) -> None:
    """Calls `callback(module)` once: now if the module is imported already, otherwise right after its import.

    A module that is just being imported (by another thread, or further up the call stack) is waited for: its callback
    runs at the first import of any other module after it is complete. A callback that raises makes the import fail
    with its exception and is called again at the next attempt; so is one whose module failed by itself. Reloading a
    module does not call it again.

    Args:
        module_name: Absolute name, such as `mmengine.runner.checkpoint`.
        callback: Gets the imported module.
    """
    with _lock:
        _watch()
        _callbacks.setdefault(module_name, []).append(callback)
        if module_name in sys.modules:
            _half_imported.add(module_name)
    _call_back_completed()


def translate_import_error(module_name: str, translate: Translate) -> None:
    """Lets `translate` replace the exception with which the import of a module fails, also when it is not installed.

    Args:
        module_name: Absolute name, such as `cv2`. A second call for the same module replaces the first.
        translate: Gets the exception; for a module that can't be found, a `ModuleNotFoundError`. Returns the one to
            raise from it, or None.
    """
    with _lock:
        _watch()
        _translations[module_name] = translate


def _watch() -> None:
    """Puts the finder first in `sys.meta_path`, unless it is somewhere in it."""
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


def _is_complete(module: ModuleType | None) -> bool:
    """Whether a module's code has run to its end."""
    return module is not None and not getattr(getattr(module, '__spec__', None), '_initializing', False)


def _call_back_completed() -> None:
    """Calls the callbacks of the modules that were half imported and now are complete."""
    with _lock:
        names = list(_half_imported)
    for name in names:
        module = sys.modules.get(name)
        if _is_complete(module):
            _call_back(name, module)
        elif module is None:  # its import failed, so the next one will pass by the finder
            _half_imported.discard(name)


def _call_back(name: str, module: ModuleType) -> None:
    """Calls what waits for a module, each callback once; one that raises stays registered.

    The lock is not held during a callback: it may import, and so wait for a thread that waits for this lock.
    """
    while True:
        with _lock:
            waiting = _callbacks.get(name)
            if not waiting:
                _callbacks.pop(name, None)
                _half_imported.discard(name)
                return
            callback = waiting.pop(0)
        try:
            callback(module)
        except BaseException:
            with _lock:
                _callbacks.setdefault(name, []).insert(0, callback)
            raise


class _WatchingFinder:
    """Finds what the other finders find, and wraps the loaders of the watched modules."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The other finders' spec of a watched module with its loader wrapped; None for any other module."""
        if _half_imported:
            _call_back_completed()
        if fullname not in _callbacks and fullname not in _translations:
            return None
        spec = _find_by_others(fullname, path, target)
        if spec is None:
            _raise_translated(fullname, ModuleNotFoundError(f'No module named {fullname!r}', name=fullname))
        elif hasattr(spec.loader, 'exec_module'):
            spec.loader = _WatchingLoader(spec.loader)
        return spec


_finder = _WatchingFinder()


def _find_by_others(fullname: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
    """What the first of the other finders says about a module."""
    for finder in list(sys.meta_path):
        if finder is _finder or not hasattr(finder, 'find_spec'):
            continue
        spec = finder.find_spec(fullname, path, target)
        if spec is not None:
            return spec
    return None


def _raise_translated(fullname: str, error: Exception) -> None:
    """Raises the translation of an import's error, or returns if there is none."""
    translate = _translations.get(fullname)
    translated = translate(error) if translate is not None else None
    if translated is not None:
        raise translated from error


class _WatchingLoader:
    """Loads a module by its real loader and then calls what waits for it."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        """Everything else a loader may offer (`get_code`, `get_resource_reader`, `path`, ...) is the real loader's."""
        if name == '_loader':  # a copy that has not been filled yet
            raise AttributeError(name)
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """The real loader's module, or None for Python's own way of making one."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Runs the module's code under its real loader, then the callbacks."""
        name = module.__name__
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        try:
            self._loader.exec_module(module)
        except _IMPORT_FAILURES as error:
            _raise_translated(name, error)
            raise
        # A module may have put another object in its place.
        _call_back(name, sys.modules.get(name, module))
