"""Checks the pickle of a checkpoint before torch builds anything from it.

`torch.load(weights_only=True)` calls nothing but an allow-list, yet it believes every number that it is given: a
storage may claim more bytes than the file has for it (and is then read from foreign memory), a tensor may reach beyond
its storage, an encoder may be called in a chain that doubles its output, a set may be copied a million times. Here the
same instructions are followed with the sizes of the values in place of the values. Nothing is built or called.
"""

import math
import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any

# Bytes per element of the storages that may be referred to.
ITEM_BYTES = {
    'torch.DoubleStorage': 8, 'torch.FloatStorage': 4, 'torch.HalfStorage': 2, 'torch.BFloat16Storage': 2,
    'torch.LongStorage': 8, 'torch.IntStorage': 4, 'torch.ShortStorage': 2, 'torch.CharStorage': 1,
    'torch.ByteStorage': 1, 'torch.BoolStorage': 1,
}  # fmt: skip
_DTYPES = ('float64', 'float32', 'float16', 'bfloat16', 'int64', 'int32', 'int16', 'int8', 'uint8', 'bool')
# Names that stand for values and are never called.
_VALUES = {*ITEM_BYTES, *(f'torch.{dtype}' for dtype in _DTYPES)}

# A stripped YOLOv8x-seg of Ultralytics has 67,000 instructions, a YOLOv8n-seg with its averaged weights and optimizer
# 106,000.
_MAX_INSTRUCTIONS = 500_000
# Values in one value if shared parts were written out, and values handed to all calls together. The reference files of
# Ultralytics need less than 0.3 million.
_MAX_WEIGHT = 20_000_000
# Containers inside each other. A pickled YOLOv8 has about 40.
_MAX_DEPTH = 300
# Characters that weigh as much as one value.
_TEXT_UNIT = 64
# Elements that a tensor may have beyond those of its storage, by a stride of 0.
_MAX_EXPANDED = 2**24
_MAX_DIMENSIONS = 64

_LITERALS = {'BINUNICODE', 'SHORT_BINSTRING', 'BININT', 'BININT1', 'BININT2', 'LONG1', 'BINFLOAT'}
_CONSTANTS = {'NONE': None, 'NEWTRUE': True, 'NEWFALSE': False}
_EMPTY = {'EMPTY_TUPLE': 'tuple', 'EMPTY_LIST': 'list', 'EMPTY_DICT': 'dict', 'EMPTY_SET': 'set'}


class RefusedPickleError(ValueError):
    """The pickle asks for something that no checkpoint needs. The message says what; `names` lists forbidden names."""

    def __init__(self, message: str, names: list[str] | None = None) -> None:
        super().__init__(message)
        self.names = names or []


def shown(text: str, limit: int = 120) -> str:
    """Return a text from a stranger's file as it may be shown on a terminal: escaped, at most `limit` characters."""
    return text[:limit].encode('unicode_escape').decode('ascii')[:limit]


def require(condition: bool, what: str) -> None:
    """Raise RefusedPickleError with the message `what` unless the condition holds."""
    if not condition:
        raise RefusedPickleError(what)


@dataclass(eq=False, slots=True)
class Value:
    """What is known of a value that the pickle makes.

    Attributes:
        kind: 'literal', 'name', 'tuple', 'list', 'dict', 'set', 'OrderedDict', 'storage', 'tensor' or 'object'.
        content: The literal, the name, the number of elements of a storage, or the `Value`s in a tuple or list.
        weight: How many values it consists of, shared ones counted each time.
        depth: How many containers lie inside each other.
    """

    kind: str
    content: Any = None
    weight: int = 1
    depth: int = 1

    def is_literal(self, kind: type) -> bool:
        """Return whether this is a literal of that very type."""
        return self.kind == 'literal' and type(self.content) is kind

    def counts(self) -> list[int] | None:
        """Return the numbers of a tuple of counts, or None for anything else."""
        items = self.content if self.kind == 'tuple' else [self]
        is_counts = len(items) <= _MAX_DIMENSIONS and all(_is_count(item) for item in items)
        return [item.content for item in items] if is_counts and self.kind == 'tuple' else None


@dataclass
class Scan:
    """Follows one pickle, arranged as in torch's own reader.

    Args:
        is_stand_in: Whether a full name is given to torch as a stand-in class, beside torch's own few.

    Attributes:
        names: Classes and functions of the pickle, under the names by which torch looks them up.
        forbidden: Those that are neither stand-ins nor among torch's own few.
        storages: Storage type and number of elements by key.
    """

    is_stand_in: Callable[[str], bool]
    names: set[str] = field(default_factory=set)
    forbidden: list[str] = field(default_factory=list)
    storages: dict[str, tuple[str, int]] = field(default_factory=dict)
    _stack: list[Value] = field(default_factory=list)
    _outer: list[list[Value]] = field(default_factory=list)
    _memo: dict[int, Value] = field(default_factory=dict)
    _handed_over: int = 0

    def run(self, stream: IO[bytes]) -> Value:
        """Follow the pickle that starts here, up to its end, and return its value.

        Raises:
            RefusedPickleError: If it names anything forbidden, calls a function of torch in another way than
                `torch.save` writes, or would take far more memory or time than a checkpoint.
            ValueError, LookupError: If it is damaged.
        """
        try:
            for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
                require(count < _MAX_INSTRUCTIONS, 'its pickle is too long for a checkpoint')
                if opcode.name == 'STOP':
                    break
                self._step(opcode.name, argument)
            return self._stack.pop()
        finally:
            if self.forbidden:
                raise RefusedPickleError('it asks for forbidden names', self.forbidden)

    def _step(self, opcode: str, argument: Any) -> None:
        """Follow one instruction: those that `torch.load(weights_only=True)` knows and no other."""
        if opcode in _LITERALS:
            length = len(argument) if isinstance(argument, str) else 0
            self._stack.append(Value('literal', argument, 1 + length // _TEXT_UNIT))
        elif opcode in ('BINPUT', 'LONG_BINPUT'):
            self._memo[argument] = self._stack[-1]
        elif opcode in ('BINGET', 'LONG_BINGET'):
            self._stack.append(self._memo[argument])
        elif opcode in _CONSTANTS:
            self._stack.append(Value('literal', _CONSTANTS[opcode]))
        elif opcode in _EMPTY:
            self._stack.append(Value(_EMPTY[opcode], []))
        elif opcode == 'MARK':
            self._outer.append(self._stack)
            self._stack = []
        elif opcode in ('TUPLE', 'TUPLE1', 'TUPLE2', 'TUPLE3'):
            items = self._pop(opcode[5:])
            self._push(Value('tuple', items), items)
        elif opcode in ('APPEND', 'APPENDS'):
            items = self._pop(1 if opcode == 'APPEND' else '')
            require(self._stack[-1].kind == 'list', f'it appends to a {self._stack[-1].kind}')
            self._stack[-1].content.extend(items)
            self._push(self._stack.pop(), items)
        elif opcode in ('SETITEM', 'SETITEMS'):
            items = self._pop(2 if opcode == 'SETITEM' else '')
            require(self._stack[-1].kind in ('dict', 'OrderedDict'), f'it sets items of a {self._stack[-1].kind}')
            require(all(key.kind == 'literal' for key in items[::2]), 'a key is not a text or number')
            self._push(self._stack.pop(), items)
        elif opcode == 'GLOBAL':
            self._push_name(*argument.split(' ', 1))
        elif opcode in ('REDUCE', 'NEWOBJ'):
            function, args = self._pop(2)
            self._call(function, args, opcode)
        elif opcode == 'BUILD':
            (state,) = self._pop(1)
            target = self._stack.pop()
            self._hand_over(state)
            is_plain = target.kind == 'OrderedDict' and state.kind == 'dict'  # such as `_metadata` of a state dict
            require(is_plain or target.kind == 'object', f'it gives a state to a {target.kind}')
            self._push(target, [state])
        elif opcode == 'BINPERSID':
            self._push_storage(*self._pop(1))
        else:
            require(opcode == 'PROTO' and argument == 2, f'its pickle uses {opcode}, as torch.save never does')

    def _pop(self, count: int | str) -> list[Value]:
        """Take that many values off the stack, or all since the last mark ('')."""
        if count == '':
            items, self._stack = self._stack, self._outer.pop()
            return items
        items = self._stack[-int(count) :]
        if len(items) < int(count):
            raise IndexError('a value is missing')
        del self._stack[-int(count) :]
        return items

    def _push(self, value: Value, items: list[Value]) -> None:
        """Push a value that contains others."""
        for item in items:
            value.weight += item.weight
            value.depth = max(value.depth, item.depth + 1)
        is_usual = value.weight <= _MAX_WEIGHT and value.depth <= _MAX_DEPTH
        require(is_usual, 'its parts are shared or nested so often that reading it could fill the memory')
        self._stack.append(value)

    def _push_name(self, module: str, last: str) -> None:
        name = f'{"builtins" if module == "__builtin__" else module}.{last}'
        if name in _CALLS or name in _VALUES or self.is_stand_in(name):
            self.names.add(name)
        elif name not in self.forbidden:
            self.forbidden.append(name)
        self._stack.append(Value('name', name))

    def _hand_over(self, value: Value) -> None:
        """Count what a function or an object gets, which may copy it."""
        self._handed_over += value.weight
        require(self._handed_over <= _MAX_WEIGHT, 'the same values are copied so often that reading it would not end')

    def _call(self, function: Value, args: Value, opcode: str) -> None:
        require(function.kind == 'name' and args.kind == 'tuple', 'it calls something that is not a name')
        self._hand_over(args)
        name, kind = function.content, 'object'
        if name in _CALLS and opcode == 'REDUCE':
            is_usual, kind = _CALLS[name]
            try:
                require(is_usual(*args.content), f'it calls {name} in an unusual way')
            except TypeError as error:
                raise RefusedPickleError(f'it calls {name} with {len(args.content)} values') from error
        else:
            is_object = name in self.forbidden or (self.is_stand_in(name) and (opcode == 'REDUCE' or not args.content))
            require(is_object, f'it makes an object of {shown(name)} in an unusual way')
        self._push(Value(kind), args.content)

    def _push_storage(self, reference: Value) -> None:
        """Follow a reference ('storage', type, key, device, number of elements); old files add None."""
        parts = reference.content if reference.kind == 'tuple' else []
        contents = [part.content for part in parts]
        require(contents[:1] != ['module'], 'it holds the text of a program, as torch before 1.6 saved with modules')
        is_storage = (
            len(parts) in (5, 6)
            and [part.kind for part in parts] == ['literal', 'name', *['literal'] * (len(parts) - 2)]
            and (contents[0], contents[5:] or [None]) == ('storage', [None])
            and contents[1] in ITEM_BYTES
            and all(type(text) is str and text.isascii() for text in contents[2:4])
            and _is_count(parts[4])
        )
        require(is_storage, 'it refers to something that is not a storage')
        _, kind, key, _, length = contents[:5]
        is_same = self.storages.setdefault(key, (kind, length)) == (kind, length)
        require(is_same, f'storage {shown(key)} is described in two ways')
        self._stack.append(Value('storage', length))


def _is_count(value: Value) -> bool:
    return value.is_literal(int) and 0 <= value.content < 2**63


def _is_set(items: Value) -> bool:
    return items.kind == 'list' and all(item.kind == 'literal' for item in items.content)


def _is_device(kind: Value, *index: Value) -> bool:
    return kind.is_literal(str) and len(index) < 2 and all(map(_is_count, index))


def _is_bytes(text: Value, encoding: Value) -> bool:
    """Protocol 2 writes bytes as a text of code points below 256. Other encodings compress, expand or import."""
    return text.is_literal(str) and encoding.is_literal(str) and encoding.content == 'latin1'


def _is_tensor(storage: Value, offset: Value, size: Value, stride: Value) -> bool:
    """Whether all elements lie inside the storage, and a stride of 0 makes few of them many only within reason."""
    lengths, steps = size.counts(), stride.counts()
    if storage.kind != 'storage' or not _is_count(offset) or lengths is None or steps is None:
        return False
    last = offset.content + sum((length - 1) * step for length, step in zip(lengths, steps, strict=False))
    is_inside = len(lengths) == len(steps) and (0 in lengths or last < storage.content)
    return is_inside and math.prod(lengths) <= max(storage.content, _MAX_EXPANDED)


def _is_plain(grad: Value, hooks: Value) -> bool:
    return grad.is_literal(bool) and hooks.kind == 'OrderedDict' and hooks.weight == 1


# Functions of torch's own list that checkpoints need: how `torch.save` calls them, and the kind of the result.
_CALLS: dict[str, tuple[Callable[..., bool], str]] = {
    'collections.OrderedDict': (lambda: True, 'OrderedDict'),
    'collections.Counter': (lambda counts: counts.kind == 'dict', 'Counter'),
    'builtins.set': (_is_set, 'set'),
    'torch.Size': (lambda lengths: lengths.counts() is not None, 'size'),
    'torch.device': (_is_device, 'device'),
    '_codecs.encode': (_is_bytes, 'bytes'),
    'torch._utils._rebuild_tensor': (_is_tensor, 'tensor'),
    'torch._utils._rebuild_tensor_v2': (lambda *args: _is_tensor(*args[:4]) and _is_plain(*args[4:]), 'tensor'),
    'torch._utils._rebuild_parameter': (lambda data, *args: data.kind == 'tensor' and _is_plain(*args), 'tensor'),
}
