"""The zip container that `torch.save` writes: read without running its pickle, and written without making its objects.

The container is described in PyTorch's notes on serialization: a zip archive of stored (not compressed) entries under
one folder, `data.pkl` with the structure and `data/<key>` with the raw numbers of each storage.
"""

import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from noise_mm.checkpoints.pickle_records import RefusedPickleError, TensorRecord, shown
from noise_mm.checkpoints.pickle_writer import pickle_modules
from noise_mm.checkpoints.restricted_unpickler import unpickle
from noise_mm.errors import InputError
from noise_mm.files import replacing

# A file of PyTorch before 1.6 begins with this: a pickled number that was its mark.
_OLD_FORMAT = b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'
_ZIP_FORMAT = b'PK\x03\x04'
_ENCRYPTED = 0x1  # the flag of a zip entry

# Largest pickle that is looked at. That of YOLOv8x-seg has 0.2 MB; MMEngine adds loss histories to them.
_MAX_PICKLE_BYTES = 256 * 2**20


def read_structure(path: Path) -> Any:
    """What the file holds, with tensors as `TensorRecord` and objects as inert `Record`; nothing of it is run.

    Raises:
        InputError: If the file is missing, not a whole PyTorch file, or asks for a name that no checkpoint needs.
    """
    with _open(path) as entries:
        if entries.sizes['data.pkl'] > _MAX_PICKLE_BYTES:
            raise InputError(f'{path}: its pickle is larger than {_MAX_PICKLE_BYTES} bytes. It is not a checkpoint.')
        if entries.read('byteorder', b'little') != b'little':
            raise InputError(f'{path}: written on a big-endian computer. Save it again on a little-endian one.')
        storages = {name[5:]: size for name, size in entries.sizes.items() if name.startswith('data/')}
        pickled = entries.read('data.pkl')
    try:
        return unpickle(pickled, storages)
    except RefusedPickleError as error:
        raise InputError(f'{path}: {error}. Do not use this file; get a clean copy.') from error


def read_tensors(path: Path, records: Mapping[str, TensorRecord]) -> dict[str, torch.Tensor]:
    """The tensors that `read_structure` described, each with a memory of its own.

    Raises:
        InputError: If the file is damaged, or if its tensors would take more memory than the file has bytes.
    """
    empty = [name for name, record in records.items() if 0 in record.size]
    if empty:
        raise InputError(f'{path}: tensor {shown(empty[0])} is empty, as in no YOLOv8 checkpoint. It is not one.')
    with _open(path) as entries:
        wanted = sum(entries.sizes[f'data/{record.storage.key}'] for record in records.values())
        if wanted > sum(entries.sizes.values()):
            raise InputError(f'{path}: many tensors share one memory, as in no YOLOv8 checkpoint. It is not one.')
        return {name: _tensor(entries, record) for name, record in records.items()}


def write_modules(path: Path, value: Any) -> None:
    """Writes `value`, see `pickle_modules`, as a file that `torch.load` opens where the named classes are installed.

    The same value always gives the same bytes.

    Raises:
        InputError: If the folder can't be written to.
    """
    folder = path.stem
    with replacing(path) as temporary, zipfile.ZipFile(temporary, 'w', zipfile.ZIP_STORED) as archive:

        def add(name: str, data: bytes) -> None:
            archive.writestr(zipfile.ZipInfo(f'{folder}/{name}'), data)

        count = 0

        def add_storage(tensor: torch.Tensor) -> str:
            nonlocal count
            key = str(count)
            add(f'data/{key}', tensor.numpy().tobytes())
            count += 1
            return key

        add('data.pkl', pickle_modules(value, add_storage))
        add('byteorder', b'little')
        add('version', b'3\n')


class _Entries:
    """The entries of the container by their names inside its one folder."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        infos = archive.infolist()
        names = [info.filename for info in infos]
        folders = {name.partition('/')[0] for name in names if name.count('/') == 1 and name.endswith('/data.pkl')}
        if len(folders) != 1 or len(set(names)) != len(names):
            raise zipfile.BadZipFile('it has not exactly one data.pkl')
        prefix = f'{folders.pop()}/'
        self._infos = {info.filename.removeprefix(prefix): info for info in infos if info.filename.startswith(prefix)}
        if any(info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size for info in infos):
            raise zipfile.BadZipFile('its entries are compressed, as PyTorch never does')
        if any(info.flag_bits & _ENCRYPTED for info in infos):
            raise zipfile.BadZipFile('its entries are encrypted')
        self.sizes = {name: info.file_size for name, info in self._infos.items()}

    def read(self, name: str, default: bytes | None = None) -> bytes:
        if default is not None and name not in self._infos:
            return default
        return self._archive.read(self._infos[name])


@contextmanager
def _open(path: Path) -> Iterator[_Entries]:
    """The entries of a PyTorch file.

    Entries are refused if they are compressed, or if together they claim more bytes than the file has: what is read
    into memory is never larger than the file.
    """
    try:
        with open(path, 'rb') as file:
            start = file.read(len(_OLD_FORMAT))
            file_bytes = file.seek(0, 2)
        if start == _OLD_FORMAT:
            raise InputError(
                f'{path}: saved in the format of PyTorch before 1.6. Load and save it with a later version.'
            )
        if not start.startswith(_ZIP_FORMAT):
            raise InputError(f'{path}: not a PyTorch checkpoint. Check that it is the right file.')
        with zipfile.ZipFile(path) as archive:
            entries = _Entries(archive)
            if sum(entries.sizes.values()) > file_bytes:
                raise zipfile.BadZipFile('its entries claim more bytes than the file has')
            yield entries
    except FileNotFoundError as error:
        raise InputError(f'{path}: no such file. Check the path.') from error
    except OSError as error:
        raise InputError(f'{path}: cannot be read ({error.strerror or error}). Check the path.') from error
    except (zipfile.BadZipFile, NotImplementedError, EOFError, UnicodeError, struct.error) as error:
        raise InputError(f'{path}: damaged or incomplete ({shown(str(error))}). Get the file again.') from error


def _tensor(entries: _Entries, record: TensorRecord) -> torch.Tensor:
    data = bytearray(entries.read(f'data/{record.storage.key}'))
    values = torch.frombuffer(data, dtype=getattr(torch, record.storage.dtype))
    return torch.as_strided(values, record.size, record.stride, record.offset).clone()
