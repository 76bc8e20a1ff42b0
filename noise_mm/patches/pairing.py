"""Find the wells in a folder and the annotations of each, and name what belongs to nothing."""

import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from noise_mm.coco.outlines import base_name
from noise_mm.coco.reader import CocoContent
from noise_mm.errors import InputError
from noise_mm.formats.label_image import LABEL_AFFIXES, LABEL_PREFIXES, is_label_image_name
from noise_mm.formats.read import SUFFIXES as ANNOTATION_SUFFIXES
from noise_mm.formats.read import read_annotation_json
from noise_mm.slides.slide import SLIDE_SUFFIXES
from noise_mm.slides.well_images import first_of

WELL_AFFIXES = (('img_', ''), ('', '.ome'))
"""What names of well images carry before and after the well's own name."""

ANNOTATION_AFFIXES = (
    ('roi_', ''), ('rois_', ''), ('roiset_', ''), ('', '_roiset'), ('', '_rois'), ('', '_roi'),
    *(('', affix) for affix in LABEL_AFFIXES), *((prefix, '') for prefix in LABEL_PREFIXES), *WELL_AFFIXES,
)  # fmt: skip
"""The same for annotation files; `roi_<well>.csv` beside `img_<well>.tif` is how NOISe published them."""


class Annotated(NamedTuple):
    """Where the annotations of one well are.

    Attributes:
        path: The annotation file.
        coco_image: `file_name` of the well in a COCO file of several images; None for a file of its own.
    """

    path: Path
    coco_image: str | None = None

    def __str__(self) -> str:
        """Return what messages call it."""
        return self.path.name if self.coco_image is None else f'{self.path.name} ({self.coco_image})'


class WellFiles(NamedTuple):
    """One well and what belongs to it.

    Attributes:
        name: The well's name, without `WELL_AFFIXES` and suffix.
        image: The well image.
        annotation: The annotation file; None where there is none and that is allowed.
        coco_image: `file_name` of the well in a COCO file of several images; None for a file of its own.
    """

    name: str
    image: Path
    annotation: Path | None
    coco_image: str | None = None


class FoundWells(NamedTuple):
    """What is in two folders.

    Attributes:
        wells: The wells that can be used, sorted by name.
        faults: What is wrong with each other well, by name.
        notes: Files that were not used, a sentence for each kind.
    """

    wells: list[WellFiles]
    faults: dict[str, InputError]
    notes: list[str]


def find_wells(wells_dir: Path, annotations_dir: Path, allow_unannotated: bool = False) -> FoundWells:
    """Return the wells in a folder, each with the annotations of the same name; subfolders are not searched.

    Annotations are a file for each well, or one COCO file for several, whose images are matched by `file_name`. The two
    folders may be the same; label images must then be named so (`LABEL_AFFIXES`). Label images beside wells are no
    wells.

    Args:
        wells_dir: Folder of well images.
        annotations_dir: Folder of annotation files.
        allow_unannotated: Whether a well without annotations counts as one without cells.

    Raises:
        InputError: If a folder is missing, or holds no well image.
    """
    in_wells_dir = files_in(wells_dir)
    labels = [file for file in in_wells_dir if file.suffix.lower() in SLIDE_SUFFIXES and is_label_image_name(file)]
    images = files_by_well([file for file in in_wells_dir if file not in labels], SLIDE_SUFFIXES, WELL_AFFIXES)
    if not images:
        only = ' but label images' if labels else ''
        raise InputError(
            f'{wells_dir}: no well images{only} ({", ".join(SLIDE_SUFFIXES)}) in this folder. Check --wells.'
        )
    files = files_in(annotations_dir)
    if wells_dir.resolve() == annotations_dir.resolve():
        taken = {file for candidates in images.values() for file in candidates}
        files, labels = [file for file in files if file not in taken], []
    annotations, notes = annotations_of(files, images)
    if labels:
        notes.insert(0, f'{first_of(labels)} in {wells_dir}: passed over, named like label images and not like wells')
    others = [file for file in in_wells_dir if file.suffix.lower() not in SLIDE_SUFFIXES and file not in files]
    if others:
        notes.append(f'{first_of(others)} in {wells_dir}: not read, no images of a known format')
    wells: list[WellFiles] = []
    faults: dict[str, InputError] = {}
    for name, candidates in sorted(images.items()):
        found = annotations.get(name, [])
        try:
            image = _only(candidates, f'{wells_dir}: two wells are called {name!r}', 'Rename or move one of them.')
            if not found and not allow_unannotated:
                raise InputError(
                    f'{image}: no annotation file for well {name!r} in {annotations_dir}. Add one (an empty one for '
                    'a well without cells), or use --allow-unannotated.'
                )
            what = f'{image}: several annotation files for well {name!r}'
            annotated = _only(found, what, 'Move all but one away.') if found else Annotated(None)
            wells.append(WellFiles(name, image, *annotated))
        except InputError as fault:
            faults[name] = fault
    return FoundWells(wells, faults, notes)


def annotations_of(files: Sequence[Path], wells: Iterable[str]) -> tuple[dict[str, list[Annotated]], list[str]]:
    """Return the annotations of wells, by name, and notes on files and images that are of no well.

    A file belongs to the well that it is named after. JSON files that are named after none are looked into: a COCO file
    holds the annotations of the wells that its images are named after.

    Args:
        files: Files of one folder.
        wells: Names of the wells.
    """
    known = set(wells)
    found: dict[str, list[Annotated]] = {}
    unmatched: list[Path] = []
    notes: list[str] = []
    for name, candidates in files_by_well(files, ANNOTATION_SUFFIXES, ANNOTATION_AFFIXES).items():
        if name in known:
            found[name] = [Annotated(file) for file in without_pictures(candidates, notes)]
        else:
            unmatched += candidates
    others = []
    for file in unmatched:
        by_well = coco_images(file)
        if not known & by_well.keys():
            others.append(file)
            continue
        for name in known & by_well.keys():
            found.setdefault(name, []).extend(Annotated(file, image) for image in by_well[name])
        missing = [image for name in by_well.keys() - known for image in by_well[name]]
        if missing:
            notes.append(f'{file}: {len(missing)} images in it are of no well here ({first_of(sorted(missing))})')
    if others:
        notes.append(f'{first_of(others)} in {others[0].parent}: not used, named after no well here')
    return found, notes


def coco_images(file: Path) -> dict[str, list[str]]:
    """Return the `file_name`s of the images in a COCO file by the wells they are named after; none for other files."""
    if not file.name.lower().endswith(('.json', '.json.gz')):
        return {}
    try:
        content = read_annotation_json(file)
    except InputError:
        return {}
    found: dict[str, list[str]] = {}
    if isinstance(content, CocoContent):
        for image in content.images:
            found.setdefault(well_of(image.file_name), []).append(image.file_name)
    return found


def without_pictures(files: list[Path], notes: list[str]) -> list[Path]:
    """Return annotation files without the PNG pictures that may lie beside them, which are noted."""
    pictures = [file for file in files if file.suffix.lower() == '.png' and not is_label_image_name(file)]
    if not pictures or len(pictures) == len(files):
        return files
    notes.append(f'{first_of(pictures)} in {files[0].parent}: not used, taken for a picture beside the annotations')
    return [file for file in files if file not in pictures]


def files_in(folder: Path) -> list[Path]:
    """Return the files of a folder, sorted, without hidden ones.

    Raises:
        InputError: If the folder can't be read.
    """
    try:
        return sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith('.'))
    except OSError as error:
        raise InputError(f'{folder}: not a folder that can be read ({error.strerror}). Check the path.') from error


def files_by_well(
    files: Iterable[Path], suffixes: Iterable[str], affixes: Iterable[tuple[str, str]]
) -> dict[str, list[Path]]:
    """Return files with one of the suffixes, by the name of their well.

    Args:
        files: The files, of one folder.
        suffixes: In small letters; of those that fit, the longest counts.
        affixes: What names may carry before and after the well's own name, such as `WELL_AFFIXES`.
    """
    found: dict[str, list[Path]] = {}
    suffixes = tuple(suffixes)
    for file in files:
        stem = _stem(file.name, suffixes)
        if stem is not None:
            found.setdefault(_without_affixes(stem, affixes), []).append(file)
    return found


def well_of(file_name: str) -> str:
    """Return the name of the well that an image's `file_name` in a COCO file stands for."""
    name = base_name(file_name)
    stem = _stem(name, SLIDE_SUFFIXES)
    return _without_affixes(name if stem is None else stem, WELL_AFFIXES)


def _stem(name: str, suffixes: Sequence[str]) -> str | None:
    """Return a file name without the longest suffix that fits; None if none does.

    macOS may store an umlaut as two characters (NFD) where other systems have one (NFC).
    """
    name = unicodedata.normalize('NFC', name)
    suffix = max((suffix for suffix in suffixes if name.lower().endswith(suffix)), key=len, default=None)
    return None if suffix is None else name[: -len(suffix)]


def _without_affixes(stem: str, affixes: Iterable[tuple[str, str]]) -> str:
    """Return a file's stem without the first prefix and the first suffix that fit, capitals or not."""
    for prefix, suffix in affixes:
        lower = stem.lower()
        if lower.startswith(prefix) and lower.endswith(suffix) and len(stem) > len(prefix) + len(suffix):
            stem = stem[len(prefix) : len(stem) - len(suffix)]
    return stem


def _only(candidates: Sequence[Path] | Sequence[Annotated], what: str, remedy: str) -> Path | Annotated:
    """Return the one member of a list.

    Raises:
        InputError: If there are more.
    """
    if len(candidates) > 1:
        names = ', '.join(each.name if isinstance(each, Path) else str(each) for each in candidates)
        raise InputError(f'{what} ({names}). {remedy}')
    return candidates[0]
