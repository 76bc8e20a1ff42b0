"""Reads the pickle inside a PyTorch file as data, without running it.

A pickle is a small program: its instructions may import anything and call it, and `pickle.load` obeys. Here no part of
the pickle machine of Python is used. The instructions, as documented in `pickletools`, are read one by one, and those
that would import, call or build something are answered from the tables of `pickle_names`: numbers, texts and
containers become themselves, tensors become a `TensorRecord` that says where their values lie, and objects of the
allowed classes become an inert `Record` of their class name and attributes. Nothing is ever imported or called by a
name that comes from the file. A name outside the allowed ones is refused as soon as it is met.
"""

import pickletools
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from noise_mm.checkpoints.pickle_names import (
    allowed_symbol,
    call,
    pairs,
    plain_members,
    recorded_object,
    storage_of,
)
from noise_mm.checkpoints.pickle_records import (
    Record,
    RefusedPickleError,
    Symbol,
    damaged,
    refuse_unless,
)

# A pickle of one-byte instructions could fill the memory with empty objects. YOLOv8x-seg has 67,000 instructions.
_MAX_INSTRUCTIONS = 2_000_000


def unpickle(data: bytes, storage_bytes: Mapping[str, int]) -> Any:
    """The value that a pickle describes, with inert records in place of objects.

    Args:
        data: The whole pickle, protocol 0 to 5.
        storage_bytes: Size in bytes of each storage that tensors may refer to, by key.

    Returns:
        None, booleans, numbers, texts, bytes, lists, tuples, sets and dicts of them, `TensorRecord`, `Record` and
        `Symbol`. Containers may share parts and may contain themselves, as in any pickle.

    Raises:
        RefusedPickleError: If the pickle names anything but the allowed classes and functions, calls one in another
            way than PyTorch writes it, has a tensor that reaches outside its storage, or is damaged.
    """
    return _Reader(storage_bytes).read(data)


@dataclass
class _Reader:
    """The state of reading one pickle: stack, marks, memo."""

    storage_bytes: Mapping[str, int]
    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def read(self, data: bytes) -> Any:
        end = None
        for count, (opcode, argument, position) in enumerate(_instructions(data)):
            if count >= _MAX_INSTRUCTIONS:
                raise RefusedPickleError('refused, because its pickle is too long for a checkpoint')
            if opcode == 'STOP':
                end = position + 1
                break
            handler = _HANDLERS.get(opcode)
            if handler is None:
                raise RefusedPickleError(f'refused, because its pickle uses {opcode}, which PyTorch does not write')
            handler(self, argument)
        refuse_unless(end == len(data), 'refused, because there is more after the end of its pickle')
        value = self.pop()
        refuse_unless(not self.stack and not self.marks, damaged('values left over'))
        return value

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise RefusedPickleError(damaged('a value is missing'))
        return self.stack.pop()

    def top(self, kind: type, opcode: str) -> Any:
        value = self.pop()
        self.push(value)
        if type(value) is not kind:
            raise RefusedPickleError(damaged(f'{opcode} on something else than a {kind.__name__}'))
        return value

    def pop_to_mark(self) -> list[Any]:
        refuse_unless(bool(self.marks), damaged('a mark is missing'))
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def pop_several(self, count: int) -> tuple:
        return tuple(reversed([self.pop() for _ in range(count)]))

    def put(self, index: int | None) -> None:
        value = self.pop()
        self.push(value)
        self.memo[len(self.memo) if index is None else index] = value

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise RefusedPickleError(damaged(f'nothing was stored as {index}'))
        self.push(self.memo[index])

    def append(self, values: list[Any]) -> None:
        self.top(list, 'APPENDS').extend(values)

    def set_items(self, items: list[Any]) -> None:
        self.top(dict, 'SETITEMS').update(pairs(items))

    def add_items(self, items: list[Any]) -> None:
        self.top(set, 'ADDITEMS').update(plain_members(items))

    def global_name(self, argument: str) -> None:
        self.push(allowed_symbol(*_split_global(argument)))

    def stack_global(self) -> None:
        module, name = self.pop_several(2)
        refuse_unless(type(module) is str and type(name) is str, damaged('a name is not a text'))
        self.push(allowed_symbol(module, name))

    def instance(self, argument: str) -> None:
        """INST names a class and calls it at once; PyTorch never wrote it, so only the name matters."""
        allowed_symbol(*_split_global(argument))
        raise RefusedPickleError('refused, because its pickle uses INST, which PyTorch does not write')

    def reduce(self) -> None:
        function, args = self.pop_several(2)
        self.push(call(function, args))

    def new_object(self, with_keywords: bool) -> None:
        if with_keywords:
            refuse_unless(self.pop() == {}, 'refused, because it makes an object with keyword arguments')
        cls, args = self.pop_several(2)
        refuse_unless(type(cls) is Symbol, 'refused, because it makes an object of something that is not a class')
        self.push(recorded_object(cls, args))

    def build(self) -> None:
        state = self.pop()
        target = self.pop()
        if type(target) is Record:
            target.state = state
        else:  # an OrderedDict may carry attributes beside its items, such as `_metadata` of a state dict
            refuse_unless(type(target) is dict and type(state) is dict, damaged('BUILD on a plain value'))
        self.push(target)

    def persistent_id(self) -> None:
        self.push(storage_of(self.pop(), self.storage_bytes))


def _instructions(data: bytes) -> Iterator[tuple[str, Any, int]]:
    """(name, argument, position) of each instruction; damage of any kind becomes RefusedPickleError."""
    try:
        for opcode, argument, position in pickletools.genops(data):
            yield opcode.name, argument, position
    except RefusedPickleError:
        raise
    except (ValueError, OverflowError, IndexError, struct.error) as error:
        raise RefusedPickleError(damaged(str(error))) from error


def _split_global(argument: str) -> tuple[str, str]:
    """Module and name of a GLOBAL instruction, which `pickletools` joins by one blank."""
    module, _, name = argument.partition(' ')
    return module, name


_CONSTANTS = {'NONE': None, 'NEWTRUE': True, 'NEWFALSE': False, 'EMPTY_TUPLE': ()}
# fmt: off
_LITERALS = (
    'INT', 'BININT', 'BININT1', 'BININT2', 'LONG', 'LONG1', 'LONG4', 'FLOAT', 'BINFLOAT', 'STRING', 'BINSTRING',
    'SHORT_BINSTRING', 'UNICODE', 'BINUNICODE', 'SHORT_BINUNICODE', 'BINUNICODE8', 'BINBYTES', 'SHORT_BINBYTES',
    'BINBYTES8',
)
# fmt: on

# What each instruction does; those that are not here (extension codes, out-of-band buffers, OBJ, ...) are refused.
_HANDLERS: dict[str, Callable[[_Reader, Any], None]] = {
    **{name: (lambda reader, _, value=value: reader.push(value)) for name, value in _CONSTANTS.items()},
    **{name: _Reader.push for name in _LITERALS},
    'PROTO': lambda reader, _: None,
    'FRAME': lambda reader, _: None,
    'MARK': lambda reader, _: reader.marks.append(len(reader.stack)),
    'POP': lambda reader, _: reader.pop(),
    'POP_MARK': lambda reader, _: reader.pop_to_mark(),
    'EMPTY_LIST': lambda reader, _: reader.push([]),
    'EMPTY_DICT': lambda reader, _: reader.push({}),
    'EMPTY_SET': lambda reader, _: reader.push(set()),
    'LIST': lambda reader, _: reader.push(reader.pop_to_mark()),
    'TUPLE': lambda reader, _: reader.push(tuple(reader.pop_to_mark())),
    'DICT': lambda reader, _: reader.push(pairs(reader.pop_to_mark())),
    'FROZENSET': lambda reader, _: reader.push(frozenset(plain_members(reader.pop_to_mark()))),
    'TUPLE1': lambda reader, _: reader.push(reader.pop_several(1)),
    'TUPLE2': lambda reader, _: reader.push(reader.pop_several(2)),
    'TUPLE3': lambda reader, _: reader.push(reader.pop_several(3)),
    'APPEND': lambda reader, _: reader.append([reader.pop()]),
    'APPENDS': lambda reader, _: reader.append(reader.pop_to_mark()),
    'SETITEM': lambda reader, _: reader.set_items(list(reader.pop_several(2))),
    'SETITEMS': lambda reader, _: reader.set_items(reader.pop_to_mark()),
    'ADDITEMS': lambda reader, _: reader.add_items(reader.pop_to_mark()),
    **{name: _Reader.put for name in ('PUT', 'BINPUT', 'LONG_BINPUT', 'MEMOIZE')},
    **{name: _Reader.get for name in ('GET', 'BINGET', 'LONG_BINGET')},
    'GLOBAL': _Reader.global_name,
    'STACK_GLOBAL': lambda reader, _: reader.stack_global(),
    'INST': _Reader.instance,
    'REDUCE': lambda reader, _: reader.reduce(),
    'NEWOBJ': lambda reader, _: reader.new_object(with_keywords=False),
    'NEWOBJ_EX': lambda reader, _: reader.new_object(with_keywords=True),
    'BUILD': lambda reader, _: reader.build(),
    'BINPERSID': lambda reader, _: reader.persistent_id(),
}
