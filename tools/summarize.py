"""The paper's tables from metrics.json files: folds with average and standard deviation, and configurations."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from noise_mm.errors import InputError, run_command
from noise_mm.files import read_json, write_text

if TYPE_CHECKING:
    from noise_mm.evaluation.arms import Arm
    from noise_mm.evaluation.table_formats import Table
    from noise_mm.evaluation.tables import Run

EXAMPLE = """
examples:
  python tools/summarize.py work_dirs --with-paper --format latex --out tables.tex
  python tools/summarize.py work_dirs/study --difference yolov8_m2h noise_m2h yolov8_h2h
      the difference of AP of NOISe and the baseline with its 95 % bootstrap interval over wells, and the share of the
      gap between the baseline M->H and H->H that NOISe recovers; arms are named <method>_<protocol>
  python tools/summarize.py work_dirs/study --curves curves.png
      precision-recall curves of all arms in one figure
"""


def main() -> None:
    """Find the files, and makes tables or figures of them."""
    options = parse_options()
    from noise_mm.evaluation.table_formats import render
    from noise_mm.evaluation.tables import Run, make_tables, refuse_seen

    runs = [Run.of_file(path, read_json(path)) for path in find_metrics(options.work_dirs)]
    runs = with_scores(runs, options.kind, named={str(path) for path in options.work_dirs})
    if options.curves is not None:
        refuse_seen(runs, options.allow_seen)
        draw_curves(arms_of(runs, options.kind), runs[0], options)
        return
    if options.difference:
        refuse_seen(runs, options.allow_seen)
        tables = [difference(runs, options)]
    else:
        tables = make_tables(runs, options.kind, options.with_paper, options.allow_seen)
    text = render(tables, options.format)
    if options.out is None:
        print(text, end='')
    else:
        write_text(options.out, text)
        print(f'{options.out}: tables of {len(runs)} runs')


def arms_of(runs: list['Run'], kind: str) -> dict[str, list['Arm']]:
    """Return the arms of some runs by key, one for each seed, with what their tests found."""
    from noise_mm.evaluation.arms import Arm
    from noise_mm.evaluation.matches_file import matches_path, read_matches
    from noise_mm.evaluation.report import curves_folder
    from noise_mm.evaluation.tables import by_configuration, label_of, marked

    arms, groups = {}, by_configuration(runs)
    for group in groups:
        folds = [read_matches(matches_path(curves_folder(Path(run.source)), kind)) for run in group]
        arms.setdefault(group[0].key, []).append(Arm(marked(label_of(group, groups), group), folds))
    return arms


def difference(runs: list['Run'], options: argparse.Namespace) -> 'Table':
    """Return the difference of the arms that --difference names.

    Raises:
        InputError: If one is not there, or is there more than once.
    """
    from noise_mm.evaluation.arms import difference_table, single_wells
    from noise_mm.progress import Progress

    keys = list(dict.fromkeys(run.key for run in runs))
    for key in options.difference:
        if key not in keys:
            raise InputError(f'--difference {key}: no run of this arm here; there are {", ".join(keys)}.')
    runs = [run for run in runs if run.key in options.difference]
    if len({run.measured for run in runs}) > 1:
        raise InputError(f'--difference: these runs were measured in different ways. Test {runs[0].source} again.')
    arms = arms_of(runs, options.kind)
    for key in options.difference:
        if len(arms[key]) > 1:
            names = ', '.join(arm.name for arm in arms[key])
            raise InputError(f'--difference {key}: there are {names}. Name the folders of one seed.')
    chosen = [arms[key][0] for key in options.difference]
    for batch in single_wells(chosen[0]):
        print(f'note: {batch} has one well, so that no variation between its wells is in the interval', file=sys.stderr)
    progress = Progress('bootstrap', options.draws, unit='draws of wells')
    table = difference_table(
        chosen, f'{options.kind}, {runs[0].measured}', options.draws, options.seed, lambda: progress.update(1)
    )
    progress.close()
    return table


def draw_curves(arms: dict[str, list['Arm']], run: 'Run', options: argparse.Namespace) -> None:
    """Draw the precision-recall curves of all arms."""
    from noise_mm.evaluation.curves import draw_arms

    every = [arm for of_key in arms.values() for arm in of_key]
    curves = {arm.name: arm.curves() for arm in every}
    draw_arms(options.curves, curves, every[0].folds[0].iou_thrs, f'{options.kind}, {run.measured}')
    print(f'{options.curves}: curves of {", ".join(curves)}')


def with_scores(runs: list['Run'], kind: str, named: set[str]) -> list['Run']:
    """Return the runs that have such scores or were named themselves; name the others on standard error."""
    shown = [run for run in runs if kind in run.report or run.source in named]
    for run in runs:
        if shown and run not in shown:
            print(f'note: {run.source}: has no {kind} scores and is left out.', file=sys.stderr)
    return shown or runs


def find_metrics(work_dirs: list[Path]) -> list[Path]:
    """Return the metrics.json files in and below some folders, each once; files that are named themselves included.

    Raises:
        InputError: If a folder does not exist or has none.
    """
    from noise_mm.evaluation.report import METRICS_FILE

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
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description='Prints the tables of the NOISe paper from the metrics.json files that tools/test.py writes: for '
        'each configuration its folds with average and sample standard deviation (Table 2), and all configurations '
        '(Table 3).',
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('work_dirs', nargs='+', type=Path, metavar='WORK_DIR', help='folders with metrics.json below')
    parser.add_argument('--format', choices=('md', 'latex', 'csv'), default='md', help='default: md (Markdown)')
    parser.add_argument('--kind', choices=('segm', 'bbox'), default='segm', help='masks (default) or boxes')
    parser.add_argument('--with-paper', action='store_true', help="put the paper's numbers below ours")
    parser.add_argument(
        '--allow-seen', action='store_true', help='show runs whose test data were seen in training; rows are marked'
    )
    parser.add_argument(
        '--difference',
        nargs='+',
        metavar='ARM',
        help='instead: the difference of two arms, BASELINE METHOD, with its interval; with a third arm the share of '
        'the gap between the baseline and that one which the method recovers',
    )
    parser.add_argument('--draws', type=int, default=1000, metavar='N', help='of the wells (default: 1000)')
    parser.add_argument('--seed', type=int, default=0, metavar='N', help='of these draws (default: 0)')
    parser.add_argument('--curves', type=Path, metavar='FILE', help='instead: PNG of the precision-recall curves')
    parser.add_argument('--out', type=Path, metavar='FILE', help='write to this file instead of printing')
    options = parser.parse_args()
    if options.difference and len(options.difference) not in (2, 3):
        raise InputError(f'--difference {" ".join(options.difference)}: name two arms, or three.')
    if options.draws < 1 or options.seed < 0:
        raise InputError(f'--draws {options.draws}, --seed {options.seed}: give at least 1 draw and a seed from 0 on.')
    return options


if __name__ == '__main__':
    run_command(main)
