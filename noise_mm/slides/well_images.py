"""Which images are wells, what they are called, and where their results may go."""

from collections.abc import Sequence
from pathlib import Path

from noise_mm.errors import InputError
from noise_mm.files import require_folder
from noise_mm.report.exports import WRITERS
from noise_mm.slides.slide import SLIDE_SUFFIXES

# What tells of all wells, in small letters: some file systems know no others.
FOLDER_FILES = ('run.json', 'wells.csv', 'index.html', 'conditions.csv', 'conditions.png')
OME = '.ome'


def find_images(paths: Sequence[Path]) -> list[Path]:
    """Image files among `paths`, and those in folders among them, sorted by name within a folder.

    Raises:
        InputError: If a path is missing, a folder holds no image, two images would give the same well name, or one
            the name of a file that tells of all wells.
    """
    images: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(filter(_is_image, path.iterdir()))
            if not found:
                raise InputError(f'{path}: no images in this folder. Known suffixes: {", ".join(SLIDE_SUFFIXES)}.')
            images += found
        elif path.is_file():
            images.append(path)
        else:
            raise InputError(f'{path}: no such file or folder. Check the path.')
    by_name: dict[str, Path] = {}
    for image in images:
        other = by_name.setdefault(well_name(image), image)
        if other is not image:
            raise InputError(f'{image}: the same well name as {other}. Rename one, or predict them in two runs.')
        taken = {(well_name(image) + suffix).lower() for suffix, _ in WRITERS.values()} & set(FOLDER_FILES)
        if taken:
            raise InputError(f'{image}: its results would be called {taken.pop()}, as those of the run. Rename it.')
    return images


def _is_image(path: Path) -> bool:
    """Whether a file in a folder is taken for a well; names with a dot in front are what systems leave there."""
    return path.suffix.lower() in SLIDE_SUFFIXES and not path.name.startswith('.') and not path.is_dir()


def well_name(image: Path) -> str:
    """The name of a well: its file's name without the suffix, which may be a double one such as `.ome.tif`."""
    stem = image.name.removesuffix(image.suffix)
    return stem[: -len(OME)] if stem.lower().endswith(OME) and len(stem) > len(OME) else stem


def check_output_folder(out: Path, images: Sequence[Path], plate_map: Path | None = None) -> None:
    """Makes the folder for the results, before hours are spent on them.

    Raises:
        InputError: If it can't be written to, or well images lie in it: a second run would take overlays for wells,
            and annotations that lie beside an image would be overwritten. Or if the plate map would be.
    """
    for image in images:
        if image.parent.resolve() == out.resolve():
            raise InputError(f'--out {out}: the well image {image.name} lies there. Give a folder of its own.')
    if plate_map is not None and plate_map.resolve() in {out.resolve() / name for name in FOLDER_FILES}:
        raise InputError(f'--plate-map {plate_map}: would be overwritten by the results. Rename or move it.')
    require_folder(out)
