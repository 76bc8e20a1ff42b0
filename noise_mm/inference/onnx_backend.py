"""Run this project's networks with ONNX Runtime: on CPUs it is faster than PyTorch (docs/performance.md).

How it works: backbone, neck, head and the decoding of boxes are exported once into one ONNX graph with a free batch
size. In the model they are replaced by `OnnxNetwork`, which runs that graph; selection of detections and drawing of
masks stay the same code. The graph is kept in the user's cache folder, under a name made of the digests of weights and
network.
"""

import copy
import hashlib
import importlib.util
import os
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from mmengine.dataset import Compose
from torch import Tensor, nn

from noise_mm.errors import InputError
from noise_mm.models.yolov8_det_head import YOLOv8DetHead, flatten_levels
from noise_mm.models.yolov8_ins_head import YOLOv8InsHead

PYTORCH, ONNX = 'pytorch', 'onnxruntime'
BACKENDS = ('auto', PYTORCH, ONNX)
GRAPH_VERSION = 1  # raise it when the exported outputs change
OUTPUTS = ('boxes', 'scores', 'coefficients', 'prototypes')
CACHE_VARIABLE = 'NOISE_MM_CACHE'
TOLERANCE = 1e-4  # largest difference of an output relative to its largest value, for a graph to be used
OPSET = 17
NEEDED = ('onnxruntime', 'onnx', 'onnxscript')  # the last two for the export only


def prepare_backend(
    name: str, model: nn.Module, device: torch.device, precision: str, digest: str, size_px: tuple[int, int]
) -> str:
    """Make a model run with the backend that `name` stands for, and return that backend.

    `auto` is ONNX Runtime wherever it can be used. A graph that can't be made or kept is then reported in one line, and
    PyTorch is used.

    Args:
        name: Of `BACKENDS`.
        model: In evaluation mode; it is changed where ONNX Runtime is used.
        device: Where it runs.
        precision: Of `noise_mm.inference.precision.PRECISIONS`, resolved.
        digest: See `use_onnx`.
        size_px: See `use_onnx`.

    Raises:
        InputError: If `onnxruntime` is asked for and can't be used.
    """
    if not onnx_is_installed():
        obstacle = "its packages are not installed. Install them: pip install '.[cpu]'"
    elif not can_export(model):
        obstacle = 'it runs the YOLOv8 networks of this project only. Use --backend pytorch.'
    elif device.type != 'cpu' or precision != 'fp32':
        obstacle = 'it is for CPUs and fp32. Use --backend pytorch.'
    else:
        obstacle = ''
    if name == ONNX and obstacle:
        raise InputError(f'--backend onnxruntime: {obstacle}')
    if name == PYTORCH or obstacle:
        return PYTORCH
    try:
        path = use_onnx(model, digest, size_px)
    except (OSError, ArithmeticError, RuntimeError) as error:
        if name == ONNX:
            raise InputError(f'--backend onnxruntime: {error}. Use --backend pytorch.') from error
        print(f'note: ONNX Runtime is not used ({error}); PyTorch runs the network.')
        return PYTORCH
    print(f'ONNX Runtime runs the network; its graph is kept in {path} (--backend pytorch turns this off)')
    return ONNX


def onnx_is_installed() -> bool:
    """Return whether the packages of the extra `cpu` are there."""
    return all(importlib.util.find_spec(name) is not None for name in NEEDED)


def can_export(model: nn.Module) -> bool:
    """Return whether a model is one of this project's YOLOv8 networks, detector or segmentor."""
    return isinstance(getattr(model, 'bbox_head', None), YOLOv8DetHead)


class DecodedNetwork(nn.Module):
    """A model from network inputs to decoded outputs, for the export.

    Its outputs are boxes (batch, anchors, 4) x1, y1, x2, y2 in network-input pixels; class probabilities (batch,
    anchors, classes); and for a segmentor coefficients (batch, anchors, 32) and prototypes (batch, 32, h, w).
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs for images (batch, 3, height, width), RGB from 0 to 1."""
        head = self.model.bbox_head
        raw = head.head_module(self.model.extract_feat(images))
        decoded = head.decode(raw[0], raw[1])
        return (*decoded, flatten_levels(raw[2]), raw[3]) if isinstance(head, YOLOv8InsHead) else decoded


class OnnxNetwork(nn.Module):
    """What stands for the head module of a model whose graph ONNX Runtime runs.

    Args:
        path: The exported graph.
        num_threads: Threads that one call may use.
    """

    def __init__(self, path: Path, num_threads: int) -> None:
        super().__init__()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        self.session = onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])

    def run(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the graph's outputs for images (batch, 3, height, width)."""
        outputs = self.session.run(None, {'images': np.ascontiguousarray(images.numpy(), dtype=np.float32)})
        return tuple(torch.from_numpy(output) for output in outputs)

    def forward(self, images: Tensor) -> tuple:
        """Return decoded outputs in the form of a head module: lists of one level whose anchors are rows."""
        boxes, scores, *masks = self.run(images)
        levels = [[scores], [boxes]]
        if masks:
            coefficients, prototypes = masks
            levels += [[coefficients.transpose(1, 2)[..., None]], prototypes]
        return tuple(levels)


def use_onnx(model: nn.Module, digest: str, size_px: tuple[int, int]) -> Path:
    """Make a model in evaluation mode run with ONNX Runtime; export its graph if that is not in the cache.

    Args:
        model: See `can_export`; it is changed.
        digest: Of weights and network config: what the graph follows from.
        size_px: Height and width of the network's input.

    Returns:
        Where the graph is kept.

    Raises:
        OSError: If the graph can't be written.
        ArithmeticError: If the graph does not compute what the model computes.
    """
    path = graph_path(digest, size_px)
    if not path.is_file():
        export(model, path, size_px)
    network = OnnxNetwork(path, torch.get_num_threads())
    check_equal(model, network, size_px)
    model.backbone = nn.Identity()
    model.neck = nn.Identity()
    model.bbox_head.head_module = network
    model.bbox_head.decode = lambda scores, boxes: (boxes[0], scores[0])  # the graph has decoded them
    return path


def graph_path(digest: str, size_px: tuple[int, int]) -> Path:
    """Return where the graph of a network is kept: in $NOISE_MM_CACHE, else in the user's cache folder."""
    import onnxruntime
    import platformdirs

    folder = os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir('noise_mm', appauthor=False)
    key = f'{digest}-{size_px}-{GRAPH_VERSION}-{OPSET}-{torch.__version__}-{onnxruntime.__version__}'
    return Path(folder) / 'onnx' / f'{hashlib.sha256(key.encode()).hexdigest()[:24]}.onnx'


def export(model: nn.Module, path: str | Path, size_px: tuple[int, int]) -> None:
    """Write a model as an ONNX graph with a free batch size, whole or not at all.

    Args:
        model: See `can_export`, in evaluation mode, on the CPU.
        path: The file.
        size_px: Height and width of the network's input.

    Raises:
        OSError: If the file can't be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = copy.deepcopy(model).to(memory_format=torch.contiguous_format)  # which the exporter expects
    network = DecodedNetwork(plain).eval()
    names = OUTPUTS if isinstance(model.bbox_head, YOLOv8InsHead) else OUTPUTS[:2]
    # A folder: the exporter may put weights into a second file beside the graph.
    with tempfile.TemporaryDirectory(dir=path.parent) as folder, warnings.catch_warnings():
        warnings.simplefilter('ignore')  # the exporter's, which users can't act on
        temporary = Path(folder) / path.name
        with torch.inference_mode(False), torch.no_grad():
            torch.onnx.export(
                network,
                (torch.zeros(2, 3, *size_px),),
                str(temporary),
                input_names=['images'],
                output_names=list(names),
                dynamic_axes={name: {0: 'batch'} for name in ('images', *names)},
                opset_version=OPSET,
                dynamo=False,
            )
        os.replace(temporary, path)


def check_equal(model: nn.Module, graph: Path | OnnxNetwork, size_px: tuple[int, int]) -> float:
    """Return the largest difference of an output of graph and model on noise, relative to its largest value.

    Raises:
        ArithmeticError: If it is more than `TOLERANCE`.
    """
    network = graph if isinstance(graph, OnnxNetwork) else OnnxNetwork(graph, torch.get_num_threads())
    images = torch.rand(1, 3, *size_px, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = DecodedNetwork(model)(images.to(memory_format=torch.channels_last))
    largest = 0.0
    for name, ours, theirs in zip(OUTPUTS, expected, network.run(images), strict=False):
        difference = float((ours - theirs).abs().max() / ours.abs().max().clamp(min=1))
        if not difference <= TOLERANCE:
            raise ArithmeticError(f'{name} of ONNX Runtime differ from PyTorch by {difference:.1e}')
        largest = max(largest, difference)
    return largest


def input_size_px(pipeline: Compose) -> tuple[int, int]:
    """Return height and width of the network's input behind a test pipeline of this project."""
    side = next((step.network_size_px for step in pipeline.transforms if hasattr(step, 'network_size_px')), 0)
    return side, side
