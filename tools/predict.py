"""Find and measure the cells of well images."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from noise_mm.command_line import add_launcher_option, parse_cfg_options, pick_device
from noise_mm.errors import InputError, run_command

if TYPE_CHECKING:
    from noise_mm.distributed import Ranks

ZOOMS = (0.1, 10.0)
DEFAULT_FORMATS = ('coco', 'csv', 'overlay')
EXAMPLE = """
examples:
  python tools/predict.py --weights noise_mh.pt plate7/ --out results
      for each image in plate7/: <well>.json (COCO), <well>_cells.csv (one row per cell) and <well>_overlay.png
      (outlines for a visual check); for all of them: wells.csv (counts and areas) and index.html. No config is needed:
      size and classes of an Ultralytics YOLOv8 .pt or a .pth of this project are read off the file
  python tools/predict.py --params params.json
      the parameter file of the released NOISe tool
  python tools/predict.py work_dirs/noise_m2h/noise_m2h.py work_dirs/noise_m2h/best.pth plate7/ --out results --resume
      with a config; --resume continues a run that was stopped
  python tools/predict.py --weights cells.pth plate7/ --out results --formats csv,geojson,roi \\
      --nuclei-weights nuclei.pth --min-nuclei 3 --well-mask --plate-map plate7.csv
      counts the nuclei of each cell, classes cells with fewer than three as pre-osteoclasts, detects the well boundary
      and compares the conditions of the plate
  tools/dist_predict.sh CONFIG CHECKPOINT 4 plate7/ --out results
      shares the wells over four GPUs of this machine

docs/whole_wells.md explains what is measured and how.
exit status: 0 done, 2 bad input; images that fail are named, and the others are predicted
"""


def parse_arguments() -> argparse.Namespace:
    """Parse the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'inputs',
        type=Path,
        nargs='*',
        metavar='[CONFIG CHECKPOINT] WELL_OR_FOLDER',
        help='config and checkpoint of an instance segmentor, unless --weights names one; then wells (TIFF, SVS, PNG, '
        'JPEG) or folders of them',
    )
    parser.add_argument(
        '--weights',
        metavar='FILE_OR_NAME',
        help='weights that need no config: .pt of Ultralytics YOLOv8, .pth, or a name',
    )
    parser.add_argument(
        '--params', type=Path, metavar='JSON', help='take all this from a params.json of the released tool'
    )
    parser.add_argument('--out', type=Path, metavar='DIR', help='folder for the results')
    parser.add_argument('--resume', action='store_true', help='skip wells that are already complete in DIR')
    parser.add_argument(
        '--formats',
        default=','.join(DEFAULT_FORMATS),
        help=f'what to write for each well, of coco,csv,overlay,geojson,roi,labels ({",".join(DEFAULT_FORMATS)})',
    )
    _add_inference(parser)
    _add_measuring(parser)
    _add_running(parser)
    return parser.parse_intermixed_args()


def _add_inference(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('inference')
    group.add_argument(
        '--mpp', type=float, metavar='UM_PER_PX', help='pixel size of the wells (default: as files say, else 0.7784)'
    )
    group.add_argument(
        '--assume-mpp',
        action='store_true',
        help='give areas in um^2 for wells that state no pixel size, which is taken as 0.7784',
    )
    group.add_argument('--scene', type=int, metavar='N', help='number of the image in files that hold several, from 1')
    group.add_argument('--score-thr', type=float, default=0.25, metavar='S', help='score threshold (0.25)')
    overlap = group.add_mutually_exclusive_group()
    overlap.add_argument(
        '--stride',
        type=int,
        metavar='PX',
        help='distance between neighbouring tiles, in pixels at the resolution of training (default: half a tile)',
    )
    overlap.add_argument(
        '--fast',
        action='store_true',
        help='tiles three quarters of a tile apart: less than half as many; fewer cells are confirmed by several tiles',
    )
    group.add_argument(
        '--zoom',
        type=float,
        default=1.0,
        metavar='F',
        help='show the network the cells F times as large: 0.5 for cells as large as a tile; areas do not change (1)',
    )
    group.add_argument(
        '--keep-background',
        action='store_true',
        help='run the network on empty tiles too, which are skipped otherwise',
    )
    nuclei = group.add_mutually_exclusive_group()
    nuclei.add_argument(
        '--nuclei-weights', metavar='FILE_OR_NAME', help='also detect nuclei, with weights that need no config'
    )
    nuclei.add_argument('--nuclei', type=Path, nargs=2, metavar=('CONFIG', 'CHECKPOINT'), help='the same with a config')
    group.add_argument(
        '--nuclei-score-thr', type=float, default=0.25, metavar='S', help='score threshold of nuclei (0.25)'
    )


def _add_measuring(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('measurement')
    group.add_argument(
        '--min-nuclei', type=int, metavar='N', help='class cells with fewer nuclei as pre-osteoclasts; needs nuclei'
    )
    area = group.add_mutually_exclusive_group()
    area.add_argument(
        '--well-area',
        type=float,
        metavar='PX2',
        help='area of the well in px^2, for coverage and densities',
    )
    area.add_argument('--well-mask', action='store_true', help='detect the well boundary and use its area')
    group = parser.add_argument_group('plates')
    group.add_argument(
        '--plate-map',
        type=Path,
        metavar='FILE',
        help='CSV or XLSX, list or grid, with the condition of each well, and its mouse, donor or replicate',
    )
    group.add_argument(
        '--name-pattern',
        metavar='REGEX',
        help='regular expression with the groups well, field and plate, for names that are not understood',
    )
    group.add_argument(
        '--test',
        choices=['welch', 'mann-whitney'],
        default='welch',
        help='test of replicates against the control that the plate map names (welch)',
    )


def _add_running(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('hardware')
    group.add_argument('--device', default='auto', help='auto, cpu, cuda:0, ... (auto: a GPU if there is one)')
    group.add_argument(
        '--precision',
        choices=['auto', 'fp16', 'bf16', 'fp32'],
        default='auto',
        help='precision of the network (auto: fp16 on a GPU, fp32 on a CPU)',
    )
    group.add_argument(
        '--backend',
        choices=('auto', 'pytorch', 'onnxruntime'),
        default='auto',
        help="what runs the network (auto: onnxruntime on a CPU where it is installed, pip install '.[cpu]')",
    )
    group.add_argument('--batch-size', type=int, default=4, help='tiles in a batch (4)')
    group.add_argument(
        '--cfg-options', nargs='+', metavar='KEY=VALUE', default=[], help='change settings of the config'
    )
    add_launcher_option(parser)


def check_arguments(args: argparse.Namespace) -> tuple[str, ...]:
    """Refuse impossible values before anything is read.

    Returns:
        The formats.

    Raises:
        InputError: With the name of the option.
    """
    from noise_mm.report.output_files import FORMATS
    from noise_mm.scale import PLAUSIBLE_UM_PER_PX, plausible_um_per_px

    if args.out is None:
        raise InputError('--out is missing. Name a folder for the results.')
    if args.weights is None and len(args.inputs) < 3:
        raise InputError('give CONFIG CHECKPOINT WELLS, or --weights FILE WELLS. See --help.')
    if not args.inputs:
        raise InputError('no wells. Name well images or folders of them.')
    if not ZOOMS[0] <= args.zoom <= ZOOMS[1]:
        raise InputError(f'--zoom must lie between {ZOOMS[0]:g} and {ZOOMS[1]:g} (got {args.zoom:g}).')
    formats = tuple(dict.fromkeys(filter(None, map(str.strip, args.formats.split(',')))))
    if not formats:
        raise InputError(f'--formats {args.formats!r}: names none. Choose from {", ".join(FORMATS)}.')
    if unknown := sorted(set(formats) - set(FORMATS)):
        raise InputError(f'--formats: unknown {", ".join(unknown)}. Choose from {", ".join(FORMATS)}.')
    for option in ('score_thr', 'nuclei_score_thr'):
        if not 0 <= getattr(args, option) <= 1:
            name = option.replace('_', '-')
            raise InputError(f'--{name} must lie between 0 and 1 (got {getattr(args, option)}); the default is 0.25.')
    if args.mpp is not None and plausible_um_per_px(args.mpp) is None:
        low, high = PLAUSIBLE_UM_PER_PX
        raise InputError(
            f'--mpp must lie between {low:g} and {high:g} um per px (got {args.mpp:g}); published wells have 0.7784.'
        )
    if args.batch_size < 1:
        raise InputError(f'--batch-size must be at least 1 (got {args.batch_size}).')
    if args.min_nuclei is not None and not (args.nuclei or args.nuclei_weights):
        raise InputError('--min-nuclei needs nuclei. Give --nuclei-weights FILE, or --nuclei CONFIG CHECKPOINT.')
    if args.min_nuclei is not None and args.min_nuclei < 1:
        raise InputError(f'--min-nuclei must be at least 1 (got {args.min_nuclei}); osteoclasts have 3 or more.')
    if args.well_area is not None and not 0 < args.well_area < float('inf'):
        raise InputError(f'--well-area must be above 0 (got {args.well_area:g}). Give square pixels of the image.')
    return formats


def _device(name: str, ranks: 'Ranks') -> Any:
    """Return the device of this process; several processes take the GPUs of their machine in turn."""
    import torch

    from noise_mm.distributed import own_gpu

    if ranks.count > 1 and name in ('auto', 'cuda') and (gpu := own_gpu(ranks)) is not None:
        name = f'cuda:{gpu}'
    device = pick_device(name)
    if device.type == 'cuda':
        torch.cuda.set_device(device)  # else each process would also hold memory of the first GPU
    return device


def _tiles(args: argparse.Namespace, config: Any) -> Any:
    """Return the tiles that the options and the config ask for.

    Raises:
        InputError: If the stride is out of range.
    """
    from noise_mm.inference.predict_well import TileSettings

    tile_px = config.get('patch_size_px', TileSettings.tile_px)
    usual_px = tile_px * 3 // 4 if args.fast else tile_px // 2
    stride_px = usual_px if args.stride is None else args.stride
    if not 1 <= stride_px <= tile_px:
        raise InputError(
            f'--stride must lie between 1 and {tile_px}, the side of a tile (got {stride_px}); more would leave gaps.'
        )
    return TileSettings(
        tile_px, stride_px, args.batch_size, not args.keep_background, score_thr=args.score_thr, zoom=args.zoom
    )


def _take_params(args: argparse.Namespace) -> None:
    """Fill options from the parameter file of the released tool; what is typed besides wins."""
    from noise_mm.inference.released_params import read_params

    params = read_params(args.params)
    args.weights = args.weights or params.weights
    args.inputs = args.inputs or [params.wells]
    args.out = args.out or params.out
    args.mpp = args.mpp or params.mpp
    if args.device == 'auto':
        args.device = params.device or 'auto'
    if args.well_area is None and not args.well_mask:
        args.well_area = params.well_area_px2


def _wells(args: argparse.Namespace) -> list[Path]:
    """Return the wells and folders among the inputs."""
    return args.inputs if args.weights else args.inputs[2:]


def _network(args: argparse.Namespace) -> AbstractContextManager[tuple[Any, Path]]:
    """Give config and checkpoint that the options name.

    Raises:
        InputError: If they are missing or do not fit together.
    """
    from noise_mm.configuration import load_config

    if args.weights is None:
        config, checkpoint = args.inputs[:2]
        return nullcontext((load_config(config, parse_cfg_options(args.cfg_options)), checkpoint))
    if args.inputs[0].suffix == '.py':
        raise InputError(f'{args.inputs[0]}: a config beside --weights. Leave out one of them.')
    if args.cfg_options:
        raise InputError('--cfg-options changes a config. Give CONFIG CHECKPOINT instead of --weights.')
    return _opened(args.weights, masks=True)


def _nuclei_network(args: argparse.Namespace) -> AbstractContextManager[tuple[Any, Path] | None]:
    """Give config and checkpoint of the detector of nuclei; None where none is wanted."""
    from noise_mm.configuration import load_config

    if args.nuclei_weights:
        return _opened(args.nuclei_weights, masks=False)
    return nullcontext(args.nuclei and (load_config(args.nuclei[0]), args.nuclei[1]))


@contextmanager
def _opened(name: str, masks: bool) -> Iterator[tuple[Any, Path]]:
    """Give config and checkpoint of weights by file or name, and print what they are."""
    from noise_mm.checkpoints.weights import opened_weights

    with opened_weights(name, masks) as weights:
        print(f'{weights.source}: {weights.description}')
        yield weights.config, weights.checkpoint


def _about(args: argparse.Namespace, checkpoint: Path, metadata: dict[str, Any]) -> dict[str, str]:
    """Return what the page says of the run."""
    about = {
        'model': f'{args.weights or f"{args.inputs[0].name}, {checkpoint.name}"} ({metadata["checkpoint"]})',
        'zoom': f'{args.zoom:g}',
        'score threshold': f'{args.score_thr:g}',
        'precision': metadata['precision'],
    }
    if args.nuclei or args.nuclei_weights:
        name = args.nuclei_weights or args.nuclei[1].name
        about['nuclei'] = f'{name} ({metadata["nuclei_checkpoint"]}), from {args.nuclei_score_thr:g}'
    return about


def main() -> None:
    """Read the options and predict."""
    args = parse_arguments()
    if args.params is not None:
        _take_params(args)
    formats = check_arguments(args)

    from noise_mm.report.folder import SummaryOptions
    from noise_mm.report.output_files import check_output_folder
    from noise_mm.report.plate_map import read_plate_map
    from noise_mm.report.well_names import compile_pattern, read_names
    from noise_mm.slides.well_images import by_well, find_images, unread_note

    images = find_images(_wells(args))
    if note := unread_note(_wells(args)):
        print(note)
    pattern = None if args.name_pattern is None else compile_pattern(args.name_pattern)
    names, _ = read_names(list(by_well(images)), pattern)
    plate_map = None if args.plate_map is None else read_plate_map(args.plate_map)
    if plate_map is not None:
        plate_map.require_match(names)
    check_output_folder(args.out, images, args.plate_map)
    with _network(args) as network, _nuclei_network(args) as nuclei:
        _predict(args, network, nuclei, images, formats, SummaryOptions(plate_map, pattern, args.test))


def _predict(
    args: argparse.Namespace,
    network: tuple[Any, Path],
    nuclei: tuple[Any, Path] | None,
    images: list[Path],
    formats: tuple[str, ...],
    summary: Any,
) -> None:
    """Predict with networks, each a config and a checkpoint, that are ready."""
    from noise_mm.distributed import ranks_of
    from noise_mm.inference.detector import TileDetector
    from noise_mm.inference.nucleus_detector import NucleusDetector
    from noise_mm.inference.predict_folder import PredictOptions, predict_folder
    from noise_mm.report.options import WellOptions
    from noise_mm.slides.well_images import unread_files

    config, checkpoint = network
    tiles = _tiles(args, config)
    ranks = ranks_of(args.launcher)
    device = _device(args.device, ranks)
    running = {'precision': args.precision, 'backend': args.backend}
    detector = TileDetector(config, checkpoint, device, args.score_thr, **running)
    metadata, finder = dict(detector.metadata), None
    if nuclei is not None:
        finder = NucleusDetector(*nuclei, device, args.nuclei_score_thr, **running, zoom=args.zoom)
        metadata |= {f'nuclei_{name}': value for name, value in finder.metadata.items()}
    options = PredictOptions(
        tiles=tiles,
        mpp=args.mpp,
        formats=formats,
        nucleus_finder=finder,
        well=WellOptions(args.min_nuclei, args.well_area, args.well_mask),
        assume_mpp=args.assume_mpp,
        scene=args.scene,
        summary=replace(summary, about=_about(args, checkpoint, metadata)),
        resume=args.resume,
        metadata=metadata,
        ranks=ranks,
    )
    arguments = {
        name: [str(v) for v in value] if isinstance(value, list) else str(value) for name, value in vars(args).items()
    }
    arguments['seen_batches'] = None if detector.seen_batches is None else sorted(detector.seen_batches)
    arguments['not_used'] = list(map(str, unread_files(_wells(args))))
    predict_folder(images, detector, args.out, options, arguments)


if __name__ == '__main__':
    run_command(main)
