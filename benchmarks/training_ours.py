"""Trains this project for some iterations and prints their times; `training.py` runs it.

The last line of its output is a JSON object.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from timing import Finished, IterationClock

CONFIG = Path(__file__).resolve().parents[1] / 'configs/baseline/yolov8-seg.py'


def main() -> None:
    """Read the settings from the only argument, a JSON object, and train."""
    settings = json.loads(sys.argv[1])
    import torch
    from mmengine.hooks import Hook
    from mmengine.runner import Runner
    from mmyolo.registry import HOOKS, RUNNERS

    from noise_mm.configuration import load_config
    from noise_mm.training.run import set_mixed_precision

    torch.set_num_threads(settings['threads'])
    synchronise = torch.cuda.synchronize if settings['device'] == 'cuda' else None
    clock = IterationClock(settings['warm_up'], settings['iterations'], synchronise)

    @HOOKS.register_module()
    class ClockBegins(Hook):
        """Notes when a batch is there."""

        priority = 0

        def before_train(self, runner: Runner) -> None:
            model, wrapper = runner.model, runner.optim_wrapper
            clock.time_method(model, 'extract_feat', 'forward')
            clock.time_method(model.bbox_head.head_module, 'forward', 'forward')
            clock.time_method(model.bbox_head, 'loss_by_feat', 'loss')
            clock.time_method(wrapper, 'backward', 'backward')
            clock.time_method(wrapper, 'step', 'optimizer and EMA')
            (ema,) = (hook for hook in runner.hooks if type(hook).__name__ == 'StepEMAHook')
            clock.time_method(ema, 'after_train_iter', 'optimizer and EMA')

        def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
            clock.batch_arrived()

    @HOOKS.register_module()
    class ClockEnds(Hook):
        """Notes when an iteration is done."""

        priority = 100

        def after_train_iter(self, *args: object, **kwargs: object) -> None:
            clock.iteration_ended()

    config = load_config(
        CONFIG,
        {
            'model_size': settings['size'],
            'data_root': settings['data_root'],
            'train_batches': settings['batches'],
            'test_batches': [],
            'split_unit': 'patch',
            'network_size_px': settings['network_size_px'],
            'batch_size': settings['batch_size'],
            'num_workers': settings['workers'],
            'cache': settings['cache'],
            'max_epochs': settings['epochs'],
            'val_interval': settings['epochs'],
            'init_from': [],
            'default_hooks.checkpoint.interval': settings['epochs'],
            'default_hooks.clock_begins': {'type': 'ClockBegins'},
            'default_hooks.clock_ends': {'type': 'ClockEnds'},
        },
    )
    config.work_dir = settings['folder']
    if settings['amp']:
        set_mixed_precision(config)
    runner = RUNNERS.get(config.runner_type).from_cfg(config)
    try:
        runner.train()
    except Finished:
        print('\n' + json.dumps(clock.report(settings['batch_size'])))


if __name__ == '__main__':
    main()
