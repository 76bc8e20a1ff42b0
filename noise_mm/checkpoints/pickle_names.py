"""The names that a pickle may use, and what each stands for when it is called."""

import math
import struct
from collections.abc import Callable, Mapping
from typing import Any

from noise_mm.checkpoints.pickle_records import (
    ITEM_BYTES,
    Record,
    RefusedPickleError,
    Storage,
    Symbol,
    TensorRecord,
    damaged,
    refuse_unless,
    shown,
)

_STORAGE_DTYPES = {
    'torch.DoubleStorage': 'float64',
    'torch.FloatStorage': 'float32',
    'torch.HalfStorage': 'float16',
    'torch.BFloat16Storage': 'bfloat16',
    'torch.LongStorage': 'int64',
    'torch.IntStorage': 'int32',
    'torch.ShortStorage': 'int16',
    'torch.CharStorage': 'int8',
    'torch.ByteStorage': 'uint8',
    'torch.BoolStorage': 'bool',
}

# Classes whose objects are written down as a Record. mmengine is here for checkpoints of this project's own training.
_RECORDED_MODULES = ('ultralytics.', 'torch.nn.modules.', 'mmengine.')

_PATH_MODULES = ('pathlib', 'pathlib._local')  # the second is Python 3.13's
_PATH_CLASSES = ('PosixPath', 'WindowsPath', 'PurePosixPath', 'PureWindowsPath', 'Path')
_NUMPY_CORES = ('numpy.core', 'numpy._core')  # numpy 1, numpy 2
_NUMPY_FORMATS = {
    'f8': 'd', 'f4': 'f', 'f2': 'e', 'b1': '?', 'i8': 'q', 'i4': 'i', 'i2': 'h', 'i1': 'b',
    'u8': 'Q', 'u4': 'I', 'u2': 'H', 'u1': 'B',
}  # fmt: skip

# Methods that genuine files refer to: loss histories of MMEngine, segmentation heads of Ultralytics 8.0 and 8.1, and
# Ultralytics models saved after predicting. Ultralytics 8.0 had all modules in one file.
_NAMED_METHODS = {
    *(('mmengine.logging.history_buffer.HistoryBuffer', name) for name in ('min', 'max', 'current', 'mean')),
    *((f'ultralytics.nn.modules{file}.Detect', 'forward') for file in ('', '.head')),
    *((f'ultralytics.nn.modules{file}.Conv', 'forward_fuse') for file in ('', '.conv')),
}

# PyTorch has no more dimensions than this either (its own limit is 64 for strided tensors).
_MAX_DIMENSIONS = 64

_PLAIN_KEYS = (str, int, float, bool, bytes, type(None))


def allowed_symbol(module: str, name: str) -> Symbol:
    """The symbol for a name of the pickle, if the name is allowed.

    Raises:
        RefusedPickleError: Naming it, if it is not. A dotted or odd name in an allowed module is refused too.
    """
    full_name = f'{module}.{name}'
    if full_name in _BUILDERS or full_name in _STORAGE_DTYPES or full_name in _VALUES:
        return Symbol(full_name)
    parts = [*module.split('.'), name]
    is_class = all(part.isidentifier() for part in parts) and name != name.lower()
    if is_class and module.startswith(_RECORDED_MODULES):
        return Symbol(full_name)
    raise _forbidden(full_name)


def _forbidden(name: str, attempt: str = 'use') -> RefusedPickleError:
    return RefusedPickleError(f'refused, because it tries to {attempt} {shown(name)}, which no YOLOv8 checkpoint needs')


def call(function: Any, args: Any) -> Any:
    """What the call would have returned, as data; `function` is a Symbol or the call is refused."""
    refuse_unless(type(function) is Symbol, 'refused, because it calls something that is not a name')
    refuse_unless(type(args) is tuple, damaged(f'arguments of {function.name}'))
    builder = _BUILDERS.get(function.name)
    if builder is None:
        return recorded_object(function, args)
    return builder(function, args)


def recorded_object(cls: Symbol, args: Any) -> Record:
    """An object of a recorded class, which PyTorch and namespaces make without arguments and fill afterwards."""
    if not cls.name.startswith(_RECORDED_MODULES) or args != ():
        raise _forbidden(cls.name, 'call')
    return Record(cls)


def storage_of(reference: Any, storage_bytes: Mapping[str, int]) -> Storage:
    """The storage that a pickle refers to by ('storage', its type, its key, the device it was on, its length).

    Raises:
        RefusedPickleError: If it refers to something else, or if the file's storage is not of that length.
    """
    if type(reference) is not tuple or len(reference) != 5 or reference[0] != 'storage':
        raise RefusedPickleError('refused, because it refers to something outside that is not a storage')
    _, cls, key, _, length = reference
    dtype = _STORAGE_DTYPES.get(cls.name) if type(cls) is Symbol else None
    if dtype is None or type(key) is not str or not _is_count(length):
        raise RefusedPickleError(damaged('a storage is described wrongly'))
    if key not in storage_bytes:
        raise RefusedPickleError(f'storage {shown(key)} is missing: the file is incomplete')
    if storage_bytes[key] != length * ITEM_BYTES[dtype]:
        raise RefusedPickleError(
            f'storage {shown(key)} has {storage_bytes[key]} bytes where its description says '
            f'{length} x {ITEM_BYTES[dtype]}'
        )
    return Storage(key, dtype, length)


def plain_members(values: Any) -> list[Any]:
    """`values` if they are texts, numbers or None: what may be a key. Others, such as deep tuples, are refused."""
    refuse_unless(
        type(values) in (list, tuple) and all(type(value) in _PLAIN_KEYS for value in values),
        damaged('a key or a member of a set is not a plain value'),
    )
    return list(values)


def pairs(items: list[Any]) -> dict[Any, Any]:
    """The dict of alternating keys and values."""
    refuse_unless(len(items) % 2 == 0, damaged('a key without a value'))
    return dict(zip(plain_members(items[0::2]), items[1::2], strict=True))


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_counts(values: Any) -> bool:
    return type(values) is tuple and len(values) <= _MAX_DIMENSIONS and all(map(_is_count, values))


def _build_set(_: Symbol, args: tuple) -> set:
    refuse_unless(len(args) <= 1, damaged('arguments of a set'))
    return set(plain_members(args[0])) if args else set()


def _build_ordered_dict(_: Symbol, args: tuple) -> dict:
    if not args:
        return {}
    items = args[0]
    refuse_unless(
        len(args) == 1
        and type(items) is list
        and all(type(item) in (list, tuple) and len(item) == 2 for item in items),
        damaged('arguments of an OrderedDict'),
    )
    return pairs([value for item in items for value in item])


def _build_empty_bytes(symbol: Symbol, args: tuple) -> bytes:
    """Protocol 2 writes bytes of length 0 as a call of `bytes`."""
    if args != ():
        raise _forbidden(symbol.name, 'call')
    return b''


def _build_size(_: Symbol, args: tuple) -> tuple:
    refuse_unless(len(args) == 1 and _is_counts(args[0]), damaged('a size is not a tuple of counts'))
    return args[0]


def _build_device(_: Symbol, args: tuple) -> str:
    refuse_unless(all(type(arg) in (str, int) for arg in args), damaged('arguments of a device'))
    return ':'.join(str(arg) for arg in args)


def _build_path(_: Symbol, args: tuple) -> str:
    refuse_unless(all(type(arg) is str for arg in args), damaged('arguments of a path'))
    return '/'.join(args)


def _build_bytes(_: Symbol, args: tuple) -> bytes:
    """Protocol 2 writes bytes as a text of code points below 256."""
    text, encoding = args if len(args) == 2 else (None, None)
    refuse_unless(type(text) is str and encoding == 'latin1', 'refused, because it uses _codecs.encode oddly')
    refuse_unless(all(ord(character) < 256 for character in text), damaged('bytes beyond 255'))
    return text.encode('latin1')


def _build_tensor(_: Symbol, args: tuple) -> TensorRecord:
    """`torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks[, metadata])`."""
    refuse_unless(len(args) in (6, 7) and type(args[0]) is Storage, damaged('arguments of a tensor'))
    storage, offset, size, stride = args[:4]
    refuse_unless(
        _is_count(offset) and _is_counts(size) and _is_counts(stride) and len(size) == len(stride),
        damaged('offset, size or stride of a tensor'),
    )
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    # The second condition: with a stride of 0 a few numbers in the file could stand for any amount of memory.
    fits = 0 in size or (last < storage.length and math.prod(size) <= storage.length)
    refuse_unless(
        fits, f'refused, because a tensor of size {shown(str(size))} reaches outside its {storage.length} values'
    )
    return TensorRecord(storage, offset, size, stride)


def _build_parameter(_: Symbol, args: tuple) -> TensorRecord:
    """`torch._utils._rebuild_parameter(tensor, requires_grad, hooks)`; the variant `_with_state` adds a state."""
    refuse_unless(len(args) in (3, 4) and type(args[0]) is TensorRecord, damaged('arguments of a parameter'))
    return args[0]


def _build_numpy_scalar(_: Symbol, args: tuple) -> float | int | bool:
    dtype, data = args if len(args) == 2 else (None, None)
    code = dtype.args[0] if type(dtype) is Record and dtype.symbol.name == 'numpy.dtype' and dtype.args else None
    number_format = _NUMPY_FORMATS.get(code) if type(code) is str else None
    order = dtype.state[1] if number_format and type(dtype.state) is tuple and len(dtype.state) > 1 else '<'
    refuse_unless(
        number_format is not None
        and order in ('<', '>', '|', '=')
        and type(data) is bytes
        and len(data) == struct.calcsize(f'={number_format}'),
        'refused, because it holds a numpy value that is not a plain number',
    )
    (value,) = struct.unpack(f'{">" if order == ">" else "<"}{number_format}', data)
    return value


def _build_record(symbol: Symbol, args: tuple) -> Record:
    return Record(symbol, args)


def _build_getattr(symbol: Symbol, args: tuple) -> Record:
    """Some genuine files name a method by getattr; it is written down, and every other use is refused."""
    owner, name = args if len(args) == 2 else (None, None)
    of_class = owner.name if type(owner) is Symbol else owner.symbol.name if type(owner) is Record else ''
    if type(name) is not str or (of_class, name) not in _NAMED_METHODS:
        raise _forbidden(symbol.name)
    return Record(symbol, args)


_BUILDERS: dict[str, Callable[[Symbol, tuple], Any]] = {
    'collections.OrderedDict': _build_ordered_dict,
    'torch.Size': _build_size,
    'torch.device': _build_device,
    'torch._utils._rebuild_tensor_v2': _build_tensor,
    'torch._utils._rebuild_parameter': _build_parameter,
    'torch._utils._rebuild_parameter_with_state': _build_parameter,
    '_codecs.encode': _build_bytes,
    'numpy.dtype': _build_record,
    **{f'{core}.multiarray.scalar': _build_numpy_scalar for core in _NUMPY_CORES},
    **{f'{core}.multiarray._reconstruct': _build_record for core in _NUMPY_CORES},
    **{f'{builtins}.set': _build_set for builtins in ('__builtin__', 'builtins')},
    **{f'{builtins}.bytes': _build_empty_bytes for builtins in ('__builtin__', 'builtins')},
    **{f'{builtins}.getattr': _build_getattr for builtins in ('__builtin__', 'builtins')},
    **{f'{module}.{name}': _build_path for module in _PATH_MODULES for name in _PATH_CLASSES},
}

# Names that are values themselves and may not be called.
_VALUES = {'numpy.ndarray', *(f'torch.{dtype}' for dtype in ITEM_BYTES)}
