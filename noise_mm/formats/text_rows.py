"""Text files as lines and CSV rows, with errors that name the file."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from noise_mm.errors import InputError
from noise_mm.files import read_bytes


def read_text(path: str | Path) -> str:
    """Return the text of a UTF-8 file, with or without a byte order mark.

    Raises:
        InputError: If the file is missing, unreadable or not UTF-8.
    """
    try:
        return read_bytes(path).decode('utf-8-sig')
    except UnicodeDecodeError as error:
        raise InputError(f'{path}: not a UTF-8 text file. Export it again as UTF-8 text.') from error


def csv_rows(path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a comma-separated file that are not blank, each with the number of the line it ends on.

    Raises:
        InputError: If the file can't be read, or a quoted field is not closed.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=''), strict=True)
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield reader.line_num, row
    except csv.Error as error:
        raise InputError(f'{path}: line {reader.line_num}: {error}. Export the file again.') from error
