import collections
import functools
import io
import operator
import os
import pathlib
import pickle
import struct
import subprocess
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from noise_mm.checkpoints.pickle_records import Record, RefusedPickleError, Storage, Symbol, TensorRecord, shown
from noise_mm.checkpoints.restricted_unpickler import unpickle

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)

keys = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
plain_values = st.recursive(
    keys | st.sets(keys),
    lambda inner: st.lists(inner) | st.dictionaries(keys, inner) | st.lists(inner).map(tuple),
    max_leaves=20,
)


def text(value):
    data = value.encode()
    return b'X' + struct.pack('<I', len(data)) + data


def number(value):
    digits = value.to_bytes(value.bit_length() // 8 + 1, 'little', signed=True)
    return b'\x8a' + bytes([len(digits)]) + digits


def name(module, last):
    return f'c{module}\n{last}\n'.encode()


def pack(*parts):
    return b'(' + b''.join(parts) + b't'


def storage(key='0', kind='FloatStorage', length=4):
    return pack(text('storage'), name('torch', kind), text(key), text('cpu'), number(length)) + b'Q'


def tensor(offset, size, stride):
    hooks = name('collections', 'OrderedDict') + b')R'
    sizes = pack(*map(number, size)) + pack(*map(number, stride))
    return name('torch._utils', '_rebuild_tensor_v2') + pack(storage(), number(offset), sizes, b'\x89', hooks) + b'R'


class Calls:
    """Pickles as a call of `function`, which `pickle.load` would make."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


class HasState:
    """Pickles as an object of an allowed class that is given a state."""

    def __reduce__(self):
        return torch.nn.Identity, (), {'training': Calls(os.system, 'touch pwned')}


@given(plain_values, st.sampled_from(PROTOCOLS))
def test_plain_values_come_back_as_from_pickle(value, protocol):
    pickled = pickle.dumps(value, protocol)
    assert repr(unpickle(pickled, {})) == repr(pickle.loads(pickled))


def test_shared_and_circular_containers_come_back_as_such():
    inner = [1]
    outer = [inner, inner]
    outer.append(outer)
    result = unpickle(pickle.dumps(outer, 2), {})
    assert result[0] is result[1] and result[2] is result


def test_ordered_dict_sizes_devices_and_paths():
    values = [
        collections.OrderedDict([('b', 1), ('a', [2])]),
        torch.Size([2, 3]),
        torch.device('cuda', 1),
        torch.float16,
        pathlib.PurePosixPath('/data/x.yaml'),
    ]
    result = unpickle(pickle.dumps(values, 2), {})
    assert result[:3] == [{'b': 1, 'a': [2]}, (2, 3), 'cuda:1']
    assert result[3] == Symbol('torch.float16')
    assert result[4].endswith('data/x.yaml')


def test_ordered_dict_by_pairs():
    pairs = b'](' + pack(text('a'), number(1)) + b'e'
    assert unpickle(name('collections', 'OrderedDict') + pack(pairs) + b'R.', {}) == {'a': 1}


@pytest.mark.parametrize('core', ['numpy.core', 'numpy._core'])
@pytest.mark.parametrize('value', [np.float64(0.25), np.float32(1e-3), np.int64(-7), np.bool_(True), np.uint8(200)])
def test_numpy_scalars_of_both_numpy_versions(core, value):
    pickled = pickle.dumps(value, 2).replace(b'numpy._core', core.encode()).replace(b'numpy.core', core.encode())
    result = unpickle(pickled, {})
    assert result == value.item() and type(result) is type(value.item())


def test_big_endian_numpy_scalar():
    pickled = pickle.dumps(np.dtype('>f8').type(0.25), 2).replace(b'X\x01\x00\x00\x00<', b'X\x01\x00\x00\x00>')
    little = bytes.fromhex('000000000000d03f').decode('latin1').encode()
    big = bytes.fromhex('3fd0000000000000').decode('latin1').encode()
    assert pickled.count(little) == 1
    assert unpickle(pickled.replace(little, big), {}) == 0.25


@pytest.mark.parametrize('value', [np.str_('text'), np.datetime64('2024-04-10'), np.complex64(1j)])
def test_numpy_values_that_are_not_numbers_are_refused(value):
    with pytest.raises(RefusedPickleError, match='not a plain number'):
        unpickle(pickle.dumps(value, 2), {})


@pytest.mark.parametrize('protocol', PROTOCOLS)
@pytest.mark.parametrize(
    ('function', 'args', 'shown'),
    [
        (os.system, ('touch pwned',), f'{os.name}.system'),
        (eval, ("open('pwned', 'w')",), 'eval'),
        (exec, ("open('pwned', 'w')",), 'exec'),
        (open, ('pwned', 'w'), 'io.open'),
        (getattr, ('posix', 'system'), 'getattr'),
        (setattr, ('posix', 'system', 1), 'setattr'),
        (__import__, ('os',), '__import__'),
        (subprocess.Popen, (['touch', 'pwned'],), 'Popen'),
        (functools.partial, (print,), 'functools.partial'),
        (operator.attrgetter, ('system',), 'operator.attrgetter'),
        (torch.load, ('pwned',), 'torch.serialization.load'),
        (torch.storage._load_from_bytes, (b'',), 'torch.storage._load_from_bytes'),
        (np.load, ('pwned',), 'load'),
        (pickle.loads, (b'.',), 'loads'),
        (bytes, (10**9,), 'bytes'),
        (bytearray, (10**9,), 'bytearray'),
    ],
)
def test_calls_are_refused_by_name_and_not_made(tmp_path, monkeypatch, function, args, shown, protocol):
    monkeypatch.chdir(tmp_path)
    pickled = pickle.dumps({'epoch': 1, 'x': [Calls(function, *args)]}, protocol)
    with pytest.raises(RefusedPickleError, match=shown.replace('.', r'\.')):
        unpickle(pickled, {})
    assert list(tmp_path.iterdir()) == []


def test_call_inside_the_state_of_an_allowed_object_is_refused():
    with pytest.raises(RefusedPickleError, match='system'):
        unpickle(pickle.dumps(HasState(), 2), {})


@pytest.mark.parametrize(
    ('module', 'last'),
    [
        ('torch.nn.modules.module', 'os.system'),
        ('ultralytics.utils.torch_utils', 'Foo.os.system'),
        ('ultralytics.utils', 'os'),
        ('ultralytics.utils.downloads', 'safe_download'),
        ('torch.nn.modules.module', '__builtins__'),
        ('torch.nn.modules..x', 'Conv2d'),
        ('torch.nn.modulesx', 'Conv2d'),
        ('ultralyticsx', 'Foo'),
        ('builtins', 'set.__init__'),
        ('collections', 'OrderedDict.fromkeys'),
        ('posix', 'system\x1b[2J'),
    ],
)
def test_names_beside_the_allowed_ones_are_refused(module, last):
    shown = f'{module}.{last}'.replace('\x1b', r'\x1b')
    pickled = b'\x80\x04' + text(module) + text(last) + b'\x93)R.'
    with pytest.raises(RefusedPickleError) as error:
        unpickle(pickled, {})
    assert shown in str(error.value) and str(error.value).isprintable()
    if '\x1b' not in last:
        with pytest.raises(RefusedPickleError, match='tries to use'):
            unpickle(name(module, last) + b')R.', {})


def test_long_names_are_cut():
    with pytest.raises(RefusedPickleError) as error:
        unpickle(name('a' * 10_000, 'b') + b'.', {})
    assert len(str(error.value)) < 300


HAND_MADE = [
    # an allowed class called with arguments, as a function would be
    (name('ultralytics.utils', 'Foo') + pack(text('http://x')) + b'R.', r'call ultralytics'),
    (name('ultralytics.utils', 'Foo') + pack(text('x')) + b'\x81.', r'call ultralytics'),
    (name('ultralytics.utils', 'Foo') + b')}\x92.', None),
    (name('ultralytics.utils', 'Foo') + b')}' + text('a') + b'Ns\x92.', 'keyword'),
    # what was written down cannot be called, nor can results
    (name('ultralytics.utils', 'Foo') + b')R)R.', 'not a name'),
    (text('os') + b')R.', 'not a name'),
    (text('os') + b')\x81.', 'not a class'),
    (name('torch', 'FloatStorage') + b')R.', r'call torch\.FloatStorage'),
    (name('torch', 'float16') + b')R.', r'call torch\.float16'),
    (name('numpy', 'ndarray') + b')R.', r'call numpy\.ndarray'),
    (name('collections', 'OrderedDict') + b')\x81.', r'call collections\.OrderedDict'),
    # getattr chains
    (name('builtins', 'getattr') + b'(c__main__\nx\n', r'__main__\.x'),
    (name('builtins', 'getattr') + b')R.', r'builtins\.getattr'),
    (
        (
            name('builtins', 'getattr')
            + pack(name('mmengine.logging.history_buffer', 'HistoryBuffer'), text('__init__'))
            + b'R.'
        ),
        r'builtins\.getattr',
    ),
    (
        (
            name('builtins', 'getattr')
            + pack(name('ultralytics.nn.modules.conv', 'Conv') + b')\x81', text('__globals__'))
            + b'R.'
        ),
        r'builtins\.getattr',
    ),
    (name('builtins', 'getattr') + pack(name('torch.nn.modules.conv', 'Conv2d'), b']') + b'R.', r'builtins\.getattr'),
    # instructions that PyTorch does not write
    (b'(' + text('touch pwned') + b'iposix\nsystem\n.', r'posix\.system'),
    (b'(itorch.nn.modules.conv\nConv2d\n.', 'INST'),
    (b'(' + name('torch.nn.modules.conv', 'Conv2d') + b'o.', 'OBJ'),
    (b'(' + name('posix', 'system') + text('x') + b'o.', r'posix\.system'),
    (b'\x82\x01.', 'EXT1'),
    (b'\x83\x01\x00.', 'EXT2'),
    (b'\x84\x01\x00\x00\x00.', 'EXT4'),
    (b'\x97.', 'NEXT_BUFFER'),
    (b'P0\n.', 'PERSID'),
    # BUILD on anything but an object
    (name('collections', 'OrderedDict') + b'}b.', 'BUILD'),
    (b']}b.', 'BUILD'),
    (b'}' + text('x') + b'b.', 'BUILD'),
    # references to something outside
    (text('http://x') + b'Q.', 'refers to something outside'),
    (pack(text('file'), *[text('/etc/passwd')] * 4) + b'Q.', 'refers to something outside'),
    (storage(kind='Size') + b'.', 'storage is described'),
    (storage(length=-4) + b'.', 'storage is described'),
    (storage(key='../x') + b'.', r'\.\./x is missing'),
    (storage(length=5) + b'.', '16 bytes where'),
    (storage(length=2**62) + b'.', '16 bytes where'),
    (storage(kind='HalfStorage') + b'.', '16 bytes where'),
    # damage
    (b'', 'damaged'),
    (b'N', 'damaged'),
    (b'.', 'a value is missing'),
    (b'NN.', 'left over'),
    (b'N(.', 'a value is missing'),
    (b't.', 'a mark is missing'),
    (b'h\x05.', 'stored as 5'),
    (b'\xff.', 'damaged'),
    (b'X\xff\xff\xff\x7fabc.', 'damaged'),
    (b'\x8d' + b'\xff' * 8 + b'abc.', 'damaged'),
    (b'NNa.', 'APPENDS'),
    (b'N(NNu.', 'SETITEMS'),
    (b'}(Nu.', 'a key without a value'),
    (b'N(N\x90.', 'ADDITEMS'),
    (number(1) + number(2) + b'\x93.', 'not a text'),
    (name('torch', 'Size') + b'NR.', 'arguments of torch.Size'),
    (name('torch', 'Size') + pack(text('x')) + b'R.', 'tuple of counts'),
    (name('torch', 'device') + pack(b']') + b'R.', 'device'),
    (name('pathlib', 'PosixPath') + pack(b']') + b'R.', 'path'),
    (name('collections', 'OrderedDict') + pack(b'N') + b'R.', 'OrderedDict'),
    (name('builtins', 'set') + pack(b']', b']') + b'R.', 'set'),
    (name('_codecs', 'encode') + pack(text('x'), text('rot13')) + b'R.', '_codecs'),
    (name('_codecs', 'encode') + pack(text('€'), text('latin1')) + b'R.', 'bytes'),
    (name('torch._utils', '_rebuild_tensor_v2') + b')R.', 'arguments of a tensor'),
    (name('torch._utils', '_rebuild_parameter') + pack(b'NNN') + b'R.', 'of a parameter'),
    # two pickles, where another reader might take the second
    (b'N.' + name('posix', 'system') + b'.', 'after the end'),
    # keys that are deep enough to overflow the stack of C code that hashes them
    (b'})' + b'\x85' * 100_000 + b'Ns.', 'not a plain value'),
    (b'(])' + b'\x85' * 100_000 + b'\x91.', 'not a plain value'),
]


@pytest.mark.parametrize(('pickled', 'message'), HAND_MADE, ids=range(len(HAND_MADE)))
def test_hand_made_pickles(pickled, message):
    if message is None:
        assert type(unpickle(pickled, {'0': 16})) is Record
        return
    with pytest.raises(RefusedPickleError, match=message):
        unpickle(pickled, {'0': 16})


def test_bomb_of_empty_objects_is_refused(monkeypatch):
    monkeypatch.setattr('noise_mm.checkpoints.restricted_unpickler._MAX_INSTRUCTIONS', 100)
    with pytest.raises(RefusedPickleError, match='too long'):
        unpickle(b'(' + b'}' * 100 + b'l.', {})


def test_memo_index_does_not_allocate():
    assert unpickle(b'Nr\xff\xff\xff\xffj\xff\xff\xff\xff0.', {}) is None


def test_objects_become_inert_records():
    setstate = text('__setstate__') + name('torch.nn.modules.conv', 'Conv2d')
    pickled = name('ultralytics.nn.tasks', 'Foo') + b')\x81}(' + setstate + b'ub.'
    record = unpickle(pickled, {})
    assert record.symbol == Symbol('ultralytics.nn.tasks.Foo') and record.symbol.last == 'Foo'
    assert record.attribute('__setstate__') == Symbol('torch.nn.modules.conv.Conv2d')
    assert record.attribute('missing', 3) == 3
    assert '__setstate__' not in vars(record)


def test_nothing_is_imported(monkeypatch):
    monkeypatch.setattr('builtins.__import__', lambda *args, **kwargs: pytest.fail(f'imported {args[0]}'))
    assert type(unpickle(name('ultralytics.nn.tasks', 'NotThere') + b')\x81.', {})) is Record


def test_tensor_is_described():
    record = unpickle(tensor(1, (1, 2), (2, 1)) + b'.', {'0': 16})
    assert record == TensorRecord(Storage('0', 'float32', 4), 1, (1, 2), (2, 1))


@pytest.mark.parametrize(
    ('offset', 'size', 'stride'),
    [(0, (4,), (1,)), (3, (), ()), (0, (2, 2), (1, 2)), (1, (0, 9), (9, 1)), (0, (1,), (99,)), (0, (2,), (3,))],
)
def test_tensors_inside_their_storage(offset, size, stride):
    assert unpickle(tensor(offset, size, stride) + b'.', {'0': 16}).size == size


@pytest.mark.parametrize(
    ('offset', 'size', 'stride'),
    [
        (0, (5,), (1,)),
        (1, (4,), (1,)),
        (4, (), ()),
        (0, (2, 2), (3, 1)),
        (0, (2,), (4,)),
        (0, (2**40,), (0,)),  # four numbers that would stand for a terabyte
        (0, (2**62, 2**62), (1, 1)),
    ],
)
def test_tensors_beyond_their_storage_are_refused(offset, size, stride):
    with pytest.raises(RefusedPickleError, match='outside its 4 values'):
        unpickle(tensor(offset, size, stride) + b'.', {'0': 16})


@pytest.mark.parametrize(
    ('offset', 'size', 'stride'),
    [
        (-1, (1,), (1,)),
        (0, (-1,), (1,)),
        (0, (1,), (-1,)),
        (0, (1, 1), (1,)),
        (2**64, (1,), (1,)),
        (0, (1,) * 65, (1,) * 65),
    ],
)
def test_tensors_of_wrong_geometry_are_refused(offset, size, stride):
    with pytest.raises(RefusedPickleError, match='offset, size or stride'):
        unpickle(tensor(offset, size, stride) + b'.', {'0': 16})


@pytest.mark.parametrize(
    ('owner', 'method'),
    [
        (name('ultralytics.nn.modules.head', 'Detect'), 'forward'),  # segmentation heads of Ultralytics 8.1
        (name('ultralytics.nn.modules', 'Detect'), 'forward'),  # of 8.0
        (name('ultralytics.nn.modules.conv', 'Conv') + b')\x81', 'forward_fuse'),  # models saved after predicting
    ],
)
def test_methods_that_genuine_files_name_are_written_down(owner, method):
    record = unpickle(name('__builtin__', 'getattr') + pack(owner, text(method)) + b'R.', {})
    assert record.symbol == Symbol('__builtin__.getattr') and record.args[1] == method


def test_loss_history_of_mmengine_is_written_down():
    from mmengine.logging import HistoryBuffer

    record = unpickle(pickle.dumps(HistoryBuffer([1.0], [1]), 2), {})
    assert record.symbol.last == 'HistoryBuffer'


@settings(max_examples=400)
@given(st.data())
def test_damage_never_raises_anything_else(data):
    value = {'a': [1, 2.5, ('x', None)], 'b': {'c': np.float64(1.5)}, 's': {1, 2}, 'm': torch.nn.Identity()}
    pickled = bytearray(pickle.dumps(value, data.draw(st.sampled_from(PROTOCOLS))))
    for _ in range(data.draw(st.integers(1, 4))):
        pickled[data.draw(st.integers(0, len(pickled) - 1))] = data.draw(st.integers(0, 255))
    pickled = bytes(pickled[: data.draw(st.integers(0, len(pickled)))])
    try:
        unpickle(pickled, {})
    except RefusedPickleError as error:
        assert str(error).isprintable() or '\n' in str(error)


def test_reads_what_torch_writes():
    file = io.BytesIO()
    torch.save({'w': torch.nn.Parameter(torch.zeros(2, 3)), 'm': torch.nn.Conv2d(1, 1, 1)}, file)
    with zipfile.ZipFile(file) as archive:
        pickled = archive.read(next(name for name in archive.namelist() if name.endswith('data.pkl')))
    result = unpickle(pickled, {'0': 24, '1': 4, '2': 4})
    assert result['w'].size == (2, 3)
    assert result['m'].attribute('_parameters')['weight'].size == (1, 1, 1, 1)


def test_texts_from_files_are_shown_escaped_and_cut():
    assert shown('osteoclast') == 'osteoclast'
    assert shown('\x1b[2J\n') == r'\x1b[2J\n'
    assert len(shown('\n' * 10_000)) == 120
