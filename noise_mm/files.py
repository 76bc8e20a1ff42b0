"""Whole files or none: writing through a temporary name, and reading JSON with errors that name the file."""

import errno
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from noise_mm.errors import InputError

# What `tempfile` puts between prefix and suffix.
RANDOM_PART = re.compile(r'-[a-z0-9_]{8}')


class FileInUseError(InputError):
    """A file that can't be replaced because another program holds it open, as Excel holds tables on Windows.

    Attributes:
        paths: The files.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)
        names = ', '.join(map(str, paths))
        super().__init__(
            f'{names}: open in another program and not written. Close it there and run the same command with --resume.'
        )


def delete(path: str | Path) -> None:
    """Delete a file if it is there.

    Raises:
        FileInUseError: If another program holds it open.
    """
    try:
        Path(path).unlink(missing_ok=True)
    except PermissionError as error:
        raise FileInUseError([Path(path)]) from error


def write_all(writers: Iterable[Callable[[], object]]) -> None:
    """Call all writers; a file that is in use does not keep the others from being written.

    Raises:
        FileInUseError: At the end, with all files that are in use.
    """
    in_use: list[Path] = []
    for write in writers:
        try:
            write()
        except FileInUseError as error:
            in_use += error.paths
    if in_use:
        raise FileInUseError(in_use)


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Gives a temporary path beside `path`; what was written there becomes `path` when the block ends well.

    The temporary name keeps the suffix, because many writers choose the format by it. If the block raises, the
    temporary file is removed and an existing `path` stays as it was.

    Raises:
        InputError: If the folder can't be made or written to, the disk is full, or another program holds `path` open.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f'{_temporary_stem(path)}-', suffix=path.suffix, dir=path.parent)
    except OSError as error:
        raise InputError(
            f'{path}: cannot write here ({error.strerror or error}). Choose another output folder.'
        ) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())
        _replace(temporary, path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(f'{path}: the disk is full. Make room or choose another output folder.') from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _replace(temporary: Path, path: Path) -> None:
    """Rename a complete file to its final name, which Windows forbids while another program holds that open."""
    try:
        os.replace(temporary, path)
    except PermissionError as error:
        raise FileInUseError([path]) from error


def _temporary_stem(path: Path) -> str:
    return f'.{path.stem[:80]}'


def remove_leftovers(folder: str | Path, paths: Iterable[str | Path], before: float) -> None:
    """Deletes temporary files that killed processes have left where they were writing.

    Args:
        folder: Where they lie.
        paths: What they would have become; files of that folder.
        before: Only what was last written before this time (`time.time`); the rest may be somebody's work.
    """
    stems = {(_temporary_stem(path), path.suffix) for path in map(Path, paths)}
    for file in Path(folder).glob('.*'):
        stem, random_part = file.stem[:-9], file.stem[-9:]
        if (stem, file.suffix) in stems and RANDOM_PART.fullmatch(random_part) and file.stat().st_mtime < before:
            file.unlink(missing_ok=True)


def require_folder(folder: str | Path) -> None:
    """Makes a folder for results and tries to write there: better before hours of work than after.

    Raises:
        InputError: If it can't be made or written to.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f'{folder}: cannot write here ({error.strerror or error}). Choose another folder.') from error


def _umask() -> int:
    """The process's umask; mkstemp makes files private, which shared lab folders don't want."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: str | Path, text: str) -> None:
    """Writes `text` as UTF-8 to `path`, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding='utf-8', newline='')


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: str | Path, value: Any, indent: int | None = None) -> None:
    """Writes `value` as JSON to `path`, whole or not at all."""
    # dumps, not dump: only the former uses the encoder written in C, which is several times faster.
    write_text(path, json.dumps(value, indent=indent))


def read_bytes(path: str | Path, count: int = -1) -> bytes:
    """Return the bytes of a file, or its first `count` ones.

    Raises:
        InputError: If the file is missing or unreadable.
    """
    try:
        with open(path, 'rb') as file:
            return file.read(count)
    except FileNotFoundError as error:
        raise InputError(f'{path}: no such file. Check the path.') from error
    except OSError as error:
        raise InputError(f'{path}: cannot be read ({error.strerror or error}). Check the path.') from error


def read_json(path: str | Path) -> Any:
    """Return the value in a JSON file.

    Raises:
        InputError: If the file is missing, unreadable or not JSON.
    """
    return parse_json(read_bytes(path), path)


def parse_json(data: bytes, source: str | Path) -> Any:
    """Return the value in the bytes of a JSON file, UTF-8 with or without a byte order mark.

    Args:
        data: The bytes.
        source: The file, for messages.

    Raises:
        InputError: If it is not JSON, nested too deeply (1,000 levels or so) or holds a number of thousands of digits.
    """
    try:
        return json.loads(data.decode('utf-8-sig'))
    except RecursionError as error:
        raise InputError(f'{source}: not valid JSON (nested too deeply). Export it again.') from error
    except ValueError as error:  # JSONDecodeError, UnicodeDecodeError, and integers beyond Python's limit of digits
        raise InputError(f'{source}: not valid JSON ({error}). Export it again.') from error


def sha256_of(path: str | Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal digits.

    Raises:
        InputError: If the file is missing or unreadable.
    """
    try:
        with open(path, 'rb') as file:
            return _digest(file)
    except OSError as error:
        raise InputError(f'{path}: cannot be read ({error.strerror or error}). Check the path.') from error


def _digest(file: BinaryIO) -> str:
    """What `hashlib.file_digest` does, which Python 3.10 has not."""
    digest = hashlib.sha256()
    while block := file.read(2**20):
        digest.update(block)
    return digest.hexdigest()
