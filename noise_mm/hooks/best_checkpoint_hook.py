"""Checkpoints, the best of which has a fixed name."""

import shutil
from pathlib import Path
from typing import Any

from mmengine.dist import master_only
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner
from mmyolo.registry import HOOKS

from noise_mm.configuration import refuse_references
from noise_mm.files import replacing
from noise_mm.stages import BEST_NAME


@HOOKS.register_module()
class BestCheckpointHook(CheckpointHook):
    """MMEngine's `CheckpointHook`, which also keeps the best checkpoint as `best.pth` in the work folder.

    The parent's name for it contains metric and epoch, so that nothing could refer to it beforehand.
    """

    def __init__(self, *args: Any, save_best: str | list[str] | None = None, **kwargs: Any) -> None:
        # Runners build their hooks first, so this is where one that fills in nothing is refused.
        refuse_references(type(self).__name__, {'save_best': save_best})
        super().__init__(*args, save_best=save_best, **kwargs)

    def before_train(self, runner: Runner) -> None:
        """Validates the epoch that a resumed run goes on from, if it was due for validation.

        The checkpoint of an epoch is written before its validation. Without this, a run that was cut in between, or
        just behind, would never compare that epoch with the best one, and early stopping would not count it.
        """
        super().before_train(runner)
        is_due = runner.epoch % runner.val_interval == 0 or runner.epoch == runner.max_epochs
        if runner._resume and runner.epoch and is_due and runner.val_loop is not None:
            runner.val_loop.run()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float]) -> None:
        """Saves, and renews `best.pth` if this was the best epoch so far."""
        before = self.best_ckpt_path
        super().after_val_epoch(runner, metrics)
        best = Path(runner.work_dir) / BEST_NAME
        if self.best_ckpt_path and (self.best_ckpt_path != before or not best.exists()):
            self._renew(best)

    @master_only
    def _renew(self, best: Path) -> None:
        with replacing(best) as temporary:
            shutil.copyfile(self.best_ckpt_path, temporary)
