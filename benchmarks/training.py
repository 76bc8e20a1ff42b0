"""Compares the speed of training with Ultralytics', which runs in an environment of its own.

Both train the same network from random weights on the same patches with full augmentation and without validation, in
turn, each in a process of its own, with the same batch size, threads, loader processes and cache. Medians are printed,
and where the time goes.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from timing import median_ratio, table

from noise_mm.errors import InputError, run_command

HERE = Path(__file__).resolve().parent
OURS, PEER = 'this project', 'Ultralytics'
EPOCHS = 1000  # never reached; decides the optimizer on both sides
EXAMPLE = """
example (the peer: python -m venv peer; peer/bin/pip install ultralytics==8.3.200):
  python data_prep/synthesize.py cultures --batches M1 M2 --wells 1 --size 3328
  python data_prep/extract_patches.py --wells cultures/M1/wells --rois cultures/M1/rois --batch M1 --out data/speed
  python data_prep/extract_patches.py --wells cultures/M2/wells --rois cultures/M2/rois --batch M2 --out data/speed
  python benchmarks/training.py data/speed --batches M1 M2 --peer-python peer/bin/python
"""


def main() -> None:
    """Read the options, run all in turn and print the medians."""
    options = parse_options()
    with tempfile.TemporaryDirectory() as folder:
        data = write_peer_dataset(options.data_root, options.batches, Path(folder) / 'patches')
        for cache in options.cache:
            settings = {
                'size': options.size,
                'data_root': str(options.data_root),
                'batches': options.batches,
                'data': str(data),
                'network_size_px': options.network_size,
                'batch_size': options.batch_size,
                'workers': options.workers,
                'threads': options.threads,
                'cache': cache,
                'epochs': EPOCHS,
                'warm_up': options.warm_up,
                'iterations': options.iterations,
                'folder': folder,
                'device': options.device,
                'amp': options.amp and options.device == 'cuda',
            }
            programs = programs_of(options)
            reports: dict[str, list[dict]] = {name: [] for name in programs}
            for _ in range(options.rounds):
                for name, (python, script, changes) in programs.items():
                    reports[name].append(run(python, script, settings | changes))
            print_report(settings, reports)


def programs_of(options: argparse.Namespace) -> dict[str, tuple[str, str, dict]]:
    """Return what is compared: by name Python, script and changes of the settings."""
    programs = {OURS: (sys.executable, 'training_ours.py', {})}
    if options.amp and options.device == 'cpu':
        programs[f'{OURS} --amp'] = (sys.executable, 'training_ours.py', {'amp': True})
    if options.peer_python:
        peer = str(options.peer_python.absolute()), 'training_peer.py'
        programs[PEER] = (*peer, {})
        if options.device == 'cpu' and options.threads != max(1, (os.cpu_count() or 1) - 1):
            programs[f'{PEER} as it comes'] = (*peer, {'threads': None})
    return programs


def run(python: str, script: str, settings: dict) -> dict:
    """Train in a process of its own and return its report."""
    environment = os.environ | {'YOLO_OFFLINE': '1', 'YOLO_CONFIG_DIR': settings['folder']}
    if settings['threads']:
        environment['OMP_NUM_THREADS'] = str(settings['threads'])
    if settings['device'] == 'cpu':
        environment['CUDA_VISIBLE_DEVICES'] = ''
    command = [python, str(HERE / script), json.dumps(settings)]
    done = subprocess.run(command, env=environment, cwd=settings['folder'], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        raise InputError(f'{python} {script}: failed. The end of its output: {(done.stdout + done.stderr)[-600:]}')
    return json.loads(lines[-1])


def print_report(settings: dict, reports: dict[str, list[dict]]) -> None:
    """Print a table of the phases, and the speeds."""
    print(
        f'\nsize {settings["size"]}, {settings["network_size_px"]} px, batch {settings["batch_size"]}, '
        f'cache {settings["cache"]}, {settings["threads"]} threads, {settings["workers"]} loader processes, '
        f'{settings["device"]}, {len(reports[OURS])} runs of {settings["iterations"]} iterations; medians per image:\n'
    )
    columns = [(name, kind) for name in reports for kind in (0, 1)]
    header = ['ms', *(f'{name}, {("wall", "CPU")[kind]}' for name, kind in columns)]
    rows = [
        [
            phase,
            *(
                statistics.median(each['phases'].get(phase, [0.0, 0.0])[kind] for each in reports[name])
                for name, kind in columns
            ),
        ]
        for phase in reports[OURS][0]['phases']
    ]
    totals = {(name, kind): [report['total'][kind] for report in reports[name]] for name, kind in columns}
    rows.append(['all, with loaders', *(statistics.median(totals[column]) for column in columns)])
    print(table(header, rows), end='\n\n')
    rows = [
        [
            name,
            1e3 / statistics.median(totals[name, 0]),
            *(median_ratio(totals[name, kind], totals[OURS, kind]) for kind in (0, 1)),
        ]
        for name in reports
    ]
    print(table(['', 'images/s', f'{OURS} is faster by, wall', 'CPU'], rows), flush=True)


def write_peer_dataset(data_root: Path, batches: list[str], folder: Path) -> Path:
    """Write the training patches as Ultralytics reads them, and return its data file.

    Ignored regions are left out, as they are in this project's training. Of an object of several parts the largest
    one is written.
    """
    from mmengine.registry import init_default_scope

    from noise_mm.datasets.patch_datasets import OsteoclastDataset

    init_default_scope('mmyolo')
    dataset = OsteoclastDataset(
        data_root=str(data_root), batches=batches, split='train', split_unit='patch', pipeline=[]
    )
    (folder / 'images').mkdir(parents=True)
    (folder / 'labels').mkdir()
    for number in range(len(dataset)):
        info = dataset.get_data_info(number)
        source = Path(info['img_path']).resolve()
        (folder / 'images' / f'{number}{source.suffix}').write_bytes(source.read_bytes())
        lines = []
        for instance in info['instances']:
            if not instance['ignore_flag']:
                ring = max(instance['mask'], key=len).reshape(-1, 2) / [info['width'], info['height']]
                lines.append(' '.join(['0', *(f'{value:.6f}' for value in ring.ravel())]))
        (folder / 'labels' / f'{number}.txt').write_text('\n'.join(lines), encoding='utf-8')
    data = {'path': str(folder), 'train': 'images', 'val': 'images', 'names': {0: 'osteoclast'}}
    path = folder / 'data.yaml'
    path.write_text(json.dumps(data), encoding='utf-8')  # JSON is YAML
    return path


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('data_root', type=Path, help='folder of the batch folders')
    add('--batches', nargs='+', required=True, metavar='BATCH', help='batches to train on')
    add('--peer-python', type=Path, help='Python of an environment with Ultralytics; without it, only ours is measured')
    add('--size', default='n', choices=list('nsmlx'), help='size of the network (default: n)')
    add('--network-size', type=int, default=416, metavar='PX', help='side of its input (default: 416)')
    add('--batch-size', type=int, default=16, help='images per iteration (default: 16)')
    add('--threads', type=int, default=os.cpu_count(), help='threads of the network (default: one per core)')
    add('--workers', type=int, default=0, help='loader processes (default: 0, as Ultralytics has it on CPUs)')
    add('--cache', nargs='+', choices=('ram', 'none'), default=['ram', 'none'], help='one table each (default: both)')
    add('--device', default='cpu', choices=('cpu', 'cuda'), help='default: cpu')
    add('--amp', action='store_true', help='mixed precision: on both sides on a GPU, as a third row on a CPU')
    add('--iterations', type=int, default=10, help='iterations measured in each run (default: 10)')
    add('--warm-up', type=int, default=2, help='iterations before them (default: 2)')
    add('--rounds', type=int, default=3, help='runs of each side (default: 3)')
    options = parser.parse_args()
    options.data_root = options.data_root.resolve()
    for name in ('batch_size', 'threads', 'iterations', 'warm_up', 'rounds'):
        if getattr(options, name) < 1:
            raise InputError(f'--{name.replace("_", "-")} must be at least 1 (got {getattr(options, name)}).')
    return options


if __name__ == '__main__':
    run_command(main)
