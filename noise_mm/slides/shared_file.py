"""Reads pieces of a file from several threads, on every system: Windows has no `os.pread`."""

import os
import threading
from pathlib import Path


class SharedFile:
    """An open file that threads read from by offset.

    Attributes:
        size_bytes: Its size when it was opened.
    """

    def __init__(self, path: str | Path) -> None:
        """Open the file."""
        self._file = open(path, 'rb', buffering=0)  # noqa: SIM115 - closed by `close`
        self._lock = threading.Lock()
        self.size_bytes = os.fstat(self._file.fileno()).st_size

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on; fewer where the file ends."""
        pieces: list[bytes] = []
        with self._lock:
            self._file.seek(offset)
            while length > 0:
                piece = self._file.read(length)  # the system may hand out less, at most 2 GiB at a time
                if not piece:
                    break
                pieces.append(piece)
                length -= len(piece)
        return pieces[0] if len(pieces) == 1 else b''.join(pieces)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
