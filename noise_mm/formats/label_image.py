"""Label images, TIFF or PNG: 0 is background, every other pixel value is one cell.

Labels are traced along pixel edges, so areas are pixel counts; they are written by the rule that a pixel belongs to the
outline that its centre lies in (see `pixels`). Neither way holds a TIFF in memory: reading decodes each tile or strip
once and keeps the runs of labelled pixels, writing draws one band of rows at a time.
"""

import math
import zlib
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import NamedTuple

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL.PngImagePlugin import PngImageFile
from shapely import MultiPolygon, Polygon

from noise_mm.coco.file_issues import OutlineCollector
from noise_mm.errors import InputError
from noise_mm.files import read_bytes, replacing
from noise_mm.formats.damaged_tiff import DAMAGED, check_chain
from noise_mm.formats.png import PNG_SIGNATURE, without_metadata
from noise_mm.geometry.cell_masks import CellMask, cell_masks
from noise_mm.geometry.outline import Outline, parts_of
from noise_mm.geometry.pixels import mask_of_runs, row_runs, trace

LABEL_AFFIXES = (
    '_labels', '_label', '_cp_masks', '_masks', '_mask', '_cp_outlines', '_cp_output', '_flows', '_outlines',
    '_instances', '_segmentation', '_seg', '_overlay', '_probabilities', '_object predictions',
    '_simple segmentation',
)  # fmt: skip
"""How names of label images end that Cellpose, napari, ilastik and this project put beside the image, in small letters.

Hyphens and spaces stand for underscores."""

LABEL_PREFIXES = ('labels_', 'label_', 'masks_', 'mask_')
LABEL_FOLDERS = ('labels', 'label', 'masks', 'mask', 'segmentation', 'segmentations')

BAND_PX = 512
LARGEST_IMAGEJ_PX = 16_384
LARGEST_PNG_PX = 2**30
LARGEST_BAND_BYTES = 2**31


class Runs(NamedTuple):
    """The runs of labelled pixels in a page, from `starts` to `ends` (not included) in `rows`; each array (n,)."""

    values: NDArray[np.int64]
    rows: NDArray[np.int32]
    starts: NDArray[np.int32]
    ends: NDArray[np.int32]


def is_label_image_name(path: Path) -> bool:
    """Return whether a file is named like a label image that lies beside its image; see `LABEL_AFFIXES`."""
    name = path.name.removesuffix(path.suffix).lower().removesuffix('.ome').replace('-', '_')
    ends = tuple(affix.replace(' ', '_') for affix in LABEL_AFFIXES)
    return name.replace(' ', '_').endswith(ends) or name.startswith(LABEL_PREFIXES)


def read_label_image(
    path: str | Path, size_px: tuple[int, int] | None = None, notes: list[str] | None = None
) -> list[Outline]:
    """Return the outlines of a label image in the order of their values, each named after its value.

    One of several labels that lies in several pieces gives one outline with several parts. Whole numbers stored as
    floats, as ImageJ stores 32-bit labels, are read too. Several pages are either one cell each, which may overlap
    (named after the page), or labels that differ from page to page; anything else is refused.

    Args:
        path: A TIFF or PNG with one channel; smaller levels of a pyramid are not read.
        size_px: Width and height of the image, to check that the labels were made for it.
        notes: Takes how several pages were read.

    Raises:
        InputError: If the file is damaged, has colours, negative or fractional values, another size, pages that do not
            fit together, or is a mask in which cells are not told apart.
    """
    remedy = 'Save the labels as a TIFF with whole numbers, 0 for the background.'
    collector = OutlineCollector(path, remedy, notes=[] if notes is None else notes)
    is_png = read_bytes(path, len(PNG_SIGNATURE)) == PNG_SIGNATURE
    try:
        planes = [_png_runs(path, size_px, collector)] if is_png else _tiff_runs(path, size_px, collector)
    except DAMAGED as error:
        kind = 'PNG' if is_png else 'TIFF'
        raise InputError(
            f'{path}: not a whole {kind} ({str(error) or type(error).__name__}). Save it again.'
        ) from error
    outlines = [Outline(geometry, name=name) for name, geometry in _cells(planes, collector)]
    for outline in outlines:
        if size_px is not None and outline.geometry.area > math.prod(size_px) / 2:
            collector.note(f'the value {outline.name} covers more than half of the image; only 0 is background')
    return outlines


def write_label_image(
    path: str | Path,
    outlines: Sequence[Outline],
    size_px: tuple[int, int],
    um_per_px: float | None = None,
    *,
    smaller_on_top: bool = False,
    masks: Sequence[CellMask] | None = None,
) -> None:
    """Write a label TIFF, the first outline as 1, the second as 2 and so on; whole or not at all.

    Where outlines overlap, the later one is seen, or with `smaller_on_top` the smaller one. Pixels are 16-bit, or
    32-bit from 65,536 outlines on, compressed with Deflate without predictor: ImageJ 1.53t reads predicted files
    wrongly without a message. Up to `LARGEST_IMAGEJ_PX` a side rows lie in strips, because ImageJ opens no tiled TIFF;
    larger images, which ImageJ could not hold, are tiled.

    Args:
        path: File to write.
        outlines: The outlines; what lies outside the image is cut off.
        size_px: Width and height of the image.
        um_per_px: Resolution to be stored, if known.
        smaller_on_top: Whether a small cell that lies over a large one is always seen; of equally large ones the
            earlier one is.
        masks: The pixels of the outlines, if they were rasterised before.
    """
    width, height = size_px
    dtype = np.uint16 if len(outlines) < 2**16 else np.uint32
    order = np.arange(len(outlines))
    if smaller_on_top:
        order = np.argsort([outline.geometry.area for outline in outlines], kind='stable')[::-1]
    drawn = _drawn_bands(masks or cell_masks(outlines, size_px), order, size_px, dtype)
    if max(size_px) <= LARGEST_IMAGEJ_PX:
        layout = {'rowsperstrip': BAND_PX}
        data = (zlib.compress(band[:, :width].tobytes()) for band in drawn)
    else:
        layout = {'tile': (BAND_PX, BAND_PX)}
        columns = range(0, width, BAND_PX)
        data = (np.pad(band, ((0, BAND_PX - len(band)), (0, 0)))[:, x : x + BAND_PX] for band in drawn for x in columns)
    with replacing(path) as temporary:
        tifffile.imwrite(
            temporary,
            data,
            **layout,
            shape=(height, width),
            dtype=dtype,
            compression='zlib',
            predictor=False,
            photometric='minisblack',
            bigtiff=width * height * np.dtype(dtype).itemsize > 2**31,  # classic TIFF ends at 4 GiB
            resolution=None if um_per_px is None else (1e4 / um_per_px, 1e4 / um_per_px),
            resolutionunit=None if um_per_px is None else 'CENTIMETER',
            metadata=None,
        )


def _png_runs(path: str | Path, size_px: tuple[int, int] | None, collector: OutlineCollector) -> Runs:
    """Return the runs of labelled pixels in a PNG, which is decoded whole."""
    with PngImageFile(path) as image:
        _check_size(image.size, size_px, collector)
        if getattr(image, 'n_frames', 1) > 1:
            raise collector.error(f'is an animation of {image.n_frames} pictures; labels have one')
        if image.width * image.height > LARGEST_PNG_PX:
            raise collector.error(f'has {image.width} x {image.height} px, too many for a PNG')
    pixels = imagecodecs.png_decode(without_metadata(Path(path).read_bytes()))
    if pixels.ndim != 2:
        raise collector.error(f'has {pixels.shape[-1]} channels; labels have one')
    return _runs(pixels, 0, collector)


def _tiff_runs(path: str | Path, size_px: tuple[int, int] | None, collector: OutlineCollector) -> list[Runs]:
    """Return the runs of labelled pixels of each page of a TIFF."""
    with tifffile.TiffFile(path) as tiff:
        check_chain(path, tiff)
        pages = [page for page in tiff.pages if not page.is_reduced]
        if len(pages) < len(tiff.pages):
            collector.note(f'{len(tiff.pages) - len(pages)} smaller levels are not read')
        series = tiff.series[0]
        n_planes = math.prod(n for n, axis in zip(series.shape, series.axes, strict=True) if axis not in 'YXS')
        if 'T' in series.axes and series.shape[series.axes.index('T')] > 1:
            raise collector.error(f'has {series.shape[series.axes.index("T")]} time points; labels have one')
        for page in pages:
            _check_page(page, size_px, collector)
        if n_planes > len(pages):  # ImageJ's compact stacks have a directory for the first plane only
            if series.nbytes > LARGEST_BAND_BYTES:
                raise collector.error(f'has {n_planes} pages without directories of their own; save a file for each')
            planes = series.asarray().reshape(-1, *series.keyframe.shape[:2])
            return [_runs(plane, 0, collector) for plane in planes]
        of_pages = [[_runs(band, y_px, collector) for y_px, band in _bands(page)] for page in pages]
        return [Runs(*map(np.concatenate, zip(*of_bands, strict=True))) for of_bands in of_pages]


def _check_size(found_px: tuple[int, int], size_px: tuple[int, int] | None, collector: OutlineCollector) -> None:
    """Raise an error if a page is not of the size (width, height) of its image."""
    if size_px is not None and found_px != tuple(size_px):
        raise collector.error(f'has {found_px[0]} x {found_px[1]} px, but its image {size_px[0]} x {size_px[1]} px')


def _check_page(page: tifffile.TiffPage, size_px: tuple[int, int] | None, collector: OutlineCollector) -> None:
    """Raise an error if a page can't hold labels of the image."""
    if page.samplesperpixel != 1:
        raise collector.error(f'has {page.samplesperpixel} channels; labels have one')
    if page.dtype is None or page.dtype.kind not in 'buif':
        raise collector.error(f'has pixels of the type {page.dtype}')
    _check_size((page.imagewidth, page.imagelength), size_px, collector)
    rows = page.tilelength * page.tiledepth if page.is_tiled else min(page.rowsperstrip, page.imagelength)
    if rows * max(page.imagewidth, page.tilewidth) * page.dtype.itemsize > LARGEST_BAND_BYTES:
        raise collector.error('must be decoded in one piece of more than 2 GiB')


def _cells(planes: Sequence[Runs], collector: OutlineCollector) -> list[tuple[str, Polygon | MultiPolygon]]:
    """Return the name and geometry of each cell."""
    filled = [(str(number), runs) for number, runs in enumerate(planes, start=1) if len(runs.values)]
    values = [np.unique(runs.values) for _, runs in filled]
    if len(planes) == 1:
        cells = [(str(value), geometry) for _, runs in filled for value, geometry in _traced(runs)]
        if len(cells) == 1:
            _refuse_binary(cells[0][1], collector)
        return cells
    empty = f', {len(planes) - len(filled)} of them empty' if len(filled) < len(planes) else ''
    if all(len(of_page) == 1 for of_page in values):
        collector.note(f'{len(planes)} pages{empty}: each is taken for one cell')
        cells = [(number, geometry) for number, runs in filled for _, geometry in _traced(runs)]
        for _, geometry in cells:
            _refuse_binary(geometry, collector)
        same = next((pair for pair in pairwise(cells) if pair[0][1].equals(pair[1][1])), None)
        if same:
            raise collector.error(f'pages {same[0][0]} and {same[1][0]} are the same; a page holds a cell of its own')
        return cells
    if len(np.unique(np.concatenate(values))) < sum(map(len, values)):
        raise collector.error(
            f'has {len(planes)} pages with several labels each, some of the same number, so which are the same cell is '
            'not clear; keep one page, or give each cell a page or number of its own'
        )
    collector.note(f'{len(planes)} pages{empty} with different labels: all are taken for one image')
    return [(str(value), geometry) for _, runs in filled for value, geometry in _traced(runs)]


def _refuse_binary(geometry: Polygon | MultiPolygon, collector: OutlineCollector) -> None:
    """Raise an error if the one label of a page looks like a mask in which cells are not told apart."""
    if len(parts_of(geometry)) > 1:
        raise collector.error('all cells have the same value; give each its own, for example with connected components')


def _traced(runs: Runs) -> list[tuple[int, Polygon | MultiPolygon]]:
    """Return value and geometry of each label, in the order of the values."""
    order = np.argsort(runs.values, kind='stable')
    found, firsts, counts = np.unique(runs.values[order], return_index=True, return_counts=True)
    traced = []
    for value, first, count in zip(found.tolist(), firsts, counts, strict=True):
        of_value = order[first : first + count]
        mask, x_px, y_px = mask_of_runs(runs.rows[of_value], runs.starts[of_value], runs.ends[of_value])
        traced.append((value, trace(mask, x_px, y_px)))
    return traced


def _bands(page: tifffile.TiffPage) -> Iterator[tuple[int, NDArray]]:
    """Yield the page from top to bottom as bands (rows, width), each a row of tiles or a strip, with its first row."""
    for y, segments in groupby(page.segments(), key=lambda segment: segment[1][2]):
        band = None
        for segment, (_, _, _, x, _), shape in segments:
            if band is None:
                band = np.zeros((min(shape[1], page.imagelength - y), page.imagewidth), dtype=page.dtype)
            if segment is not None:  # None is a tile that the file leaves out because it is empty
                part = segment[0, : len(band), : page.imagewidth - x, 0]
                band[: part.shape[0], x : x + part.shape[1]] = part
        yield y, band


def _runs(band: NDArray, y_px: int, collector: OutlineCollector) -> Runs:
    """Return the runs of labelled pixels in a band (rows, width) whose first row is `y_px`."""
    values, rows, starts, ends = row_runs(band)
    if values.dtype.kind == 'f' and not (np.isfinite(values).all() and (values == np.floor(values)).all()):
        raise collector.error('has values that are not whole numbers')
    if (values < 0).any():
        raise collector.error('has negative values')
    places = (array.astype(np.int32) for array in (rows + y_px, starts, ends))
    return Runs(values.astype(np.int64), *places)


def _drawn_bands(
    masks: Sequence[CellMask], order: NDArray[np.int64], size_px: tuple[int, int], dtype: type
) -> Iterator[NDArray]:
    """Yield the label image as bands of `BAND_PX` rows; the last is shorter, all are filled up to whole tiles."""
    width, height = size_px
    columns = -(-width // BAND_PX)
    tops, heights = (np.array([mask[i] for mask in masks], dtype=np.int64)[order] for i in (1, 3))
    for y in range(0, height, BAND_PX):
        band = np.zeros((min(BAND_PX, height - y), columns * BAND_PX), dtype=dtype)
        for index in order[(tops < y + BAND_PX) & (tops + heights > y)].tolist():
            mask = masks[index]
            first, end = max(mask.y - y, 0), min(mask.y + mask.height - y, len(band))
            inside = mask.pixels()[first + y - mask.y : end + y - mask.y]
            band[first:end, mask.x : mask.x + mask.width][inside] = index + 1
        yield band
