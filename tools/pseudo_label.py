"""Labels the nuclei in the osteoclast patches of batches, with the detector of stage 1.

Stage 1 does this by itself when it ends; here it is done again, for other batches, or with other settings.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from noise_mm.command_line import add_launcher_option, parse_cfg_options, pick_device
from noise_mm.distributed import Processes, joined
from noise_mm.errors import InputError, run_command

SETTINGS = ('score_thr', 'uncertain_from', 'box_px')
EXAMPLE = """
example:
  python tools/pseudo_label.py configs/noise/nuclei_detector_yolov8-l.py work_dirs/nuclei_detector_yolov8-l/best.pth \\
         --data-root data/osteoclast --batches M1 M2
      writes data/osteoclast/pseudo/M1.json and M2.json: the osteoclasts as annotated, and nuclei as boxes with a score
  python -m torch.distributed.run --standalone --nproc_per_node 4 tools/pseudo_label.py CONFIG CHECKPOINT \\
         --launcher pytorch
      the same files by four GPUs; on a cluster, srun with --launcher slurm

Settings that are not given are those of default_hooks.pseudo_labels in the config. Files that are up to date are left
alone.
"""


def parse_arguments() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', type=Path, help="stage 1's config, or the one that its run has saved")
    parser.add_argument('checkpoint', type=Path, help='its weights, such as best.pth')
    parser.add_argument('--data-root', metavar='D', help='folder of the batch folders (as the config says)')
    parser.add_argument('--batches', nargs='+', metavar='BATCH', help='batches to label (as the config says)')
    parser.add_argument('--fold', metavar='BATCH', help='the batch that was held out in the training of the detector')
    parser.add_argument('--score-thr', type=float, metavar='S', help='least confidence (maximum F1 on the validation)')
    parser.add_argument(
        '--uncertain-from', type=float, metavar='S', help='from here to --score-thr, nuclei become ignored regions'
    )
    parser.add_argument('--box-px', type=_box_px, metavar='N|predicted', help='side of the boxes (36)')
    parser.add_argument('--batch-size', type=int, metavar='N', help='patches that the network sees at a time')
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda:0, ... (auto: a GPU if there is one)')
    parser.add_argument('--force', action='store_true', help='label also what is up to date')
    parser.add_argument(
        '--cfg-options', nargs='+', metavar='KEY=VALUE', default=[], help='change settings of the config'
    )
    add_launcher_option(parser)
    return parser.parse_args()


def _box_px(text: str) -> float | str:
    """A size, or a word that the settings know or refuse."""
    try:
        return float(text)
    except ValueError:
        return text


def settings_of(config: Any, args: argparse.Namespace) -> Any:
    """The settings of the config's hook, changed by options."""
    from noise_mm.pseudo_labels.weak_nuclei import LabelSettings

    hook = (config.get('default_hooks') or {}).get('pseudo_labels') or {}
    values = {key: hook[key] for key in (*SETTINGS, 'min_distance_px') if key in hook}
    values.update({key: getattr(args, key) for key in SETTINGS if getattr(args, key) is not None})
    return LabelSettings(**values)


def main() -> None:
    """Reads the options and labels."""
    args = parse_arguments()
    if args.batch_size is not None and args.batch_size < 1:
        raise InputError(f'--batch-size {args.batch_size}: not at least 1.')
    if args.launcher != 'none' and args.device != 'auto':
        raise InputError(f'--device {args.device}: with --launcher each process takes a GPU of its own. Leave it out.')
    with joined(args.launcher) as processes:
        label(args, processes)


def label(args: argparse.Namespace, processes: Processes) -> None:
    """Label with the processes that have met."""
    device = pick_device(args.device) if args.launcher == 'none' else processes.device
    import noise_mm.register  # noqa: F401
    from noise_mm.configuration import load_config
    from noise_mm.pseudo_labels.batches import read_batches
    from noise_mm.pseudo_labels.labeller import NucleusLabeller
    from noise_mm.pseudo_labels.labelling import label_batches
    from noise_mm.seen_batches import refuse_repeated

    overrides = parse_cfg_options(args.cfg_options) | ({'data_root': args.data_root} if args.data_root else {})
    config = load_config(args.config, overrides, args.fold)
    settings = settings_of(config, args)
    processes.connect(config)
    data_root = config.get('data_root')
    names = args.batches or config.get('train_batches') or []
    refuse_repeated('--batches', args.batches)
    found, missing = read_batches(data_root or '.', names)
    if missing or not found:
        what = f'no batch {missing[0]}' if missing else 'no batches are selected'
        raise InputError(f'{data_root}: {what}. Extract it with data_prep/extract_patches.py, or change --batches.')
    labeller = NucleusLabeller(config, args.checkpoint, device, settings, args.batch_size)
    pseudo_dir = config.get('pseudo_dir', 'pseudo')
    written = label_batches(labeller, found, data_root, pseudo_dir, args.force)
    print(f'{Path(data_root) / pseudo_dir}: {len(written)} files written, {len(found) - len(written)} up to date')


if __name__ == '__main__':
    run_command(main)
