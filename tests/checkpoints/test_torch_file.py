import io
import struct
import zipfile

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from noise_mm.checkpoints.pickle_records import TensorRecord
from noise_mm.checkpoints.torch_file import read_structure, read_tensors, write_modules
from noise_mm.errors import InputError


@pytest.fixture
def saved(tmp_path):
    """A file of torch.save with tensors of several kinds, and what is in it."""
    base = torch.arange(24, dtype=torch.float32).view(2, 3, 4)
    tensors = {
        'whole': base,
        'part': base[:, 1:, ::2],
        'transposed': base.permute(2, 0, 1),
        'half': torch.randn(5).half(),
        'bfloat': torch.randn(5).bfloat16(),
        'count': torch.tensor(7),
        'flags': torch.tensor([True, False]),
        'parameter': torch.nn.Parameter(torch.randn(2)),
    }
    path = tmp_path / 'x.pt'
    torch.save(tensors, path)
    return path, tensors


def rewritten(path, change):
    """A copy of the file whose entries are `change(name, data)` (None leaves one out)."""
    copy = path.with_name('copy.pt')
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(copy, 'w', zipfile.ZIP_STORED) as target:
        for name in source.namelist():
            data = change(name, source.read(name))
            if data is not None:
                target.writestr(name, data)
    return copy


def test_tensors_equal_those_that_torch_saved(saved):
    path, tensors = saved
    read = read_tensors(path, read_structure(path))
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype and torch.equal(read[name], tensor)


def test_each_tensor_has_a_memory_of_its_own(saved):
    path, _ = saved
    records = read_structure(path)
    read = read_tensors(path, {name: records[name] for name in ('whole', 'part')})
    read['whole'].zero_()
    assert read['part'].any()


def test_many_tensors_of_one_memory_are_refused(saved):
    path, _ = saved
    record = read_structure(path)['whole']
    with pytest.raises(InputError, match=r'x\.pt: many tensors share one memory'):
        read_tensors(path, {str(number): record for number in range(10_000)})


def test_empty_tensor_is_refused(tmp_path):
    torch.save({'w': torch.empty(0, 4)}, tmp_path / 'x.pt')
    with pytest.raises(InputError, match='tensor w is empty'):
        read_tensors(tmp_path / 'x.pt', read_structure(tmp_path / 'x.pt'))


def test_modules_are_opened_by_torch(tmp_path):
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, 2, 1), torch.nn.BatchNorm2d(4), torch.nn.SiLU()).half()
    content = {
        'net': net.requires_grad_(False),
        'plain': [None, True, -1, 2**40, -(2**70), 0.1, 'é', (), (1,), {2: 3}, {'b', 'a'}],
        'float': torch.randn(2, 3).T,
    }
    write_modules(tmp_path / 'x.pt', content)
    opened = torch.load(tmp_path / 'x.pt', weights_only=False)
    assert opened['plain'] == content['plain'] and torch.equal(opened['float'], content['float'])
    assert repr(opened['net']) == repr(net)
    assert vars(opened['net'][0]).keys() == vars(net[0]).keys()
    for name, value in net.state_dict().items():
        assert torch.equal(opened['net'].state_dict()[name], value)
    assert not any(parameter.requires_grad for parameter in opened['net'].parameters())
    opened['net'].float()(torch.randn(1, 3, 8, 8))


def test_same_content_gives_same_bytes(tmp_path):
    for folder in ('a', 'b'):
        write_modules(tmp_path / folder / 'x.pt', {'w': torch.ones(3)})
    assert (tmp_path / 'a/x.pt').read_bytes() == (tmp_path / 'b/x.pt').read_bytes()


def test_other_kinds_are_not_written(tmp_path):
    with pytest.raises(TypeError, match='complex'):
        write_modules(tmp_path / 'x.pt', {'a': 1j})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (None, 'no such file'),
        (b'', 'not a PyTorch checkpoint'),
        (b'epoch,loss\n1,2\n', 'not a PyTorch checkpoint'),
        (b'PK\x03\x04 and then nothing', 'damaged or incomplete'),
        (b'PK\x05\x06' + bytes(18), 'not a PyTorch checkpoint'),
    ],
)
def test_files_that_are_none(tmp_path, content, message):
    path = tmp_path / 'x.pt'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=rf'x\.pt: {message}'):
        read_structure(path)


def test_folder(tmp_path):
    with pytest.raises(InputError, match='cannot be read'):
        read_structure(tmp_path)


def test_format_before_torch_1_6(tmp_path):
    torch.save({'a': torch.ones(2)}, tmp_path / 'x.pt', _use_new_zipfile_serialization=False)
    with pytest.raises(InputError, match=r'PyTorch before 1\.6'):
        read_structure(tmp_path / 'x.pt')


def test_storage_that_is_missing_or_cut(saved):
    path, _ = saved
    with pytest.raises(InputError, match='storage 0 is missing'):
        read_structure(rewritten(path, lambda name, data: None if name.endswith('data/0') else data))
    with pytest.raises(InputError, match='storage 0 has 92 bytes'):
        read_structure(rewritten(path, lambda name, data: data[:-4] if name.endswith('data/0') else data))


def test_big_endian_numbers(saved):
    path, _ = saved
    with pytest.raises(InputError, match='big-endian'):
        read_structure(rewritten(path, lambda name, data: b'big' if name.endswith('byteorder') else data))


def test_file_of_early_torch_without_byte_order(saved):
    path, tensors = saved
    copy = rewritten(path, lambda name, data: None if name.endswith('byteorder') else data)
    assert read_structure(copy).keys() == tensors.keys()


@pytest.mark.parametrize('names', [['x/other.pkl'], ['x/data.pkl', 'y/data.pkl'], ['x/data.pkl', 'x/data.pkl']])
@pytest.mark.filterwarnings('ignore:Duplicate name')
def test_zip_without_exactly_one_pickle(tmp_path, names):
    with zipfile.ZipFile(tmp_path / 'x.pt', 'w') as archive:
        for name in names:
            archive.writestr(name, b'N.')
    with pytest.raises(InputError, match=r'not exactly one data\.pkl'):
        read_structure(tmp_path / 'x.pt')


def test_compressed_entries_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / 'bomb.pt', 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('x/data.pkl', b'N' * 10**8)
    with pytest.raises(InputError, match='compressed'):
        read_structure(tmp_path / 'bomb.pt')


def test_encrypted_entries_are_refused(tmp_path):
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as archive:
        archive.writestr('x/data.pkl', b'N.')
    data = bytearray(file.getvalue())
    central = data.index(b'PK\x01\x02')
    struct.pack_into('<H', data, central + 8, 1)
    (tmp_path / 'x.pt').write_bytes(data)
    with pytest.raises(InputError, match='encrypted'):
        read_structure(tmp_path / 'x.pt')


def test_entries_that_overlap_are_refused(tmp_path):
    """Many directory entries for the same bytes would be read as many times the file's size."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as archive:
        archive.writestr('x/data.pkl', b'N.')
        archive.writestr('x/data/0', bytes(100_000))
        info = archive.getinfo('x/data/0')
        for number in range(1, 50):
            copy = zipfile.ZipInfo(f'x/data/{number}')
            copy.CRC, copy.header_offset = info.CRC, info.header_offset
            copy.file_size = copy.compress_size = 100_000
            archive.filelist.append(copy)
    (tmp_path / 'x.pt').write_bytes(file.getvalue())
    with pytest.raises(InputError, match='claim more bytes'):
        read_structure(tmp_path / 'x.pt')


def test_huge_pickle_is_refused(tmp_path, monkeypatch):
    torch.save({'a': 'b' * 100}, tmp_path / 'x.pt')
    monkeypatch.setattr('noise_mm.checkpoints.torch_file._MAX_PICKLE_BYTES', 100)
    with pytest.raises(InputError, match='larger than 100 bytes'):
        read_structure(tmp_path / 'x.pt')


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_damage_is_always_an_input_error(saved, data):
    path, _ = saved
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    damaged = path.with_name('damaged.pt')
    damaged.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        records = read_structure(damaged)
        if type(records) is dict and all(type(record) is TensorRecord for record in records.values()):
            read_tensors(damaged, records)
    except InputError as error:
        assert 'damaged.pt' in str(error)
