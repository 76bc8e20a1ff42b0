"""Early stopping that a resumed run goes on with."""

from mmengine.hooks import EarlyStoppingHook
from mmengine.runner import Runner
from mmyolo.registry import HOOKS


@HOOKS.register_module()
class ResumableEarlyStoppingHook(EarlyStoppingHook):
    """MMEngine's `EarlyStoppingHook`, whose count is kept in the checkpoint.

    The parent starts to wait anew when a run is resumed. `patience` counts validations without improvement.
    """

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Stores what has been seen so far."""
        checkpoint['early_stopping'] = {'wait_count': self.wait_count, 'best_score': float(self.best_score)}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Goes on from there, if the run is resumed and not only started from these weights."""
        if runner._resume and 'early_stopping' in checkpoint:
            self.wait_count = checkpoint['early_stopping']['wait_count']
            self.best_score = checkpoint['early_stopping']['best_score']
