"""Trains a network from a config."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from noise_mm.command_line import add_allow_seen_option, add_config_options, load_run_config
from noise_mm.distributed import joined
from noise_mm.errors import InputError, run_command

EXAMPLE = """
example:
  python tools/train.py configs/baseline/yolov8-seg.py --fold M5 --amp
      trains on all batches of the config but M5; log, config and checkpoints go to work_dirs/yolov8-seg_M5,
      the best checkpoint is best.pth there
  python tools/train.py configs/baseline/yolov8-seg.py --fold M5 --amp --resume
      goes on where a stopped run was
  python tools/train.py configs/noise/nuclei_detector_yolov8-l.py --fold M5
  python tools/train.py configs/noise/pretrain_osteoclast-nuclei_yolov8-l.py --fold M5
  python tools/train.py configs/noise/noise_m2m.py --fold M5
      the three stages of NOISe; each finds the best checkpoint of the one before in the folder beside its own
"""


def main() -> None:
    """Reads the options and runs the training."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', type=Path, help='a file of configs/')
    add_config_options(parser)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from the last checkpoint of the work folder, or from this one',
    )
    parser.add_argument(
        '--init',
        nargs='+',
        metavar='CHECKPOINT',
        help="start from these instead of the config's init_from; of several, later ones win where they fit",
    )
    parser.add_argument('--amp', action='store_true', help='train in mixed precision (GPU, or CPU with bfloat16)')
    parser.add_argument(
        '--auto-scale-lr', action='store_true', help='scale the learning rate with the images per step (64 is 1)'
    )
    add_allow_seen_option(parser)
    args = parser.parse_args()
    if args.init and args.resume:
        raise InputError('--init: a resumed run has its weights already. Leave out --init or --resume.')

    with joined(args.launcher) as processes:
        config = load_run_config(args)
        processes.connect(config)
        from noise_mm.stages import can_resume, initial_checkpoints

        if not args.resume or (args.resume == 'auto' and not can_resume(config.work_dir)):
            config.init_checkpoints = initial_checkpoints(config, args.init)
            config.init_from = args.init or config.get('init_from')
        from noise_mm.training.run import train

        train(config, resume=args.resume, amp=args.amp, auto_scale_lr=args.auto_scale_lr, allow_seen=args.allow_seen)


if __name__ == '__main__':
    run_command(main)
