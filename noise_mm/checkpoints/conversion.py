"""Converts a checkpoint file between Ultralytics YOLOv8 (`.pt`) and this project (`.pth`)."""

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from noise_mm.checkpoints.checkpoint_keys import ours_to_ultralytics, ultralytics_to_ours
from noise_mm.checkpoints.safe_loading import load_file
from noise_mm.checkpoints.ultralytics_file import plain_settings, read_ultralytics
from noise_mm.checkpoints.ultralytics_model import LAYOUT_VERSION, build_model, save_ultralytics
from noise_mm.checkpoints.yolov8_size import YOLOv8Size, size_of
from noise_mm.errors import InputError
from noise_mm.files import replacing, sha256_of


@dataclass(frozen=True)
class Converted:
    """What a conversion found: the network, its class names, and how many tensors were renamed."""

    size: YOLOv8Size
    class_names: tuple[str, ...]
    tensors: int


def convert(source: str | Path, target: str | Path) -> Converted:
    """Converts `source` to `target`, in the direction that their suffixes say.

    Raises:
        InputError: If the suffixes are not `.pt` and `.pth`, one each, or as said by the two functions below.
    """
    source, target = Path(source), Path(target)
    directions = {('.pt', '.pth'): ultralytics_to_mmengine, ('.pth', '.pt'): mmengine_to_ultralytics}
    direction = directions.get((source.suffix.lower(), target.suffix.lower()))
    if direction is None:
        raise InputError(
            f'{source} -> {target}: one must end in .pt (Ultralytics) and the other in .pth (this project). Rename one.'
        )
    if target.is_dir():
        raise InputError(f'{target}: is a folder. Give the name of the file to write.')
    try:
        return direction(source, target)
    except OSError as error:  # reading has its own messages, so this is writing
        raise InputError(f'{target}: cannot be written ({error.strerror or error}). Choose another place.') from error


def ultralytics_to_mmengine(source: Path, target: Path) -> Converted:
    """Writes the weights of an Ultralytics YOLOv8 as an MMEngine checkpoint for our detector or segmentor.

    The target has `state_dict` (float32) and `meta`: `dataset_meta` with the classes, `yolov8` with what a config
    needs to build the network (the fields of `YOLOv8Size`), and `source` with the file's name, SHA-256 and what
    Ultralytics noted in it. `torch.load(weights_only=True)` opens it.

    Raises:
        InputError: If the source is not a YOLOv8 detection or segmentation checkpoint, or the target can't be written.
    """
    checkpoint = read_ultralytics(source)
    try:
        state_dict = ultralytics_to_ours(checkpoint.state_dict)
        size = size_of(_shapes(checkpoint.state_dict))
    except ValueError as error:
        raise InputError(f'{source}: not a YOLOv8 of the usual layout ({error}). It cannot be converted.') from error
    meta = {
        'dataset_meta': {'classes': checkpoint.class_names},
        'yolov8': asdict(size) | {'task': size.task},
        'source': {'file': source.name, 'sha256': sha256_of(source), **checkpoint.facts},
    }
    buffer = io.BytesIO()
    torch.save({'state_dict': state_dict, 'meta': meta}, buffer)
    with replacing(target) as temporary:
        temporary.write_bytes(buffer.getbuffer())
    return Converted(size, checkpoint.class_names, len(state_dict))


def mmengine_to_ultralytics(source: Path, target: Path) -> Converted:
    """Writes the weights of an MMEngine checkpoint of this project as a checkpoint that Ultralytics 8.3 opens.

    The weights are stored in half precision, as Ultralytics does. Checkpoints of training runs are read as well as
    converted ones; where the run averaged its weights, the averaged ones are those under `state_dict`.

    Raises:
        InputError: If the source is not a checkpoint of this project's YOLOv8, or the target can't be written.
    """
    content = load_file(source, objects_as_records=True)
    state_dict = _weights(source, content)
    meta = content.get('meta') if isinstance(content.get('meta'), dict) else {}
    try:
        weights = ours_to_ultralytics(state_dict)
        size = size_of(_shapes(weights))
        class_names = _class_names(source, meta, size.num_classes)
        origin = meta.get('source') if isinstance(meta.get('source'), dict) else {}
        settings = {**plain_settings(origin.get('train_args')), 'task': size.task}
        model = build_model(weights, size, class_names, settings)
    except ValueError as error:
        raise InputError(f"{source}: not this project's YOLOv8 ({error}). It cannot be converted.") from error
    content = {
        **{'epoch': -1, 'best_fitness': None, 'model': model, 'ema': None, 'updates': None, 'optimizer': None},
        **{'train_args': settings, 'date': str(origin.get('date', '')), 'version': LAYOUT_VERSION},
    }
    save_ultralytics(target, content)
    return Converted(size, class_names, len(weights))


def _shapes(state_dict: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state_dict.items()}


def _weights(source: Path, content: Any) -> dict[str, torch.Tensor]:
    """Return the tensors under `state_dict`."""
    state_dict = content.get('state_dict') if isinstance(content, dict) else None
    if isinstance(content, dict) and state_dict is None and ('model' in content or 'ema' in content):
        raise InputError(
            f'{source}: an Ultralytics checkpoint, not one of this project. Rename it to .pt to convert it.'
        )
    if not isinstance(state_dict, dict) or not all(isinstance(value, torch.Tensor) for value in state_dict.values()):
        raise InputError(f'{source}: has no `state_dict` of tensors. Use a checkpoint that this project wrote.')
    return state_dict


def _class_names(source: Path, meta: Mapping[str, Any], count: int) -> tuple[str, ...]:
    dataset_meta = meta.get('dataset_meta')
    names = dataset_meta.get('classes') if isinstance(dataset_meta, dict) else None
    if not isinstance(names, tuple | list) or len(names) != count or not all(type(name) is str for name in names):
        raise InputError(
            f'{source}: meta.dataset_meta.classes does not name its {count} classes. Use a checkpoint of this project.'
        )
    return tuple(names)
