"""The paper's tables from metrics.json files: folds with average and standard deviation, and configurations."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from noise_mm.errors import InputError, run_command
from noise_mm.files import read_json, write_text

if TYPE_CHECKING:
    from noise_mm.evaluation.tables import Run

METRICS_FILE = 'metrics.json'


def main() -> None:
    """Finds the files, makes the tables and prints or writes them."""
    options = parse_options()
    from noise_mm.evaluation.table_formats import render
    from noise_mm.evaluation.tables import Run, make_tables

    runs = [Run.of_file(path, read_json(path)) for path in find_metrics(options.work_dirs)]
    runs = with_scores(runs, options.kind, named={str(path) for path in options.work_dirs})
    text = render(make_tables(runs, options.kind, options.with_paper, options.allow_seen), options.format)
    if options.out is None:
        print(text, end='')
    else:
        write_text(options.out, text)
        print(f'{options.out}: tables of {len(runs)} runs')


def with_scores(runs: list['Run'], kind: str, named: set[str]) -> list['Run']:
    """The runs that have such scores or were named themselves; of others, such as detectors of stage 1, it is said."""
    shown = [run for run in runs if kind in run.report or run.source in named]
    for run in runs:
        if shown and run not in shown:
            print(f'note: {run.source}: has no {kind} scores and is left out.', file=sys.stderr)
    return shown or runs


def find_metrics(work_dirs: list[Path]) -> list[Path]:
    """The metrics.json files in and below some folders, each once; files that are named themselves included.

    Raises:
        InputError: If a folder does not exist or has none.
    """
    found: dict[Path, Path] = {}
    for work_dir in work_dirs:
        if not work_dir.exists():
            raise InputError(f'{work_dir}: no such file or folder. Check the path.')
        paths = sorted(work_dir.rglob(METRICS_FILE)) if work_dir.is_dir() else [work_dir]
        if not paths:
            raise InputError(f'{work_dir}: has no {METRICS_FILE}. Write one with tools/test.py --out.')
        found.update({path.resolve(): path for path in paths})
    return list(found.values())


def parse_options() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description='Prints the tables of the NOISe paper from the metrics.json files that tools/test.py writes: for '
        'each configuration its folds with average and sample standard deviation (Table 2), and all configurations '
        '(Table 3).',
        epilog='example: python tools/summarize.py work_dirs --with-paper --format latex --out tables.tex',
    )
    parser.add_argument('work_dirs', nargs='+', type=Path, metavar='WORK_DIR', help='folders with metrics.json below')
    parser.add_argument('--format', choices=('md', 'latex', 'csv'), default='md', help='default: md (Markdown)')
    parser.add_argument('--kind', choices=('segm', 'bbox'), default='segm', help='masks (default) or boxes')
    parser.add_argument('--with-paper', action='store_true', help="put the paper's numbers below ours")
    parser.add_argument(
        '--allow-seen', action='store_true', help='show runs whose test data were seen in training; rows are marked'
    )
    parser.add_argument('--out', type=Path, metavar='FILE', help='write to this file instead of printing')
    return parser.parse_args()


if __name__ == '__main__':
    run_command(main)
