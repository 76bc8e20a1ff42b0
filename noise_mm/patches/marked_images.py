"""Find the images that nuclei were marked in: by name and place, and in VIA files by size in bytes."""

import unicodedata
from dataclasses import dataclass
from pathlib import Path

from noise_mm.coco.file_issues import FileIssues
from noise_mm.coco.outlines import base_name
from noise_mm.errors import InputError
from noise_mm.formats.label_image import is_label_image_name
from noise_mm.formats.nuclei_points import SUFFIXES, ImagePoints, read_nuclei_points
from noise_mm.formats.via import UNKNOWN_SIZE
from noise_mm.patches.pairing import ANNOTATION_AFFIXES, files_by_well, well_of
from noise_mm.slides.slide import SLIDE_SUFFIXES

NUCLEI_AFFIXES = (('', '_nuclei'), ('nuclei_', ''), ('', '_points'), *ANNOTATION_AFFIXES)
"""What names of files with the points of one image carry before and after the image's own name."""


@dataclass(frozen=True)
class MarkedImage:
    """An image and the nuclei marked in it.

    Attributes:
        path: The image file.
        batch: Its batch.
        source: The file with the points.
        points: Marked places (x, y) in pixels of the image as it was marked, each once.
        repeated: How many more points stand at one of these places.
        in_browser: Whether they were marked in a browser, which turns images as EXIF says.
        notes: What of the file was not used, or does not fit.
    """

    path: Path
    batch: str
    source: Path
    points: list[tuple[float, float]]
    repeated: int
    in_browser: bool
    notes: tuple[str, ...] = ()

    @property
    def well(self) -> str:
        """A name that no image of another batch has."""
        return f'{self.batch}-{self.path.stem}'


def find_marked_images(images_dir: Path, sources: list[Path], batch: str) -> list[MarkedImage]:
    """Return the images that VIA files name, or that other files of points are named after, by batch and name.

    Raises:
        InputError: If the folder or an image is missing, a name fits several images, or two files of points or two
            images of one name stand for the same thing. All such issues are named at once.
    """
    if not images_dir.is_dir():
        raise InputError(f'{images_dir}: no such folder. Check --images.')
    files = [path for path in sorted(images_dir.rglob('*')) if path.suffix.lower() in SLIDE_SUFFIXES]
    issues = FileIssues(images_dir, 'Put each file of points beside its images, and give each image once.')
    marked: dict[str, MarkedImage] = {}
    for source in sources:
        by_name: dict[str | None, list[ImagePoints]] = {}
        for entry in read_nuclei_points(source):
            by_name.setdefault(entry.image, []).append(entry)
        for name, entries in by_name.items():
            found = _files_of(name, files, source)
            if len(found) != 1:
                issues.add(str(source), f'{_what(name)} is {"there several times" if found else "not there"}')
                continue
            entry, notes = _entry_of_size(entries, found[0].stat().st_size)
            if entry is None:
                issues.add(str(source), f'has {len(entries)} entries for {name}, {notes}')
                continue
            folders = found[0].relative_to(images_dir).parts[:-1]
            places = list(dict.fromkeys(entry.points))
            repeated, of_batch = len(entry.points) - len(places), folders[0] if folders else batch
            notes = (*entry.notes, *notes)
            image = MarkedImage(found[0], of_batch, source, places, repeated, name is not None, notes)
            if image.well in marked:
                other = marked[image.well]
                issues.add(str(source), f'image {image.path} stands for the same as {other.path} of {other.source}')
            marked[image.well] = image
    issues.raise_if_any()
    return [marked[well] for well in sorted(marked)]


def _what(name: str | None) -> str:
    return 'the image that it is named after' if name is None else f'image {name}'


def _files_of(name: str | None, files: list[Path], source: Path) -> list[Path]:
    """Return the image files that a file of points names, or is named after, nearest first."""
    if name is not None:  # capitals count, ways to store an umlaut do not
        wanted = unicodedata.normalize('NFC', base_name(name))
        named = [path for path in files if unicodedata.normalize('NFC', path.name) == wanted]
    else:
        (well,) = files_by_well([source], SUFFIXES, NUCLEI_AFFIXES) or ['']
        named = [path for path in files if well_of(path.name) == well and not is_label_image_name(path)]
    beside = [path for path in named if path.parent.resolve() == source.parent.resolve()]
    wells = source.resolve().parent.parent / 'wells'  # as data_prep/synthesize.py lays them out
    return beside or [path for path in named if path.parent.resolve() == wells] or named


def _entry_of_size(entries: list[ImagePoints], size_bytes: int) -> tuple[ImagePoints | None, list[str] | str]:
    """Return the entry of a VIA file that was made for a file of this size, and notes; without one, what is wrong.

    VIA tells images apart by name and size: an image that was saved again after it was marked has two entries.
    """
    same = [entry for entry in entries if entry.size_bytes == size_bytes]
    sizes = ', '.join(f'{len(entry.points)} points at {entry.size_bytes} bytes' for entry in entries)
    if len(entries) == 1:
        entry = entries[0]
        if entry.size_bytes in (size_bytes, UNKNOWN_SIZE):
            return entry, []
        return entry, [f'was marked as a file of {entry.size_bytes} bytes and now has {size_bytes}: saved again?']
    if len(same) != 1:
        return None, f'{len(same)} of them of the size of the file, {size_bytes} bytes ({sizes})'
    others = [entry for entry in entries if entry is not same[0]]
    points = sum(len(entry.points) for entry in others)
    return same[0], [
        f'{len(others)} more entries of this name, of files of other sizes, are not used ({points} points)'
    ]
