"""Draws patches of the test batches in rows: what is annotated, and beside it what each method finds."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from noise_mm.command_line import add_allow_seen_option, parse_cfg_options, pick_device
from noise_mm.errors import InputError, run_command
from noise_mm.seen_batches import MARK

if TYPE_CHECKING:
    import torch
    from mmengine.config import Config

    from noise_mm.datasets.patch_datasets import Source
    from noise_mm.figures.shown_patches import ShownPatch

EXAMPLE = """
examples:
  python tools/make_figure.py configs/noise/noise_m2h.py --out figure7.png
        --model YOLOv8 configs/baseline/yolov8_m2h.py work_dirs/yolov8_m2h/best.pth
        --model NOISe configs/noise/noise_m2h.py work_dirs/noise_m2h/best.pth
      six patches of the test batches H1 and H2; columns: annotated, YOLOv8, NOISe
  python tools/make_figure.py configs/baseline/yolov8_m2m.py --rows 5 --out figure6.pdf
        --model YOLOv8 configs/baseline/yolov8_m2m.py work_dirs/yolov8_m2m_{fold}/best.pth
      a patch of each batch, seen by the network that it was held out from

Patches are drawn at random (--seed) among those with annotated cells, evenly over batches and wells; what is found
in them plays no part. --patches shows given ones instead.
"""


def main() -> None:
    """Choose patches, finds cells in them by each method, and draws."""
    args = parse_options()
    config = read_config(args)
    device = pick_device(args.device)
    from noise_mm.datasets.patch_images import read_patch
    from noise_mm.evaluation.configured_test import dataset_of_test
    from noise_mm.figures.qualitative import FigureRow, draw_figure
    from noise_mm.figures.shown_patches import choose_patches, named_patches, read_patches
    from noise_mm.files import require_folder

    require_folder(args.out.parent)
    sources, classes = dataset_of_test(config).sources(), tuple(config.classes)
    every = [
        patch
        for source in sources
        for patch in read_patches(source.annotation_file, source.image_dir, source.batch, classes)
    ]
    patches = named_patches(every, args.patches) if args.patches else choose_patches(every, args.rows, args.seed)
    overrides = parse_cfg_options(args.cfg_options)
    columns = [find(column, patches, sources, classes, args, device, overrides) for column in args.columns]
    rows = [
        FigureRow(
            label=patch.name,
            pixels=read_patch(patch.path)[..., ::-1],
            um_per_px=patch.facts.get('mpp'),
            objects=patch.outlines(),
            found=[found[index] for found, _ in columns],
        )
        for index, patch in enumerate(patches)
    ]
    marks = [f'\n({MARK})' if seen else '' for _, seen in columns]
    draw_figure(args.out, rows, [name + mark for (name, *_), mark in zip(args.columns, marks, strict=True)])
    if any(marks):
        print(f'{args.out}: {MARK}')
    print(f'{args.out}: {", ".join(patch.name for patch in patches)}; cells of confidence {args.score_thr:g} or more')


def read_config(args: argparse.Namespace) -> 'Config':
    """Return the config, with the batches whose patches may be shown as its test batches.

    Raises:
        InputError: If it is cross-validated, but a column is not: it would show patches that were trained on.
    """
    import noise_mm.register  # noqa: F401
    from noise_mm.configuration import load_config

    config = load_config(args.config, parse_cfg_options(args.cfg_options), args.fold)
    if not config.get('classes') or not config.get('test_dataloader'):
        raise InputError(f'{args.config}: has no test data (classes, test_dataloader). Choose another config.')
    if not config.get('test_batches'):
        for name, *_, file in args.columns:
            if '{fold}' not in file:
                raise InputError(
                    f'{args.config}: is cross-validated, so {name} was trained on all batches but one. Give --fold, or '
                    'write {fold} in place of the batch in its file name, for the run in which that batch was held out.'
                )
        config.test_dataloader.dataset.batches = list(config.train_batches)
    return config


def find(
    column: list[str],
    patches: list['ShownPatch'],
    sources: list['Source'],
    classes: tuple[str, ...],
    args: argparse.Namespace,
    device: 'torch.device',
    overrides: dict[str, Any],
) -> tuple[list[list], bool]:
    """Return what a column shows in each patch, and whether that was seen in training."""
    from noise_mm.figures.columns import found_by_network, found_in_results
    from noise_mm.files import read_json

    if len(column) == 3:
        return found_by_network(
            Path(column[1]), column[2], patches, classes, args.score_thr, device, overrides, args.allow_seen
        )
    names = {
        source.batch: {
            each['id']: each['name']
            for each in read_json(source.annotation_file)['categories']
            if each['name'] in classes
        }
        for source in sources
    }
    return found_in_results(column[1], patches, args.score_thr, names, args.allow_seen)


def parse_options() -> argparse.Namespace:
    """Return the options of the command line.

    Raises:
        InputError: If there is no column, or a number is out of range.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', type=Path, help='its test batches are shown; all in turn if it is cross-validated')
    parser.add_argument('--out', type=Path, required=True, metavar='FILE', help='.png, .pdf or .svg')
    parser.add_argument(
        '--model',
        dest='columns',
        action='append',
        nargs=3,
        default=[],
        metavar=('NAME', 'CONFIG', 'CHECKPOINT'),
        help='a column: a network; {fold} in CHECKPOINT stands for the batch of the patch. May be repeated',
    )
    parser.add_argument(
        '--results',
        dest='columns',
        action='append',
        nargs=2,
        metavar=('NAME', 'FILE'),
        help="a column: any tool's COCO results (see tools/test.py --results); {fold} as above. May be repeated",
    )
    parser.add_argument('--rows', type=int, default=6, help='how many patches to draw (default: 6)')
    parser.add_argument('--seed', type=int, default=0, help='another seed draws others (default: 0)')
    parser.add_argument('--patches', nargs='+', metavar='NAME', help='show these instead, e.g. A1_0_416 or H1/A1_0_416')
    parser.add_argument('--score-thr', type=float, default=0.25, metavar='S', help='score threshold (default: 0.25)')
    parser.add_argument('--fold', metavar='BATCH', help='show patches of this batch')
    add_allow_seen_option(parser)
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda:0, ... (auto: a GPU if there is one)')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        metavar='KEY=VALUE',
        default=[],
        help='change settings of all these configs, e.g. data_root or model_size; networks of different settings are '
        'named by the config that each training has saved in its folder',
    )
    args = parser.parse_args()
    if not args.columns:
        raise InputError('nothing to show beside the annotations. Give at least one --model or --results.')
    if args.rows < 1 or args.seed < 0:
        raise InputError(f'--rows {args.rows}, --seed {args.seed}: give at least 1 row and a seed from 0 on.')
    if not 0 <= args.score_thr <= 1:
        raise InputError(f'--score-thr {args.score_thr}: not from 0 to 1. The default is 0.25.')
    return args


if __name__ == '__main__':
    run_command(main)
