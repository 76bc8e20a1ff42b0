"""CSV tables that a spreadsheet opens as they are meant."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from noise_mm.files import write_text

FORMULA_STARTS = ('=', '+', '-', '@', '\t', '\r')
"""Texts that begin so are formulas to a spreadsheet, which runs them when it opens a table."""


def write_table(path: str | Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a CSV table, whole or not at all; None becomes an empty field.

    Texts that a spreadsheet would run as a formula get an apostrophe in front; numbers stay as they are.

    Raises:
        ValueError: If a row has a key that is no column.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator='\n', restval='')
    writer.writerow({column: escaped(column) for column in columns})
    writer.writerows({key: escaped(value) for key, value in row.items()} for row in rows)
    write_text(path, text.getvalue())


def escaped(value: Any) -> Any:
    """Return a value as it is written to a field.

    >>> [escaped(value) for value in ('control', '=1+1', -1.5)]
    ['control', "'=1+1", -1.5]
    """
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value
