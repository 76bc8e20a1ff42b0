"""Mosaic is off for the last epochs."""

from mmdet.engine.hooks import PipelineSwitchHook
from mmengine.runner import Runner
from mmyolo.registry import HOOKS


@HOOKS.register_module()
class CloseMosaicHook(PipelineSwitchHook):
    """Switches to a pipeline without mosaic for the last `num_last_epochs` epochs.

    MMDetection's hook takes the epoch as a number, which goes stale when the number of epochs changes; this one
    counts from the end of the run.

    Args:
        num_last_epochs: Epochs without mosaic.
        switch_pipeline: The pipeline of these epochs.
    """

    def __init__(self, num_last_epochs: int, switch_pipeline: list[dict]) -> None:
        super().__init__(switch_epoch=0, switch_pipeline=switch_pipeline)
        self.num_last_epochs = num_last_epochs

    def before_train(self, runner: Runner) -> None:
        """Takes the number of epochs from the runner."""
        self.switch_epoch = runner.max_epochs - self.num_last_epochs
