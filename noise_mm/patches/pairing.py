"""Finds the wells in a folder and the annotation file of each."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from noise_mm.errors import InputError
from noise_mm.formats.read import SUFFIXES as ANNOTATION_SUFFIXES
from noise_mm.slides.slide import SLIDE_SUFFIXES

WELL_AFFIXES = (('img_', ''), ('', '.ome'))
"""What names of well images carry before and after the well's own name."""

ANNOTATION_AFFIXES = (
    ('roi_', ''), ('rois_', ''), ('roiset_', ''), ('', '_roiset'), ('', '_rois'), ('', '_roi'), ('', '_labels'),
    *WELL_AFFIXES,
)  # fmt: skip
"""The same for annotation files; `roi_<well>.csv` beside `img_<well>.tif` is how NOISe published them."""


class WellFiles(NamedTuple):
    """One well and what belongs to it.

    Attributes:
        name: The well's name, without `WELL_AFFIXES` and suffix.
        image: The well image.
        annotation: The annotation file; None where there is none and that is allowed.
    """

    name: str
    image: Path
    annotation: Path | None


def find_wells(
    wells_dir: Path, annotations_dir: Path, allow_unannotated: bool = False
) -> tuple[list[WellFiles], dict[str, InputError]]:
    """The wells in a folder, by name, each with the annotation file of the same name; subfolders are not searched.

    The two folders may be the same; label images must then be named `<well>_labels`.

    Args:
        wells_dir: Folder of well images.
        annotations_dir: Folder of annotation files.
        allow_unannotated: Whether a well without an annotation file counts as one without cells.

    Returns:
        The wells that can be used, sorted by name, and for every other name what is wrong with it.

    Raises:
        InputError: If a folder is missing, or holds no well image.
    """
    images = files_by_well(files_in(wells_dir), SLIDE_SUFFIXES, WELL_AFFIXES)
    annotations = files_by_well(files_in(annotations_dir), ANNOTATION_SUFFIXES, ANNOTATION_AFFIXES)
    same_folder = wells_dir.resolve() == annotations_dir.resolve()
    if same_folder:
        images = {name: files for name, files in images.items() if not name.lower().endswith('_labels')}
    if not images:
        raise InputError(f'{wells_dir}: no well images ({", ".join(SLIDE_SUFFIXES)}) in this folder. Check --wells.')
    wells: list[WellFiles] = []
    faults: dict[str, InputError] = {}
    for name, candidates in sorted(images.items()):
        outlines = [file for file in annotations.get(name, []) if not (same_folder and file in candidates)]
        try:
            image = _only(candidates, f'{wells_dir}: two wells are called {name!r}', 'Rename or move one of them.')
            if not outlines and not allow_unannotated:
                raise InputError(
                    f'{image}: no annotation file for well {name!r} in {annotations_dir}. Add one (an empty one for '
                    'a well without cells), or use --allow-unannotated.'
                )
            what = f'{image}: several annotation files for well {name!r}'
            annotation = _only(outlines, what, 'Move all but one away.') if outlines else None
            wells.append(WellFiles(name, image, annotation))
        except InputError as fault:
            faults[name] = fault
    return wells, faults


def files_in(folder: Path) -> list[Path]:
    """The files of a folder, sorted, without hidden ones.

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
    """Files with one of the suffixes, by the name of their well.

    Args:
        files: The files, of one folder.
        suffixes: In small letters; of those that fit, the longest counts.
        affixes: What names may carry before and after the well's own name, such as `WELL_AFFIXES`.
    """
    found: dict[str, list[Path]] = {}
    for file in files:
        lower = file.name.lower()
        suffix = max((suffix for suffix in suffixes if lower.endswith(suffix)), key=len, default=None)
        if suffix is not None:
            found.setdefault(_without_affixes(file.name[: -len(suffix)], affixes), []).append(file)
    return found


def _without_affixes(stem: str, affixes: Iterable[tuple[str, str]]) -> str:
    """A file's stem without the first prefix and the first suffix that fit, capitals or not."""
    for prefix, suffix in affixes:
        lower = stem.lower()
        if lower.startswith(prefix) and lower.endswith(suffix) and len(stem) > len(prefix) + len(suffix):
            stem = stem[len(prefix) : len(stem) - len(suffix)]
    return stem


def _only(files: list[Path], what: str, remedy: str) -> Path:
    """The one file in a list.

    Raises:
        InputError: If there are more.
    """
    if len(files) > 1:
        raise InputError(f'{what} ({", ".join(file.name for file in files)}). {remedy}')
    return files[0]
