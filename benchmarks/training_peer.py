"""Trains Ultralytics for some iterations and prints their times; `training.py` runs it with the peer's own Python.

It imports nothing of this project but the timer. The last line of its output is a JSON object.
"""

import json
import sys

from timing import Finished, IterationClock


def main() -> None:
    """Read the settings from the only argument, a JSON object, and train."""
    settings = json.loads(sys.argv[1])
    import torch
    from ultralytics.models.yolo.segment import SegmentationTrainer

    synchronise = torch.cuda.synchronize if settings['device'] == 'cuda' else None
    clock = IterationClock(settings['warm_up'], settings['iterations'], synchronise)
    trainer = SegmentationTrainer(
        overrides={
            'model': f'yolov8{settings["size"]}-seg.yaml',
            'data': settings['data'],
            'project': settings['folder'],
            'imgsz': settings['network_size_px'],
            'batch': settings['batch_size'],
            'workers': settings['workers'],
            'cache': 'ram' if settings['cache'] == 'ram' else False,
            'epochs': settings['epochs'],
            'device': 'cpu' if settings['device'] == 'cpu' else 0,
            'amp': settings['amp'],
            'deterministic': False,  # as ours
            'val': False,
            'plots': False,
            'save': False,
            'verbose': False,
        }
    )

    def prepare(trainer: SegmentationTrainer) -> None:
        if settings['threads']:
            torch.set_num_threads(settings['threads'])  # left alone, it takes one less than there are cores
        clock.time_method(trainer.model, 'loss', 'loss')
        clock.time_method(trainer.model, 'predict', 'forward')
        clock.time_method(torch.Tensor, 'backward', 'backward')
        clock.time_method(trainer, 'optimizer_step', 'optimizer and EMA')

    trainer.add_callback('on_train_start', prepare)
    trainer.add_callback('on_train_batch_start', lambda _: clock.batch_arrived())
    trainer.add_callback('on_train_batch_end', lambda _: clock.iteration_ended())
    try:
        trainer.train()
    except Finished:
        print('\n' + json.dumps(clock.report(settings['batch_size'])))


if __name__ == '__main__':
    main()
