"""Weights into a network, all of them or none."""

from pathlib import Path

from torch import nn

from noise_mm.checkpoints.checkpoint_keys import ours_to_ultralytics
from noise_mm.checkpoints.yolov8_size import size_of
from noise_mm.compat.checkpoint_loading import load_checkpoint_file
from noise_mm.errors import InputError


def load_weights(model: nn.Module, path: str | Path) -> dict:
    """Loads a checkpoint of this project into a network of the same size and classes.

    Args:
        model: The network.
        path: A checkpoint of tools/train.py (its averaged weights are taken) or tools/convert_checkpoint.py.

    Returns:
        The checkpoint's `meta`; empty where it has none.

    Raises:
        InputError: If the file is not a checkpoint, or a tensor is missing, left over or of another shape; the
            message says which network the checkpoint is of and which one the config asks for.
    """
    checkpoint = load_checkpoint_file(path)
    theirs, ours = checkpoint['state_dict'], model.state_dict()
    missing, unexpected = ours.keys() - theirs.keys(), theirs.keys() - ours.keys()
    shapes = [name for name in ours.keys() & theirs.keys() if ours[name].shape != theirs[name].shape]
    if missing or unexpected or shapes:
        raise InputError(
            f'{path}: is of {_describe(theirs)}, but the config asks for {_describe(ours)} '
            f'({len(missing)} tensors missing, {len(unexpected)} left over, {len(shapes)} of another shape). '
            'Use the config it was trained with, or set model_size and classes by --cfg-options.'
        )
    model.load_state_dict(theirs)
    return checkpoint.get('meta') or {}


def _describe(state_dict: dict) -> str:
    """The network that tensors are of, in words."""
    try:
        size = size_of({name: tuple(value.shape) for name, value in ours_to_ultralytics(state_dict).items()})
    except (ValueError, AttributeError):
        return f'another network ({len(state_dict)} tensors)'
    classes = f'{size.num_classes} class' + ('es' if size.num_classes > 1 else '')
    return f'a YOLOv8-{size.letter or "custom"} {"segmentor" if size.masks else "detector"} with {classes}'
