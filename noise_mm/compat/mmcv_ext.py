"""Makes `mmcv._ext` importable where it is missing: in mmcv-lite, which leaves out MMCV's compiled ops.

The full mmcv 2.0.x brings a compiled `mmcv._ext`. It is found by Python's own finders and used untouched, because ours
stands last. Otherwise the name leads to `mmcv_ext_stand_in.py`.
"""

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

NAME = 'mmcv._ext'
_STAND_IN = Path(__file__).with_name('mmcv_ext_stand_in.py')


class _StandInFinder:
    """Finds the stand-in under the name `mmcv._ext`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A spec with a file and a source loader: MMEngine takes `mmcv.ops` for usable if there is one."""
        return importlib.util.spec_from_file_location(NAME, _STAND_IN) if fullname == NAME else None


_finder = _StandInFinder()


def install() -> None:
    """Makes `import mmcv.ops` work from here on, whatever came before; a second call changes nothing.

    A `mmcv._ext` without a file is a stand-in that somebody else put into `sys.modules`. Its `nms` may do anything, so
    it is taken out and, where `mmcv.ops` already uses it, replaced there too, with a warning.
    """
    if _finder not in sys.meta_path:
        sys.meta_path.append(_finder)
    present = sys.modules.get(NAME)
    # A careless stand-in answers any name with a function, `__file__` included.
    if present is None or isinstance(getattr(present, '__file__', None), str):
        return
    warnings.warn(
        f'{NAME} was a stand-in without a file, put in place before noise_mm was imported. noise_mm uses its own '
        'stand-in, or the compiled module of the full mmcv, in its place.',
        stacklevel=2,
    )
    del sys.modules[NAME]
    _replace_in_mmcv_ops(present)


def _replace_in_mmcv_ops(foreign: ModuleType) -> None:
    """Gives the modules of `mmcv.ops` that were bound to `foreign` the module that is found under its name now."""
    users = [
        module
        for name, module in list(sys.modules.items())
        if name.startswith('mmcv.ops') and getattr(module, 'ext_module', None) is foreign
    ]
    if users:
        found = importlib.import_module(NAME)
        for module in users:
            module.ext_module = found
