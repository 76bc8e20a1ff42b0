"""Finds and measures the cells of well images."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from noise_mm.command_line import parse_cfg_options, pick_device
from noise_mm.errors import InputError, run_command

if TYPE_CHECKING:
    from noise_mm.inference.sharding import Ranks

DEFAULT_FORMATS = ('coco', 'csv', 'overlay')
EXAMPLE = """
examples:
  python tools/predict.py work_dirs/noise_m2h/noise_m2h.py work_dirs/noise_m2h/best.pth plate7/ --out results
      for each image of the folder plate7: <well>.json (COCO), <well>_cells.csv (a row for each cell) and
      <well>_overlay.png (outlines to check by eye); for all of them: wells.csv (count and areas) and index.html
  python tools/predict.py CONFIG CHECKPOINT plate7/ --out results --resume
      goes on where a run was stopped
  python tools/predict.py CONFIG CHECKPOINT plate7/ --out results --formats csv,geojson,roi \\
      --nuclei work_dirs/nuclei_detector_yolov8-l/nuclei_detector_yolov8-l.py \\
      work_dirs/nuclei_detector_yolov8-l/best.pth --min-nuclei 3 --well-mask --plate-map plate7.csv
      counts nuclei in each cell, calls those with fewer than three pre-osteoclasts, measures the well's disc, and
      compares the conditions of the plate
  tools/dist_predict.sh CONFIG CHECKPOINT 4 plate7/ --out results
      the same on four GPUs of this machine

docs/whole_wells.md says what is measured and how.
exit status: 0 done, 2 bad input; images that can't be done are named, and the others are done
"""


def parse_arguments() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', type=Path, help='config of an instance segmentor')
    parser.add_argument('checkpoint', type=Path, help='its weights')
    parser.add_argument(
        'wells', type=Path, nargs='+', metavar='WELL_OR_FOLDER', help='TIFF, SVS, PNG, JPEG, or folders'
    )
    parser.add_argument('--out', type=Path, required=True, metavar='DIR', help='where results go')
    parser.add_argument('--resume', action='store_true', help='leave wells that are finished in DIR as they are')
    parser.add_argument(
        '--formats',
        default=','.join(DEFAULT_FORMATS),
        help=f'what to write for each well, of coco,csv,overlay,geojson,roi,labels ({",".join(DEFAULT_FORMATS)})',
    )
    _add_looking(parser)
    _add_measuring(parser)
    _add_running(parser)
    return parser.parse_args()


def _add_looking(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('how wells are looked at')
    group.add_argument(
        '--mpp', type=float, metavar='UM_PER_PX', help='pixel size of the wells (default: as files say, else 0.7784)'
    )
    group.add_argument('--score-thr', type=float, default=0.25, metavar='S', help='least confidence (0.25)')
    group.add_argument(
        '--stride',
        type=int,
        metavar='PX',
        help='distance of neighbouring tiles, in pixels at the resolution of training (default: half a tile)',
    )
    group.add_argument(
        '--keep-background',
        action='store_true',
        help='run the network on tiles without anything in them, too, which are skipped otherwise',
    )
    group.add_argument(
        '--nuclei', type=Path, nargs=2, metavar=('CONFIG', 'CHECKPOINT'), help='find nuclei with this detector, too'
    )
    group.add_argument(
        '--nuclei-score-thr', type=float, default=0.25, metavar='S', help='least confidence of nuclei (0.25)'
    )


def _add_measuring(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('how wells are measured')
    group.add_argument(
        '--min-nuclei', type=int, metavar='N', help='cells with fewer nuclei are pre-osteoclasts; needs --nuclei'
    )
    area = group.add_mutually_exclusive_group()
    area.add_argument(
        '--well-area', type=float, metavar='PX2', help='area of the well in px^2 of the image, for shares and densities'
    )
    area.add_argument('--well-mask', action='store_true', help='find the disc of the well in the image, for the same')
    group.add_argument(
        '--plate-map', type=Path, metavar='CSV', help='table with the columns well and condition, to compare conditions'
    )


def _add_running(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('where it runs')
    group.add_argument('--device', default='auto', help='auto, cpu, cuda:0, ... (auto: a GPU if there is one)')
    group.add_argument('--batch-size', type=int, default=4, help='tiles that the network sees at a time (4)')
    group.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm'],
        default='none',
        help='what started this process for several GPUs (see tools/dist_predict.sh)',
    )
    group.add_argument(
        '--cfg-options', nargs='+', metavar='KEY=VALUE', default=[], help='change settings of the config'
    )
    # torch.distributed.launch passes it; torchrun sets LOCAL_RANK instead.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def check_arguments(args: argparse.Namespace) -> tuple[str, ...]:
    """Refuses what makes no sense, before anything is read.

    Returns:
        The formats.

    Raises:
        InputError: With the name of the option.
    """
    from noise_mm.report.options import FORMATS

    formats = tuple(dict.fromkeys(filter(None, map(str.strip, args.formats.split(',')))))
    if not formats:
        raise InputError(f'--formats {args.formats!r}: names none. Choose from {", ".join(FORMATS)}.')
    if unknown := sorted(set(formats) - set(FORMATS)):
        raise InputError(f'--formats: unknown {", ".join(unknown)}. Choose from {", ".join(FORMATS)}.')
    for option in ('score_thr', 'nuclei_score_thr'):
        if not 0 <= getattr(args, option) <= 1:
            name = option.replace('_', '-')
            raise InputError(f'--{name} {getattr(args, option)}: not from 0 to 1. The default is 0.25.')
    _check_pixel_size(args.mpp)
    if args.batch_size < 1:
        raise InputError(f'--batch-size {args.batch_size}: not at least 1.')
    if args.min_nuclei is not None and args.nuclei is None:
        raise InputError('--min-nuclei: nuclei are not looked for. Give --nuclei CONFIG CHECKPOINT.')
    if args.min_nuclei is not None and args.min_nuclei < 1:
        raise InputError(f'--min-nuclei {args.min_nuclei}: not at least 1. Osteoclasts have 3 or more.')
    if args.well_area is not None and not 0 < args.well_area < float('inf'):
        raise InputError(f'--well-area {args.well_area:g}: not above 0. Give square pixels of the image.')
    return formats


def _check_pixel_size(um_per_px: float | None) -> None:
    from noise_mm.slides.tiff import PLAUSIBLE_UM_PER_PX, plausible_um_per_px

    if um_per_px is not None and plausible_um_per_px(um_per_px) is None:
        low, high = PLAUSIBLE_UM_PER_PX
        raise InputError(
            f'--mpp {um_per_px:g}: not from {low:g} to {high:g}. Give um per px; the published wells have 0.7784.'
        )


def _device_name(name: str, ranks: 'Ranks') -> str:
    """The device of this process: several of them take the GPUs of their machine in turn."""
    import torch

    if ranks.count > 1 and name in ('auto', 'cuda') and torch.cuda.is_available():
        return f'cuda:{ranks.local_rank % torch.cuda.device_count()}'
    return name


def main() -> None:
    """Reads the options and predicts."""
    args = parse_arguments()
    formats = check_arguments(args)

    from noise_mm.inference.predict_folder import FolderOptions, predict_folder
    from noise_mm.report.plate_map import read_plate_map
    from noise_mm.slides.well_images import check_output_folder, find_images

    images = find_images(args.wells)
    plate_map = None if args.plate_map is None else read_plate_map(args.plate_map)
    check_output_folder(args.out, images, args.plate_map)
    from noise_mm.configuration import load_config
    from noise_mm.inference.detector import TileDetector
    from noise_mm.inference.predict_well import TileSettings
    from noise_mm.inference.sharding import join
    from noise_mm.report.options import WellOptions

    config = load_config(args.config, parse_cfg_options(args.cfg_options))
    tile_px = config.get('patch_size_px', TileSettings.tile_px)
    stride_px = tile_px // 2 if args.stride is None else args.stride
    if not 1 <= stride_px <= tile_px:
        raise InputError(f'--stride {stride_px}: not from 1 to {tile_px}, the side of a tile. More would leave gaps.')
    ranks = join(args.launcher)
    device = pick_device(_device_name(args.device, ranks))
    detector = TileDetector(config, args.checkpoint, device, args.score_thr)
    facts = dict(detector.facts)
    finder = None
    if args.nuclei is not None:
        from noise_mm.inference.nucleus_detector import NucleusDetector

        finder = NucleusDetector(load_config(args.nuclei[0]), args.nuclei[1], device, args.nuclei_score_thr)
        facts |= {f'nuclei_{name}': fact for name, fact in finder.facts.items()}
    options = FolderOptions(
        nucleus_finder=finder,
        well=WellOptions(args.min_nuclei, args.well_area, args.well_mask),
        plate_map=plate_map,
        resume=args.resume,
        facts=facts,
        ranks=ranks,
    )
    settings = TileSettings(tile_px, stride_px, args.batch_size, not args.keep_background)
    arguments = {
        name: [str(v) for v in value] if isinstance(value, list) else str(value) for name, value in vars(args).items()
    }
    predict_folder(images, detector, args.out, settings, args.mpp, formats, arguments, options)


if __name__ == '__main__':
    run_command(main)
