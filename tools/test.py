"""Scores a checkpoint on the test data of a config."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from noise_mm.command_line import add_config_options, load_run_config, start_processes
from noise_mm.errors import run_command

EXAMPLE = """
example:
  python tools/test.py configs/baseline/yolov8-seg.py work_dirs/yolov8-seg_M5/best.pth --fold M5 --out M5.json
      prints precision, recall and mAP at IoU 0.10 to 0.90 on the held-out batch, and writes them to M5.json
"""


def main() -> None:
    """Reads the options and runs the evaluation."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', type=Path, help='a file of configs/')
    parser.add_argument('checkpoint', type=Path, help='weights, such as best.pth of a training')
    add_config_options(parser)
    parser.add_argument(
        '--out', type=Path, metavar='FILE', help='where the numbers go (metrics.json of the work folder)'
    )
    args = parser.parse_args()

    config = load_run_config(args)
    start_processes(args.launcher)
    from mmengine.dist import is_main_process

    from noise_mm.evaluation.report import table_text
    from noise_mm.files import require_folder, write_json
    from noise_mm.training.run import evaluate

    out = args.out or Path(config.work_dir) / 'metrics.json'
    require_folder(out.parent)
    numbers, report = evaluate(config, args.checkpoint)
    if is_main_process():
        write_json(out, report or numbers, indent=1)
        print(table_text(report) if report else '\n'.join(f'{name}: {value:.4f}' for name, value in numbers.items()))
        print(f'written to {out}')


if __name__ == '__main__':
    run_command(main)
