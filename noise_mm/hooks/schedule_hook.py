"""Learning rate, momentum and accumulation of YOLOv8, iteration by iteration."""

import numpy as np
from mmengine.hooks import ParamSchedulerHook
from mmengine.runner import IterBasedTrainLoop, Runner
from mmyolo.engine.hooks import yolov5_param_scheduler_hook as mmyolo_schedules
from mmyolo.registry import HOOKS

from noise_mm.errors import InputError

# MMYOLO's optimizer constructor makes three groups of parameters: weights, normalisation, biases.
BIAS_GROUP = 2


@HOOKS.register_module()
class YOLOv8ScheduleHook(ParamSchedulerHook):
    """Warm-up, then a linear or cosine fall to `lr_factor` of the initial learning rate.

    All values are functions of the runner's iteration and epoch, so that a resumed run goes on as it would have, and
    the number of epochs is the runner's, so that the schedule follows when a config or option changes it. MMYOLO's
    `YOLOv5ParamSchedulerHook` has a fixed number of epochs and lowers the rate one epoch later than YOLOv8 does.

    During warm-up the iterations whose gradients are summed rise from 1 to their nominal number.

    A `param_scheduler` of the config takes over: the rates are its own then, and warm-up is what it makes of it.

    Args:
        scheduler_type: 'linear' or 'cosine'.
        lr_factor: Learning rate at the end of the run as a fraction of the initial one.
        warmup_epochs: Length of the warm-up.
        warmup_bias_lr: Learning rate of biases at the first iteration; Ultralytics' `optimizer=auto` takes 0.
        warmup_momentum: SGD's momentum at the first iteration.
        warmup_min_iters: Smallest number of iterations of the warm-up.
    """

    priority = 9  # before RuntimeInfoHook (10), which logs the rates; MMYOLO's hook has the same

    def __init__(
        self,
        scheduler_type: str = 'linear',
        lr_factor: float = 0.01,
        warmup_epochs: float = 3,
        warmup_bias_lr: float = 0.0,
        warmup_momentum: float = 0.8,
        warmup_min_iters: int = 100,
    ) -> None:
        self.make_schedule = mmyolo_schedules.YOLOv5ParamSchedulerHook.scheduler_maps[scheduler_type]
        self.lr_factor = lr_factor
        self.warmup_epochs = warmup_epochs
        self.warmup_bias_lr = warmup_bias_lr
        self.warmup_momentum = warmup_momentum
        self.warmup_min_iters = warmup_min_iters

    def before_train(self, runner: Runner) -> None:
        """Remembers the rates the optimizer was made with; a resumed optimizer brings them along.

        Raises:
            InputError: If the run has no epochs to fall over.
        """
        if isinstance(runner.train_loop, IterBasedTrainLoop) and not getattr(runner, 'param_schedulers', None):
            raise InputError(
                "IterBasedTrainLoop has no epochs, over which YOLOv8's rates fall. Set param_scheduler = "
                "[dict(type='LinearLR', by_epoch=False, ...)]."
            )
        for group in runner.optim_wrapper.optimizer.param_groups:
            group.setdefault('initial_lr', group['lr'])
            if 'momentum' in group:
                group.setdefault('initial_momentum', group['momentum'])

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Sets learning rate, momentum and accumulation of this iteration."""
        iterations = len(runner.train_dataloader)
        runner.optim_wrapper.is_last_of_epoch = batch_idx + 1 == iterations
        if getattr(runner, 'param_schedulers', None):
            runner.optim_wrapper.accumulation = runner.iterations_per_step
            return
        warmup = max(round(self.warmup_epochs * iterations), self.warmup_min_iters) if self.warmup_epochs else 0
        progress = min(runner.iter / warmup, 1) if warmup else 1
        share = self.make_schedule(self.lr_factor, runner.max_epochs)(runner.epoch)
        for i, group in enumerate(runner.optim_wrapper.optimizer.param_groups):
            start = self.warmup_bias_lr if i == BIAS_GROUP else 0.0
            group['lr'] = float(np.interp(progress, [0, 1], [start, group['initial_lr'] * share]))
            if 'momentum' in group:
                group['momentum'] = float(
                    np.interp(progress, [0, 1], [self.warmup_momentum, group['initial_momentum']])
                )
        accumulation = np.interp(progress, [0, 1], [1, runner.iterations_per_step])
        runner.optim_wrapper.accumulation = max(1, round(float(accumulation)))
