"""Read JSON that may be packed: `.gz` as QuPath writes it, or a `.zip` with one file in it."""

import gzip
import io
import zipfile
import zlib
from pathlib import Path
from typing import Any

from noise_mm.errors import InputError
from noise_mm.files import parse_json, read_bytes

GZIP_SIGNATURE, ZIP_SIGNATURE = b'\x1f\x8b', b'PK\x03\x04'
JSON_SUFFIXES = ('.json', '.geojson')
LARGEST_BYTES = 2**31
"""Largest file that is unpacked: some ten million vertices. A few kilobytes can be packed so as to fill any memory."""

DAMAGED_ZIP = (
    zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OverflowError, OSError,
    IndexError, KeyError, UnicodeError,
)  # fmt: skip
"""What zipfile raises on damaged or encrypted archives and entries; not all of it is documented."""


def read_packed_json(path: str | Path, data: bytes | None = None) -> Any:
    """Return the JSON value in a file (whose bytes may be `data`), plain, gzipped or zipped; told by content.

    Raises:
        InputError: If the file is unreadable, damaged, not JSON, unpacks to more than `LARGEST_BYTES`, or is a zip with
            another number of JSON files than one.
    """
    data = read_bytes(path) if data is None else data
    if data.startswith(ZIP_SIGNATURE):
        data = _zipped(path, data)
    if data.startswith(GZIP_SIGNATURE):
        data = _gunzipped(path, data)
    return parse_json(data, path)


def is_zipped_json(data: bytes) -> bool:
    """Return whether the bytes are a zip that holds JSON files and no ImageJ ROIs."""
    if not data.startswith(ZIP_SIGNATURE):
        return False
    try:
        names = [info.filename.lower() for info in archive_entries(zipfile.ZipFile(io.BytesIO(data)))]
    except DAMAGED_ZIP:
        return False
    return any(_is_json(name) for name in names) and not any(name.endswith('.roi') for name in names)


def archive_entries(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the entries of a zip that are files, without those that macOS adds by itself."""
    return [
        info
        for info in archive.infolist()
        if not (info.is_dir() or info.filename.startswith('__MACOSX/') or info.filename.endswith('.DS_Store'))
    ]


def _is_json(name: str) -> bool:
    return name.removesuffix('.gz').endswith(JSON_SUFFIXES)


def _zipped(path: str | Path, data: bytes) -> bytes:
    """Return the bytes of the one JSON file in a zip."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [info for info in archive_entries(archive) if _is_json(info.filename.lower())]
            if len(entries) != 1:
                raise InputError(
                    f'{path}: holds {len(entries)} JSON files ({", ".join(info.filename for info in entries[:3])}). '
                    'Unpack it, and give each image the file that belongs to it.'
                )
            if entries[0].file_size > LARGEST_BYTES:
                raise InputError(f'{path}: unpacks to {entries[0].file_size / 2**30:.0f} GiB. Export it again.')
            return archive.read(entries[0])
    except DAMAGED_ZIP as error:
        raise InputError(f'{path}: not a whole zip file ({error}). Export it again.') from error


def _gunzipped(path: str | Path, data: bytes) -> bytes:
    """Return the unpacked bytes of a gzip file, which may have several members."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            unpacked = file.read(LARGEST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f'{path}: not a whole gzip file ({error}). Export it again.') from error
    if len(unpacked) > LARGEST_BYTES:
        raise InputError(f'{path}: unpacks to more than {LARGEST_BYTES / 2**30:.0f} GiB. Export it again.')
    return unpacked
