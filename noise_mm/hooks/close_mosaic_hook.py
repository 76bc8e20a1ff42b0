"""Mosaic is off for the last epochs."""

from mmdet.engine.hooks import PipelineSwitchHook
from mmengine.runner import IterBasedTrainLoop, Runner
from mmyolo.registry import HOOKS

from noise_mm.datasets.patch_datasets import nested_datasets
from noise_mm.datasets.transforms import with_patch_loader
from noise_mm.errors import InputError


@HOOKS.register_module()
class CloseMosaicHook(PipelineSwitchHook):
    """Switches to a pipeline without mosaic for the last `num_last_epochs` epochs.

    MMDetection's hook takes the epoch as a number, which goes stale when the number of epochs changes; this one
    counts from the end of the run. It reaches datasets inside wrappers such as RepeatDataset, too.

    Args:
        num_last_epochs: Epochs without mosaic.
        switch_pipeline: The pipeline of these epochs.
    """

    def __init__(self, num_last_epochs: int, switch_pipeline: list[dict]) -> None:
        super().__init__(switch_epoch=0, switch_pipeline=with_patch_loader(switch_pipeline))
        self.num_last_epochs = num_last_epochs

    def before_train(self, runner: Runner) -> None:
        """Takes the number of epochs from the runner.

        Raises:
            InputError: If it counts iterations.
        """
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            raise InputError(
                'IterBasedTrainLoop has no epochs, with the last of which mosaic ends. Set default_hooks = '
                'dict(close_mosaic=None).'
            )
        self.switch_epoch = runner.max_epochs - self.num_last_epochs

    def before_train_epoch(self, runner: Runner) -> None:
        """Switch, in wrapped datasets as well: the parent sets the pipeline of the outermost only."""
        switched = self._has_switched
        super().before_train_epoch(runner)
        outermost = runner.train_dataloader.dataset
        if self._has_switched and not switched:
            for dataset in nested_datasets(outermost):
                dataset.pipeline = outermost.pipeline
