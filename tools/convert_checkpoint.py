"""Converts a YOLOv8 checkpoint between Ultralytics and this project."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from noise_mm.errors import run_command

EXAMPLE = """examples:
  python tools/convert_checkpoint.py yolov8l-seg.pt checkpoints/yolov8l-seg.pth
  python tools/convert_checkpoint.py work_dirs/stage3/best.pth osteoclasts.pt

The suffixes say the direction: .pt is Ultralytics' file, .pth is this project's. Detection and segmentation models of
YOLOv8 of any size and with any classes are converted. Ultralytics need not be installed, and nothing that a file
contains is executed: a file that asks for more than a YOLOv8 is refused."""


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('source', type=Path, metavar='SRC', help='checkpoint to read, .pt or .pth')
    parser.add_argument('target', type=Path, metavar='DST', help='checkpoint to write, .pth or .pt')
    return parser.parse_args()


def main() -> None:
    """Converts and says what was converted."""
    arguments = parse_arguments()
    from noise_mm.checkpoints.conversion import convert
    from noise_mm.checkpoints.pickle_scan import shown

    converted = convert(arguments.source, arguments.target)
    size = converted.size
    network = f'YOLOv8{size.letter}' if size.letter else f'YOLOv8 (width {size.widen_factor:g})'
    print(f'{arguments.source} -> {arguments.target}')
    print(f'{network}, task {size.task}, {converted.tensors} tensors')
    print(f'{size.num_classes} classes: {", ".join(map(shown, converted.class_names))}')


if __name__ == '__main__':
    run_command(main)
