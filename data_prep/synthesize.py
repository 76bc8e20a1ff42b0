"""Draws sample cultures: wells with known osteoclasts, for trying out and testing this project.

They are synthetic. Never report the accuracy of a model on them as if it were that on real cultures.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2

from noise_mm.errors import InputError, run_command
from noise_mm.files import require_folder
from noise_mm.patches.parallel import completed
from sample_cultures import generator_hash
from sample_cultures.batches import BATCHES, DOMAIN_SHIFT, PRESETS, batch_named
from sample_cultures.writing import WellCounts, WellTask, is_finished, write_well

MOST = {'size': 200_000, 'wells': 100_000, 'workers': 1_000}  # a well of 200,000 px has 120 GB of pixels
MIN_WELL_PX = 256  # a well must hold at least a few cells
SECONDS_BETWEEN_LINES = 20.0

EPILOG = """examples:
  python data_prep/synthesize.py data/cultures --preset quickstart
  python data_prep/synthesize.py data/cultures --preset study --workers 8
  python data_prep/synthesize.py data/big --batches M3 --wells 1 --size 100000

Run again with the same arguments, it goes on where it was stopped. For each batch it writes the folders wells (TIFF),
rois (ImageJ), nuclei (VIA points), labels (true instance labels) and truth (every cell, JSON).
See docs/sample_cultures.md.
"""


def main() -> None:
    """Read the options, draw the wells that are not there yet, and print what was drawn."""
    options = _options()
    tasks = _tasks(options)
    require_folder(options.out)
    missing = [task for task in tasks if not is_finished(task)]
    size_px = tasks[0].size_px
    print(f'{len(tasks)} wells of {size_px} x {size_px} px, {len(tasks) - len(missing)} of them done before')
    began = time.monotonic()
    for done, (task, result) in enumerate(completed(_write, missing, options.workers), 1):
        if isinstance(result, InputError):
            raise result
        _report(task, result, done, len(missing), time.monotonic() - began)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('--version', action='version', version=f'sample_cultures {generator_hash()}')
    add('out', type=Path, metavar='OUT', help='folder to write to; made if missing')
    add('--preset', choices=PRESETS, default='study', help='which wells, and of what size (default: study)')
    add('--seed', type=int, default=0, help='another seed gives other cultures (default: 0)')
    add('--workers', type=int, default=_cores(), help='processes (default: one for each core)')
    add('--batches', nargs='+', metavar='BATCH', help=f"instead of the preset's: {' '.join(BATCHES)}")
    add('--wells', type=int, metavar='N', help="wells for each batch, instead of the preset's number")
    add('--first-well', type=int, default=1, metavar='N', help='number of the first well, to draw further ones '
        '(default: 1)')  # fmt: skip
    add('--size', type=int, metavar='PX', help="side of a well, instead of the preset's")
    add('--domain-shift', type=float, default=DOMAIN_SHIFT, metavar='S',
        help='how far H1 and H2 are from mouse: 0 as M1 on plastic, 1 as defined, up to 2 (default: 1)')  # fmt: skip
    add('--nuclei-wells', type=int, metavar='N', help='write nuclei points for the first N wells of a batch '
        '(default: all)')  # fmt: skip
    return parser.parse_args()


def _cores() -> int:
    """Return the number of cores that this process may use, which a container can limit."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def _tasks(options: argparse.Namespace) -> list[WellTask]:
    """Return the wells that are asked for; InputError if an option is out of range or a batch unknown."""
    lowest = {'seed': 0, 'workers': 1, 'wells': 1, 'first_well': 1, 'size': MIN_WELL_PX, 'nuclei_wells': 0}
    for name, least in lowest.items():
        value = getattr(options, name)
        if value is not None and value > MOST.get(name, value):
            raise InputError(f'--{name.replace("_", "-")} {value}: too large. Choose {MOST[name]} or less.')
        if value is not None and value < least:
            raise InputError(f'--{name.replace("_", "-")} {value}: too small. Choose {least} or more.')
    preset = PRESETS[options.preset]
    batches = [batch_named(name, options.domain_shift).name for name in dict.fromkeys(options.batches or preset.wells)]
    first, most = options.first_well, max(preset.wells.values())  # wells of a batch that is not in the preset
    return [
        WellTask(
            out=options.out,
            batch=batch,
            well=f'{batch}_w{number:02d}',
            seed=options.seed,
            size_px=options.size or preset.size_px,
            crowding=preset.crowding,
            domain_shift=options.domain_shift,
            with_nuclei=options.nuclei_wells is None or number - first < options.nuclei_wells,
        )
        for batch in batches
        for number in range(first, first + (options.wells or preset.wells.get(batch, most)))
    ]


def _write(task: WellTask) -> WellCounts:
    cv2.setNumThreads(1)  # wells run beside each other; OpenCV's threads would only get in the way
    return write_well(task, _progress_printer(task))


def _progress_printer(task: WellTask) -> Callable[[int, int], None]:
    """Return what prints how far a large well has come, every `SECONDS_BETWEEN_LINES`."""
    began = printed = time.monotonic()

    def tell(rows: int, all_rows: int) -> None:
        nonlocal printed
        now = time.monotonic()
        if rows < all_rows and now - printed >= SECONDS_BETWEEN_LINES:
            printed, seconds = now, now - began
            rate, left = rows * task.size_px / 1e6 / seconds, _clock(seconds * (all_rows - rows) / rows)
            share = 100 * rows // all_rows
            print(f'{task.well}: {share} %, {rate:.1f} MPx/s, {left} left', file=sys.stderr, flush=True)

    return tell


def _report(task: WellTask, counts: WellCounts, done: int, wells: int, seconds: float) -> None:
    rate = done * task.size_px**2 / 1e6 / seconds
    left = f'{_clock(seconds / done * (wells - done))} left' if done < wells else f'in {_clock(seconds)}'
    print(
        f'{task.well}: {counts.osteoclasts} osteoclasts, {counts.pre_osteoclasts} pre-osteoclasts, '
        f'{counts.nuclei} nuclei; {done}/{wells} wells, {rate:.1f} MPx/s, {left}',
        flush=True,
    )


def _clock(seconds: float) -> timedelta:
    return timedelta(seconds=round(seconds))


if __name__ == '__main__':
    run_command(main)
