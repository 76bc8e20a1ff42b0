"""Find the images that nuclei were marked in: by name, place and size in bytes, as the VGG Image Annotator does."""

import unicodedata
from dataclasses import dataclass
from pathlib import Path

from noise_mm.coco.file_issues import FileIssues
from noise_mm.coco.outlines import base_name
from noise_mm.errors import InputError
from noise_mm.formats.via import UNKNOWN_SIZE, ViaImage, read_via
from noise_mm.slides.slide import SLIDE_SUFFIXES


@dataclass(frozen=True)
class MarkedImage:
    """An image and the nuclei marked in it.

    Attributes:
        path: The image file.
        batch: Its batch.
        via: The VIA file.
        points: Marked places (x, y) in pixels of the image as it was marked, each once.
        repeated: How many more points stand at one of these places.
        notes: What of the VIA file was not used, or does not fit.
    """

    path: Path
    batch: str
    via: Path
    points: list[tuple[float, float]]
    repeated: int
    notes: tuple[str, ...] = ()

    @property
    def well(self) -> str:
        """A name that no image of another batch has."""
        return f'{self.batch}-{self.path.stem}'


def find_marked_images(images_dir: Path, via_files: list[Path], batch: str) -> list[MarkedImage]:
    """Return the images that VIA files name, sorted by batch and name.

    Raises:
        InputError: If the folder or an image is missing, a name fits several images, or two VIA files or two images of
            one name stand for the same thing. All such issues are named at once.
    """
    if not images_dir.is_dir():
        raise InputError(f'{images_dir}: no such folder. Check --images.')
    files = [path for path in sorted(images_dir.rglob('*')) if path.suffix.lower() in SLIDE_SUFFIXES]
    issues = FileIssues(images_dir, 'Put each VIA file beside its images, and give each image once.')
    marked: dict[str, MarkedImage] = {}
    for via in via_files:
        by_name: dict[str, list[ViaImage]] = {}
        for entry in read_via(via):
            by_name.setdefault(entry.name, []).append(entry)
        for name, entries in by_name.items():
            found = _files_named(name, files, via)
            if len(found) != 1:
                issues.add(str(via), f'image {name} is {"there several times" if found else "not there"}')
                continue
            entry, notes = _entry_of_size(entries, found[0].stat().st_size)
            if entry is None:
                issues.add(str(via), f'has {len(entries)} entries for {name}, {notes}')
                continue
            folders = found[0].relative_to(images_dir).parts[:-1]
            places = list(dict.fromkeys((point.x, point.y) for point in entry.points))
            repeated = len(entry.points) - len(places)
            image = MarkedImage(found[0], folders[0] if folders else batch, via, places, repeated, tuple(notes))
            if image.well in marked:
                other = marked[image.well]
                issues.add(str(via), f'image {image.path} stands for the same as {other.path} of {other.via}')
            marked[image.well] = image
    issues.raise_if_any()
    return [marked[well] for well in sorted(marked)]


def _files_named(name: str, files: list[Path], via: Path) -> list[Path]:
    """Return the image files that a name in a VIA file may mean; capitals count, ways to store an umlaut do not."""
    wanted = unicodedata.normalize('NFC', base_name(name))
    named = [path for path in files if unicodedata.normalize('NFC', path.name) == wanted]
    beside = [path for path in named if path.parent.resolve() == via.parent.resolve()]
    wells = via.resolve().parent.parent / 'wells'  # as data_prep/synthesize.py lays them out
    return beside or [path for path in named if path.parent.resolve() == wells] or named


def _entry_of_size(entries: list[ViaImage], size_bytes: int) -> tuple[ViaImage | None, list[str] | str]:
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
