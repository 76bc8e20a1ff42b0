"""The files of one well, one writer a format.

    coco      <well>.json            COCO, with masks as RLE
    csv       <well>_cells.csv       a row for each cell
    nuclei    <well>_nuclei.csv      a row for each nucleus; goes with `csv` where nuclei were counted
    overlay   <well>_overlay.png     the well with outlines and numbers, to check by eye
    geojson   <well>.geojson         for QuPath, with classes and measurements; nuclei as points; of more than
                                     `MOST_PLAIN_CELLS` cells <well>.geojson.gz with simplified outlines
    roi       <well>_RoiSet.zip      for ImageJ's ROI manager
    labels    <well>_labels.tif      label image; the value is the number in the name
    nuclei_roi  <well>_nuclei.roi    multi-point selection for ImageJ; goes with `roi` where nuclei were counted

All show the same cells in the same order, in the same colours. A cell is the pixels whose centres lie in its outline;
in the label image, which has one value a pixel, smaller cells cover larger ones. Every file is written whole or not at
all.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import shapely

from noise_mm.coco.annotations import write_coco
from noise_mm.csv_table import write_table
from noise_mm.files import write_all, write_bytes
from noise_mm.formats.geojson import write_geojson
from noise_mm.formats.imagej import write_imagej
from noise_mm.formats.imagej_points import write_multi_point
from noise_mm.formats.label_image import write_label_image
from noise_mm.geometry.outline import Outline
from noise_mm.geometry.packed_outlines import LazyOutlines
from noise_mm.measure.cells import CellMeasures
from noise_mm.patches.png_writer import png_bytes
from noise_mm.report.content import WellContent
from noise_mm.report.output_files import GOES_WITH, PACKED_GEOJSON, WELL_SUFFIXES
from noise_mm.report.overlay import class_colours
from noise_mm.report.tables import CELL_COLUMNS, NUCLEI_COLUMNS, cell_row, nuclei_rows
from noise_mm.scale import scale_to_reference

IMAGEJ_SLICE = 1
"""The only one of a well image."""

MOST_PLAIN_CELLS = 20_000
"""In a plain GeoJSON file, about 100 MB; with more cells it is packed, and outlines are simplified."""

SIMPLIFIED_PX = 0.75
"""How far simplified outlines may be off, at the reference magnification. Outlines run along pixels there: less than
0.71 px, the corner of a step, would leave them as they are."""

FIRST_UNREADABLE_PX = 2**32
"""pycocotools counts the pixels of a mask in 32 bits; for images of so many pixels polygons are written instead."""


def write_files(folder: Path, content: WellContent, formats: Sequence[str]) -> dict[str, str]:
    """Write the files of one well.

    Args:
        folder: Where they go.
        content: What they show.
        formats: Of `noise_mm.report.output_files.FORMATS`.

    Returns:
        The names of the files by format.

    Raises:
        InputError: If a file can't be written.
        FileInUseError: If another program holds files open; the others are written.
    """
    wanted = [name for name in WRITERS if GOES_WITH.get(name, name) in formats]
    if content.nuclei is None:
        wanted = [name for name in wanted if name not in GOES_WITH]
    elif not len(content.nuclei):
        wanted = [name for name in wanted if name != 'nuclei_roi']  # ImageJ has no selection without points
    files = {name: content.well + WELL_SUFFIXES[name] for name in wanted}
    if 'geojson' in files and is_packed(content):
        files['geojson'] = content.well + PACKED_GEOJSON
    write_all(partial(WRITERS[name], folder / file, content) for name, file in files.items())
    return files


def is_packed(content: WellContent) -> bool:
    """Return whether the well has so many cells that its GeoJSON file is packed."""
    return len(content.outlines) > MOST_PLAIN_CELLS


def qupath_measurements(cell: CellMeasures) -> dict[str, float]:
    """A cell's measures, named in the manner of QuPath's own cell detection; what is not known is left out."""
    measures = {
        'Cell: Area px^2': cell.area_px2,
        'Cell: Area µm^2': cell.area_um2,
        'Cell: Perimeter µm': cell.perimeter_um,
        'Cell: Equivalent diameter µm': cell.equivalent_diameter_um,
        'Cell: Solidity': cell.solidity,
        'Cell: Eccentricity': cell.eccentricity,
        'Cell: Nuclei': cell.nuclei,
        'Cell: Touches edge': cell.touches_edge,
    }
    return {name: value for name, value in measures.items() if value is not None}


def _write_coco(path: Path, content: WellContent) -> None:
    write_coco(
        path,
        content.outlines,
        content.image_name,
        content.size_px,
        rle=content.size_px[0] * content.size_px[1] < FIRST_UNREADABLE_PX,
        attributes=None if content.nuclei is None else ({'nuclei': cell.nuclei} for cell in content.cells),
        masks=content.masks,
        well=content.well,
        mpp_from=content.pixel.source,
        **({} if content.pixel.known_um is None else {'mpp': content.pixel.known_um}),
    )


def _write_nuclei(path: Path, content: WellContent) -> None:
    names = [outline.name for outline in content.outlines]
    rows = nuclei_rows(content.nuclei.xy_px, content.nuclei.scores, content.cell_of, names)
    write_table(path, NUCLEI_COLUMNS, rows)


def _write_geojson(path: Path, content: WellContent) -> None:
    outlines = content.outlines
    if is_packed(content):
        tolerance = SIMPLIFIED_PX / min(scale_to_reference(content.pixel.um), 1)
        outlines = LazyOutlines(len(outlines), lambda i: _simplified(content.outlines[i], tolerance))
    write_geojson(
        path,
        outlines,
        map(qupath_measurements, content.cells),
        colours=class_colours(outline.label for outline in content.outlines),
        nuclei_px=None if content.nuclei is None else content.nuclei.xy_px,
    )


def _simplified(outline: Outline, tolerance: float) -> Outline:
    return replace(outline, geometry=shapely.simplify(outline.geometry, tolerance))


def _write_roi(path: Path, content: WellContent) -> None:
    colours = class_colours(outline.label for outline in content.outlines)
    write_imagej(path, content.outlines, IMAGEJ_SLICE, colours)


def _write_labels(path: Path, content: WellContent) -> None:
    write_label_image(
        path, content.outlines, content.size_px, content.pixel.known_um, smaller_on_top=True, masks=content.masks
    )


WRITERS: dict[str, Callable[[Path, WellContent], None]] = {
    'coco': _write_coco,
    'csv': lambda path, content: write_table(path, CELL_COLUMNS, (cell_row(c, content.pixel) for c in content.cells)),
    'nuclei': _write_nuclei,
    'overlay': lambda path, content: write_bytes(path, png_bytes(content.overlay())),
    'geojson': _write_geojson,
    'roi': _write_roi,
    'labels': _write_labels,
    'nuclei_roi': lambda path, content: write_multi_point(path, content.nuclei.xy_px),
}
"""The writer of each format in `WELL_SUFFIXES`."""
