"""Finds and reads the annotation files of a dataset folder; what cannot be read is named."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from noise_mm.coco import issues as kinds
from noise_mm.coco.issues import Issue
from noise_mm.coco.reader import CocoContent, read_content
from noise_mm.errors import InputError
from noise_mm.files import read_json


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
class PartContent:
    """What could be read of a part.

    Attributes:
        dataset: The COCO dictionary, as it is in the file.
        coco: The same, read and checked.
        wells: The entries of wells.json; none for pseudo-labels, whose wells are those of the batch.
    """

    dataset: dict[str, Any]
    coco: CocoContent
    wells: list[dict[str, Any]]


def find_parts(root: Path) -> tuple[list[Part], list[Issue]]:
    """Return the annotation files in a dataset folder: batches first, then nuclei, then pseudo-labels.

    Returns:
        The parts, and an issue for each folder that has patches but no annotation file.

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
            found.append(Issue(kinds.UNFINISHED, folder.name, 'has images/ but no annotations.json'))
    for file in sorted((root / 'pseudo').glob('*.json')):
        parts.append(Part(f'pseudo/{file.stem}', Role.PSEUDO, file, root / file.stem))
    if not parts:
        raise InputError(f'{root}: no annotations.json in any folder of it. Give the folder that holds the batches.')
    return parts, found


def read_part(part: Part) -> tuple[PartContent | None, list[Issue]]:
    """Return the content of a part, None if it is no COCO file; and every issue that the reader of COCO files finds."""
    try:
        dataset = read_json(part.annotation_file)
        coco = read_content(dataset, str(part.annotation_file))
    except InputError as error:
        return None, [Issue(kinds.UNREADABLE, part.place, reason(error, part.annotation_file))]
    found = [issue._replace(place=f'{part.place}, {issue.place}') for issue in coco.issues]
    found += [Issue(kinds.OTHER_FORM, part.place, note) for note in coco.notes]
    wells, of_wells = ([], []) if part.role is Role.PSEUDO else _read_wells(part)
    return PartContent(dataset, coco, wells), found + of_wells


def reason(error: InputError, path: Path) -> str:
    """Return the message of an error without the path that it begins with."""
    return str(error).removeprefix(f'{path}: ')


def _read_wells(part: Part) -> tuple[list[dict[str, Any]], list[Issue]]:
    path, place = part.image_dir / 'wells.json', f'{part.name}/wells.json'
    try:
        entries = read_json(path)
    except InputError as error:
        return [], [Issue(kinds.UNREADABLE, place, reason(error, path))]
    if not isinstance(entries, list):
        return [], [Issue(kinds.UNREADABLE, place, 'not a list of wells')]
    wells: dict[str, dict[str, Any]] = {}
    found = []
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict) or not isinstance(entry.get('well'), str):
            found.append(Issue(kinds.BAD_ENTRY, f'{place}, entry {number}', 'has no name of a well'))
        elif entry['well'] in wells:
            found.append(Issue(kinds.DOUBLE_ID, f'{place}, entry {number}', f'a second well {entry["well"]!r}'))
        else:
            wells[entry['well']] = entry
    return list(wells.values()), found
