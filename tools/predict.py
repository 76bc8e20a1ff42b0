"""Finds and measures the cells of well images."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from noise_mm.command_line import parse_cfg_options, pick_device
from noise_mm.errors import InputError, run_command

FORMATS = ('coco', 'csv', 'overlay')
EXAMPLE = """
example:
  python tools/predict.py work_dirs/yolov8-seg_M5/yolov8-seg.py work_dirs/yolov8-seg_M5/best.pth plate7/ --out results
      for each image of the folder plate7: <well>.json (COCO), <well>_cells.csv (a row for each cell) and
      <well>_overlay.png (outlines to check by eye); for all of them: wells.csv (count and areas)
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
    parser.add_argument(
        '--mpp', type=float, metavar='UM_PER_PX', help='pixel size of the wells (default: as files say)'
    )
    parser.add_argument('--score-thr', type=float, default=0.25, metavar='S', help='least confidence (0.25)')
    parser.add_argument('--formats', default=','.join(FORMATS), help=f'what to write ({",".join(FORMATS)})')
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda:0, ... (auto: a GPU if there is one)')
    parser.add_argument('--batch-size', type=int, default=4, help='tiles that the network sees at a time (4)')
    parser.add_argument(
        '--cfg-options', nargs='+', metavar='KEY=VALUE', default=[], help='change settings of the config'
    )
    return parser.parse_args()


def _check_pixel_size(um_per_px: float | None) -> None:
    from noise_mm.wells.tiff import PLAUSIBLE_UM_PER_PX, plausible_um_per_px

    if um_per_px is not None and plausible_um_per_px(um_per_px) is None:
        low, high = PLAUSIBLE_UM_PER_PX
        raise InputError(
            f'--mpp {um_per_px:g}: not from {low:g} to {high:g}. Give um per px; the published wells have 0.7784.'
        )


def main() -> None:
    """Reads the options and predicts."""
    args = parse_arguments()
    formats = args.formats.split(',')
    unknown = set(formats) - set(FORMATS)
    if unknown:
        raise InputError(f'--formats: unknown {", ".join(sorted(unknown))}. Choose from {", ".join(FORMATS)}.')
    if not 0 <= args.score_thr <= 1:
        raise InputError(f'--score-thr {args.score_thr}: not from 0 to 1. The default is 0.25.')
    _check_pixel_size(args.mpp)
    if args.batch_size < 1:
        raise InputError(f'--batch-size {args.batch_size}: not at least 1.')

    from noise_mm.wells.predict_folder import find_images, predict_folder

    images = find_images(args.wells)
    device = pick_device(args.device)
    from noise_mm.configuration import load_config
    from noise_mm.wells.detector import TileDetector
    from noise_mm.wells.predict_well import TileSettings

    config = load_config(args.config, parse_cfg_options(args.cfg_options))
    detector = TileDetector(config, args.checkpoint, device, args.score_thr)
    patch_px = config.get('patch_size_px', TileSettings.tile_px)
    settings = TileSettings(patch_px, patch_px // 2, args.batch_size)
    arguments = {
        name: [str(v) for v in value] if isinstance(value, list) else str(value) for name, value in vars(args).items()
    }
    predict_folder(images, detector, args.out, settings, args.mpp, formats, arguments)


if __name__ == '__main__':
    run_command(main)
