"""One well -> its files, and its record for the tables and the page of the folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from noise_mm.inference.predict_well import WellResult
from noise_mm.report.content import measured_content
from noise_mm.report.exports import write_files
from noise_mm.report.options import WellOptions
from noise_mm.report.page_material import histograms, page_picture
from noise_mm.report.tables import well_row
from noise_mm.slides.chunked import Slide


def write_well(
    folder: Path,
    well: str,
    slide: Slide,
    result: WellResult,
    um_per_px: float,
    formats: Sequence[str],
    options: WellOptions,
) -> dict[str, Any]:
    """Writes the files of one well, each whole or not at all; `exports.formats` lists them.

    Args:
        folder: Where they go.
        well: Name of the well.
        slide: Its image.
        result: What was found in it. The number in the name of each outline is its place in the list, from 1.
        um_per_px: Pixel size of the image.
        formats: Of `FORMATS`.
        options: How it is measured.

    Returns:
        The well's record, as JSON can hold it: `row` of the table of wells (`WELL_COLUMNS`), `notes` on it, a sentence
        each, names of the `files` by format, and for the page of the folder `picture` and `histograms`.

    Raises:
        InputError: If a file can't be written, or the image is damaged.
        ValueError: If `options` ask for nuclei and none were looked for.
    """
    content = measured_content(well, slide, result, um_per_px, options)
    return {
        'row': well_row(well, content.measures),
        'notes': list(content.notes),
        'files': write_files(Path(folder), content, formats),
        'picture': page_picture(content),
        'histograms': histograms(content.cells),
    }
