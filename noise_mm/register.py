"""Registers the classes of this project with MMYOLO, and makes MMEngine use its runner and load checkpoints safely.

Every config names this module in `custom_imports`. Code that uses no config of this project says
`import noise_mm.register`.
"""

import multiprocessing
import sys
import warnings

from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner, checkpoint

import noise_mm.coco.results_writer
import noise_mm.datasets
import noise_mm.evaluation.osteoclast_metric
import noise_mm.evaluation.seen_mark
import noise_mm.hooks
import noise_mm.models
import noise_mm.training  # noqa: F401
from noise_mm.compat.checkpoint_loading import make_mmengine_load_safely
from noise_mm.compat.library_logs import quiet_libraries
from noise_mm.compat.mmcv_ext import provide_mmcv_ext
from noise_mm.training.runner import YOLOv8Runner


def hide_unfit_torchvision() -> None:
    """Make a torchvision that was built for another torch count as not installed.

    Its import fails with other errors than the ModuleNotFoundError that MMEngine expects when it lists the versions of
    the environment, so no training would start.
    """
    try:
        import torchvision  # noqa: F401
    except ModuleNotFoundError:
        pass
    except (ImportError, RuntimeError, AttributeError, OSError) as error:
        sys.modules['torchvision'] = None
        warnings.warn(f'torchvision does not fit the installed torch ({error}); it is not used.', stacklevel=2)


def follow_runner_type() -> None:
    """Make `Runner.from_cfg` build what `RUNNERS.build` does where a config's `runner_type` is this project's."""
    from_cfg = Runner.from_cfg.__func__

    def from_cfg_of_its_type(cls: type[Runner], cfg: Config | ConfigDict) -> Runner:
        is_ours = cls is Runner and cfg.get('runner_type') == YOLOv8Runner.__name__
        return YOLOv8Runner.from_cfg(cfg) if is_ours else from_cfg(cls, cfg)

    Runner.from_cfg = classmethod(from_cfg_of_its_type)


hide_unfit_torchvision()
follow_runner_type()
quiet_libraries()
make_mmengine_load_safely(checkpoint)
# Spawned processes (Windows, macOS) unpickle this by its name before the dataset they work on, which may be a class of
# MMDetection's; so they import noise_mm first, too.
multiprocessing.current_process()._config['noise_mm'] = provide_mmcv_ext
