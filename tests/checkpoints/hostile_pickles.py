"""Pickles that attack the reader of a checkpoint: forbidden calls, false sizes, spoilt NumPy types, bombs, misuse."""

import struct
from collections.abc import Callable, Iterator

# Stands at the end of a reference to a storage, where files before torch 1.6 have one value more.
VIEW = b'<view>'


def text(value: str) -> bytes:
    data = value.encode()
    return b'X' + struct.pack('<I', len(data)) + data


def number(value: int) -> bytes:
    digits = value.to_bytes(value.bit_length() // 8 + 1, 'little', signed=True)
    return b'\x8a' + bytes([len(digits)]) + digits


def name(full: str) -> bytes:
    return 'c{}\n{}\n'.format(*full.rsplit('.', 1)).encode()


def pack(*parts: bytes) -> bytes:
    return b'(' + b''.join(parts) + b't'


def call(full: str, *args: bytes) -> bytes:
    return name(full) + pack(*args) + b'R'


def listed(*items: bytes) -> bytes:
    return b'](' + b''.join(items) + b'e'


def mapping(**items: bytes) -> bytes:
    return b'}(' + b''.join(text(key) + value for key, value in items.items()) + b'u'


def raw(data: bytes) -> bytes:
    return call('_codecs.encode', text(data.decode('latin1')), text('latin1'))


def put(index: int) -> bytes:
    return b'r' + struct.pack('<I', index)


def get(index: int) -> bytes:
    return b'j' + struct.pack('<I', index)


EMPTY = call('collections.OrderedDict')


def storage(key: str = '0', kind: str = 'FloatStorage', length: int = 4, *more: bytes) -> bytes:
    return (
        pack(text('storage'), name(f'torch.{kind}'), text(key), text('cpu'), number(length), *(more or [VIEW])) + b'Q'
    )


def tensor(
    offset: int, size: tuple, stride: tuple, *, base: bytes = b'', grad: bytes = b'\x89', hooks: bytes = EMPTY, more=b''
) -> bytes:
    sizes = pack(*map(number, size)), pack(*map(number, stride))
    return call('torch._utils._rebuild_tensor_v2', base or storage(), number(offset), *sizes, grad, hooks, more)


def dtype(code: str, *state: bytes) -> bytes:
    return call('numpy.dtype', text(code), b'\x89', b'\x88') + (pack(*state) + b'b' if state else b'')


def dtype_state(
    order: str = '<', sub: bytes = b'N', names: bytes = b'N', fields: bytes = b'N', item: int = -1
) -> tuple:
    return number(3), text(order), sub, names, fields, number(item), number(-1), number(0)


F8 = dtype('f8', *dtype_state())
OBJECTS = dtype('O', number(3), text('|'), b'N', b'N', b'N', number(-1), number(-1), number(63))


def array(
    shape: tuple = (1,),
    kind: bytes = F8,
    data: bytes = raw(bytes(8)),
    order: bytes = b'\x89',
    cls: str = 'numpy.ndarray',
) -> bytes:
    empty = call('numpy.core.multiarray._reconstruct', name(cls), pack(number(0)), raw(b'b'))
    return empty + pack(number(1), pack(*map(number, shape)), kind, order, data) + b'b'


def history(**state: bytes) -> bytes:
    return name('mmengine.logging.history_buffer.HistoryBuffer') + b')\x81' + mapping(**state) + b'b'


def doubled(start: bytes, double: Callable[[bytes], bytes], times: int = 64) -> bytes:
    """Values of which each holds the one before twice."""
    made = start + put(0)
    for index in range(times):
        made += double(get(index)) + put(index + 1)
    return made


def repeated(start: bytes, use: bytes, times: int) -> bytes:
    """Uses of one large value (memo 0), in a list."""
    return listed(start + put(0), *[use] * times)


BIG_LIST = listed(*map(number, range(50_000)))
DEEP = b')' + b'\x85' * 100_000


def calls(marker: str) -> Iterator[tuple[str, bytes]]:
    """Yield calls of functions that a reader must not make."""
    touch = text(f'touch {marker}')
    write = text(f'open({marker!r}, "w")')
    for full, *args in [
        *[(full, touch) for full in ('posix.system', 'os.system', 'nt.system', 'os.popen', 'subprocess.getoutput')],
        *[(f'{module}.{full}', write) for module in ('builtins', '__builtin__') for full in ('eval', 'exec')],
        *[(full, text(marker), text('w')) for full in ('io.open', 'builtins.open', 'os.open', 'codecs.open')],
        ('subprocess.Popen', listed(text('touch'), text(marker))),
        ('builtins.__import__', text('this')),
        ('importlib.import_module', text('this')),
        ('runpy.run_path', text(marker)),
        ('timeit.timeit', write),
        ('pathlib.Path.touch', text(marker)),
        ('torch.load', text(marker)),
        ('torch.jit.load', text(marker)),
        ('torch.hub.load', text('a/b'), text('c')),
        ('torch.storage._load_from_bytes', raw(b'.')),
        ('pickle.loads', raw(b'.')),
        ('numpy.load', text(marker)),
        ('numpy.memmap', text(marker), text('f8'), text('w+'), number(0), pack(number(9))),
        ('numpy.frombuffer', raw(bytes(8))),
        ('copyreg._reconstructor', name('builtins.object'), name('builtins.object'), b'N'),
        ('functools.partial', name('posix.system'), touch),
        ('operator.attrgetter', text('system')),
        ('types.CodeType', number(0)),
        ('collections.defaultdict', name('posix.system')),
        ('mmengine.config.Config.fromfile', text(marker)),
        ('mmengine.config.config.Config', mapping(a=b'N')),
        ('ultralytics.utils.downloads.safe_download', text('http://x')),
        ('ultralytics.nn.tasks.DetectionModel', text('yolov8n.yaml')),
        ('torch.nn.modules.module.os.system', touch),
        ('torch.nn.modules.conv.Conv2d', number(1), number(10**9), number(9)),
        ('builtins.bytearray', number(10**12)),
        ('builtins.bytes', number(10**12)),
        ('torch.Tensor', number(10**12)),
        ('torch.FloatStorage', number(10**12)),
        ('torch.storage.UntypedStorage', number(10**12)),
        ('torch.float16', number(1)),
        (
            'torch._utils._rebuild_meta_tensor_no_storage',
            name('torch.float32'),
            pack(number(1)),
            pack(number(1)),
            b'\x89',
        ),
        (
            'torch._utils._rebuild_qtensor',
            storage(),
            number(0),
            pack(number(99)),
            pack(number(1)),
            pack(),
            b'\x89',
            EMPTY,
        ),
        ('torch._utils._rebuild_sparse_tensor', name('torch.sparse_coo'), pack()),
        ('torch._utils._rebuild_nested_tensor', tensor(0, (4,), (1,)), tensor(0, (4,), (1,)), b'N', b'N'),
        ('torch._utils._rebuild_wrapper_subclass', name('torch.Tensor'), name('torch.float32'), pack(number(1))),
        ('torch._utils._rebuild_device_tensor_from_numpy', array(), name('torch.float32'), text('cpu'), b'\x89'),
        ('torch._utils._rebuild_parameter_with_state', tensor(0, (4,), (1,)), b'\x89', EMPTY, mapping(data=b'N')),
        ('torch._utils._rebuild_tensor_v3', storage(), number(0), pack(number(1)), pack(number(1)), b'\x89', EMPTY),
        ('torch._tensor._rebuild_from_type_v2', name('posix.system'), name('torch.Tensor'), pack(touch), b'}'),
    ]:
        yield f'call {full}', call(full, *args)
    for owner, method in [
        (name('posix.system'), '__call__'),
        (name('numpy.dtype'), '__subclasses__'),
        (name('mmengine.logging.history_buffer.HistoryBuffer'), '__init__'),
        (name('ultralytics.nn.modules.conv.Conv') + b')\x81', '__globals__'),
        (b'N', '__class__'),
    ]:
        yield f'getattr {method}', call('builtins.getattr', owner, text(method))
    chain = call('builtins.getattr', call('builtins.getattr', b'N', text('__class__')), text('__base__'))
    yield 'getattr chain', chain
    yield 'setattr', call('builtins.setattr', name('numpy.dtype'), text('x'), b'N')
    yield 'parameter by NEWOBJ', name('torch.nn.parameter.Parameter') + pack(tensor(0, (4,), (1,))) + b'\x81'


def numpy_types() -> Iterator[tuple[str, bytes]]:
    """Yield values that make NumPy take raw bytes for pointers, or read where nothing is."""
    pointers = raw(struct.pack('<Q', 0x4141414141414141))
    sub = pack(OBJECTS, pack(number(1)))
    spoilt = dtype('f8', *dtype_state(sub=sub))
    yield 'object sub-dtype', array(kind=spoilt, data=pointers)
    yield 'object sub-dtype of void', array(kind=dtype('V8', *dtype_state('|', sub=sub)), data=pointers)
    yield 'sub-dtype that is a tuple', array(kind=dtype('f8', *dtype_state(sub=pack(F8, pack(number(10**9))))))
    fields = mapping(a=pack(OBJECTS, number(0)))
    yield 'object field', array(kind=dtype('V8', *dtype_state('|', b'N', pack(text('a')), fields, 8)), data=pointers)
    yield 'fields of a number', array(kind=dtype('f8', *dtype_state('<', b'N', pack(text('a')), fields, 8)))
    yield 'state given twice', array(kind=F8 + pack(*dtype_state(sub=sub)) + b'b', data=pointers)
    yield 'scalar of spoilt type', call('numpy.core.multiarray.scalar', spoilt, pointers)
    yield 'scalar of objects', call('numpy._core.multiarray.scalar', OBJECTS, pointers)
    yield 'scalar of half a number', call('numpy.core.multiarray.scalar', F8, raw(bytes(4)))
    yield 'scalar of many numbers', call('numpy.core.multiarray.scalar', F8, raw(bytes(80)))
    yield 'scalar of a text', call('numpy.core.multiarray.scalar', text('f8'), raw(bytes(8)))
    yield 'array of objects', array(kind=OBJECTS, data=pointers)
    yield 'array of listed objects', array(kind=OBJECTS, data=listed(number(1)))
    yield 'ndarray called', call('numpy.ndarray', pack(number(1)), OBJECTS, pointers)
    yield 'ndarray called with a number', call('numpy.ndarray', pack(number(1)), spoilt, pointers)
    yield 'ndarray by NEWOBJ', name('numpy.ndarray') + pack(pack(number(1)), spoilt, pointers) + b'\x81'
    yield 'dtype by NEWOBJ', name('numpy.dtype') + pack(text('O')) + b'\x81'
    yield 'dtype of a class', call('numpy.dtype', name('numpy.ndarray'))
    yield 'memmap', array(cls='numpy.memmap')
    for code in ('U9', 'S9', 'M8[s]', 'c16', 'g', 'f8,f8', '(1000000000,)f8', 'O8', '|V999999999', 'f16'):
        yield f'dtype {code}', array(kind=dtype(code, *dtype_state()))
    yield 'huge item', array(kind=dtype('f8', *dtype_state(item=2**40)))
    yield 'negative item', array(kind=dtype('f8', *dtype_state(item=-8)))
    yield 'byte order x', array(kind=dtype('f8', *dtype_state(order='x')))
    for shape in [(2,), (-1,), (2**62, 4), (0, 2**62), (2**31, 2**31, 2**31), (1,) * 70, (0,)]:
        yield f'shape {shape[:3]}', array(shape)
    yield 'shape of texts', array() + pack(number(1), pack(text('1')), F8, b'\x89', raw(bytes(8))) + b'b'
    yield 'array without a state', call('numpy.core.multiarray._reconstruct', name('numpy.ndarray'), pack(), raw(b'b'))
    yield 'array of its own state', put(9) + b'0' + array(data=listed())
    yield 'history of objects', history(_log_history=array(kind=OBJECTS), _count_history=array(), max_length=number(9))
    yield 'history of two lengths', history(_log_history=array(), _count_history=array((0,)), max_length=number(9))
    yield 'history without a state', name('mmengine.logging.history_buffer.HistoryBuffer') + b')\x81'
    yield 'history of negative length', history(_log_history=array(), _count_history=array(), max_length=number(-1))
    methods = mapping(mean=name('posix.system'))
    arrays = dict(_log_history=array(), _count_history=array(), max_length=number(9))
    yield 'history with functions', history(**arrays, statistics_methods=methods)
    yield 'history that holds itself', history()[:-1] + text('x') + b'Ns' + b'b'


def sizes() -> Iterator[tuple[str, bytes]]:
    """Yield tensors and storages of false sizes."""
    for case in [
        (-1, (1,), (1,)), (5, (1,), (1,)), (2**62, (1,), (1,)), (0, (5,), (1,)), (0, (-1,), (1,)), (0, (2,), (-1,)),
        (0, (2,), (4,)), (3, (2,), (-2,)), (0, (2**40,), (0,)), (0, (2**62, 2**62), (1, 1)), (0, (2, 2), (1,)),
        (0, (0, 2**62, 2**62), (1, 1, 1)), (0, (1,) * 65, (1,) * 65), (0, (2**63,), (1,)), (0, (2**31, 2**31), (0, 0)),
    ]:  # fmt: skip
        yield f'tensor {case[0]} {case[1][:3]} {case[2][:3]}', tensor(*case)
    good = 0, (4,), (1,)
    yield 'gradient that is an object', tensor(*good, grad=listed())
    yield 'hooks', tensor(*good, hooks=EMPTY + number(1) + name('numpy.dtype') + b's')
    yield 'hooks that are a list', tensor(*good, hooks=listed())
    yield 'metadata', tensor(*good, more=mapping(conj=b'\x88'))
    yield 'tensor of no storage', tensor(*good, base=listed())
    yield 'tensor of a name', tensor(*good, base=name('torch.FloatStorage'))
    yield 'parameter of no tensor', call('torch._utils._rebuild_parameter', b'N', b'\x89', EMPTY)
    yield 'parameter of a list', call('torch._utils._rebuild_parameter', listed(), b'\x88', EMPTY)
    yield (
        'tensor given a state',
        tensor(*good) + pack(storage(), number(0), pack(number(2**40)), pack(number(1))) + b'b',
    )
    yield 'parameter given a state', call('torch._utils._rebuild_parameter', tensor(*good), b'\x89', EMPTY) + b'}b'
    for length in (5, 3, 0, -1, 2**40, 2**62, 2**64):
        yield f'storage of {length}', tensor(0, (1,), (1,), base=storage(length=length))
    yield 'storage of another type', tensor(0, (4,), (1,), base=storage(kind='DoubleStorage'))
    two = listed(tensor(*good), tensor(0, (8,), (1,), base=storage(kind='HalfStorage', length=8)))
    yield 'storage described in two ways', two
    yield 'storage that is missing', tensor(*good, base=storage(key='7'))
    yield 'storage of another folder', tensor(*good, base=storage(key='../data.pkl'))
    yield (
        'storage by a view',
        tensor(*good, base=storage('0', 'FloatStorage', 4, pack(text('v'), number(0), number(2**40)))),
    )
    yield 'storage without a type', tensor(*good, base=storage(kind='Size'))
    yield 'untyped storage', tensor(*good, base=storage(kind='UntypedStorage', length=16))
    yield 'reference to a module', pack(text('module'), name('torch.Size'), text('/etc/passwd'), text('x')) + b'Q'
    yield 'reference to a file', pack(text('file'), *[text('/etc/passwd')] * 4) + b'Q'
    yield 'reference by a text', text('http://x') + b'Q'
    yield 'reference by a number', number(7) + b'Q'
    yield 'reference by nothing', b')Q'
    yield 'storage given a state', storage() + b'}b'
    yield 'size of negatives', call('torch.Size', pack(number(-1)))
    yield 'device of a list', call('torch.device', listed())
    yield 'device that is none', call('torch.device', text('nowhere'))


def bombs() -> Iterator[tuple[str, bytes]]:
    """Yield small files that would take much memory or time."""
    yield 'tuples doubled', doubled(b')', lambda one: one + one + b'\x86')
    yield 'lists doubled', doubled(b']', lambda one: listed(one, one))
    yield 'dicts doubled', doubled(b'}', lambda one: mapping(a=one, b=one))
    yield 'paths doubled', doubled(text('x' * 1000), lambda one: call('pathlib.PosixPath', one, one), 20)
    yield 'devices doubled', doubled(text('x' * 1000), lambda one: call('torch.device', one, one), 20)
    yield 'bytes doubled', doubled(raw(b'x' * 1000), lambda one: call('_codecs.encode', one, text('hex')), 30)
    yield 'records doubled', doubled(b'}', lambda one: name('ultralytics.X') + b')\x81' + mapping(a=one, b=one) + b'b')
    yield 'sets doubled', doubled(b']', lambda one: call('builtins.set', listed(one, one)))
    yield 'key of doubled tuples', b'}' + doubled(b')', lambda one: one + one + b'\x86') + b'Ns'
    yield 'sets repeated', repeated(BIG_LIST, call('builtins.set', get(0)), 50_000)
    yield 'paths repeated', repeated(text('x' * 10**6), call('pathlib.PosixPath', get(0), get(0)), 20_000)
    yield (
        'counters repeated',
        repeated(mapping(**{f'k{i}': b'N' for i in range(9000)}), call('collections.Counter', get(0)), 30_000),
    )
    states = mapping(**{f'k{i}': b'N' for i in range(9000)})
    yield 'states repeated', listed(states + put(0), EMPTY + (get(0) + b'b') * 100_000)
    yield 'encoding repeated', repeated(text('x' * 10**6), call('_codecs.encode', get(0), text('latin1')), 20_000)
    for encoding in ('hex', 'zlib', 'bz2', 'rot13', 'idna', 'punycode', 'utf-7', 'this'):
        yield f'encoding {encoding}', call('_codecs.encode', text('x' * 100_000), text(encoding))
    yield 'encoding beyond bytes', call('_codecs.encode', text('\u20ac'), text('latin1'))
    yield 'deep tuples', DEEP
    yield 'deep lists', b']' * 100_000 + b'a' * 99_999
    yield 'deep key', b'}' + DEEP + b'Ns'
    yield 'deep member', call('builtins.set', listed(DEEP))
    yield 'list in itself', b']' + put(0) + get(0) + b'a'
    yield 'list in itself, many times', b']' + put(0) + (get(0) + b'a') * 60
    yield 'dict in itself', b'}' + put(0) + text('x') + get(0) + b's'
    yield 'record in itself', name('ultralytics.X') + b')\x81' + put(0) + mapping(x=get(0)) + b'b'
    yield 'config in itself', b'}' + put(0) + call('mmengine.config.config.ConfigDict', get(0)) + b'0' + get(0)
    grown = b'}' + put(0) + text('x') + call('mmengine.config.config.ConfigDict', get(0)) + b's'
    yield 'config in its own items', grown
    chain = listed(b']' + put(0), *[get(i) + b']' + put(i + 1) + b'a' for i in range(5000)])
    yield 'chain of lists', chain
    yield 'marks', b'(' * 100_000
    yield 'dicts', listed(b'}' * 510_000)
    yield 'large memo', b'N' + put(2**32 - 1)
    yield 'long integer', b'\x8b' + struct.pack('<I', 50_000) + b'\x7f' * 50_000
    yield 'integer of 5,000 digits', b'I' + b'9' * 5000 + b'\n'
    yield 'decimal of 5,000 digits', b'L' + b'9' * 5000 + b'L\n'
    yield 'text of 2 GB', b'X' + struct.pack('<I', 2**31 - 1) + b'x'
    yield 'bytes of an exabyte', b'\x8e' + struct.pack('<Q', 2**60) + b'x'
    yield 'frame of an exabyte', b'\x95' + struct.pack('<Q', 2**60) + b'N'


def misuse(marker: str) -> Iterator[tuple[str, bytes]]:
    """Yield instructions that torch.save does not write, or on values for which they are not meant."""
    touch = text(f'touch {marker}')
    yield 'INST', b'(' + touch + b'iposix\nsystem\n'
    yield 'INST of a class', b'(itorch.nn.modules.conv\nConv2d\n'
    yield 'OBJ', b'(' + name('posix.system') + touch + b'o'
    yield 'STACK_GLOBAL', text('posix') + text('system') + b'\x93' + pack(touch) + b'R'
    yield 'NEWOBJ_EX', name('ultralytics.X') + b')}\x92'
    yield from [
        ('EXT1', b'\x82\x01'),
        ('NEXT_BUFFER', b'\x97'),
        ('PERSID', b'Px\n'),
        ('EXT4', b'\x84\1\0\0\0'),
    ]
    for module, last in [
        ('posix\\x2e', 'system'), ('collections\\x2eOrderedDict', 'x'), ('', 'system'), ('torch ', 'Size'),
        ('\u0440osix', 'system'), ('collections.OrderedDict', 'fromkeys'), ('builtins', 'set.__init__'),
        ('torch.nn.modules..x', 'Conv2d'), ('torch.nn.modulesx', 'Conv2d'), ('posix', 'system\x1b[2J'),
    ]:  # fmt: skip
        yield f'name {module}.{last}', f'c{module}\n{last}\n'.encode() + pack(touch) + b'R'
    values = {
        'list': listed(), 'text': text('x'), 'dict': b'}', 'set': call('builtins.set', listed()), 'number': number(1),
        'class': name('ultralytics.X'), 'function': name('collections.OrderedDict'), 'dtype': name('torch.float16'),
        'tensor': tensor(0, (4,), (1,)), 'size': call('torch.Size', pack(number(1))), 'array': array(), 'none': b'N',
        'record': name('ultralytics.X') + b')\x81', 'NumPy type': name('numpy.dtype'), 'history': history(),
    }  # fmt: skip
    for kind, value in values.items():
        yield f'call of a {kind}', value + pack(b'N') + b'R'
        yield f'object of a {kind}', value + pack(b'N') + b'\x81'
        yield f'state of a {kind}', value + pack(b'N', mapping(__class__=b'N', __setstate__=name('torch.Size'))) + b'b'
        yield f'plain state of a {kind}', value + mapping(__class__=b'N', __dict__=b'N', append=b'N') + b'b'
        yield f'item of a {kind}', value + number(0) + value + b's'
        yield f'append to a {kind}', value + value + b'a'
        yield f'{kind} as key', b'}' + value + b'Ns'
        yield f'{kind} as member', call('builtins.set', listed(value))
        yield f'{kind} as argument', name('torch.Size') + value + b'R'
    for kind, broken in [
        ('nothing', b''), ('no mark', b't'), ('no value', b'\x86'), ('no memo', get(3)), ('odd items', b'}(Nu'),
        ('two values', b'NN'), ('open mark', b'N('), ('unknown', b'\xff'), ('cut', b'X\xff'),
        ('protocol', b'\x80\x05N'),
    ]:  # fmt: skip
        yield f'damage: {kind}', broken


def pickles(marker: str) -> Iterator[tuple[str, bytes]]:
    """Yield all attacks inside a pickle, each as a value beside some weights."""
    for name_, body in (*calls(marker), *numpy_types(), *sizes(), *misuse(marker), *bombs()):
        yield name_, b'\x80\x02' + mapping(state_dict=mapping(weight=tensor(0, (2,), (1,))), more=body) + b'.'
