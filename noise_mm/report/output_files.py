"""Names of the files in a folder of results. Imports nothing heavy."""

from collections.abc import Sequence
from pathlib import Path

from noise_mm.errors import InputError
from noise_mm.files import require_folder
from noise_mm.slides.well_images import by_well

WELL_SUFFIXES = {
    'coco': '.json',
    'csv': '_cells.csv',
    'nuclei': '_nuclei.csv',
    'overlay': '_overlay.png',
    'geojson': '.geojson',
    'roi': '_RoiSet.zip',
    'labels': '_labels.tif',
    'nuclei_roi': '_nuclei.roi',
}
"""What follows the name of the well, by format."""

PACKED_GEOJSON = '.geojson.gz'
"""Instead of `.geojson` for wells with very many cells; see `noise_mm.report.exports.MOST_PLAIN_CELLS`."""

ALL_SUFFIXES = (*WELL_SUFFIXES.values(), PACKED_GEOJSON)

GOES_WITH = {'nuclei': 'csv', 'nuclei_roi': 'roi'}
"""Formats that are written with another one, where nuclei were looked for."""

FORMATS = tuple(name for name in WELL_SUFFIXES if name not in GOES_WITH)
"""Names of the formats that can be chosen."""

FOLDER_FILES = (
    'run.json',
    'wells.csv',
    'fields.csv',
    'cells.csv',
    'conditions.csv',
    'conditions.png',
    'results.xlsx',
    'index.html',
)
"""Files about all wells, in lower case: some file systems know no other."""


def check_output_folder(out: Path, images: Sequence[Path], plate_map: Path | None = None) -> None:
    """Make the folder for the results and check it, before hours are spent on them.

    Args:
        out: The folder.
        images: Well images.
        plate_map: A table of the user that must not be overwritten.

    Raises:
        InputError: If the folder can't be written to, well images lie in it (the next run would take overlays for
            wells, and annotations beside an image would be overwritten), the plate map would be overwritten, or a
            well has the name of a file about all wells.
    """
    for well, image in by_well(images).items():
        if image.parent.resolve() == out.resolve():
            raise InputError(f'--out {out}: the well image {image.name} lies there. Give a folder of its own.')
        taken = {(well + suffix).lower() for suffix in ALL_SUFFIXES} & set(FOLDER_FILES)
        if taken:
            raise InputError(f'{image}: its results would be called {taken.pop()}, as those of the run. Rename it.')
    if plate_map is not None and plate_map.resolve() in {out.resolve() / name for name in FOLDER_FILES}:
        raise InputError(f'--plate-map {plate_map}: would be overwritten by the results. Rename or move it.')
    require_folder(out)


def well_files(wells: Sequence[str]) -> set[str]:
    """Return the names of all files that wells may have."""
    return {well + suffix for well in wells for suffix in ALL_SUFFIXES}
