"""Runs an experiment of the paper, all stages and folds, and prints its table."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from noise_mm.errors import InputError, run_command
from noise_mm.protocols.methods import METHODS, PROTOCOLS

if TYPE_CHECKING:
    from noise_mm.protocols.plan import Study

EXAMPLE = """
protocols:
  m2m   each mouse batch is tested by what was trained on the other ones
  m2h   all human batches are tested by what was trained on all mouse batches
  h2h   each human batch is tested by what was trained on the other ones
methods:
  yolov8        segmentation, from COCO weights
  noise         nuclei detector, pretraining on osteoclasts and the nuclei it finds, segmentation from these weights
  nuclei-free   the same without nuclei: pretraining on osteoclasts alone
  random-init   segmentation, from nothing

example:
  python tools/run_protocol.py m2h --method noise --preset n --amp
      trains in work_dirs/nuclei_detector_yolov8-l, work_dirs/pretrain_osteoclast-nuclei_yolov8-l and
      work_dirs/noise_m2h, scores the last on the human batches, and writes work_dirs/noise_m2h.md
  python tools/run_protocol.py m2m --method yolov8 --gpus 4
      five folds, each in a folder of its own: work_dirs/yolov8_m2m_M1 to work_dirs/yolov8_m2m_M5
  python tools/run_protocol.py m2h --method noise --preset n --seed 1 --epochs 40 50 50 --work-dir runs/seed1 \\
         --name "NOISe, seed 1"
      another seed, with 40 epochs for the nuclei detector and 50 for each of the other two trainings

The same command again goes on where it was stopped. What is done, with the same settings and from the same files, is
not done again; a folder with a run of other settings is refused. Each command that is run is printed, and may be typed
instead. Runs and labels of nuclei lie below --work-dir: give each arm of a study and each seed one of its own.
"""
# Settings of --cfg-options that have an option of their own here.
OWN_OPTIONS = {
    'train_batches': '--mouse-batches or --human-batches',
    'test_batches': '--human-batches',
    'work_dir': '--work-dir',
    'init_from': '--method',
    'load_from': '--method',
    'resume': '--resume',
}


def main() -> None:
    """Read the options, makes the plan, carries it out, and prints the table."""
    options = parse_options()
    from noise_mm.protocols.execution import dry_run, run
    from noise_mm.protocols.launch import Launcher
    from noise_mm.protocols.plan import TEST, data_of, plan

    launcher = Launcher(
        options.launcher or ('pytorch' if options.gpus > 1 else 'none'),
        options.gpus,
        options.partition,
        tuple(options.srun_args.split()),
    )
    study = study_of(options)
    data = data_of(study)
    steps = plan(study, data)
    missing = data.missing(with_nuclei=METHODS[study.method].detector is not None)
    if missing:
        problem = (
            f'{missing[0]}: no such file{more(missing)}. Make it, see data_prep/README.md; or name other batches '
            '(--mouse-batches, --human-batches) or another --data-root.'
        )
        if not options.dry_run:
            raise InputError(problem)
        print(f'note: {problem}', file=sys.stderr)
    if options.dry_run:
        dry_run(steps, launcher, options.resume)
        return
    launcher.check()
    run(steps, launcher, options.resume)
    write_tables(study, [step.folder for step in steps if step.tool == TEST], options.with_paper)


def more(missing: list[Path]) -> str:
    """Return how many files are missing besides the first."""
    return f' (and {len(missing) - 1} more)' if len(missing) > 1 else ''


def study_of(options: argparse.Namespace) -> 'Study':
    """Return what the options ask for.

    Raises:
        InputError: If `--cfg-options` has a setting for which there is an option.
    """
    from noise_mm.paper_preset import paper_settings
    from noise_mm.protocols.plan import Study, resolved_config

    own = OWN_OPTIONS.copy()
    settings = []
    for option, name, value in (
        ('--data-root', 'data_root', options.data_root),
        ('--preset', 'model_size', options.preset),
        ('--seed', 'randomness.seed', options.seed),
    ):
        if value is not None:
            settings.append(f'{name}={value}')
            own[name] = option
    if options.epochs:
        own['max_epochs'] = '--epochs'
    if options.as_paper:
        own |= dict.fromkeys(paper_settings(resolved_config('baseline/yolov8-seg.py')), '--as-paper')
    for pair in options.cfg_options:
        name = pair.partition('=')[0]
        if name in own:
            raise InputError(f'--cfg-options {pair}: is for {own[name]} to say. Leave it out here.')
    return Study(
        options.protocol,
        options.method,
        options.work_dir,
        options.mouse_batches and tuple(options.mouse_batches),
        options.human_batches and tuple(options.human_batches),
        options.folds and tuple(options.folds),
        (*settings, *options.cfg_options),
        options.amp,
        options.epochs and tuple(options.epochs),
        options.as_paper,
        options.allow_seen,
        options.name,
    )


def write_tables(study: 'Study', folders: list[Path], with_paper: bool) -> None:
    """Print the tables of the runs in some folders and writes them to `<method>_<protocol>[_<fold>...].md`."""
    from noise_mm.checkpoints.provenance import passes_text
    from noise_mm.evaluation.report import METRICS_FILE
    from noise_mm.evaluation.table_formats import render
    from noise_mm.evaluation.tables import Run, make_tables
    from noise_mm.files import read_json, write_text

    paths = [folder / METRICS_FILE for folder in folders]
    runs = [Run.of_file(path, read_json(path)) for path in paths]
    text = render(make_tables(runs, with_paper=with_paper, allow_seen=study.allow_seen), 'md')
    for run in runs:
        if run.report['run'].get('training'):
            text += f'\n{run.name}: {passes_text(run.report["run"]["training"])}\n'
    path = study.root / ('_'.join([study.method, study.protocol, *(study.folds or ())]) + '.md')
    write_text(path, text)
    print(f'\n{text}\nwritten to {path}')


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('protocol', choices=PROTOCOLS)
    add('--method', choices=METHODS, required=True)
    add('--preset', choices=['n', 's', 'm', 'l', 'x'], help='size of the network (default: l, as the configs say)')
    add('--data-root', metavar='D', help='folder of the batches (default: data/osteoclast, as the configs say)')
    add('--work-dir', type=Path, default=Path('work_dirs'), metavar='ROOT', help='folder of all runs (work_dirs)')
    add('--seed', type=int, metavar='N', help='of the random numbers of all trainings (0); the split keeps its own')
    add(
        '--epochs',
        nargs='+',
        type=int,
        metavar='N',
        help='epochs of all trainings, or of each stage in turn (default: 100, as the configs say)',
    )
    add('--name', help="the method's name in the tables (default: its own)")
    add('--folds', nargs='+', metavar='B', help='only these held-out batches (default: all)')
    add('--mouse-batches', nargs='+', metavar='B', help='instead of M1 to M5')
    add('--human-batches', nargs='+', metavar='B', help='instead of H1 and H2')
    add('--amp', action='store_true', help='train in mixed precision (GPU, or CPU with bfloat16)')
    add(
        '--resume',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='whether trainings that were cut go on from their last checkpoint, or begin again (default: they go on)',
    )
    add(
        '--as-paper',
        action='store_true',
        help="measure, and choose the best epoch, as the paper's numbers were; see docs/metrics.md",
    )
    add(
        '--allow-seen',
        action='store_true',
        help='run although a test batch is trained on, or was in an earlier stage; all results are marked',
    )
    add('--with-paper', action='store_true', help="put the paper's numbers below ours")
    add('--dry-run', action='store_true', help='print the commands and run nothing')
    add('--gpus', type=int, default=1, metavar='N', help='processes, each on a GPU of its own (default: 1)')
    add(
        '--launcher',
        choices=['none', 'pytorch', 'slurm'],
        help='how to start them: torchrun on this machine (default for several GPUs), or srun on a cluster',
    )
    add('--partition', metavar='P', help='of the cluster (slurm)')
    add('--srun-args', default='', metavar='TEXT', help="further options of srun, e.g. '--time=12:00:00 --mem=64G'")
    add('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='settings for all stages, e.g. max_epochs=50')
    return parser.parse_args()


if __name__ == '__main__':
    run_command(main)
