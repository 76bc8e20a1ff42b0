"""Records of finished wells, from which a run resumes and the summary of the folder is made.

The record is written after all other files of a well. Where there is one, these files are complete.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from noise_mm.errors import InputError
from noise_mm.files import read_json, write_json

FOLDER = 'records'
MOST_DIFFERENCES = 3  # named in a message


def record_path(out: Path, well: str) -> Path:
    """Return the path of the record of a well."""
    return out / FOLDER / f'{well}.json'


def write_record(out: Path, well: str, content: Mapping[str, Any]) -> None:
    """Write the record of a finished well, whole or not at all."""
    write_json(record_path(out, well), dict(content), indent=1)


def read_records(out: Path) -> dict[str, dict[str, Any]]:
    """Return the records in a folder of results by well, sorted.

    Raises:
        InputError: If one is damaged.
    """
    records = {}
    for path in sorted((out / FOLDER).glob('*.json')):
        if path.name.startswith('.'):  # what a killed process was writing
            continue
        try:
            record = read_json(path)
        except InputError:
            if path.exists():
                raise
            continue  # another process is replacing it
        if not isinstance(record, dict) or not {'well', 'settings', 'image', 'result'} <= record.keys():
            raise InputError(f'{path}: not the record of a well. Delete it, and its well is predicted again.')
        records[path.name.removesuffix('.json')] = record
    return records


def image_metadata(image: Path) -> dict[str, Any]:
    """Return what identifies an image: file name, size and time of change.

    Raises:
        InputError: If the file can't be read.
    """
    try:
        status = image.stat()
    except OSError as error:
        raise InputError(f'{image}: cannot be read ({error.strerror or error}). Check the path.') from error
    return {'file': image.name, 'bytes': status.st_size, 'mtime_ns': status.st_mtime_ns}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Name the settings in which two runs differ; empty if there are none.

    >>> differences({'score_thr': 0.25, 'mpp': None}, {'score_thr': 0.5, 'mpp': None})
    'score_thr: 0.25 before, 0.5 now'
    """
    before, now = json.loads(json.dumps(dict(before))), json.loads(json.dumps(dict(now)))  # tuples as JSON has them
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    named = [f'{name}: {before.get(name)} before, {now.get(name)} now' for name in names[:MOST_DIFFERENCES]]
    return '; '.join([*named, f'{len(names) - len(named)} more'] if len(names) > len(named) else named)
