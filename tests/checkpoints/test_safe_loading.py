"""Files that are loaded, and those that are no whole checkpoint. Attacks: see test_hostile_checkpoints.py."""

import os
import pickle
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader

import noise_mm.register  # noqa: F401
from noise_mm.checkpoints.safe_loading import load_checkpoint_file, load_file
from noise_mm.checkpoints.stand_ins import Record
from noise_mm.errors import InputError
from tests.checkpoints.hostile_containers import zipped
from tests.checkpoints.hostile_pickles import call, mapping, name, text


@pytest.fixture
def stored(tmp_path):
    """Writes a checkpoint with `content` beside its weights."""

    def write(content=None, is_zip=True, name='some.pth'):
        path = tmp_path / name
        checkpoint = dict(state_dict=dict(weight=torch.arange(3.0)), more=content)
        torch.save(checkpoint, path, _use_new_zipfile_serialization=is_zip)
        return path

    return write


@pytest.mark.parametrize('is_zip', [True, False])
@pytest.mark.parametrize(
    'content',
    [
        np.float64(0.5),
        np.int64(3),
        np.bool_(True),
        np.arange(4, dtype=np.uint8),
        np.ones((2, 3), dtype=np.float32),
        HistoryBuffer([1.0, 2.0], [1, 1]),
        ConfigDict(classes=('osteoclast',), palette=[(1, 2, 3)], inner=dict(a=1)),
    ],
    ids=lambda content: type(content).__name__,
)
def test_what_mmengine_may_store_is_loaded(stored, content, is_zip):
    loaded = load_checkpoint_file(stored(content, is_zip))['more']
    assert type(loaded) is type(content)
    if isinstance(content, HistoryBuffer):
        assert [part.tolist() for part in loaded.data] == [part.tolist() for part in content.data]
        assert loaded.statistics('mean') == 1.5
    else:
        assert np.array_equal(loaded, content)


@pytest.mark.parametrize('module', ['numpy.core.multiarray', 'numpy._core.multiarray'])
def test_arrays_of_numpy_1_and_2(stored, tmp_path, module):
    path = stored([np.arange(4.0), np.float32(2)])
    renamed = tmp_path / 'renamed.pth'
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(renamed, 'w') as target:
        for name in source.namelist():
            data = source.read(name)
            for written in (b'numpy.core.multiarray', b'numpy._core.multiarray'):
                data = data.replace(b'c' + written + b'\n', b'c' + module.encode() + b'\n')
            target.writestr(name, data)
    assert module.encode() in renamed.read_bytes()
    array, scalar = load_checkpoint_file(renamed)['more']
    assert array.tolist() == [0, 1, 2, 3] and scalar == 2


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f'touch {self.path}',)


class GetsAttribute:
    """Asks the allowed `getattr` for something else than the statistics of HistoryBuffer."""

    def __init__(self, owner, name):
        self.arguments = owner, name

    def __reduce__(self):
        return getattr, self.arguments


@pytest.mark.parametrize('is_zip', [True, False])
@pytest.mark.parametrize('load', [load_checkpoint_file, lambda path: CheckpointLoader.load_checkpoint(str(path))])
def test_malicious_checkpoint_is_refused_by_name(stored, tmp_path, load, is_zip):
    trace = tmp_path / 'trace'
    path = stored(Evil(trace), is_zip)
    with pytest.raises(InputError, match=rf'some\.pth: refused .* asks for {os.system.__module__}\.system, which'):
        load(path)
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists()  # the trap was armed


@pytest.mark.parametrize(('owner', 'name'), [(HistoryBuffer, '__init__'), (np.ndarray, 'mean')])
def test_only_the_statistics_can_be_asked_for(stored, owner, name):
    with pytest.raises(InputError, match=r'asks for builtins\.getattr'):
        load_checkpoint_file(stored(GetsAttribute(owner, name)))


def test_unknown_classes_are_named_and_counted(stored):
    classes = [type(f'Class{i}', (), dict(__module__=__name__)) for i in range(5)]
    globals().update({item.__name__: item for item in classes})
    try:
        path = stored([item() for item in classes])
    finally:
        for item in classes:
            del globals()[item.__name__]
    with pytest.raises(InputError, match=rf'{__name__}\.Class') as caught:
        load_checkpoint_file(path)
    assert 'Class2 and 2 more' in str(caught.value)


@pytest.mark.parametrize('content', [np.array(['M1']), np.zeros(2, dtype=[('x', 'f4')])], ids=['text', 'record'])
def test_arrays_of_text_and_records_are_refused(stored, content):
    with pytest.raises(InputError, match=r'refused .* it holds NumPy values of type'):
        load_checkpoint_file(stored(content))


@pytest.mark.parametrize(
    ('name', 'asked'), [('malicious.pt', r'posix\.system'), ('malicious_eval.pt', r'builtins\.eval')]
)
def test_malicious_reference_files(shared_dir, name, asked):
    trace = Path('/tmp/noise_pwned')
    was_there = trace.exists()
    with pytest.raises(InputError, match=rf'{name}: refused .* asks for .*{asked}'):
        load_checkpoint_file(shared_dir / 'parity' / name)
    with pytest.raises(InputError, match=rf'{name}: refused .* asks for {asked}, which'):
        load_file(shared_dir / 'parity' / name, objects_as_records=True)
    assert trace.exists() == was_there


@pytest.mark.parametrize('name', ['ultralytics_yolov8n-seg_nc1', 'ultralytics_unstripped_tiny-seg_nc1'])
def test_ultralytics_checkpoint_is_to_be_converted(shared_dir, name):
    with pytest.raises(InputError, match=rf'Ultralytics .* tools/convert_checkpoint\.py \S+{name}\.pt \S+{name}\.pth'):
        load_checkpoint_file(shared_dir / 'parity' / f'{name}.pt')


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r'none\.pth: no such file'):
        load_checkpoint_file(tmp_path / 'none.pth')


def test_folder(tmp_path):
    with pytest.raises(InputError, match='cannot be read'):
        load_checkpoint_file(tmp_path)


@pytest.mark.parametrize('data', [b'', b'some text\n' * 9, pickle.dumps(dict(state_dict={}))])
def test_other_file(tmp_path, data):
    path = tmp_path / 'other.pth'
    path.write_bytes(data)
    with pytest.raises(InputError, match=r'other\.pth: not a PyTorch checkpoint'):
        load_checkpoint_file(path)


@pytest.mark.parametrize('is_zip', [True, False])
@pytest.mark.parametrize('share', [0.2, 0.6, 0.95])
def test_truncated_file(stored, is_zip, share):
    path = stored(list(range(1000)), is_zip)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(InputError, match=r'some\.pth: damaged'):
        load_checkpoint_file(path)


@pytest.mark.parametrize('is_zip', [True, False])
def test_files_with_changed_bytes_are_loaded_or_refused_in_one_line(stored, is_zip):
    path = stored(HistoryBuffer([1.0, 2.0], [1, 1]), is_zip)
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        data = bytearray(whole)
        for position in random.integers(16, len(data), 5):
            data[position] = random.integers(256)
        path.write_bytes(data)
        try:
            load_checkpoint_file(path)
        except InputError as error:
            assert '\n' not in str(error)
            refused += 1
    assert refused > 0


def test_zip_of_something_else(tmp_path):
    path = tmp_path / 'document.pth'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('word/document.xml', '<xml/>')
    with pytest.raises(InputError, match='damaged'):
        load_checkpoint_file(path)


def test_bare_weights(tmp_path):
    path = tmp_path / 'bare.pth'
    torch.save(dict(weight=torch.ones(1)), path)
    with pytest.raises(InputError, match=r"has no 'state_dict' \(its first keys: weight\)"):
        load_checkpoint_file(path)
    assert list(CheckpointLoader.load_checkpoint(str(path))) == ['weight']  # MMEngine takes them
    torch.save([1, 2], path)
    with pytest.raises(InputError, match='holds a list, not a checkpoint'):
        load_checkpoint_file(path)


def test_a_missing_device_is_not_taken_for_damage(stored):
    if torch.cuda.is_available():
        pytest.skip('the error of a missing device needs a machine without one')
    path = stored()
    with pytest.raises((RuntimeError, AssertionError), match=r'CUDA|cuda'):
        CheckpointLoader.load_checkpoint(str(path), map_location='cuda:0')
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError, match='damaged'):
        CheckpointLoader.load_checkpoint(str(path), map_location='cuda:0')


@pytest.mark.parametrize('is_zip', [True, False])
def test_tensors_equal_those_that_torch_saved(tmp_path, is_zip):
    base = torch.arange(24, dtype=torch.float32).view(2, 3, 4)
    tensors = {
        **dict(whole=base, part=base[:, 1:, ::2], transposed=base.permute(2, 0, 1), expanded=torch.ones(1).expand(9)),
        **dict(half=torch.randn(5).half(), bfloat=torch.randn(5).bfloat16(), count=torch.tensor(7)),
        **dict(flags=torch.tensor([True, False]), empty=torch.empty(0, 4), parameter=torch.nn.Parameter(torch.ones(2))),
    }
    torch.save(tensors, tmp_path / 'x.pth', _use_new_zipfile_serialization=is_zip)
    loaded = load_file(tmp_path / 'x.pth')
    assert loaded.keys() == tensors.keys()
    for key, tensor in tensors.items():
        assert loaded[key].dtype == tensor.dtype and torch.equal(loaded[key], tensor)
        assert type(loaded[key]) is type(tensor)
    assert loaded['part'].untyped_storage().data_ptr() == loaded['whole'].untyped_storage().data_ptr()


def test_plain_values_come_back(stored):
    values = [None, True, -1, 2**40, -(2**70), 0.1, 'é', b'', b'\x00\xff', (), (1,), {2: 3}, {'b', 'a'}, [[]]]
    values += [OrderedDict(a=1), Counter(a=2), torch.Size([1, 2]), torch.device('cuda', 1), torch.float16]
    loaded = load_file(stored(values))['more']
    assert loaded == values and list(map(type, loaded)) == list(map(type, values))
    assert str(load_file(stored(Path('a/b')))['more']) == 'a/b'


def test_shared_and_circular_containers_come_back_as_such(stored):
    inner = [np.ones(2)]
    outer = [inner, inner, (inner,)]
    outer.append(outer)
    loaded = load_file(stored(outer))['more']
    assert loaded[0] is loaded[1] is loaded[2][0] and loaded[3] is loaded
    assert loaded[0][0].tolist() == [1, 1]


def test_objects_become_records_where_they_are_wanted(stored):
    path = stored({'net': torch.nn.Sequential(torch.nn.Linear(2, 3)), 'array': np.arange(3)})
    with pytest.raises(InputError, match=r'refused .* asks for torch\.nn\.modules\.container\.Sequential'):
        load_file(path)
    content = load_file(path, objects_as_records=True)['more']
    linear = content['net'].attribute('_modules')['0']
    assert isinstance(linear, Record) and linear.class_name == 'Linear'
    assert linear.attribute('_parameters')['weight'].shape == (3, 2) and linear.attribute('missing', 5) == 5


@pytest.mark.parametrize(
    ('owner', 'method'),
    [
        ('ultralytics.nn.modules.head.Detect', 'forward'),  # segmentation heads of Ultralytics 8.1
        ('ultralytics.nn.modules.Detect', 'forward'),  # of 8.0
        ('ultralytics.nn.modules.conv.Conv', 'forward_fuse'),  # models saved after predicting
    ],
)
def test_methods_that_genuine_files_name(tmp_path, owner, method):
    path = tmp_path / 'x.pt'
    value = call('__builtin__.getattr', name(owner), text(method))
    path.write_bytes(zipped(b'\x80\x02' + mapping(forward=value) + b'.'))
    assert load_file(path, objects_as_records=True) == {'forward': None}


def test_what_others_call_safe_is_not_safe_here(stored):
    """torch's list belongs to the process, and NumPy's own names are often put into it."""
    others = [np.ndarray, np.dtype, Evil, np.zeros(1).__reduce__()[0]]
    torch.serialization.add_safe_globals(others)
    try:
        with pytest.raises(InputError, match='holds NumPy values of type O'):
            load_file(stored(np.array([None])))
        assert load_file(stored(np.arange(2)))['more'].tolist() == [0, 1]
        assert set(others) <= set(torch.serialization.get_safe_globals())
    finally:
        torch.serialization.clear_safe_globals()


def test_safetensors_file(tmp_path):
    path = tmp_path / 'x.pth'
    path.write_bytes(b'\x40\0\0\0\0\0\0\0{"weight":{"dtype":"F32"}}')
    with pytest.raises(InputError, match='a safetensors file'):
        load_file(path)


def test_program_of_torchscript(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Identity()), tmp_path / 'x.pt')
    with pytest.raises(InputError, match='TorchScript program'):
        load_file(tmp_path / 'x.pt')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda data: data.replace(b'data/0', b'data/9'), 'storage 0 is missing'),
        (lambda data: data[:-1], 'its end is missing'),
        (lambda data: data + bytes(9), 'its end is missing'),
    ],
)
def test_damage_is_named(stored, change, message):
    path = stored()
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InputError, match=rf'some\.pth: damaged or incomplete \({message}'):
        load_file(path)
