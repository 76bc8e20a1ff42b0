"""One well -> its files, and its record for the tables and the page of the folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from noise_mm.measure.found import Found
from noise_mm.report.content import measured_content
from noise_mm.report.exports import SIMPLIFIED_PX, is_packed, write_files
from noise_mm.report.options import WellOptions
from noise_mm.report.page_material import page_material
from noise_mm.report.tables import well_row
from noise_mm.scale import REFERENCE_UM_PER_PX, PixelSize
from noise_mm.slides.chunked import Slide


def write_well(
    folder: Path,
    well: str,
    slide: Slide,
    found: Found,
    pixel: PixelSize,
    formats: Sequence[str],
    options: WellOptions,
) -> dict[str, Any]:
    """Measure one well and write its files, each whole or not at all.

    Args:
        folder: Where they go.
        well: Name of the well.
        slide: Its image.
        found: What was found in it.
        pixel: Pixel size of the image.
        formats: Of `noise_mm.report.output_files.FORMATS`.
        options: How it is measured.

    Returns:
        The well's record, as JSON can hold it: `row` of the table of wells (`WELL_COLUMNS`), `notes` on it, a sentence
        each, names of the `files` by format, and for the page of the folder what `page_material` returns.

    Raises:
        InputError: If a file can't be written, or the image is damaged.
        ValueError: If `options` ask for nuclei and none were looked for.
    """
    content = measured_content(well, slide, found, pixel, options)
    notes, files = list(content.notes), write_files(Path(folder), content, formats)
    if 'geojson' in files and is_packed(content):
        notes.append(
            f'{len(content.cells)} cells: {files["geojson"]} is packed, and its outlines are simplified by up to '
            f'{SIMPLIFIED_PX} px at {REFERENCE_UM_PER_PX} um/px; other files have them as they are'
        )
    return {
        'row': well_row(well, content.measures, pixel),
        'notes': notes,
        'files': files,
        **page_material(content, slide),
    }
