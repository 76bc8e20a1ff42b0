"""Run the whole workflow on a small scale: set up, draw sample wells, train on them, test, predict a new well.

Each step is one of the project's own commands and is printed before it runs, so that this also shows how they are used.
"""

import argparse
import csv
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import environment

# Wells 1 to 4 of this batch are for training (the preset has as many); cells are then predicted in the next one.
BATCH = 'M1'
NEW_WELL = '5'
NEW_BATCH = 'M1-new'  # test_batches of the configs
METRICS = 'metrics.json'
METRICS_BEFORE = 'metrics_before.json'
PREDICTIONS = 'predictions'
# Completed steps with their commands: a changed command is run again, and all that follow it.
DONE_FILE = 'quickstart.json'

SCRATCH_CONFIG = 'configs/quickstart/yolov8-n-seg.py'
FINETUNE_CONFIG = 'configs/quickstart/finetune_yolov8-n-seg.py'
WEIGHTS, NUCLEI_WEIGHTS = 'weights/cultures-n-seg.pth', 'weights/cultures-n-nuclei.pth'
# Other cultures than those that these weights were trained on, which have seed 0.
SEED = '100'


class Step(NamedTuple):
    """One command of the workflow.

    Attributes:
        name: What it does, in a few words.
        command: Arguments for Python: one of the project's tools and its options.
        made: The file or folder that it leaves, absolute or relative to the root of the repository.
    """

    name: str
    command: list[str]
    made: Path


def main() -> int:
    """Run the steps that are not completed; return 0 when all are."""
    options = parse_options()
    folder = options.out.expanduser().absolute()
    started = time.monotonic()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        environment.fail(f'{folder}: {error.strerror}. Name another folder with --out.')
    python = environment.ensure_environment()
    missing = [name for name in (WEIGHTS, NUCLEI_WEIGHTS) if not (environment.ROOT / name).is_file()]
    if missing and not options.from_scratch:
        print(f'no {" and no ".join(missing)} here: training from scratch, without nuclei')
    plan = steps(folder, bool(missing) or options.from_scratch)
    status = run_steps(plan, folder, str(python))
    if status == 0:
        print(f'all done after {duration(time.monotonic() - started)}. {result_text(folder)} Look at:')
        for path in [folder / METRICS, *sorted((folder / PREDICTIONS).iterdir())]:
            print(f'  {path}')
    return status


def run_steps(plan: list[Step], folder: Path, python: str) -> int:
    """Run the steps that are not completed, up to one that fails; return its exit status, else 0."""
    done, variables = read_done(folder), environment.child_variables()
    for number, step in enumerate(plan, 1):
        title = f'[{number}/{len(plan)}] {step.name}'
        if done.get(step.name) == step.command and (environment.ROOT / step.made).exists():
            print(f'{title}: done before', flush=True)
            continue
        for later in plan[number - 1 :]:
            done.pop(later.name, None)
        write_done(folder, done)
        status = run_step(title, [python, *step.command], variables)
        if status != 0:
            print(f'{step.name}: stopped. To continue from here, run this command again.', flush=True)
            return status
        done[step.name] = step.command
        write_done(folder, done)
    return 0


def steps(folder: Path, from_scratch: bool) -> list[Step]:
    """Return the steps from nothing to predictions; everything is written below `folder`."""
    # Commands run in the root of the repository, where short paths read better.
    place = folder.relative_to(environment.ROOT) if environment.ROOT in folder.parents else folder
    data, training = place / 'data', place / ('training' if from_scratch else 'finetuning')
    cultures, new = place / 'cultures', place / 'new_culture'
    config = SCRATCH_CONFIG if from_scratch else FINETUNE_CONFIG
    model = [config, str(training / 'best.pth')]
    settings = ['--work-dir', str(training), '--cfg-options', f'data_root={data}']
    draw = ['data_prep/synthesize.py', '--preset', 'quickstart', '--seed', SEED]
    predict = ['tools/predict.py', *model, str(new / BATCH / 'wells'), '--out', str(place / PREDICTIONS)]
    if not from_scratch:
        predict += ['--nuclei-weights', NUCLEI_WEIGHTS, '--min-nuclei', '3']
    before = place / METRICS_BEFORE
    test_weights = Step('test the weights', ['tools/test.py', config, WEIGHTS, '--out', str(before), *settings], before)
    return [
        Step('draw sample wells', [*draw, str(cultures)], cultures / BATCH),
        Step('draw a new well', [*draw, str(new), '--wells', '1', '--first-well', NEW_WELL], new / BATCH),
        cut(cultures / BATCH, BATCH, data),
        cut(new / BATCH, NEW_BATCH, data),
        *([] if from_scratch else [test_weights]),
        Step('train', ['tools/train.py', config, '--resume', *settings], training / 'best.pth'),
        Step(
            'test on the new well', ['tools/test.py', *model, '--out', str(place / METRICS), *settings], place / METRICS
        ),
        Step('predict the new well', predict, place / PREDICTIONS / 'wells.csv'),
    ]


def cut(culture: Path, batch: str, data: Path) -> Step:
    """Return the step that cuts the wells of the folder `culture` into patches of `batch` below `data`."""
    options = {'--wells': culture / 'wells', '--rois': culture / 'rois', '--batch': batch, '--out': data}
    words = [str(word) for option in options.items() for word in option]
    return Step(
        f'cut {culture.parent.name} into patches',
        ['data_prep/extract_patches.py', *words],
        data / batch / 'annotations.json',
    )


def run_step(title: str, command: list[str], variables: dict[str, str]) -> int:
    """Run one command in the repository's root and print how long it took; return its exit status."""
    print(f'{title}\n  python {" ".join(command[1:])}', flush=True)
    started = time.monotonic()
    status = subprocess.run(command, cwd=environment.ROOT, env=variables).returncode
    print(f'  {duration(time.monotonic() - started)}', flush=True)
    return status


def result_text(folder: Path) -> str:
    """Return in words what was found, what is drawn, and the scores."""
    kinds = [
        cell['kind']
        for path in (folder / 'new_culture' / BATCH / 'truth').glob('*.json')
        for cell in json.loads(path.read_text(encoding='utf-8'))['cells']
    ]
    with open(folder / PREDICTIONS / 'wells.csv', encoding='utf-8-sig', newline='') as file:
        [row] = csv.DictReader(file)
    texts = [f'{row["count"]} osteoclasts found, {kinds.count("osteoclast")} drawn']
    if row['nuclei']:
        texts.append(f'{row["nuclei"]} nuclei; {row["pre_osteoclasts"]} cells with fewer than 3 nuclei')
    for name, when in ((METRICS_BEFORE, 'before'), (METRICS, 'after')):
        if (folder / name).is_file():
            rows = json.loads((folder / name).read_text(encoding='utf-8'))['segm']['mean']
            [score] = [each['ap'] for each in rows if each['iou_thr'] == 0.5]
            texts.append(f'mask mAP50 {when} the training {score:.2f}')
    return '; '.join(texts) + '.'


def read_done(folder: Path) -> dict[str, list[str]]:
    """Return the commands of the completed steps by the steps' names."""
    try:
        return json.loads((folder / DONE_FILE).read_text(encoding='utf-8'))
    except (FileNotFoundError, ValueError):
        return {}


def write_done(folder: Path, done: dict[str, list[str]]) -> None:
    """Record the completed steps."""
    (folder / DONE_FILE).write_text(json.dumps(done, indent=1), encoding='utf-8')


def duration(seconds: float) -> str:
    """Return `seconds` as minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f'{minutes} min {rest} s' if minutes else f'{rest} s'


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description='Set up the virtual environment, draw sample wells, train a nano network on them, test it and '
        'predict a well that it has not seen. Completed steps are skipped.',
        epilog='example: python3 tools/quickstart.py --out quickstart',
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=environment.ROOT / 'quickstart',
        help='folder for everything it makes (default: quickstart in the root of the repository)',
    )
    parser.add_argument(
        '--from-scratch',
        action='store_true',
        help=f'train from random weights, without nuclei, instead of finetuning {WEIGHTS}',
    )
    return parser.parse_args()


if __name__ == '__main__':
    sys.exit(main())
