"""Random numbers that a resumed run draws as the whole one would have."""

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmyolo.registry import HOOKS


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Seeds the samples of each epoch by the run's seed and the epoch.

    MMEngine seeds once, when a process starts, so that a resumed run repeats the augmentation of its first epochs.
    """

    def before_train_epoch(self, runner: Runner) -> None:
        """Seeds torch in this process, and the samples in all processes that load them."""
        torch.manual_seed(runner.seed + runner.epoch * runner.world_size + runner.rank)
        dataset = runner.train_dataloader.dataset
        if hasattr(dataset, 'begin_epoch'):
            dataset.begin_epoch(runner.seed, runner.epoch)
