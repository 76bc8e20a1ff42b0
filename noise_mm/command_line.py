"""What the command lines share: options, devices, processes. Importing this imports neither torch nor MMEngine."""

import argparse
from pathlib import Path
from typing import Any

from noise_mm.errors import InputError


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """The options of every tool that runs a config, named as MMDetection's."""
    parser.add_argument('--fold', metavar='BATCH', help='hold out this batch: test on it, train on all the others')
    parser.add_argument('--work-dir', type=Path, help='folder for logs and results (work_dirs/<config>[_<fold>])')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        metavar='KEY=VALUE',
        default=[],
        help='change settings of the config, e.g. max_epochs=50 model_size=s "test_batches=[H1,H2]"',
    )
    parser.add_argument(
        '--as-paper',
        action='store_true',
        help="measure as the paper's numbers were: Ultralytics' matching, interpolation, mask grid and best epoch",
    )
    add_launcher_option(parser)


def add_launcher_option(parser: argparse.ArgumentParser) -> None:
    """The option of tools that several processes may share the work of, named as MMDetection's."""
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm'],
        default='none',
        help='what started this process for several GPUs (see tools/dist_*.sh)',
    )
    # torch.distributed.launch passes it; torchrun sets LOCAL_RANK instead.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def add_allow_seen_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that lets a batch be trained on and tested; the results are marked."""
    parser.add_argument(
        '--allow-seen',
        action='store_true',
        help='run although a test batch is trained on, or was in an earlier stage; all results are marked',
    )


def parse_cfg_options(pairs: list[str]) -> dict[str, Any]:
    """`['a.b=1', 'c=[x,y]']` -> `{'a.b': 1, 'c': ['x', 'y']}`, by MMEngine's rules.

    Raises:
        InputError: If a part has no `=`.
    """
    from mmengine.config import DictAction

    for pair in pairs:
        if '=' not in pair:
            raise InputError(f'--cfg-options {pair}: not KEY=VALUE. Write e.g. max_epochs=50.')
    parser = argparse.ArgumentParser()
    parser.add_argument('--set', nargs='*', action=DictAction, default={})
    return parser.parse_args(['--set', *pairs]).set


def load_run_config(args: argparse.Namespace) -> Any:
    """The config that the options of `add_config_options` ask for, with its work folder and launcher."""
    import noise_mm.register  # noqa: F401
    from noise_mm.configuration import load_config
    from noise_mm.paper_preset import paper_settings, with_paper_settings

    given = parse_cfg_options(args.cfg_options)
    if args.as_paper:
        given = with_paper_settings(paper_settings(load_config(args.config)), given)
    config = load_config(args.config, given, args.fold)
    name = Path(args.config).stem + (f'_{args.fold}' if args.fold else '')
    config.work_dir = str(args.work_dir or config.get('work_dir') or Path('work_dirs') / name)
    config.launcher = args.launcher
    return config


def pick_device(name: str) -> Any:
    """The torch device of that name; `auto` is the first GPU, or the CPU where there is none.

    Raises:
        InputError: If there is no such device.
    """
    import torch

    if name == 'auto':
        return torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f'--device {name}: no such kind of device. Use auto, cpu, cuda:0, ...') from error
    if device.type not in ('cpu', 'cuda'):
        raise InputError(f'--device {name}: not supported. Use auto, cpu, cuda:0, ...')
    if device.type == 'cuda':
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise InputError(f'--device {name}: this machine has {count} usable GPUs. Use --device cpu or auto.')
    return device
