"""The two containers of checkpoints, attacks by way of them, and all attacks as files."""

import io
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

from tests.checkpoints.hostile_pickles import VIEW, bombs, call, listed, mapping, number, pickles, storage, tensor, text

LEGACY_MAGIC = b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'


def zipped(pickled: bytes, entries: dict[str, bytes] | None = None, **options) -> bytes:
    """Return the container of torch >= 1.6, with one storage of four floats."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', **options) as archive:
        archive.writestr('a/data.pkl', pickled.replace(VIEW, b''))
        for entry, data in {
            'a/byteorder': b'little',
            'a/data/0': bytes(16),
            'a/version': b'3\n',
            **(entries or {}),
        }.items():
            archive.writestr(entry, data)
    return file.getvalue()


def legacy(pickled: bytes, keys: bytes = listed(text('0')), numbers: bytes = struct.pack('<Q', 4) + bytes(16)) -> bytes:
    """Return the container of torch before 1.6."""
    start = LEGACY_MAGIC + b'\x80\x02M\xe9\x03.' + b'\x80\x02' + mapping(little_endian=b'\x88') + b'.'
    return start + pickled.replace(VIEW, b'N') + b'\x80\x02' + keys.replace(VIEW, b'N') + b'.' + numbers


GOOD = b'\x80\x02' + mapping(state_dict=mapping(weight=tensor(0, (4,), (1,)))) + b'.'


def containers(marker: str) -> Iterator[tuple[str, bytes]]:
    """Yield attacks by the container around a pickle."""
    evil = b'\x80\x02' + call('posix.system', text(f'touch {marker}')) + b'.'
    long = b'\x80\x02' + mapping(state_dict=mapping(weight=tensor(0, (9,), (1,), base=storage(length=9)))) + b'.'
    yield 'compressed', zipped(GOOD, {'a/data/1': bytes(10**8)}, compression=zipfile.ZIP_DEFLATED)
    yield 'names in two cases', zipped(GOOD, {'a/DATA.PKL': evil})
    yield 'storages in two cases', zipped(GOOD, {'a/Data/0': bytes(4)})
    yield 'two folders', zipped(GOOD, {'b/data.pkl': evil})
    yield 'program', zipped(GOOD, {'a/constants.pkl': evil})
    yield 'before the archive', zipped(GOOD)[:4] + bytes(100) + zipped(GOOD)
    yield 'behind the archive', zipped(GOOD) + zipped(evil)
    yield 'comment', zipped(GOOD)[:-2] + struct.pack('<H', 22) + b'PK\x05\x06' + bytes(18)
    yield 'two pickles', zipped(GOOD + evil)
    yield 'no storage', zipped(GOOD, {}).replace(b'a/data/0', b'a/data/1')
    yield 'name cut by zero', zipped(GOOD, {'a/data.pklx0': evil}).replace(b'a/data.pklx0', b'a/data.pkl\x000')
    yield 'byte order', zipped(GOOD, {'a/byteorder': b'middle'})
    yield 'big endian', zipped(GOOD, {'a/byteorder': b'big'})
    yield 'alignment', zipped(GOOD, {'a/.storage_alignment': b'9' * 5000, 'a/.format_version': b'1'})
    central = bytearray(zipped(GOOD))
    struct.pack_into('<H', central, central.index(b'PK\x01\x02') + 8, 1)
    yield 'encrypted', bytes(central)
    overlapping = io.BytesIO()
    with zipfile.ZipFile(overlapping, 'w') as archive:
        archive.writestr('a/data.pkl', GOOD)
        archive.writestr('a/data/0', bytes(10**6))
        info = archive.getinfo('a/data/0')
        for number_ in range(1, 2000):
            copy = zipfile.ZipInfo(f'a/data/{number_}')
            copy.CRC, copy.header_offset, copy.file_size, copy.compress_size = (
                info.CRC,
                info.header_offset,
                10**6,
                10**6,
            )
            archive.filelist.append(copy)
    yield 'overlapping entries', overlapping.getvalue()
    sized = bytearray(zipped(long))
    at = sized.index(b'a/data/0', sized.index(b'PK\x01\x02')) - 46
    struct.pack_into('<II', sized, at + 20, 36, 36)
    yield 'storage over the next entry', bytes(sized)
    struct.pack_into('<II', sized, at + 20, 2**31, 2**31)
    yield 'storage beyond the file', bytes(sized)
    end = zipped(GOOD)
    moved = struct.pack('<4sQ2H2L4Q', b'PK\x06\x06', 44, 45, 45, 0, 0, 4, 4, 10, 0) + struct.pack(
        '<4sLQL', b'PK\x06\x07', 0, 1, 1
    )
    yield 'directory elsewhere', end[:-22] + moved + end[-22:]
    yield 'old file without keys', legacy(GOOD, b']')
    yield 'old file with other keys', legacy(GOOD, listed(text('1')))
    yield 'old file with a key twice', legacy(GOOD, listed(text('0'), text('0')))
    yield 'old file with evil keys', legacy(GOOD, evil[2:-1])
    yield 'old file with a storage among its keys', legacy(GOOD, storage(key='1'))
    yield 'old file of other length', legacy(GOOD, numbers=struct.pack('<Q', 9) + bytes(36))
    yield 'old file without numbers', legacy(GOOD, numbers=b'')
    yield 'old file of negative length', legacy(GOOD, numbers=struct.pack('<q', -4) + bytes(16))
    yield 'old file of huge storages', legacy(long.replace(number(9), number(2**40)))
    yield 'magic number alone', LEGACY_MAGIC
    yield 'evil after the magic number', LEGACY_MAGIC + evil * 4
    yield 'plain pickle', evil
    yield 'old tar file', b'storages'.ljust(257, b'\0') + b'ustar\x0000'.ljust(255, b'\0')


def write_all(folder: Path, marker: Path) -> dict[str, str]:
    """Write every attack into a folder and return their names by file name."""
    written = {}
    attacks = [*containers(str(marker)), ('good', zipped(GOOD)), ('good, old', legacy(GOOD))]
    slow = {name_ for name_, _ in bombs()}
    for name_, pickled in pickles(str(marker)):
        attacks += [(name_, zipped(pickled))] + ([] if name_ in slow else [(f'{name_}, old', legacy(pickled))])
    for index, (name_, data) in enumerate(attacks):
        path = folder / f'{index:04}.pt'
        path.write_bytes(data)
        written[path.name] = name_
    return written
