"""What damaged TIFF files do: directories without end, and errors of many kinds."""

import struct
import zlib
from pathlib import Path

import tifffile

from noise_mm.errors import InputError

MOST_PAGES = 100_000

DAMAGED = (
    RuntimeError, ValueError, LookupError, TypeError, ArithmeticError, AttributeError, AssertionError, ImportError,
    NameError, MemoryError, EOFError, SyntaxError, struct.error, zlib.error, OSError,
)  # fmt: skip
"""What tifffile, other readers and the decoders raise for damaged files, zero and absurd tags among them."""


def check_chain(path: str | Path, tiff: tifffile.TiffFile) -> None:
    """Refuse a file whose directories form a circle, or of which there are more than `MOST_PAGES`.

    tifffile notices some circles and walks through others without end.

    Raises:
        InputError: Then.
    """
    layout, file = tiff.tiff, tiff.filehandle
    offset, seen = tiff.pages.first.offset, set()
    while offset and offset not in seen and len(seen) < MOST_PAGES:
        seen.add(offset)
        file.seek(offset)
        try:
            (n_tags,) = struct.unpack(layout.tagnoformat, file.read(layout.tagnosize))
            file.seek(offset + layout.tagnosize + n_tags * layout.tagsize)
            (offset,) = struct.unpack(layout.offsetformat, file.read(layout.offsetsize))
        except struct.error:  # the chain leads out of the file, where tifffile ends it, too
            return
    if offset:
        raise InputError(f'{path}: the directories of the TIFF never end. Copy or export it again.')
