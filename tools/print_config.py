"""Prints a config with everything filled in, or writes it to a file that any tool of OpenMMLab can read."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from noise_mm.command_line import parse_cfg_options
from noise_mm.errors import InputError, run_command

EXAMPLE = """
example:
  python tools/print_config.py configs/noise/noise_m2m.py --fold M5 --out noise_m2m_M5.py
      for MMDetection's tools that build a dataset from a config themselves, such as browse_dataset.py
"""


def main() -> None:
    """Read the options and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', type=Path, help='a file of configs/')
    parser.add_argument('--fold', metavar='BATCH', help='hold out this batch: test on it, train on all the others')
    parser.add_argument('--cfg-options', nargs='+', metavar='KEY=VALUE', default=[], help='change settings')
    parser.add_argument('--out', type=Path, metavar='FILE.py', help='write the config to this file')
    args = parser.parse_args()
    if args.out is not None and args.out.suffix != '.py':
        raise InputError(f'--out {args.out}: a config of MMEngine. Give it a name that ends in .py.')

    import noise_mm.register  # noqa: F401
    from noise_mm.configuration import load_config
    from noise_mm.files import require_folder, write_text

    config = load_config(args.config, parse_cfg_options(args.cfg_options), args.fold)
    if args.out is None:
        print(config.pretty_text)
    else:
        require_folder(args.out.parent)
        write_text(args.out, config.pretty_text)


if __name__ == '__main__':
    run_command(main)
