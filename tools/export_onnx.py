"""Export a YOLOv8 network of this project as an ONNX graph."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from noise_mm.errors import InputError, run_command

EXAMPLE = """
example:
  python tools/export_onnx.py work_dirs/yolov8-seg/yolov8-seg.py work_dirs/yolov8-seg/best.pth yolov8-seg.onnx

The graph takes images (batch, 3, height, width), RGB from 0 to 1, any batch size. It gives boxes (batch, anchors, 4)
x1, y1, x2, y2 in pixels of the input and scores (batch, anchors, classes); for segmentors also coefficients (batch,
anchors, 32) and prototypes (batch, 32, height / 4, width / 4). Non-maximum suppression and masks are left to the
caller.
"""


def main() -> None:
    """Read the options, build the network, export and compare."""
    options = parse_options()
    from noise_mm.inference.onnx_backend import onnx_is_installed

    if not onnx_is_installed():
        raise InputError("export needs onnx, onnxscript and onnxruntime. Install them: pip install '.[cpu]'")
    import torch

    from noise_mm.configuration import load_config
    from noise_mm.inference.detector import TileNetwork
    from noise_mm.inference.onnx_backend import can_export, check_equal, export, input_size_px

    network = TileNetwork(load_config(options.config), options.checkpoint, torch.device('cpu'), score_thr=0.001)
    if not can_export(network.model):
        raise InputError(f'{options.config}: not a YOLOv8 network of this project. Only these can be exported.')
    size_px = input_size_px(network.pipeline)
    try:
        export(network.model, options.out, size_px)
        difference = check_equal(network.model, options.out, size_px)
    except OSError as error:
        raise InputError(
            f'{options.out}: cannot be written ({error.strerror or error}). Choose another file.'
        ) from error
    except ArithmeticError as error:
        raise InputError(f'{options.out}: {error}. Use PyTorch for this network, and report it.') from error
    print(
        f'written to {options.out}; input {size_px[1]} x {size_px[0]} px; '
        f'largest difference to PyTorch {difference:.1e}'
    )


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', type=Path, help='config of the network')
    parser.add_argument('checkpoint', type=Path, help='its weights')
    parser.add_argument('out', type=Path, metavar='FILE.onnx', help='the graph to write')
    options = parser.parse_args()
    if options.out.suffix.lower() != '.onnx':
        raise InputError(f'{options.out}: the name of a graph ends with .onnx. Rename it.')
    return options


if __name__ == '__main__':
    run_command(main)
