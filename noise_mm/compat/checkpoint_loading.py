"""Loads checkpoints without running anything that they contain.

A checkpoint is a pickle, and unpickling can call any function. `torch.load(weights_only=True)`, the default from torch
2.6 on, builds tensors and plain containers and refuses the rest. MMEngine 0.10.7 stores a little more (the history of
each logged number as a `HistoryBuffer` of NumPy arrays), so its own checkpoints are refused, too. Here those classes
are allowed and nothing else. MMEngine's loaders of files and URLs are made to ask for the protection, because it is
not the default for files with torch 2.4 and 2.5, nor for URLs with any version.
"""

import contextlib
import functools
import pickle
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer

from noise_mm.errors import InputError

# First bytes of the files of torch.save: a zip archive, or before torch 1.6 a pickled magic number.
_ZIP = b'PK\x03\x04'
_LEGACY = b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'
# What torch's readers and the restricted unpickler raise on damaged data, besides UnpicklingError.
_DAMAGE = (
    OSError,
    RuntimeError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    SystemError,
    struct.error,
)
# Forbidden names listed in a message; the others are counted.
_MOST_NAMES = 3
_GIVE_ANOTHER = 'Give a checkpoint written by tools/train.py or tools/convert_checkpoint.py.'


def load_checkpoint_file(path: str | Path) -> dict[str, Any]:
    """The content of an MMEngine checkpoint, with its tensors on the CPU.

    Returns:
        At least `state_dict`; from a training run also `meta`, `optimizer`, `message_hub` and so on.

    Raises:
        InputError: If the file is missing, damaged, not a checkpoint, without `state_dict`, or asks for a forbidden
            class or function.
    """
    content = _load(Path(path), 'cpu')
    if not isinstance(content, dict):
        raise InputError(f'{path}: holds a {type(content).__name__}, not a checkpoint. {_GIVE_ANOTHER}')
    if not isinstance(content.get('state_dict'), dict):
        keys = ', '.join(str(key) for key in list(content)[:5]) or 'none'
        raise InputError(f"{path}: has no 'state_dict' (its first keys: {keys}). {_GIVE_ANOTHER}")
    return content


def make_mmengine_load_safely(checkpoint: ModuleType) -> None:
    """Lets MMEngine load files and URLs with the protection on, and with errors of one line.

    Args:
        checkpoint: The module `mmengine.runner.checkpoint`.
    """
    allow_mmengine_classes()
    checkpoint.CheckpointLoader.register_scheme(prefixes='', loader=_load_for_mmengine, force=True)
    # torch.hub, behind it, has the protection off by default in all versions.
    checkpoint.load_url = functools.partial(checkpoint.load_url, weights_only=True)


def _load_for_mmengine(filename: str, map_location: Any = None) -> Any:
    """MMEngine's loader of local files; bare state dicts are welcome, too."""
    return _load(Path(filename).expanduser(), map_location)


@functools.cache
def allow_mmengine_classes() -> None:
    """Adds the classes and functions in MMEngine's checkpoints to those that torch's restricted unpickler may use.

    Files name NumPy's functions by the module of the NumPy that wrote them, `numpy.core` (1.x) or `numpy._core` (2.x);
    both names are allowed with either installed. A HistoryBuffer also stores its four statistics, which Python pickles
    as calls of `getattr` on its class; the `getattr` that is allowed does that and nothing else.
    """
    reconstruct, scalar = (np.zeros(1).__reduce__()[0], np.float64(0).__reduce__()[0])
    aliases = [
        _under_name(function, f'{module}.multiarray', function.__name__)
        for module in ('numpy.core', 'numpy._core')
        for function in (reconstruct, scalar)
    ]
    getter = _under_name(_statistic, 'builtins', 'getattr')
    # Truth values and numbers of fixed size. The stored state of other dtypes (text, records, objects) holds sizes and
    # places in memory, which a crafted file could make NumPy believe.
    dtypes = {type(np.dtype(code)) for code in '?bhilqBHILQefd'}
    torch.serialization.add_safe_globals([HistoryBuffer, ConfigDict, np.ndarray, np.dtype, *dtypes, *aliases, getter])


def _under_name(function: Callable, module: str, name: str) -> Callable:
    """The same function as the unpickler finds it under another name."""

    def alias(*args: Any) -> Any:
        return function(*args)

    alias.__module__ = module
    alias.__name__ = alias.__qualname__ = name
    return alias


def _statistic(owner: Any, name: str) -> Callable:
    """`getattr` for the statistics of HistoryBuffer alone."""
    if owner is not HistoryBuffer or name not in ('min', 'max', 'current', 'mean'):
        raise pickle.UnpicklingError(f'GLOBAL builtins.getattr was called for {name!r} of {owner!r}')
    return getattr(owner, name)


def _load(path: Path, map_location: Any) -> Any:
    """`torch.load` with the protection on and with errors for the user."""
    _check_is_checkpoint(path)
    allow_mmengine_classes()
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        raise _refusal(path, error) from error
    except _DAMAGE as error:
        if map_location != 'cpu':
            _load(path, 'cpu')
            raise  # the device is at fault and not the file
        raise InputError(f'{path}: damaged or incomplete. Copy or write it again.') from error


def _check_is_checkpoint(path: Path) -> None:
    """Looks at the first bytes, because torch's own message for other files speaks of unpickling."""
    try:
        with open(path, 'rb') as file:
            head = file.read(len(_LEGACY))
    except FileNotFoundError as error:
        raise InputError(f'{path}: no such file. Check the path.') from error
    except OSError as error:
        raise InputError(f'{path}: cannot be read ({error.strerror or error}). Give a checkpoint file.') from error
    if not head.startswith(_ZIP) and head != _LEGACY:
        raise InputError(f'{path}: not a checkpoint, torch.save did not write it. {_GIVE_ANOTHER}')


def _refusal(path: Path, error: pickle.UnpicklingError) -> InputError:
    """What to tell the user about a file that the restricted unpickler refused."""
    names = _forbidden_names(path, error)
    if not names:
        return InputError(f'{path}: damaged, or not a checkpoint. {_GIVE_ANOTHER}')
    harmless = ('ultralytics.', 'torch.nn.modules.')
    others = [name for name in names if not name.startswith(harmless)]
    if not others and any(name.startswith('ultralytics.') for name in names):
        return InputError(
            f'{path}: an Ultralytics checkpoint, which holds its program and not only weights. '
            f'Convert it: python tools/convert_checkpoint.py {path} {path.with_suffix(".pth")}'
        )
    listed = others or names
    more = f' and {len(listed) - _MOST_NAMES} more' if len(listed) > _MOST_NAMES else ''
    return InputError(
        f'{path}: refused and not loaded, because it asks for {", ".join(listed[:_MOST_NAMES])}{more}, which could run '
        "any program. Use it only if you know who made it: save its model's state_dict alone, and give that."
    )


def _forbidden_names(path: Path, error: pickle.UnpicklingError) -> list[str]:
    """Full names of the classes and functions for which a file was refused; at least the first one, if any."""
    names = set(re.findall(r"(?:GLOBAL |but got <class ')([\w.]+)", str(error)))
    list_all = getattr(torch.serialization, 'get_unsafe_globals_in_checkpoint', None)  # from torch 2.6 on
    if list_all is not None and zipfile.is_zipfile(path):
        # In a damaged file the list can't be read to its end either; then the first name has to do.
        with contextlib.suppress(pickle.UnpicklingError, *_DAMAGE):
            names.update(list_all(path))
    return sorted(names)
