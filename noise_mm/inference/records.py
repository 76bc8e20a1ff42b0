"""Records of finished wells: what a run can be resumed from, and what the folder's summary is made of.

A record is the last file of a well that is written. Where there is one, the well's files are there and whole.
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
    """Where the record of a well lies."""
    return out / FOLDER / f'{well}.json'


def write_record(out: Path, well: str, content: Mapping[str, Any]) -> None:
    """Writes the record of a finished well, whole or not at all."""
    write_json(record_path(out, well), dict(content), indent=1)


def read_records(out: Path) -> dict[str, dict[str, Any]]:
    """The records in a folder of results by well, sorted; none where there are none.

    Raises:
        InputError: If one is damaged.
    """
    records = {}
    for path in sorted((out / FOLDER).glob('*.json')):
        if path.name.startswith('.'):  # what a killed process was writing
            continue
        record = read_json(path)
        if not isinstance(record, dict) or not {'well', 'settings', 'image', 'result'} <= record.keys():
            raise InputError(f'{path}: not the record of a well. Delete it, and its well is predicted again.')
        records[path.name.removesuffix('.json')] = record
    return records


def image_facts(image: Path) -> dict[str, Any]:
    """What tells whether an image is the one that was predicted: name, size and time of change.

    Raises:
        InputError: If the file can't be looked at.
    """
    try:
        status = image.stat()
    except OSError as error:
        raise InputError(f'{image}: cannot be read ({error.strerror or error}). Check the path.') from error
    return {'file': image.name, 'bytes': status.st_size, 'mtime_ns': status.st_mtime_ns}


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """In which settings two runs differ, in words; empty if in none.

    >>> differences({'score_thr': 0.25, 'mpp': None}, {'score_thr': 0.5, 'mpp': None})
    'score_thr: 0.25 then, 0.5 now'
    """
    then, now = json.loads(json.dumps(dict(then))), json.loads(json.dumps(dict(now)))  # tuples as JSON has them
    names = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    told = [f'{name}: {then.get(name)} then, {now.get(name)} now' for name in names[:MOST_DIFFERENCES]]
    return '; '.join([*told, f'{len(names) - len(told)} more'] if len(names) > len(told) else told)
