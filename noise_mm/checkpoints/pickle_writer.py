"""Writes the pickle inside a PyTorch file for objects whose classes need not be installed here.

`pickle.dump` insists on importing every class that it names. A checkpoint for another program names that program's
classes, so the few instructions of pickle protocol 2 that PyTorch files consist of are written directly; each is
documented in `pickletools`.
"""

import struct
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

_STORAGE_NAMES = {
    torch.float32: 'FloatStorage',
    torch.float16: 'HalfStorage',
    torch.int64: 'LongStorage',
}


def pickle_modules(value: Any, add_storage: Callable[[torch.Tensor], str]) -> bytes:
    """The pickle of `value`, in which each torch module is an object of the class that its type is named after.

    Args:
        value: None, bool, int, float, str, list, tuple, dict, OrderedDict, set, float32, float16 or int64 tensors,
            torch modules, and any nesting of these without cycles. What a module holds is written as it stands in its
            `vars`. A module whose class has a foreign `__module__` is written under that name.
        add_storage: Takes a contiguous tensor whose values have to be stored, and returns the key of its storage.

    Raises:
        TypeError: If something else is met.
    """
    return b'\x80\x02' + b''.join(_encode(value, add_storage)) + b'.'


def _encode(value: Any, add_storage: Callable[[torch.Tensor], str]) -> list[bytes]:
    """The instructions that push `value`."""

    def items(values: Any) -> bytes:
        return b''.join(part for item in values for part in _encode(item, add_storage))

    if isinstance(value, nn.Module):
        cls = type(value)
        return [_global(cls.__module__, cls.__qualname__), b')\x81', items([vars(value)]), b'b']
    if isinstance(value, torch.Tensor):
        return _encode_tensor(value, items, add_storage)
    if isinstance(value, OrderedDict):
        return [_global('collections', 'OrderedDict'), b')R', _fill(value, items)]
    kind = type(value)
    if kind in (bool, int, float, str, type(None)):
        return [_encode_plain(value)]
    if kind is dict:
        return [b'}', _fill(value, items)]
    if kind is list:
        return [b'](', items(value), b'e']
    if kind is tuple:
        return [b'(', items(value), b't']
    if kind is set:
        return [_global('__builtin__', 'set'), items([sorted(value)]), b'\x85R']
    raise TypeError(f'no rule to write a {kind.__name__} into a checkpoint')


def _fill(mapping: dict, items: Callable[[Any], bytes]) -> bytes:
    return b'(' + items(part for item in mapping.items() for part in item) + b'u'


def _encode_tensor(
    tensor: torch.Tensor, items: Callable[[Any], bytes], add_storage: Callable[[torch.Tensor], str]
) -> list[bytes]:
    """A call of `torch._utils._rebuild_tensor_v2` on a storage of the tensor's own, as `torch.save` writes it."""
    values = tensor.detach().contiguous()
    storage = [
        *(items(['storage']), _global('torch', _STORAGE_NAMES[values.dtype])),
        items([add_storage(values), 'cpu', values.numel()]),
    ]
    no_hooks = items([OrderedDict()])
    rebuilt = [
        *(_global('torch._utils', '_rebuild_tensor_v2'), b'((', *storage, b'tQ'),
        *(items([0, tuple(values.shape), tuple(values.stride()), False]), no_hooks, b'tR'),
    ]
    if not isinstance(tensor, nn.Parameter):
        return rebuilt
    return [_global('torch._utils', '_rebuild_parameter'), *rebuilt, items([tensor.requires_grad]), no_hooks, b'\x87R']


def _encode_plain(value: bool | int | float | str | None) -> bytes:
    if value is None:
        return b'N'
    if isinstance(value, bool):
        return b'\x88' if value else b'\x89'
    if isinstance(value, float):
        return b'G' + struct.pack('>d', value)
    if isinstance(value, str):
        text = value.encode('utf-8', 'surrogatepass')
        return b'X' + struct.pack('<I', len(text)) + text
    if -(2**31) <= value < 2**31:
        return b'J' + struct.pack('<i', value)
    digits = value.to_bytes(value.bit_length() // 8 + 1, 'little', signed=True)
    return b'\x8b' + struct.pack('<i', len(digits)) + digits


def _global(module: str, name: str) -> bytes:
    return f'c{module}\n{name}\n'.encode('ascii')
