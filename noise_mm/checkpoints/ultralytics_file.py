"""Reads an Ultralytics YOLOv8 checkpoint without Ultralytics.

Such a file holds the network as a pickled object. Its modules are loaded as records, and their tensors collected under
the names that the object's own state dict would have had.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from noise_mm.checkpoints.checkpoint_keys import DFL_WEIGHT
from noise_mm.checkpoints.pickle_scan import shown
from noise_mm.checkpoints.safe_loading import load_file
from noise_mm.checkpoints.stand_ins import Record
from noise_mm.checkpoints.ultralytics_model import LAYERS
from noise_mm.errors import InputError

_LAYERS = tuple(kind.removeprefix('nn.') for _, _, kind, _ in LAYERS)
_HEADS = {'Detect': 'detect', 'Segment': 'segment'}

# Batch norm's constant in every YOLOv8; it is in no state dict, so another value would be lost unseen.
_BN_EPS = 0.001
# A record may contain itself, so there have to be limits. YOLOv8x-seg has 506 modules, and no name of more than
# 41 characters.
_MAX_MODULES = 10_000
_MAX_NAME_LENGTH = 200


@dataclass(frozen=True)
class UltralyticsCheckpoint:
    """What is kept of an Ultralytics checkpoint.

    Attributes:
        state_dict: Tensors by Ultralytics' names, without the constant `DFL_WEIGHT`; floats as float32.
        class_names: Name of each class, by class number.
        task: 'detect' or 'segment'.
        facts: What else is known and plain: 'version', 'date', 'epoch', and the settings 'train_args'.
    """

    state_dict: dict[str, torch.Tensor]
    class_names: tuple[str, ...]
    task: str
    facts: dict[str, Any]


def read_ultralytics(path: Path) -> UltralyticsCheckpoint:
    """The weights and class names of a YOLOv8 detection or segmentation checkpoint.

    The averaged weights (`ema`) are taken where the file has them, as Ultralytics does itself.

    Raises:
        InputError: If the file is not such a checkpoint, is damaged, or its pickle asks for a forbidden name.
    """
    content = load_file(path, objects_as_records=True)
    model = _model_record(path, content)
    task = _task(path, model)
    state_dict = _state_dict(path, model)
    names = _class_names(path, model, state_dict['model.22.cv3.0.2.bias'].numel())
    train_args = content.get('train_args')
    facts = {name: content[name] for name in ('version', 'date', 'epoch') if type(content.get(name)) in (str, int)}
    return UltralyticsCheckpoint(state_dict, names, task, facts | {'train_args': plain_settings(train_args)})


def plain_settings(settings: Any) -> dict[str, Any]:
    """Those entries of a settings record or dict that are None, booleans, numbers or texts, or lists of them."""
    if isinstance(settings, Record):
        settings = settings.state
    if not isinstance(settings, dict):
        return {}
    return {name: value for name, value in settings.items() if type(name) is str and _is_plain(value)}


def _is_plain(value: Any) -> bool:
    scalars = (bool, int, float, str, type(None))
    return type(value) in scalars or (type(value) is list and all(type(item) in scalars for item in value))


def _model_record(path: Path, content: Any) -> Record:
    if not isinstance(content, dict):
        raise InputError(f'{path}: not an Ultralytics checkpoint. Check that it is the right file.')
    if 'state_dict' in content and 'model' not in content:
        raise InputError(f'{path}: an MMEngine checkpoint, not one of Ultralytics. Rename it to .pth to convert it.')
    model = content.get('ema') or content.get('model')
    if not isinstance(model, Record):
        raise InputError(f'{path}: holds no Ultralytics model. Use the best.pt or last.pt of a training run.')
    return model


def _task(path: Path, model: Record) -> str:
    """The task, after making sure that this is a YOLOv8 of ordinary layers."""
    sequence = _children(model).get('model')
    layers = [layer.class_name for layer in _children(sequence).values()] if isinstance(sequence, Record) else []
    for number, (found, expected) in enumerate(zip(layers, [*_LAYERS, None], strict=False)):
        if found != expected and (expected or found not in _HEADS):
            raise InputError(
                f'{path}: not a YOLOv8 detection or segmentation model: layer {number} is {found and shown(found)}, '
                f'not {expected or "Detect or Segment"}. Other models cannot be converted.'
            )
    if len(layers) != len(_LAYERS) + 1:
        raise InputError(
            f'{path}: not a YOLOv8: it has {len(layers)} layers, not 23. Other models cannot be converted.'
        )
    for name, module in _modules(path, model):
        kind = module.class_name
        if name.endswith('.act') and kind != 'SiLU':
            raise InputError(
                f'{path}: its activation is {shown(kind)}, but only SiLU can be converted. Train it with SiLU.'
            )
        if kind == 'BatchNorm2d' and module.attribute('eps') != _BN_EPS:
            raise InputError(
                f'{path}: eps of {shown(name)} is not {_BN_EPS} as in every YOLOv8. It cannot be converted.'
            )
    return _HEADS[layers[-1]]


def _children(module: Record) -> dict[str, Record]:
    modules = module.attribute('_modules')
    if not isinstance(modules, dict):
        return {}
    return {name: child for name, child in modules.items() if isinstance(child, Record) and type(name) is str}


def _modules(path: Path, model: Record) -> Iterator[tuple[str, Record]]:
    """The model and all modules in it with their dotted names, parents first."""
    waiting = [('', model)]
    count = 0
    while waiting:
        prefix, module = waiting.pop()
        yield prefix, module
        count += 1
        if count > _MAX_MODULES or len(prefix) > _MAX_NAME_LENGTH:
            raise InputError(f'{path}: has more modules or longer names than any YOLOv8. It is not one.')
        below = [(f'{prefix}.{name}'.lstrip('.'), child) for name, child in _children(module).items()]
        waiting.extend(reversed(below))


def _tensors(path: Path, model: Record) -> dict[str, torch.Tensor]:
    """Collect the tensors of the model's state dict (parameters, and buffers that are kept), floats as float32."""
    tensors = {}
    for prefix, module in _modules(path, model):
        dropped = module.attribute('_non_persistent_buffers_set')
        dropped = dropped if isinstance(dropped, set) else set()
        for group in ('_parameters', '_buffers'):
            members = module.attribute(group)
            for name, tensor in members.items() if isinstance(members, dict) else ():
                if isinstance(tensor, torch.Tensor) and name not in dropped:
                    tensors[f'{prefix}.{name}'] = tensor.detach()
    # Each gets a memory of its own below, so that a small file could fill a large one.
    stored = {value.untyped_storage().data_ptr(): value.untyped_storage().nbytes() for value in tensors.values()}
    if sum(value.numel() * value.element_size() for value in tensors.values()) > sum(stored.values()):
        raise InputError(f'{path}: many tensors share one memory, as in no YOLOv8 checkpoint. It is not one.')
    return {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}


def _state_dict(path: Path, model: Record) -> dict[str, torch.Tensor]:
    tensors = _tensors(path, model)
    if 'model.0.conv.bias' in tensors:
        raise InputError(
            f'{path}: its batch norms are fused into its convolutions, as after predicting. Use a file from training.'
        )
    dfl = tensors.pop(DFL_WEIGHT, None)
    if dfl is None or not torch.equal(dfl.flatten(), torch.arange(dfl.numel(), dtype=dfl.dtype)):
        raise InputError(f'{path}: {DFL_WEIGHT} is not 0, 1, 2, ... as in every YOLOv8. It cannot be converted.')
    broken = [name for name, value in tensors.items() if not torch.isfinite(value).all()]
    if broken:
        raise InputError(
            f'{path}: {shown(broken[0])} has values that are not finite: the training diverged. Use another file.'
        )
    if 'model.22.cv3.0.2.bias' not in tensors:
        raise InputError(f'{path}: its head has no class output. It is not a YOLOv8.')
    return tensors


def _class_names(path: Path, model: Record, count: int) -> tuple[str, ...]:
    """The names as a tuple; Ultralytics keeps them as a dict by class number, or as a list."""
    names: Any = model.attribute('names')
    if isinstance(names, Mapping):
        names = [names.get(number) for number in range(len(names))]
    if not isinstance(names, list) or len(names) != count or not all(type(name) is str for name in names):
        raise InputError(f'{path}: its class names do not fit its {count} classes. Save it again with the right names.')
    return tuple(names)
