"""Nuclei-aware osteoclast instance segmentation (NOISe) on MMDetection and MMYOLO.

`import noise_mm` makes the OpenMMLab packages usable and our classes known to their registries, in this process and
those it starts, whether they are imported before or after. By itself it imports neither torch nor any of them, so that
`noise_mm.formats` and the tools for data preparation start fast and run without them.
"""

from types import ModuleType

from noise_mm.compat import child_processes, import_advice, mmcv_ext, registries, removed_from_python
from noise_mm.compat.on_import import on_import

__version__ = '0.1.0'


def _load_checkpoints_safely(checkpoint: ModuleType) -> None:
    """Imported late, because it needs torch."""
    from noise_mm.compat import checkpoint_loading

    checkpoint_loading.make_mmengine_load_safely(checkpoint)


import_advice.install()
mmcv_ext.install()
removed_from_python.install()
on_import('multiprocessing.process', child_processes.import_in_children)
on_import('mmengine.runner.checkpoint', _load_checkpoints_safely)
on_import('mmyolo.registry', registries.add_packages)
