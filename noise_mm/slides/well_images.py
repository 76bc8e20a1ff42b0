"""Which images are wells, and what they are called."""

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from noise_mm.errors import InputError
from noise_mm.formats.label_image import LABEL_FOLDERS, is_label_image_name
from noise_mm.slides.slide import SLIDE_SUFFIXES

OME = '.ome'


def find_images(paths: Sequence[Path]) -> list[Path]:
    """Return image files among `paths`, and those in folders among them, sorted by name within a folder.

    Label images in folders are no wells (see `unread_files`); one that is named itself is taken.

    Raises:
        InputError: If a path is missing, a folder holds no image, or two images would give the same well name.
    """
    images: list[Path] = []
    for path in paths:
        if path.is_dir():
            files = _files_in(path)
            found = [file for file in files if _is_well(file, path)]
            if not found and any(file.suffix.lower() in SLIDE_SUFFIXES for file in files):
                raise InputError(f'{path}: all images in this folder are named like label images, not like wells.')
            if not found:
                raise InputError(f'{path}: no images in this folder. Known suffixes: {", ".join(SLIDE_SUFFIXES)}.')
            images += found
        elif path.is_file():
            images.append(path)
        else:
            raise InputError(f'{path}: no such file or folder. Check the path.')
    by_well(images)
    return images


def by_well(images: Sequence[Path]) -> dict[str, Path]:
    """Return images by the names of their wells.

    Images of one file name in several folders, as in `B/03.tif` or `plate7/B03/1.tif`, are named after their folders
    too: `B_03`, `plate7_B03_1`.

    Raises:
        InputError: If two images would give the same well name.
    """
    plain = [well_name(image) for image in images]
    if len(set(plain)) < len(plain):
        common = Path(os.path.commonpath([image.absolute().parent for image in images]))
        folders = [image.absolute().parent.relative_to(common).parts for image in images]
        plain = ['_'.join((*parts, name)) for parts, name in zip(folders, plain, strict=True)]
    wells: dict[str, Path] = {}
    for name, image in zip(plain, images, strict=True):
        other = wells.setdefault(name, image)
        if other is not image:
            raise InputError(f'{image}: the same well name as {other}. Rename one, or predict them in two runs.')
    return wells


def unread_files(paths: Sequence[Path]) -> list[Path]:
    """Return the files in folders among `paths` that are passed over: label images, and all that are no images."""
    return [file for path in paths if path.is_dir() for file in _files_in(path) if not _is_well(file, path)]


def unread_note(paths: Sequence[Path]) -> str:
    """Return a line that names the first of `unread_files`; empty if there is none."""
    files = unread_files(paths)
    return f'note: not read, label images or no images of a known format: {first_of(files)}' if files else ''


def first_of(names: Sequence[str | Path]) -> str:
    """Return the first five names of a list, without folders, and how many more there are."""
    names = [Path(name).name for name in names]
    return ', '.join(names[:5]) + (f' and {len(names) - 5} more' if len(names) > 5 else '')


def _files_in(folder: Path) -> list[Path]:
    """Return the files in a folder; if no image is among them, those in its folders, as of plates, rows or wells, too.

    Names with a dot in front are what systems leave there.
    """
    entries = [entry for entry in sorted(folder.iterdir()) if not entry.name.startswith('.')]
    files = [entry for entry in entries if not entry.is_dir()]
    if not any(file.suffix.lower() in SLIDE_SUFFIXES for file in files):
        files += [file for entry in entries if entry.is_dir() for file in _files_in(entry)]
    return files


def _is_well(file: Path, folder: Path) -> bool:
    """Return whether a file in a folder, or in folders in it, is an image and neither it nor they are named labels."""
    is_label = is_label_image_name(file) or any(
        part.lower() in LABEL_FOLDERS for part in file.relative_to(folder).parts[:-1]
    )
    return file.suffix.lower() in SLIDE_SUFFIXES and not is_label


def well_name(image: Path) -> str:
    """Return the name of a well: its file's name without the suffix, which may be a double one such as `.ome.tif`.

    An umlaut is one character, however the file system stores it.
    """
    stem = unicodedata.normalize('NFC', image.name.removesuffix(image.suffix))
    return stem[: -len(OME)] if stem.lower().endswith(OME) and len(stem) > len(OME) else stem
