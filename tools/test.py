"""Scores a checkpoint, or the results of any other tool, on the test data of a config."""

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from noise_mm.command_line import add_allow_seen_option, add_config_options, load_run_config
from noise_mm.distributed import joined
from noise_mm.errors import InputError, run_command

if TYPE_CHECKING:
    from mmengine.config import Config

EXAMPLE = """
examples:
  python tools/test.py configs/baseline/yolov8-seg.py work_dirs/yolov8-seg_M5/best.pth --fold M5 --out M5.json
      prints precision, recall and mAP at IoU 0.10 to 0.90 on the held-out batch; writes them to M5.json, and
      precision-recall and F1-confidence curves to M5_curves/
  python tools/test.py configs/baseline/yolov8-seg.py --fold M5 --results cellpose/M5.json --name Cellpose
      the same numbers for what another tool found: COCO results, a list of {image_id, category_id, score,
      segmentation}, with the ids of data/osteoclast/M5/annotations.json; written to
      work_dirs/yolov8-seg_M5/Cellpose/metrics.json, from where tools/summarize.py puts them into its table
"""


def main() -> None:
    """Read the options and runs the evaluation."""
    args = parse_options()
    if (args.checkpoint is None) == (args.results is None):
        raise InputError('what to score: give either a checkpoint or --results, not both and not neither.')
    if args.results is not None and args.launcher != 'none':
        raise InputError('--launcher: is of no use with --results, which are files already. Leave it out.')
    with joined(args.launcher) as processes:
        config = load_run_config(args)
        processes.connect(config)
        score(args, config)


def score(args: argparse.Namespace, config: 'Config') -> None:
    """Score a checkpoint or the results of another tool."""
    if 'test_batches' in config and not config.test_batches:
        raise InputError(
            f'{args.config}: is cross-validated. Say which batch was held out, with --fold '
            f'{" or ".join(config.get("train_batches", ()))}.'
        )
    if args.results is not None:
        score_results_files(args, config)
    else:
        score_checkpoint(args, config)


def score_checkpoint(args: argparse.Namespace, config: 'Config') -> None:
    """Run the network on the test data, in one process or in several."""
    from mmengine.dist import is_main_process

    from noise_mm.evaluation.configured_test import add_outputs
    from noise_mm.evaluation.report import METRICS_FILE, curves_folder
    from noise_mm.files import require_folder
    from noise_mm.training.run import evaluate

    if args.name is not None:
        config.method = args.name
    out = args.out or Path(config.work_dir) / METRICS_FILE
    require_folder(out.parent)
    add_outputs(config, curves_folder(out), args.save_results)
    numbers, report = evaluate(config, args.checkpoint, args.allow_seen)
    if is_main_process():
        write_and_print(out, report, numbers)


def score_results_files(args: argparse.Namespace, config: 'Config') -> None:
    """Score COCO results on the same patches, without a network."""
    if args.save_results:
        raise InputError('--save-results: is of no use with --results, which are files already. Leave it out.')
    if args.name is None:
        raise InputError('--results: say whose they are, as the tables will show it, e.g. --name Cellpose.')
    from noise_mm.evaluation.configured_test import score_results
    from noise_mm.evaluation.curves import draw_curves
    from noise_mm.evaluation.report import METRICS_FILE, curves_folder, make_report
    from noise_mm.files import require_folder
    from noise_mm.seen_batches import MARK, batches_of, seen_by_config, seen_in_test

    tested = batches_of(config, 'test_dataloader')
    seen = seen_in_test(tested, seen_by_config(config), str(args.config), args.allow_seen)
    out = args.out or Path(config.work_dir) / re.sub(r'[^A-Za-z0-9_.-]+', '_', args.name) / METRICS_FILE
    require_folder(out.parent)
    evaluation = score_results(config, args.results, args.allow_seen)
    seen = list(dict.fromkeys([*seen, *evaluation.seen_in_training]))
    run = {
        **{key: config.get(key) for key in ('fold', 'protocol')},
        'config': config.filename,
        'method': args.name,
        'results': [str(file) for file in args.results],
        'seen_in_training': seen or None,  # what the other tool has seen is not known
    }
    report = make_report(evaluation, run=run)
    draw_curves(evaluation, curves_folder(out), MARK if seen else '')
    write_and_print(out, report, {})


def write_and_print(out: Path, report: dict | None, numbers: dict[str, float]) -> None:
    """Write the report, or the bare numbers of a config with another metric, and prints them."""
    from noise_mm.evaluation.report import curves_folder, table_text
    from noise_mm.files import write_json

    write_json(out, report or numbers, indent=1)
    if report is None:
        print('\n'.join(f'{name}: {value:.4f}' for name, value in numbers.items()))
    elif not numbers:  # else the metric has printed them
        print(table_text(report))
    print(f'written to {out}' + (f', curves to {curves_folder(out)}' if curves_folder(out).is_dir() else ''))


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', type=Path, help='a file of configs/')
    parser.add_argument('checkpoint', type=Path, nargs='?', help='weights, such as best.pth of a training')
    add_config_options(parser)
    add_allow_seen_option(parser)
    parser.add_argument(
        '--results',
        type=Path,
        nargs='+',
        metavar='FILE',
        help='instead of a checkpoint: COCO results, one file for each test batch (called <batch>.json, or given in '
        'the order of test_batches), or one for all if their image ids differ. A tool without confidences gives all '
        'results the score 1; one that gives boxes only needs --cfg-options test_evaluator.metric=bbox',
    )
    parser.add_argument('--name', help="the method's name in the tables (default: the config's `method`)")
    parser.add_argument(
        '--out',
        type=Path,
        metavar='FILE',
        help='where the numbers go (metrics.json of the work folder; with --results, in its subfolder of that name); '
        'curves go beside it, to FILE without its suffix + _curves/',
    )
    parser.add_argument(
        '--save-results', type=Path, metavar='DIR', help='also write what was found: DIR/<batch>.json, for --results'
    )
    return parser.parse_args()


if __name__ == '__main__':
    run_command(main)
