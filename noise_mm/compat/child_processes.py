"""Makes spawned processes import noise_mm before they unpickle what they are to work on.

A forked process inherits everything. A spawned one (`torch.multiprocessing.spawn`, a DataLoader with
`multiprocessing_context='spawn'`, the forkserver of Python >= 3.14) starts empty, and unpickling an MMYOLO dataset
imports `mmcv.ops`, which needs the stand-in of `mmcv_ext`. That the parent's main module imports noise_mm is not
enough: notebooks, `python -c` and pytest have no main module which children could import.

How it works: every process object carries a copy of its parent's configuration, a dictionary that is pickled before the
target and its arguments. A function of noise_mm put into it is pickled by its name, and unpickling it imports noise_mm.
"""

from types import ModuleType


def import_in_children(process: ModuleType) -> None:
    """From here on, processes that this one and its descendants spawn import noise_mm first.

    Args:
        process: The module `multiprocessing.process`.
    """
    process.current_process()._config['noise_mm'] = import_in_children
