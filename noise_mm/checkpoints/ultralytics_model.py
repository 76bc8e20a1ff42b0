"""Makes, without Ultralytics, the module tree that an Ultralytics YOLOv8 checkpoint holds.

The tree is for writing only. Its leaves are real torch modules, which the file stores with all their attributes; the
modules above them have the class names of Ultralytics 8.3 and the attributes that genuine files were seen to have, and
cannot run here. Channels and depths are read off the tensors, so any width and depth is fine.
"""

import io
import pickle
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from noise_mm.checkpoints.checkpoint_keys import DFL_WEIGHT
from noise_mm.checkpoints.yolov8_size import SIZES, YOLOv8Size
from noise_mm.files import replacing

# The version whose layout is written.
LAYOUT_VERSION = '8.3.200'

_STRIDES = (8.0, 16.0, 32.0)
_BLOCK = 'ultralytics.nn.modules.block'
_CONV = 'ultralytics.nn.modules.conv'

# The layers: [from, repeats at depth factor 1, kind, [channels at width factor 1, ...]], as the `yaml` attribute has
# them. -1 is the layer before. The head follows.
_BACKBONE = [
    [-1, 1, 'Conv', [64, 3, 2]],
    [-1, 1, 'Conv', [128, 3, 2]],
    [-1, 3, 'C2f', [128, True]],
    [-1, 1, 'Conv', [256, 3, 2]],
    [-1, 6, 'C2f', [256, True]],
    [-1, 1, 'Conv', [512, 3, 2]],
    [-1, 6, 'C2f', [512, True]],
    [-1, 1, 'Conv', [1024, 3, 2]],
    [-1, 3, 'C2f', [1024, True]],
    [-1, 1, 'SPPF', [1024, 5]],
]
_NECK = [
    [-1, 1, 'nn.Upsample', ['None', 2, 'nearest']],
    [[-1, 6], 1, 'Concat', [1]],
    [-1, 3, 'C2f', [512]],
    [-1, 1, 'nn.Upsample', ['None', 2, 'nearest']],
    [[-1, 4], 1, 'Concat', [1]],
    [-1, 3, 'C2f', [256]],
    [-1, 1, 'Conv', [256, 3, 2]],
    [[-1, 12], 1, 'Concat', [1]],
    [-1, 3, 'C2f', [512]],
    [-1, 1, 'Conv', [512, 3, 2]],
    [[-1, 9], 1, 'Concat', [1]],
    [-1, 3, 'C2f', [1024]],
]
LAYERS = (*_BACKBONE, *_NECK)
_HEAD_INPUTS = [15, 18, 21]
# Layers whose output is used again later.
_SAVED = [4, 6, 9, 12, 15, 18, 21]


def build_model(
    state_dict: Mapping[str, torch.Tensor], size: YOLOv8Size, class_names: Iterable[str], settings: dict[str, Any]
) -> nn.Module:
    """A module tree like that of a genuine checkpoint, in half precision, with these weights.

    Args:
        state_dict: Tensors by Ultralytics' names, with or without `DFL_WEIGHT`.
        size: What `size_of` says of them.
        class_names: Name of each class, by class number.
        settings: Plain training settings, kept as the attribute `args`.

    Raises:
        ValueError: If the shapes of the tensors do not fit together, or a weight is beyond half precision.
    """
    tree = _Tree({name: tuple(tensor.shape) for name, tensor in state_dict.items()})
    with torch.device('meta'):  # weights are only assigned, so none are made
        model = tree.model(size, list(class_names), settings)
    bins = tree.box_bins
    weights = {**state_dict, DFL_WEIGHT: torch.arange(bins, dtype=torch.float32).view(1, bins, 1, 1)}
    weights = {name: value.half() if value.is_floating_point() else value for name, value in weights.items()}
    too_large = [name for name, value in weights.items() if not torch.isfinite(value).all()]
    if too_large:
        raise ValueError(f'{too_large[0]} has values that half precision cannot hold')
    try:
        model.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise ValueError(f'the tensors do not fit together ({error})') from error
    head = model.model[-1]
    model.stride = torch.tensor(_STRIDES)
    head.stride = torch.tensor(_STRIDES).half()
    return model.eval().requires_grad_(False)


def save_ultralytics(path: str | Path, content: Any) -> None:
    """Write a checkpoint by `torch.save`, with the classes of Ultralytics named and not imported.

    The same content always gives the same bytes.

    Raises:
        InputError: If the folder can't be written to.
    """
    buffer = io.BytesIO()  # a file's name would become part of its content
    torch.save(content, buffer, pickle_module=SimpleNamespace(__name__='pickle', Pickler=_NamingPickler))
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


class _NamingPickler(pickle._Pickler):
    """Python's pickler, which elsewhere insists on importing what it names."""

    def save_global(self, obj: Any, name: str | None = None) -> None:
        if not getattr(obj, '__module__', '').startswith('ultralytics.'):
            super().save_global(obj, name)
            return
        self.write(pickle.GLOBAL + f'{obj.__module__}\n{obj.__qualname__}\n'.encode('ascii'))
        self.memoize(obj)


@cache
def _class_named(name: str) -> type[nn.Module]:
    """A module class that is written into a file as `name`."""
    module, _, last = name.rpartition('.')
    return type(last, (nn.Module,), {'__module__': module})


def _module(name: str, children: Mapping[str, nn.Module], **attributes: Any) -> nn.Module:
    """A module that is written as `name`, with these submodules and attributes."""
    module = _class_named(name)()
    for child_name, child in children.items():
        module.add_module(child_name, child)
    for attribute, value in attributes.items():
        setattr(module, attribute, value)
    return module


class _Tree:
    """Builds modules by the shapes of the tensors that they will hold."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.shapes = shapes
        # The box branch has four sides of so many bins.
        self.box_bins = shapes['model.22.cv2.0.2.weight'][0] // 4

    def model(self, size: YOLOv8Size, class_names: list[str], settings: dict[str, Any]) -> nn.Module:
        built = [self._layer(f'model.{number}', *layer) for number, layer in enumerate(LAYERS)]
        built.append(self._head(size))
        sources = [*(source for source, *_ in LAYERS), _HEAD_INPUTS]
        for number, (module, source) in enumerate(zip(built, sources, strict=True)):
            module.np = sum(parameter.numel() for parameter in module.parameters())
            module.i, module.f = number, source
            module.type = f'{type(module).__module__}.{type(module).__qualname__}'
        return _module(
            f'ultralytics.nn.tasks.{"Segmentation" if size.masks else "Detection"}Model',
            {'model': nn.Sequential(*built)},
            yaml=self._yaml(size),
            save=_SAVED,
            names=dict(enumerate(class_names)),
            inplace=True,
            end2end=False,
            args=settings,
            nc=size.num_classes,
        )

    def _yaml(self, size: YOLOv8Size) -> dict[str, Any]:
        """The description from which Ultralytics builds the network anew when it trains on from the file."""
        own = {size.letter or 'n': (size.deepen_factor, size.widen_factor, size.last_stage_out_channels)}
        scales = SIZES if size.letter else own
        head = ['nc', self._mask_count(), 256] if size.masks else ['nc']
        return {
            'nc': size.num_classes,
            'scales': {letter: list(factors) for letter, factors in scales.items()},
            'backbone': _BACKBONE,
            'head': [*_NECK, [_HEAD_INPUTS, 1, 'Segment' if size.masks else 'Detect', head]],
            'scale': size.letter or 'n',
            'yaml_file': f'yolov8{size.letter or "n"}{"-seg" if size.masks else ""}.yaml',
            'channels': 3,
        }

    def _layer(self, name: str, _source: Any, _repeats: int, kind: str, args: list[Any]) -> nn.Module:
        if kind == 'Conv':
            return self._conv(name, stride=2)
        if kind == 'C2f':
            return self._c2f(name, shortcut=args[-1] is True)
        if kind == 'SPPF':
            pool = nn.MaxPool2d(kernel_size=5, stride=1, padding=2)
            return _module(f'{_BLOCK}.SPPF', {**self._convs(name, 'cv1', 'cv2'), 'm': pool})
        if kind == 'Concat':
            return _module(f'{_CONV}.Concat', {}, d=1)
        return nn.Upsample(scale_factor=2, mode='nearest')

    def _conv(self, name: str, stride: int = 1) -> nn.Module:
        """Convolution, batch norm and SiLU."""
        channels_out, channels_in, kernel, _ = self.shapes[f'{name}.conv.weight']
        conv = nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False)
        norm = nn.BatchNorm2d(channels_out, eps=0.001, momentum=0.03)
        return _module(f'{_CONV}.Conv', {'conv': conv, 'bn': norm, 'act': nn.SiLU(inplace=True)})

    def _convs(self, name: str, *parts: str) -> dict[str, nn.Module]:
        return {part: self._conv(f'{name}.{part}') for part in parts}

    def _c2f(self, name: str, shortcut: bool) -> nn.Module:
        count = 0
        while f'{name}.m.{count}.cv1.conv.weight' in self.shapes:
            count += 1
        bottlenecks = [
            _module(f'{_BLOCK}.Bottleneck', self._convs(f'{name}.m.{index}', 'cv1', 'cv2'), add=shortcut)
            for index in range(count)
        ]
        half_channels = self.shapes[f'{name}.cv1.conv.weight'][0] // 2
        children = {**self._convs(name, 'cv1', 'cv2'), 'm': nn.ModuleList(bottlenecks)}
        return _module(f'{_BLOCK}.C2f', children, c=half_channels)

    def _head(self, size: YOLOv8Size) -> nn.Module:
        dfl_conv = nn.Conv2d(self.box_bins, 1, 1, bias=False)
        children = {
            'cv2': self._branch('model.22.cv2'),
            'cv3': self._branch('model.22.cv3'),
            'dfl': _module(f'{_BLOCK}.DFL', {'conv': dfl_conv}, c1=self.box_bins),
        }
        attributes = {'nc': size.num_classes, 'nl': 3, 'reg_max': self.box_bins, 'inplace': True}
        attributes['no'] = size.num_classes + 4 * self.box_bins
        if size.masks:
            children |= {'proto': self._proto('model.22.proto'), 'cv4': self._branch('model.22.cv4')}
            attributes |= {'nm': self._mask_count(), 'npr': self.shapes['model.22.proto.upsample.weight'][0]}
        return _module(f'ultralytics.nn.modules.head.{"Segment" if size.masks else "Detect"}', children, **attributes)

    def _mask_count(self) -> int:
        return self.shapes['model.22.cv4.0.2.weight'][0]

    def _branch(self, name: str) -> nn.Module:
        """Three levels of two conv blocks and a plain convolution."""
        levels = []
        for level in range(3):
            channels_out, channels_in, *_ = self.shapes[f'{name}.{level}.2.weight']
            output = nn.Conv2d(channels_in, channels_out, 1)
            levels.append(nn.Sequential(self._conv(f'{name}.{level}.0'), self._conv(f'{name}.{level}.1'), output))
        return nn.ModuleList(levels)

    def _proto(self, name: str) -> nn.Module:
        channels = self.shapes[f'{name}.upsample.weight'][0]
        upsample = nn.ConvTranspose2d(channels, channels, 2, 2, 0, bias=True)
        children = {**self._convs(name, 'cv1'), 'upsample': upsample, **self._convs(name, 'cv2', 'cv3')}
        return _module(f'{_BLOCK}.Proto', children)
