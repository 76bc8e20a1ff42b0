"""Weights into a network: all of them or none, or as many as fit."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from noise_mm.checkpoints.checkpoint_keys import ours_to_ultralytics
from noise_mm.checkpoints.provenance import training_of
from noise_mm.checkpoints.safe_loading import load_checkpoint_file
from noise_mm.checkpoints.yolov8_size import size_of
from noise_mm.errors import InputError
from noise_mm.files import sha256_of
from noise_mm.seen_batches import seen_by_checkpoint


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


def load_initial(model: nn.Module, path: str | Path, classes: Sequence[str] = ()) -> dict[str, Any]:
    """Loads what of a checkpoint fits by name and shape, to start a training from it.

    The rows of YOLOv8's classification layers belong to classes. They are taken over by the NAME of the class, so that
    a detector of osteoclasts and nuclei hands its osteoclasts on to a segmentor of osteoclasts alone. Rows of classes
    that the checkpoint does not have stay as they are; so do all rows if it does not name its classes and their number
    is another.

    Args:
        model: The network; tensors that don't fit keep their values.
        path: A checkpoint; its averaged weights are taken.
        classes: Names of the network's classes.

    Returns:
        A report: `file`, `sha256`, `seen_batches` (see `noise_mm.seen_batches`), `training` (see `provenance`; both
        None where the checkpoint doesn't say), `loaded` (names of tensors, also those of which some rows were loaded),
        `remapped` (those that were loaded row by row), `class_rows` (the classes whose rows were loaded), `reshaped`
        (names of tensors that have another shape or other classes), `not_in_network` and `not_in_checkpoint` (names).

    Raises:
        InputError: If the file is not a checkpoint, or nothing in it fits, or its backbone doesn't: a training would
            start from nothing, or next to nothing.
    """
    checkpoint = load_checkpoint_file(path)
    meta = checkpoint.get('meta') or {}
    theirs, ours = checkpoint['state_dict'], model.state_dict()
    their_classes = _class_names(checkpoint)
    layers = class_layer_names(model)
    by_name = layers if classes and their_classes and tuple(classes) != their_classes else frozenset()
    loaded = {
        name: value
        for name, value in theirs.items()
        if name in ours and name not in by_name and value.shape == ours[name].shape
    }
    remapped = {
        name: _rows_by_name(ours[name], theirs[name], classes, their_classes)
        for name in theirs
        if name in by_name and _has_rows(theirs[name], ours[name], len(their_classes))
    }
    shared = [name for name in classes if name in their_classes]
    loaded |= remapped if shared else {}
    _refuse_misfit(path, loaded, theirs, ours)
    model.load_state_dict(loaded, strict=False)
    return {
        'file': str(path),
        'sha256': sha256_of(path),
        'seen_batches': seen_by_checkpoint(meta, path),
        'training': training_of(meta, path),
        'loaded': list(loaded),
        'remapped': list(remapped) if shared else [],
        'class_rows': (shared if by_name else list(classes)) if layers & loaded.keys() else [],
        'reshaped': [name for name in theirs if name in ours and name not in loaded],
        'not_in_network': [name for name in theirs if name not in ours],
        'not_in_checkpoint': [name for name in ours if name not in theirs],
    }


def _has_rows(theirs: Tensor, ours: Tensor, num_classes: int) -> bool:
    """Whether tensors of two networks have rows of the same form, theirs one for each of its classes."""
    return theirs.ndim > 0 and len(theirs) == num_classes and theirs.shape[1:] == ours.shape[1:]


def _rows_by_name(ours: Tensor, theirs: Tensor, classes: Sequence[str], their_classes: Sequence[str]) -> Tensor:
    """Our tensor with the rows of the classes that both have taken from theirs."""
    merged = ours.clone()
    for row, name in enumerate(classes):
        if name in their_classes:
            merged[row] = theirs[their_classes.index(name)].to(merged)
    return merged


def _refuse_misfit(path: str | Path, loaded: Mapping, theirs: Mapping, ours: Mapping) -> None:
    """Raise if nothing was loaded, or no convolution of the backbone: YOLOv8s of two sizes share a few tensors."""
    weights = [name for name, value in loaded.items() if value.ndim]
    kernels = {name for name, value in ours.items() if name.startswith('backbone.') and value.ndim > 1}
    if weights and (not kernels or kernels & set(weights)):
        return
    what = 'its backbone does not fit' if weights else 'nothing in it fits'
    raise InputError(
        f'{path}: is of {_describe(theirs)}, and {what} {_describe(ours)}. '
        'Choose another checkpoint, set model_size to that of this one, or leave it out of init_from.'
    )


def initial_text(report: Mapping[str, Any]) -> str:
    """A sentence on a report of `load_initial`."""
    rows = f' ({len(report["remapped"])} of them the rows of {", ".join(report["class_rows"])})'
    return (
        f'{report["file"]}: {len(report["loaded"])} tensors loaded{rows if report["remapped"] else ""}; '
        f'{len(report["reshaped"])} have another shape or other classes, '
        f'{len(report["not_in_checkpoint"])} are not in the checkpoint, '
        f'{len(report["not_in_network"])} not in the network'
    )


def class_layer_names(model: nn.Module) -> frozenset[str]:
    """Names of the tensors of YOLOv8's heads that have a row for each class; none for other networks."""
    head = getattr(getattr(model, 'bbox_head', None), 'head_module', None)
    branches = getattr(head, 'cls_preds', ())
    last = [f'bbox_head.head_module.cls_preds.{i}.{len(branch) - 1}' for i, branch in enumerate(branches)]
    return frozenset(f'{layer}.{kind}' for layer in last for kind in ('weight', 'bias'))


def _class_names(checkpoint: Mapping[str, Any]) -> tuple[str, ...]:
    """The classes that a checkpoint names; none where it doesn't."""
    names = ((checkpoint.get('meta') or {}).get('dataset_meta') or {}).get('classes') or ()
    return (names,) if isinstance(names, str) else tuple(names)


def check_resumable(model: nn.Module, path: str | Path) -> dict:
    """Refuses a checkpoint that a run of this network can't go on from, and returns its `meta`.

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
    return checkpoint['meta']


def _describe(state_dict: dict) -> str:
    """The network that tensors are of, in words."""
    try:
        size = size_of({name: tuple(value.shape) for name, value in ours_to_ultralytics(state_dict).items()})
    except (ValueError, AttributeError):
        return f'another network ({len(state_dict)} tensors)'
    classes = f'{size.num_classes} class' + ('es' if size.num_classes > 1 else '')
    return f'a YOLOv8-{size.letter or "custom"} {"segmentor" if size.masks else "detector"} with {classes}'
