"""Stops a training whose loss is no number any more."""

import torch
from mmdet.engine.hooks import CheckInvalidLossHook
from mmengine.runner import Runner
from mmyolo.registry import HOOKS

from noise_mm.errors import InputError


@HOOKS.register_module()
class FiniteLossHook(CheckInvalidLossHook):
    """MMDetection's `CheckInvalidLossHook` with a message that says what to do; checked every `interval` iterations."""

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Check the loss.

        Raises:
            InputError: If it is infinite or not a number.
        """
        if self.every_n_train_iters(runner, self.interval) and not torch.isfinite(outputs['loss']):
            raise InputError(
                f'the loss is not a number in iteration {runner.iter + 1}. Train without --amp if it was given, '
                'or with a lower learning rate (optim_wrapper.optimizer.lr in --cfg-options).'
            )
