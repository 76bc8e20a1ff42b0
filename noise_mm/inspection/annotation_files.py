"""Finds the annotation files of a dataset folder, and reads them so that what can be read is, and the rest is named."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from noise_mm.errors import InputError
from noise_mm.files import read_json
from noise_mm.inspection import issues as faults
from noise_mm.inspection.issues import Fault

LISTS = ('images', 'annotations', 'categories')


class Role(Enum):
    """What an annotation file is for; the value names the categories that it must have objects of."""

    CELLS = ('osteoclast',)
    NUCLEI = ('nucleus',)
    PSEUDO = ('osteoclast', 'nucleus')


@dataclass(frozen=True)
class Part:
    """One annotation file of a dataset.

    Attributes:
        name: Its folder, or `pseudo/<batch>`.
        role: What it is for.
        annotation_file: Where it is.
        image_dir: What its image names are relative to.
    """

    name: str
    role: Role
    annotation_file: Path
    image_dir: Path

    @property
    def batch(self) -> str | None:
        """The batch that all its images must be of; None for the nuclei, which are of several."""
        return None if self.role is Role.NUCLEI else self.image_dir.name

    @property
    def place(self) -> str:
        """The annotation file as seen from the dataset folder."""
        return f'{self.name}.json' if self.role is Role.PSEUDO else f'{self.name}/{self.annotation_file.name}'


@dataclass(frozen=True)
class Content:
    """What could be read of a part.

    Attributes:
        dataset: The COCO dictionary, as it is in the file.
        wells: The entries of wells.json; none for pseudo-labels, whose wells are those of the batch.
    """

    dataset: dict[str, Any]
    wells: list[dict[str, Any]]

    def entries(self, name: str) -> list[dict[str, Any]]:
        """The entries of a list of the COCO dictionary that are dictionaries."""
        return [entry for entry in self.dataset[name] if isinstance(entry, dict)]


def find_parts(root: Path) -> tuple[list[Part], list[Fault]]:
    """The annotation files in a dataset folder: batches first, then nuclei, then pseudo-labels.

    Returns:
        The parts, and a fault for each folder that has patches but no annotation file.

    Raises:
        InputError: If the folder does not exist or has no annotation file at all.
    """
    if not root.is_dir():
        raise InputError(f'{root}: no such folder. Give the folder that holds the batch folders.')
    parts, found = [], []
    folders = [path for path in sorted(root.iterdir()) if path.is_dir() and not path.name.startswith('.')]
    for folder in sorted(folders, key=lambda path: path.name == 'nuclei'):
        role = Role.NUCLEI if folder.name == 'nuclei' else Role.CELLS
        if (folder / 'annotations.json').is_file():
            parts.append(Part(folder.name, role, folder / 'annotations.json', folder))
        elif (folder / 'images').is_dir():
            found.append(Fault(faults.UNFINISHED, folder.name, 'has images/ but no annotations.json'))
    for file in sorted((root / 'pseudo').glob('*.json')):
        parts.append(Part(f'pseudo/{file.stem}', Role.PSEUDO, file, root / file.stem))
    if not parts:
        raise InputError(f'{root}: no annotations.json in any folder of it. Give the folder that holds the batches.')
    return parts, found


def read_part(part: Part) -> tuple[Content | None, list[Fault]]:
    """The content of a part, None if it is no COCO file; and what could not be read."""
    try:
        dataset = read_json(part.annotation_file)
    except InputError as error:
        return None, [Fault(faults.UNREADABLE, part.place, reason(error, part.annotation_file))]
    lacking = [name for name in LISTS if not isinstance(dataset, dict) or not isinstance(dataset.get(name), list)]
    if lacking:
        return None, [Fault(faults.UNREADABLE, part.place, f'not a COCO file, it has no list {lacking[0]!r}')]
    found = [
        Fault(faults.BAD_ENTRY, f'{part.place}, {name}, entry {number}', 'is not a dictionary')
        for name in LISTS
        for number, entry in enumerate(dataset[name], start=1)
        if not isinstance(entry, dict)
    ]
    wells, of_wells = ([], []) if part.role is Role.PSEUDO else _read_wells(part)
    return Content(dataset, wells), found + of_wells


def reason(error: InputError, path: Path) -> str:
    """The message of an error without the path that it begins with."""
    return str(error).removeprefix(f'{path}: ')


def _read_wells(part: Part) -> tuple[list[dict[str, Any]], list[Fault]]:
    path, place = part.image_dir / 'wells.json', f'{part.name}/wells.json'
    try:
        entries = read_json(path)
    except InputError as error:
        return [], [Fault(faults.UNREADABLE, place, reason(error, path))]
    if not isinstance(entries, list):
        return [], [Fault(faults.UNREADABLE, place, 'not a list of wells')]
    wells: dict[str, dict[str, Any]] = {}
    found = []
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict) or not isinstance(entry.get('well'), str):
            found.append(Fault(faults.BAD_ENTRY, f'{place}, entry {number}', 'has no name of a well'))
        elif entry['well'] in wells:
            found.append(Fault(faults.DOUBLE_ID, f'{place}, entry {number}', f'a second well {entry["well"]!r}'))
        else:
            wells[entry['well']] = entry
    return list(wells.values()), found
