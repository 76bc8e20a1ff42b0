"""Label TIFFs: 0 is background, every other pixel value is one cell.

Labels are traced along pixel edges, so areas are pixel counts; they are written by the rule that a pixel belongs to the
outline that its centre lies in (see `pixels`). Neither way holds the image in memory: reading decodes each tile or
strip once and keeps the runs of labelled pixels, writing draws one row of tiles at a time.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from noise_mm.coco.file_issues import OutlineCollector
from noise_mm.errors import InputError
from noise_mm.files import replacing
from noise_mm.geometry.outline import Outline, parts_of
from noise_mm.geometry.pixels import fill_pixels, mask_of_runs, row_runs, trace

TILE_PX = 512
# What tifffile and the codecs raise on damaged files; imagecodecs' errors are RuntimeErrors.
DAMAGED = (tifffile.TiffFileError, OSError, ValueError, RuntimeError, IndexError, KeyError, struct.error, zlib.error)
BINARY_VALUES = (1, 255)  # of a mask, in which cells are not told apart


def read_label_image(
    path: str | Path, size_px: tuple[int, int] | None = None, label: str = 'osteoclast'
) -> list[Outline]:
    """The outlines of a label TIFF in the order of their values, each named after its value.

    A label that lies in several pieces gives one outline with several parts. Whole numbers stored as floats, as
    ImageJ stores 32-bit labels, are read too.

    Args:
        path: A TIFF with one channel; of several pages or levels the first is read.
        size_px: Width and height of the image, to check that the labels were made for it.
        label: Class of the outlines.

    Raises:
        InputError: If the file is damaged, has colours, negative or fractional values, another size, or is a mask in
            which cells are not told apart.
    """
    collector = OutlineCollector(path, 'Save the labels as a TIFF with whole numbers, 0 for the background.')
    try:
        with tifffile.TiffFile(path) as tiff:
            page = tiff.pages[0]
            _check_page(page, size_px, collector)
            runs = [_runs(band, y_px, collector) for y_px, band in _bands(page)]
    except FileNotFoundError as error:
        raise InputError(f'{path}: no such file. Check the path.') from error
    except DAMAGED as error:
        raise InputError(f'{path}: not a whole TIFF ({error}). Save it again.') from error
    values, rows, starts, ends = (np.concatenate(column) for column in zip(*runs, strict=True))
    order = np.argsort(values, kind='stable')
    found, firsts, counts = np.unique(values[order], return_index=True, return_counts=True)
    outlines = []
    for value, first, count in zip(found.tolist(), firsts, counts, strict=True):
        of_value = order[first : first + count]
        mask, x_px, y_px = mask_of_runs(rows[of_value], starts[of_value], ends[of_value])
        outlines.append(Outline(trace(mask, x_px, y_px), name=str(value), label=label))
    if len(outlines) == 1 and int(found[0]) in BINARY_VALUES and len(parts_of(outlines[0].geometry)) > 1:
        raise collector.error('all cells have the same value; give each its own, for example with connected components')
    return outlines


def write_label_image(
    path: str | Path,
    outlines: Sequence[Outline],
    size_px: tuple[int, int],
    um_per_px: float | None = None,
    *,
    smaller_on_top: bool = False,
) -> None:
    """Writes a tiled label TIFF, the first outline as 1, the second as 2 and so on; whole or not at all.

    Where outlines overlap, the later one is seen, or with `smaller_on_top` the smaller one. Pixels are 16-bit, or
    32-bit from 65,536 outlines on, compressed with Deflate without predictor: ImageJ 1.53t reads predicted files
    wrongly without a message.

    Args:
        path: File to write.
        outlines: The outlines; what lies outside the image is cut off.
        size_px: Width and height of the image.
        um_per_px: Resolution to be stored, if known.
        smaller_on_top: Whether a small cell that lies over a large one is always seen; of equally large ones the
            earlier one is.
    """
    width, height = size_px
    dtype = np.uint16 if len(outlines) < 2**16 else np.uint32
    with replacing(path) as temporary:
        tifffile.imwrite(
            temporary,
            _tiles(outlines, _drawing_order(outlines, smaller_on_top), size_px, dtype),
            shape=(height, width),
            dtype=dtype,
            tile=(TILE_PX, TILE_PX),
            compression='zlib',
            predictor=False,
            photometric='minisblack',
            bigtiff=width * height * np.dtype(dtype).itemsize > 2**31,  # classic TIFF ends at 4 GiB
            resolution=None if um_per_px is None else (1e4 / um_per_px, 1e4 / um_per_px),
            resolutionunit=None if um_per_px is None else 'CENTIMETER',
            metadata=None,
        )


def _check_page(page: tifffile.TiffPage, size_px: tuple[int, int] | None, collector: OutlineCollector) -> None:
    """Raises an error if a page can't hold labels of the image."""
    if page.samplesperpixel != 1:
        raise collector.error(f'has {page.samplesperpixel} channels; labels have one')
    if page.dtype is None or page.dtype.kind not in 'buif':
        raise collector.error(f'has pixels of the type {page.dtype}')
    if size_px is not None and (page.imagewidth, page.imagelength) != tuple(size_px):
        raise collector.error(
            f'has {page.imagewidth} x {page.imagelength} px, but its image {size_px[0]} x {size_px[1]} px'
        )


def _bands(page: tifffile.TiffPage) -> Iterator[tuple[int, NDArray]]:
    """The page from top to bottom as bands (rows, width), each one row of tiles or one strip, with its first row."""
    band, first_row = None, 0
    for segment, (_, _, y, x, _), shape in page.segments():
        if band is None or y != first_row:
            if band is not None:
                yield first_row, band
            rows = min(shape[1], page.imagelength - y)
            band, first_row = np.zeros((rows, page.imagewidth), dtype=page.dtype), y
        if segment is not None:  # None is a tile that the file leaves out because it is empty
            part = segment[0, : len(band), : page.imagewidth - x, 0]
            band[: part.shape[0], x : x + part.shape[1]] = part
    if band is not None:
        yield first_row, band


def _runs(band: NDArray, y_px: int, collector: OutlineCollector) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """The runs of labelled pixels in a band: values, rows, first columns and end columns."""
    values, rows, starts, ends = row_runs(band)
    if values.dtype.kind == 'f' and not (np.isfinite(values).all() and (values == np.floor(values)).all()):
        raise collector.error('has values that are not whole numbers')
    if (values < 0).any():
        raise collector.error('has negative values')
    return values.astype(np.int64), (rows + y_px).astype(np.int32), starts.astype(np.int32), ends.astype(np.int32)


def _drawing_order(outlines: Sequence[Outline], smaller_on_top: bool) -> NDArray[np.int64]:
    """Indices of the outlines in the order in which they are drawn over each other."""
    if not smaller_on_top:
        return np.arange(len(outlines))
    areas = np.array([outline.geometry.area for outline in outlines])
    return np.argsort(areas, kind='stable')[::-1]


def _tiles(
    outlines: Sequence[Outline], order: NDArray[np.int64], size_px: tuple[int, int], dtype: type
) -> Iterator[NDArray]:
    """The tiles of the label image, row by row, each (`TILE_PX`, `TILE_PX`)."""
    width, height = size_px
    columns = -(-width // TILE_PX)
    bounds = np.array([outline.geometry.bounds for outline in outlines]).reshape(-1, 4)[order]
    for y in range(0, height, TILE_PX):
        band = np.zeros((TILE_PX, columns * TILE_PX), dtype=dtype)
        for place in np.nonzero((bounds[:, 1] < y + TILE_PX) & (bounds[:, 3] > y))[0].tolist():
            left, top, right, bottom = bounds[place]
            x0, x1 = max(int(left), 0), min(int(np.ceil(right)), width)
            y0, y1 = max(int(top), y), min(int(np.ceil(bottom)), y + TILE_PX, height)
            if x0 < x1 and y0 < y1:
                inside = fill_pixels(outlines[order[place]].geometry, x0, y0, x1 - x0, y1 - y0)
                band[y0 - y : y1 - y, x0:x1][inside] = order[place] + 1
        for x in range(0, columns * TILE_PX, TILE_PX):
            yield band[:, x : x + TILE_PX]
