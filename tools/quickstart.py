"""The whole way in small, from nothing: sets up, draws sample wells, trains on them and finds their osteoclasts.

Each step is one of the project's own commands and is printed before it runs, so that this also shows how they are used.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import environment

CONFIG = 'configs/quickstart/yolov8-n-seg.py'
# Wells 1 to 4 of this batch are trained on (the preset draws so many); cells are then found in the next one.
BATCH = 'M1'
NEW_WELL = '5'
NEW_BATCH = 'M1-new'  # test_batches of the config
# So short a training leaves doubtful cells with a confidence of 0.25, the default.
CONFIDENT = ('--score-thr', '0.4')
METRICS = 'metrics.json'
PREDICTIONS = 'predictions'
# Which steps are done, with their commands: a changed command is run again, and all that follow it.
DONE_FILE = 'quickstart.json'


class Step(NamedTuple):
    """One command of the way.

    Attributes:
        name: What it does, in a few words.
        command: Arguments for Python: one of the project's tools and its options.
        made: The file or folder that it leaves, absolute or seen from the root of the repository.
    """

    name: str
    command: list[str]
    made: Path


def main() -> int:
    """Runs the steps that are not done yet; returns 0 when all are."""
    options = parse_options()
    folder = options.out.expanduser().absolute()
    started = time.monotonic()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        environment.fail(f'{folder}: {error.strerror}. Name another folder with --out.')
    python = environment.ensure_environment()
    variables = environment.child_variables()
    plan = steps(folder)
    done = read_done(folder)
    for number, step in enumerate(plan, 1):
        title = f'[{number}/{len(plan)}] {step.name}'
        if done.get(step.name) == step.command and (environment.ROOT / step.made).exists():
            print(f'{title}: done before', flush=True)
            continue
        for later in plan[number - 1 :]:
            done.pop(later.name, None)
        write_done(folder, done)
        status = run_step(title, [str(python), *step.command], variables)
        if status != 0:
            print(f'{step.name}: stopped. Started again, this command goes on from here.', flush=True)
            return status
        done[step.name] = step.command
        write_done(folder, done)
    print(f'all done after {duration(time.monotonic() - started)}. Look at:')
    for path in [folder / METRICS, *sorted((folder / PREDICTIONS).iterdir())]:
        print(f'  {path}')
    return 0


def steps(folder: Path) -> list[Step]:
    """The way from nothing to predictions; everything is written below `folder`."""
    # Commands run in the root of the repository, where short paths read better.
    place = folder.relative_to(environment.ROOT) if environment.ROOT in folder.parents else folder
    data, training = place / 'data', place / 'training'
    cultures, new = place / 'cultures', place / 'new_culture'
    model = [CONFIG, str(training / 'best.pth')]
    settings = ['--work-dir', str(training), '--cfg-options', f'data_root={data}']
    draw = ['data_prep/synthesize.py', '--preset', 'quickstart']
    return [
        Step('draw sample wells', [*draw, str(cultures)], cultures / BATCH),
        Step(
            'draw a well that is not trained on',
            [*draw, str(new), '--wells', '1', '--first-well', NEW_WELL],
            new / BATCH,
        ),
        cut(cultures / BATCH, BATCH, data),
        cut(new / BATCH, NEW_BATCH, data),
        Step('train', ['tools/train.py', CONFIG, '--resume', *settings], training / 'best.pth'),
        Step(
            'score on the new well',
            ['tools/test.py', *model, '--out', str(place / METRICS), *settings],
            place / METRICS,
        ),
        Step(
            'find the osteoclasts of the new well',
            ['tools/predict.py', *model, str(new / BATCH / 'wells'), '--out', str(place / PREDICTIONS), *CONFIDENT],
            place / PREDICTIONS / 'wells.csv',
        ),
    ]


def cut(culture: Path, batch: str, data: Path) -> Step:
    """The step that cuts the wells of the folder `culture` into patches of `batch` below `data`."""
    options = {'--wells': culture / 'wells', '--rois': culture / 'rois', '--batch': batch, '--out': data}
    words = [str(word) for option in options.items() for word in option]
    return Step(
        f'cut {culture.parent.name} into patches',
        ['data_prep/extract_patches.py', *words],
        data / batch / 'annotations.json',
    )


def run_step(title: str, command: list[str], variables: dict[str, str]) -> int:
    """Runs one command in the repository's root, says so and how long it took; returns its exit status."""
    print(f'{title}\n  python {" ".join(command[1:])}', flush=True)
    started = time.monotonic()
    status = subprocess.run(command, cwd=environment.ROOT, env=variables).returncode
    print(f'  {duration(time.monotonic() - started)}', flush=True)
    return status


def read_done(folder: Path) -> dict[str, list[str]]:
    """The commands of the steps done so far, by the steps' names."""
    try:
        return json.loads((folder / DONE_FILE).read_text(encoding='utf-8'))
    except (FileNotFoundError, ValueError):
        return {}


def write_done(folder: Path, done: dict[str, list[str]]) -> None:
    """Notes the steps done so far."""
    (folder / DONE_FILE).write_text(json.dumps(done, indent=1), encoding='utf-8')


def duration(seconds: float) -> str:
    """`seconds` as minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f'{minutes} min {rest} s' if minutes else f'{rest} s'


def parse_options() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description='Sets up the virtual environment, draws sample wells, trains the nano model on them and finds the '
        'osteoclasts of a batch it has not seen. What is done already is not done again.',
        epilog='example: python3 tools/quickstart.py --out quickstart',
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=environment.ROOT / 'quickstart',
        help='folder for everything it makes (default: quickstart in the root of the repository)',
    )
    return parser.parse_args()


if __name__ == '__main__':
    sys.exit(main())
