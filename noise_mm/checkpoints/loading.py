"""Weights into a network: all of them or none, or as many as fit."""

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


def load_matching(model: nn.Module, path: str | Path) -> str:
    """Loads what of a checkpoint fits by name and shape, to start a training from it.

    Returns:
        A sentence on what was loaded and what was not.

    Raises:
        InputError: If the file is not a checkpoint, or nothing in it fits: a training would start from nothing.
    """
    theirs, ours = load_checkpoint_file(path)['state_dict'], model.state_dict()
    fitting = {name: value for name, value in theirs.items() if name in ours and ours[name].shape == value.shape}
    if not fitting:
        raise InputError(
            f'{path}: is of {_describe(theirs)}, and nothing in it fits {_describe(ours)}. '
            'Choose another checkpoint, or leave load_from out.'
        )
    model.load_state_dict(fitting, strict=False)
    reshaped = sum(name in ours for name in theirs) - len(fitting)
    return (
        f'{path}: {len(fitting)} of {len(ours)} tensors loaded; {reshaped} have another shape, '
        f'{len(ours.keys() - theirs.keys())} are not in the checkpoint, '
        f'{len(theirs.keys() - ours.keys())} not in the network'
    )


def check_resumable(model: nn.Module, path: str | Path) -> None:
    """Refuses a checkpoint that a run of this network can't go on from.

    Raises:
        InputError: If it holds weights without the state of a run, or is of another network.
    """
    checkpoint = load_checkpoint_file(path)
    missing = [key for key in ('meta', 'optimizer', 'message_hub') if key not in checkpoint]
    if missing:
        raise InputError(
            f'{path}: holds weights but no state of a run (no {", ".join(missing)}). '
            'To start a new run from it, use --cfg-options load_from=FILE instead of --resume.'
        )
    theirs, ours = checkpoint['state_dict'], model.state_dict()
    if {name: value.shape for name, value in theirs.items()} != {name: value.shape for name, value in ours.items()}:
        raise InputError(
            f'{path}: is of {_describe(theirs)}, but the config asks for {_describe(ours)}. '
            'Resume with the config it was started with, or choose another --work-dir.'
        )


def _describe(state_dict: dict) -> str:
    """The network that tensors are of, in words."""
    try:
        size = size_of({name: tuple(value.shape) for name, value in ours_to_ultralytics(state_dict).items()})
    except (ValueError, AttributeError):
        return f'another network ({len(state_dict)} tensors)'
    classes = f'{size.num_classes} class' + ('es' if size.num_classes > 1 else '')
    return f'a YOLOv8-{size.letter or "custom"} {"segmentor" if size.masks else "detector"} with {classes}'
