"""Stand-ins for the classes and functions that checkpoints of MMEngine and Ultralytics name.

torch's reader builds these in place of the real ones. None of them imports, calls or trusts anything from the file:
NumPy's own `dtype` and `ndarray`, for example, can be told by a crafted state to take raw bytes for pointers.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from noise_mm.checkpoints.pickle_scan import require, shown

# Plain numbers and truth values, by the name of their NumPy type.
_NUMBERS = {'f8', 'f4', 'f2', 'i8', 'i4', 'i2', 'i1', 'u8', 'u4', 'u2', 'u1', 'b1'}
# Methods that genuine files name by `getattr`: loss histories of MMEngine, segmentation heads of Ultralytics 8.0 and
# 8.1 (8.0 had all modules in one file), and Ultralytics models saved after predicting.
_NAMED_METHODS = {
    *(('mmengine.logging.history_buffer.HistoryBuffer', name) for name in ('min', 'max', 'current', 'mean')),
    *((f'ultralytics.nn.modules{file}.Detect', 'forward') for file in ('', '.head')),
    *((f'ultralytics.nn.modules{file}.Conv', 'forward_fuse') for file in ('', '.conv')),
}
# Modules whose objects become a `Record` where the caller wants them.
_RECORDED_MODULES = ('ultralytics.', 'torch.nn.modules.')


class Record:
    """An object whose class is not imported: the name of the class and the object's state, and no behaviour."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:  # noqa: D105
        self.state = state

    @property
    def class_name(self) -> str:
        """Name of the class without its module, such as `Conv2d`."""
        return type(self).__name__

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return the attribute that the object would have had, or `default`."""
        return self.state.get(name, default) if isinstance(self.state, dict) else default


class _Dtype:
    """A NumPy type of numbers: made from its code, its byte order set by the state, anything else refused."""

    def __init__(self, code: Any, *_flags: Any) -> None:
        require(type(code) is str and code in _NUMBERS, f'it holds NumPy values of type {shown(str(code))}')
        self.value = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        is_plain = type(state) is tuple and len(state) == 8 and state[2:] == (None, None, None, -1, -1, 0)
        require(is_plain and state[1] in ('<', '>', '|', '='), 'a NumPy type has parts, as no number has')
        self.value = self.value.newbyteorder(state[1])


class _Array:
    """A NumPy array of numbers, from the state (version, shape, type, is in Fortran order, bytes)."""

    value: np.ndarray | None = None

    def __init__(self, *_args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, data = state
        is_shape = type(shape) is tuple and all(type(length) is int and length >= 0 for length in shape)
        require(is_shape, 'a NumPy array has an unusual shape')
        self.value = _numbers(dtype, data).reshape(shape, order='F' if is_fortran is True else 'C')

    def real(self, _convert: Callable) -> np.ndarray:
        require(self.value is not None, 'a NumPy array has no state')
        return self.value


class _Scalar:
    def __new__(cls, dtype: Any, data: Any) -> Any:
        return _numbers(dtype, data).reshape(())[()]


def _numbers(dtype: Any, data: Any) -> np.ndarray:
    """Return a copy of raw bytes as numbers in the byte order of this computer."""
    require(isinstance(dtype, _Dtype) and type(data) is bytes, 'it holds NumPy values that are not plain numbers')
    return np.frombuffer(data, dtype.value).astype(dtype.value.newbyteorder('='))


class _History(Record):
    """A `HistoryBuffer` of MMEngine. Its class-wide table of functions, which it stores too, is left out."""

    def real(self, convert: Callable) -> Any:
        from mmengine.logging import HistoryBuffer

        self.state = convert(self.state)
        parts = [self.attribute('_log_history'), self.attribute('_count_history')]
        length = self.attribute('max_length')
        is_usual = all(type(part) is np.ndarray and part.ndim == 1 for part in parts) and type(length) is int
        require(is_usual and len(parts[0]) == len(parts[1]) and length > 0, 'a HistoryBuffer has an unusual state')
        return HistoryBuffer(*parts, length)


class _ConfigDict:
    def __init__(self, items: Any) -> None:
        require(type(items) is dict and all(type(key) is str for key in items), 'a ConfigDict is not made of a dict')
        self.items = items

    def real(self, convert: Callable) -> Any:
        from mmengine.config import ConfigDict

        return ConfigDict(convert(self.items))


class _Method:
    """`getattr` for the methods that genuine files name; what it gives is not used, so it is None."""

    def __new__(cls, owner: Any, name: Any) -> None:
        owner = owner if isinstance(owner, type) else type(owner)
        named = (f'{owner.__module__}.{owner.__name__}', name)
        require(type(name) is str and named in _NAMED_METHODS, 'it asks for builtins.getattr')


class _Path:
    def __new__(cls, *parts: Any) -> str:
        return '/'.join(parts)


class _NoBytes:
    """Protocol 2 writes empty bytes as a call of `bytes` without arguments."""

    def __new__(cls) -> bytes:
        return b''


class _NdarrayName:
    """The first argument of `_reconstruct`, which has no use for it here."""


_STAND_INS = {
    'numpy.dtype': _Dtype,
    'numpy.ndarray': _NdarrayName,
    **{f'{core}.multiarray.scalar': _Scalar for core in ('numpy.core', 'numpy._core')},  # NumPy 1 and 2
    **{f'{core}.multiarray._reconstruct': _Array for core in ('numpy.core', 'numpy._core')},
    'mmengine.logging.history_buffer.HistoryBuffer': _History,
    'mmengine.config.config.ConfigDict': _ConfigDict,
    'builtins.getattr': _Method,
    'builtins.bytes': _NoBytes,
    **{f'pathlib.{system}Path': _Path for system in ('', 'Posix', 'Windows', 'PurePosix', 'PureWindows')},
    **{f'pathlib._local.{system}Path': _Path for system in ('', 'Posix', 'Windows')},  # Python 3.13
}


def has_stand_in(name: str) -> bool:
    """Return whether a full name is among the stand-ins for plain data."""
    return name in _STAND_INS


def is_recorded(name: str) -> bool:
    """Return whether the objects of a class can become a `Record`: classes of Ultralytics and of `torch.nn`."""
    parts = name.split('.')
    is_class = all(part.isidentifier() for part in parts) and parts[-1] != parts[-1].lower()
    return is_class and name.startswith(_RECORDED_MODULES)


@cache
def stand_in(name: str) -> type | None:
    """Return the class that torch builds in place of a full name; None for a name of torch's own list."""
    base = _STAND_INS.get(name) or (Record if is_recorded(name) else None)
    module, _, last = name.rpartition('.')
    # torch looks a class up by these attributes.
    return base and type(last, (base,), {'__module__': module, '__qualname__': last})


def to_real(value: Any, done: dict[int, tuple[Any, Any]] | None = None) -> Any:
    """Replace the stand-ins inside lists, tuples, dicts and records by what they stand for.

    Lists, dicts and records are changed in place.
    """
    done = {} if done is None else done

    def convert(part: Any) -> Any:
        return to_real(part, done)

    if id(value) in done:
        return done[id(value)][0]
    result = value
    if isinstance(value, (_Array, _History, _ConfigDict)):
        result = value.real(convert)
    elif type(value) is tuple:
        parts = [convert(part) for part in value]
        result = tuple(parts) if any(a is not b for a, b in zip(parts, value, strict=True)) else value
    elif isinstance(value, (list, dict, Record)):
        done[id(value)] = (value, value)
        if isinstance(value, Record):
            value.state = convert(value.state)
        else:
            for key, part in list(value.items() if isinstance(value, dict) else enumerate(value)):
                value[key] = convert(part)
    done[id(value)] = (result, value)  # the original is kept, so that its id is not given again
    return result
