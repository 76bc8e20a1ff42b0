"""Loads checkpoints of MMEngine, OpenMMLab and Ultralytics without running anything that they contain.

A checkpoint is a pickle, and plain unpickling calls any function that the file names. Here the container and the pickle
are checked first (`pickle_scan`), then `torch.load(weights_only=True)` reads the file with stand-ins for the few
classes beyond torch's own that genuine files name (`stand_ins`).
"""

import codecs
import io
import os
import pickle
import struct
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch

from noise_mm.checkpoints.pickle_scan import ITEM_BYTES, RefusedPickleError, Scan, require, shown
from noise_mm.checkpoints.stand_ins import has_stand_in, is_recorded, stand_in, to_real
from noise_mm.errors import InputError

# First bytes of the files of torch.save: a zip archive, or before torch 1.6 (and in most of OpenMMLab's published
# files) several pickles, of which the first is a magic number.
_ZIP = b'PK\x03\x04'
_LEGACY = b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'
# Records at the end of a zip archive: the directory's place in files beyond 4 GB, where that record is, the end.
_ZIP64_RECORD, _ZIP64_LOCATOR, _ZIP_END = 56, 20, 22
_ENCRYPTED = 0x1
# What the readers of torch, zipfile and pickletools raise on damaged data.
_DAMAGE = (
    *(OSError, RuntimeError, EOFError, LookupError, ValueError, TypeError, AttributeError, AssertionError),
    *(SystemError, MemoryError, OverflowError, struct.error, zipfile.BadZipFile, pickle.UnpicklingError),
)
_GIVE_ANOTHER = 'Give a checkpoint written by tools/train.py or tools/convert_checkpoint.py.'
# torch's list of safe classes belongs to the process.
_LOCK = threading.RLock()


def load_checkpoint_file(path: str | Path) -> dict[str, Any]:
    """Load an MMEngine checkpoint with its tensors on the CPU.

    Returns:
        At least `state_dict`; from a training run also `meta`, `optimizer`, `message_hub` and so on.

    Raises:
        InputError: If the file is missing, damaged, not a checkpoint, without `state_dict`, or names a class or
            function that no checkpoint needs.
    """
    content = load_file(path)
    if not isinstance(content, dict):
        raise InputError(f'{path}: holds a {type(content).__name__}, not a checkpoint. {_GIVE_ANOTHER}')
    if not isinstance(content.get('state_dict'), dict):
        keys = ', '.join(shown(str(key)) for key in list(content)[:5]) or 'none'
        raise InputError(f"{path}: has no 'state_dict' (its first keys: {keys}). {_GIVE_ANOTHER}")
    return content


def load_file(path: str | Path, map_location: Any = 'cpu', objects_as_records: bool = False) -> Any:
    """Load whatever `torch.save` wrote, as far as it is data.

    Args:
        path: A file of any torch version, but for the tar files of torch before 0.1.10 and TorchScript programs.
        map_location: As in `torch.load`.
        objects_as_records: Whether objects of Ultralytics and of `torch.nn` become a `Record`; otherwise they are
            refused.

    Raises:
        InputError: If the file is missing, damaged, or names a class or function that no checkpoint needs.
    """
    path = Path(path)
    try:
        with open(path, 'rb') as file:
            return _load(path, file, map_location, objects_as_records)
    except FileNotFoundError as error:
        raise InputError(f'{path}: no such file. Check the path.') from error
    except RefusedPickleError as error:
        raise _refusal(path, error) from error
    except RecursionError as error:
        raise InputError(f'{path}: refused, because its values are nested too deeply. {_GIVE_ANOTHER}') from error
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise InputError(f'{path}: cannot be read ({error.strerror}). Check the path.') from error
        if map_location != 'cpu':
            load_file(path, 'cpu', objects_as_records)
            raise  # the device is at fault and not the file
        why = shown(str(error).partition('\n')[0])
        raise InputError(f'{path}: damaged or incomplete ({why}). Copy or write it again.') from error


def _load(path: Path, file: IO[bytes], map_location: Any, objects_as_records: bool) -> Any:
    def is_stand_in(name: str) -> bool:
        return has_stand_in(name) or (objects_as_records and is_recorded(name))

    head = file.read(len(_LEGACY))
    if head.startswith(_ZIP):
        names = _scan_zip(file, is_stand_in)
    elif head == _LEGACY:
        names = _scan_legacy(file, is_stand_in)
    else:
        kind = 'a safetensors file, not' if head[8:9] == b'{' else 'not'
        raise InputError(f'{path}: {kind} a PyTorch checkpoint. Check that it is the right file.')
    file.seek(0)
    with _only_safe([cls for cls in map(stand_in, names) if cls is not None]):
        content = torch.load(file, map_location=map_location, weights_only=True, mmap=False)
    return to_real(content)


@contextmanager
def _only_safe(classes: list[type]) -> Iterator[None]:
    """Let torch (2.4 on) build these classes and its own, and none that other code in this process has called safe."""
    with _LOCK:
        before = torch.serialization.get_safe_globals()
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals([*classes, set, codecs.encode])  # the last two are not in torch 2.4's list
        try:
            yield
        finally:
            torch.serialization.clear_safe_globals()
            torch.serialization.add_safe_globals(before)


def _scan_zip(file: IO[bytes], is_stand_in: Callable[[str], bool]) -> set[str]:
    """Check the archive that `torch.save` writes, and return the names that its pickle refers to."""
    file_bytes = file.seek(0, os.SEEK_END)
    _check_zip_end(file, file_bytes)
    with zipfile.ZipFile(file) as archive:
        entries = _zip_entries(archive, file_bytes)
        pickled = io.BytesIO(archive.read(entries['data.pkl']))
    scan = Scan(is_stand_in)
    scan.run(pickled)
    require(not pickled.read(1), 'there is more behind the end of its pickle')
    for key, (kind, length) in scan.storages.items():
        entry = entries.get(f'data/{key}')
        if entry is None:
            raise ValueError(f'storage {key} is missing')
        if entry.file_size != length * ITEM_BYTES[kind]:
            raise ValueError(f'storage {key} has {entry.file_size} bytes, not {length} x {ITEM_BYTES[kind]}')
    return scan.names


def _zip_entries(archive: zipfile.ZipFile, file_bytes: int) -> dict[str, zipfile.ZipInfo]:
    """Return the entries by name, if Python's reader and torch's, which ignores case, must see the same ones."""
    infos = archive.infolist()
    names = [info.orig_filename for info in infos]  # before anything is cut off or replaced
    folders = {name.partition('/')[0] for name in names}
    if len(folders) != 1 or len({name.lower() for name in names}) != len(names) or not all(map(str.isascii, names)):
        raise zipfile.BadZipFile('its entries are not those of one checkpoint')
    entries = {name.partition('/')[2]: info for name, info in zip(names, infos, strict=True)}
    require('constants.pkl' not in entries, 'it is a TorchScript program')
    if any(info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size for info in infos):
        raise zipfile.BadZipFile('its entries are compressed, as torch.save never does')
    if any(info.flag_bits & _ENCRYPTED for info in infos):
        raise zipfile.BadZipFile('its entries are encrypted')
    if sum(info.file_size for info in infos) > file_bytes or min(info.header_offset for info in infos) != 0:
        raise zipfile.BadZipFile('its entries claim more bytes than the file has')
    if 'data.pkl' not in entries:
        raise zipfile.BadZipFile('it has no data.pkl')
    return entries


def _check_zip_end(file: IO[bytes], file_bytes: int) -> None:
    """Make sure that there is one reading of where the archive's directory is: right where torch.save puts it."""
    tail_bytes = _ZIP64_RECORD + _ZIP64_LOCATOR + _ZIP_END
    file.seek(max(0, file_bytes - tail_bytes))
    tail = file.read().rjust(tail_bytes, b'\0')
    locator, end = tail[_ZIP64_RECORD:-_ZIP_END], tail[-_ZIP_END:]
    if not end.startswith(b'PK\x05\x06') or end[-2:] != b'\0\0':
        raise zipfile.BadZipFile('its end is missing')
    if locator.startswith(b'PK\x06\x07') and struct.unpack('<Q', locator[8:16])[0] != file_bytes - tail_bytes:
        raise zipfile.BadZipFile('its end is not where it says')


def _scan_legacy(file: IO[bytes], is_stand_in: Callable[[str], bool]) -> set[str]:
    """Check a file of torch before 1.6: five pickles (the fourth has the values, the fifth the keys), then numbers."""
    file_bytes = file.seek(0, os.SEEK_END)
    file.seek(0)
    scans = [Scan(is_stand_in) for _ in range(5)]
    values = [scan.run(file) for scan in scans]
    storages, keys = scans[3].storages, values[4]
    require(not any(scans[i].storages for i in (0, 1, 2, 4)), 'it refers to numbers from outside its values')
    listed = [key.content for key in keys.content] if keys.kind == 'list' else []
    if sorted(map(str, listed)) != sorted(storages):
        raise ValueError('the list of its storages is incomplete')
    needed = sum(8 + length * ITEM_BYTES[kind] for kind, length in storages.values())
    if needed > file_bytes - file.tell():
        raise ValueError(f'its numbers take {needed} bytes, more than the file has left')
    return set().union(*(scan.names for scan in scans))


def _refusal(path: Path, error: RefusedPickleError) -> InputError:
    """Return what to tell the user about a file with something else than data."""
    if error.names and all(map(is_recorded, error.names)) and any(n.startswith('ultralytics.') for n in error.names):
        return InputError(
            f'{path}: an Ultralytics checkpoint, which holds its program and not only weights. '
            f'Convert it: python tools/convert_checkpoint.py {path} {path.with_suffix(".pth")}'
        )
    others = [name for name in error.names if not is_recorded(name)] or error.names
    more = f' and {len(others) - 3} more' if len(others) > 3 else ''
    why = f'it asks for {", ".join(map(shown, others[:3]))}{more}, which no checkpoint needs' if others else str(error)
    return InputError(f'{path}: refused and not loaded, because {why}. Do not use this file; get a clean copy.')
