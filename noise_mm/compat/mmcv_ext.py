"""Puts a stand-in for `mmcv._ext` in place where it is missing: in mmcv-lite, which leaves out MMCV's compiled ops."""

import importlib.util
import sys
from importlib.machinery import PathFinder
from pathlib import Path

NAME = 'mmcv._ext'
_STAND_IN = Path(__file__).with_name('mmcv_ext_stand_in.py')


def provide_mmcv_ext() -> None:
    """Make `import mmcv.ops` work from here on; imports neither MMCV nor torch.

    The compiled module of the full mmcv 2.0.x is left to be imported. MMEngine takes `mmcv.ops` for usable if the
    module has a spec with a loader, so the stand-in gets one.
    """
    mmcv = importlib.util.find_spec('mmcv')
    if NAME in sys.modules or mmcv is None or PathFinder.find_spec(NAME, mmcv.submodule_search_locations):
        return
    spec = importlib.util.spec_from_file_location(NAME, _STAND_IN)
    sys.modules[NAME] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[NAME])
