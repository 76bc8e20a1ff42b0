"""The files of a sample well, and whether they are there already.

OUT/<batch>/wells/<well>.tif    the picture, with 0.7784 um/px in its resolution tags
OUT/<batch>/rois/<well>.zip     outlines of the osteoclasts for ImageJ's ROI manager, named OC0001, OC0002, ...
OUT/<batch>/nuclei/<well>.csv   nuclei of osteoclasts and pre-osteoclasts as points (VIA)
OUT/<batch>/labels/<well>.tif   true instance labels; the value is the number in the outline's name
OUT/<batch>/truth/<well>.json   every cell: kind, nuclei, place, area; written last, so it tells that a well is finished
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import imagecodecs
import numpy as np
import tifffile

from noise_mm.errors import InputError
from noise_mm.files import replacing
from noise_mm.formats.imagej import write_imagej
from noise_mm.formats.label_image import write_label_image
from noise_mm.formats.via import ViaPoint, write_via_points
from noise_mm.geometry.outline import Outline
from noise_mm.scale import REFERENCE_UM_PER_PX
from sample_cultures import generator_hash
from sample_cultures.batches import DOMAIN_SHIFT, batch_named
from sample_cultures.optics import Microscope
from sample_cultures.well import VisibleCell, Well, outline_of

GENERATOR_VERSION = 2  # to be raised when the same seed gives other cultures
_BAND_PX = 512  # rows that are rendered at a time
_WINDOW_PX = 1024  # columns that are rendered at a time
_STRIP_PX = 64
# ImageJ itself opens no tiled TIFF, only its plugin Bio-Formats does. So what people may want to open there is written
# in strips, and larger wells in tiles, from which windows are read faster.
_LARGEST_STRIPED_PX = 16384


@dataclass(frozen=True)
class WellTask:
    """One well to be written.

    Attributes:
        out: Folder of the whole set.
        batch: Name of the batch.
        well: Name of the well.
        seed: Seed of the whole set.
        size_px: Side of the well.
        crowding: Factor on the density of large cells.
        domain_shift: How far human batches are from mouse (see `batches.batch_named`).
        with_nuclei: Whether nuclei points are written, too.
    """

    out: Path
    batch: str
    well: str
    seed: int
    size_px: int
    crowding: float
    with_nuclei: bool
    domain_shift: float = DOMAIN_SHIFT

    def path(self, folder: str, suffix: str) -> Path:
        """Where the file of this well in one of the batch's folders lies."""
        return self.out / self.batch / folder / f'{self.well}{suffix}'

    def settings(self) -> dict[str, Any]:
        """What decides the well's content; stored with it."""
        settings = {key: value for key, value in asdict(self).items() if key != 'out'}
        return {**settings, 'um_per_px': REFERENCE_UM_PER_PX, 'generator_version': GENERATOR_VERSION}


class WellCounts(NamedTuple):
    """What was drawn into a well; `nuclei` are those that can be seen in large cells."""

    osteoclasts: int
    pre_osteoclasts: int
    nuclei: int


def is_finished(task: WellTask) -> bool:
    """Whether the well was written before, with the same settings.

    Raises:
        InputError: If it was written with other settings, or its truth file is damaged.
    """
    path = task.path('truth', '.json')
    try:
        with open(path, encoding='utf-8') as file:
            head = file.readline()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise InputError(f'{path}: cannot be read ({error.strerror}). Check the output folder.') from error
    try:
        found = json.loads(head.rstrip().rstrip(',') + '}')
    except json.JSONDecodeError as error:
        raise InputError(f'{path}: damaged ({error}). Delete it, and the well is drawn again.') from error
    wanted = json.loads(json.dumps(task.settings()))
    different = [key for key in wanted if found.get(key) != wanted[key]]
    if different:
        facts = ', '.join(f'{key} {found.get(key)} and not {wanted[key]}' for key in different)
        raise InputError(f'{path}: the well was drawn with {facts}. Choose another output folder, or delete this one.')
    return True


def write_well(task: WellTask, on_progress: Callable[[int, int], None] | None = None) -> WellCounts:
    """Draws a well and writes its files, each whole or not at all, the truth last.

    Memory is bounded by a band of 512 rows and by the outlines, not by the picture.

    Args:
        task: The well.
        on_progress: Called with the number of rows drawn and of all rows.

    Raises:
        InputError: If the batch is unknown or the output folder can't be written to.
    """
    well = Well(
        batch_named(task.batch, task.domain_shift), task.well, task.seed, task.size_px, task.size_px, task.crowding
    )
    _remove_leftovers(task)
    with replacing(task.path('truth', '.json')) as truth_path:
        with open(truth_path, 'w', encoding='utf-8') as truth:
            head = {**task.settings(), 'generator_hash': generator_hash()}
            truth.write(json.dumps(head)[:-1] + ',\n"cells": [\n')
            outlines, nuclei, counts = _annotate(well, truth)
            truth.write('\n]}\n')
        size_px = (well.width_px, well.height_px)
        write_imagej(task.path('rois', '.zip'), outlines)
        write_label_image(task.path('labels', '.tif'), outlines, size_px, REFERENCE_UM_PER_PX)
        picture = task.path('wells', '.tif')
        write_picture(picture, well, on_progress)
        if task.with_nuclei:
            sizes = {picture.name: picture.stat().st_size}
            write_via_points(task.path('nuclei', '.csv'), {picture.name: nuclei}, sizes)
    return counts


def write_picture(path: Path, well: Well, on_progress: Callable[[int, int], None] | None = None) -> None:
    """Writes the picture of a well as RGB TIFF, whole or not at all.

    Deflate without predictor: ImageJ 1.53t reads predicted RGB files wrongly without a message.

    Raises:
        InputError: If the folder can't be written to.
    """
    striped = max(well.width_px, well.height_px) <= _LARGEST_STRIPED_PX
    bands = _bands(well, on_progress)
    per_cm = 1e4 / REFERENCE_UM_PER_PX
    with replacing(path) as temporary:
        tifffile.imwrite(
            temporary,
            _strips(bands) if striped else _tiles(bands),
            shape=(well.height_px, well.width_px, 3),
            dtype=np.uint8,
            photometric='rgb',
            rowsperstrip=_STRIP_PX if striped else None,
            tile=None if striped else (_BAND_PX, _BAND_PX),
            compression='zlib',
            predictor=False,
            bigtiff=well.width_px * well.height_px * 3 > 2**31,  # classic TIFF ends at 4 GiB
            resolution=(per_cm, per_cm),
            resolutionunit='CENTIMETER',
            metadata=None,
        )


def _annotate(well: Well, truth: TextIO) -> tuple[list[Outline], list[ViaPoint], WellCounts]:
    """Outlines and nuclei of a well; writes one line for each cell to the truth file."""
    outlines: list[Outline] = []
    points: list[ViaPoint] = []
    pre_osteoclasts = 0
    separator = ''
    for row in well.plot_rows:
        for cell in well.visible_cells(row):
            name = ''
            if cell.kind == 'osteoclast':
                name = f'OC{len(outlines) + 1:04d}'
                outlines.append(Outline(outline_of(cell), name=name))
            else:
                pre_osteoclasts += 1
            attributes = {'structure': 'nucleus', 'cell_type': cell.kind, 'cell': name}
            points += [ViaPoint(round(x, 1), round(y, 1), attributes) for x, y in cell.nuclei_xy_px.tolist()]
            truth.write(separator + json.dumps(_large_cell_facts(cell, len(outlines), well)))
            separator = ',\n'
        for facts in _small_cell_facts(well, row):
            truth.write(separator + json.dumps(facts))
            separator = ',\n'
    return outlines, points, WellCounts(len(outlines), pre_osteoclasts, len(points))


def _large_cell_facts(cell: VisibleCell, index: int, well: Well) -> dict[str, Any]:
    rows, columns = np.nonzero(cell.mask)
    red, blue = well.drawing(cell.plan).mean_stain
    return {
        'kind': cell.kind,
        'index': index if cell.kind == 'osteoclast' else None,
        'nuclei': len(cell.nuclei_xy_px),
        'nuclei_hidden': len(well.drawing(cell.plan).nuclei_xy_px) - len(cell.nuclei_xy_px),
        'x_px': round(float(columns.mean()) + cell.left_px + 0.5, 1),
        'y_px': round(float(rows.mean()) + cell.top_px + 0.5, 1),
        'area_px': len(rows),
        'area_um2': round(len(rows) * REFERENCE_UM_PER_PX**2, 1),
        'red_stain': round(red, 3),
        'blue_stain': round(blue, 3),
        'seed': cell.plan.seed,
    }


def _small_cell_facts(well: Well, row: int) -> Iterator[dict[str, Any]]:
    for column in well.plot_columns:
        for item in well.small_objects(row, column).cells:
            if 0 <= item.x_px < well.width_px and 0 <= item.y_px < well.height_px:
                area_px = well.sprites.small[item.kind][item.sprite].area_px
                yield {'kind': item.kind, 'nuclei': 1, 'x_px': item.x_px, 'y_px': item.y_px, 'area_px': area_px}


def _bands(well: Well, on_progress: Callable[[int, int], None] | None) -> Iterator[np.ndarray]:
    """The picture from top to bottom, `_BAND_PX` rows at a time, (rows, width, 3) uint8."""
    microscope = Microscope(well)
    for top in range(0, well.height_px, _BAND_PX):
        rows = min(_BAND_PX, well.height_px - top)
        band = np.empty((rows, well.width_px, 3), np.uint8)
        for left in range(0, well.width_px, _WINDOW_PX):
            columns = min(_WINDOW_PX, well.width_px - left)
            band[:, left : left + columns] = microscope.window(left, top, columns, rows)
        if on_progress is not None:
            on_progress(top + rows, well.height_px)
        yield band


def _strips(bands: Iterator[np.ndarray]) -> Iterator[bytes]:
    """Compressed strips from top to bottom."""
    for band in bands:
        for top in range(0, len(band), _STRIP_PX):
            yield _deflated(band[top : top + _STRIP_PX])


def _tiles(bands: Iterator[np.ndarray]) -> Iterator[bytes]:
    """Compressed square tiles, row by row; those at the right and the lower border are filled up with white."""
    for band in bands:
        for left in range(0, band.shape[1], _BAND_PX):
            part = band[:, left : left + _BAND_PX]
            tile = np.full((_BAND_PX, _BAND_PX, 3), 255, np.uint8)
            tile[: part.shape[0], : part.shape[1]] = part
            yield _deflated(tile)


def _deflated(pixels: np.ndarray) -> bytes:
    # The fastest level: camera noise hardly compresses, however long one tries.
    return imagecodecs.deflate_encode(np.ascontiguousarray(pixels), 1)


def _remove_leftovers(task: WellTask) -> None:
    """Removes what an earlier, killed run left half written of this well (see noise_mm.files.replacing)."""
    for folder in ('wells', 'rois', 'nuclei', 'labels', 'truth'):
        for leftover in (task.out / task.batch / folder).glob(f'.{task.well}-*'):
            leftover.unlink(missing_ok=True)
