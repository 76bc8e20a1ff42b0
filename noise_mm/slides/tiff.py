"""TIFF, BigTIFF, OME-TIFF and Aperio SVS, chunk by chunk, after TIFF revision 6.0 and its BigTIFF extension.

tifffile finds the images of a file and decodes one compressed segment at a time; this module reads the segments' bytes,
checks that they are all there, groups thin strips and turns the samples into 8-bit RGB. (Reading through tifffile's
zarr store gives the same pixels, but it fills missing segments with zeros, that is black.)
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tifffile

from noise_mm.errors import InputError
from noise_mm.formats.damaged_tiff import DAMAGED, check_chain
from noise_mm.geometry.orientation import ORIENTATIONS, UPRIGHT
from noise_mm.geometry.outline import LARGEST_PX
from noise_mm.slides.chunked import BACKGROUND, Rgb, Slide
from noise_mm.slides.color import eight_bit, rgb_from_ycbcr, rgb_on_white
from noise_mm.slides.pixel_size import agreed_mpp, of_tags
from noise_mm.slides.shared_file import SharedFile
from noise_mm.slides.tiff_images import TiffImage, TiffImages, chosen_image, images_in

JPEG_COMPRESSIONS = (6, 7, 33007, 34892)
APERIO_JPEG2000_YCBCR = 33003  # its components are never turned into RGB by a decoder, whatever the tag says
PREMULTIPLIED, UNSPECIFIED_SAMPLE = 1, 0  # values of the ExtraSamples tag; the other, 2, is plain opacity

SMALLEST_CHUNK_ROWS = 64
"""Thin strips are decoded in groups of at least this many rows: one row costs more to handle than to decode."""

LARGEST_CHUNK_BYTES = 3 * 2**30
"""A strip or tile larger than this when decoded is refused; 100,000 px wells would need 30 GB."""

SAMPLE_PX, MOST_LEVEL_DIFFERENCE = 32, 12
"""Side of the places at which two images are compared, and grey values by which their means may differ."""

AXIS_NAMES = {'Z': 'focal planes', 'C': 'channels as separate planes', 'T': 'time points', 'I': 'images', 'Q': 'images'}


def jpeg_is_complete(data: bytes) -> bool:
    """Return whether a JPEG stream has its end marker: decoders fill what is missing with grey and don't complain."""
    # it has to come after the last start of scan; an embedded preview has its own before
    return data.rfind(b'\xff\xd9') > data.rfind(b'\xff\xda')


class TiffSlide(Slide):
    """One resolution level of an image in a TIFF file."""

    def __init__(self, path: Path, tiff: tifffile.TiffFile, image: TiffImage, is_level: bool = False) -> None:
        """Check the first level of `image` without decoding anything; see `open`. A level's pixel size is not asked."""
        self._tiff, self._image = tiff, image
        self._page, self._frame = image.levels[0].pages[0], image.levels[0].keyframe
        _check_layout(path, image.levels[0], self._frame)
        self._rows_per_chunk = _rows_per_chunk(self._frame)
        chunk_width_px = self._frame.tilewidth if self._frame.is_tiled else self._frame.imagewidth
        size_px = (self._frame.imagewidth, self._frame.imagelength)
        super().__init__(path, size_px, (chunk_width_px, self._rows_per_chunk), None)
        self._mpp = None if is_level else _stated_mpp(path, tiff, image)
        self._file = SharedFile(path)
        self._is_flat = _is_flat(self._frame)
        self.empty_segments = _check_extent(path, self._page, self._frame, self._file.size_bytes)
        orientation = self._frame.tags.valueof(274, UPRIGHT)
        self.orientation = orientation if orientation in ORIENTATIONS else UPRIGHT

    @classmethod
    def open(cls, path: Path, scene: int | None = None) -> 'TiffSlide':
        """Return the full resolution of an image in the file.

        Args:
            path: The file.
            scene: Number of the image, from 1, where there are several.

        Raises:
            InputError: If the file is truncated, damaged, holds several images of which none is chosen, or a kind of
                image that is refused.
        """
        with naming(path, 'truncated or damaged TIFF'):
            tiff = tifffile.TiffFile(path)
            try:
                check_chain(path, tiff)
                found = _with_unstated_levels(path, tiff, images_in(path, tiff))
                slide = cls(path, tiff, chosen_image(path, found.images, scene))
                slide.notes += found.notes
                return slide
            except BaseException:
                tiff.close()
                raise

    def close(self) -> None:
        """Close the file."""
        super().close()
        self._file.close()
        self._tiff.close()

    def smaller_levels(self) -> list[Slide]:
        """Return the smaller levels of the pyramid, largest first."""
        with naming(self.path, 'damaged pyramid in the TIFF'):
            rest = [self._image.levels[index:] for index in range(1, len(self._image.levels))]
            return [TiffSlide(self.path, self._tiff, self._image._replace(levels=levels), True) for levels in rest]

    def decode_chunk(self, row: int, column: int) -> Rgb:
        """Return one tile, or one group of strips."""
        width_px = min(self.chunk_width_px, self.width_px - column * self.chunk_width_px)
        height_px = min(self.chunk_height_px, self.height_px - row * self.chunk_height_px)
        if self._is_flat:
            return _to_rgb(self._flat_rows(row * self.chunk_height_px, height_px), self._frame)
        if self._frame.is_tiled:
            rgb = self._segment_rgb(row * math.ceil(self.width_px / self._frame.tilewidth) + column)
            return rgb[:height_px, :width_px]
        first = row * self._rows_per_chunk // self._frame.rowsperstrip
        end = math.ceil((row * self._rows_per_chunk + height_px) / self._frame.rowsperstrip)
        strips = [self._segment_rgb(index) for index in range(first, end)]
        return (strips[0] if len(strips) == 1 else np.concatenate(strips))[:height_px]

    def _segment_rgb(self, index: int) -> Rgb:
        """Return one tile or strip, all its colour planes; white where the file leaves it out."""
        planes = self._frame.samplesperpixel if self._frame.planarconfig == 2 else 1
        per_plane = len(self._page.dataoffsets) // planes
        indices = [plane * per_plane + index for plane in range(planes)]
        if not all(self._page.databytecounts[segment] for segment in indices):
            high = self.chunk_height_px if self._frame.is_tiled else self._frame.rowsperstrip
            return np.full((high, self.chunk_width_px, 3), BACKGROUND, np.uint8)
        samples = [self._segment(segment) for segment in indices]
        return _to_rgb(samples[0] if planes == 1 else np.concatenate(samples, axis=2), self._frame)

    def _segment(self, index: int) -> npt.NDArray[np.generic]:
        """Return one decoded tile or strip as stored, shape (height, width, samples)."""
        data = self._read_bytes(self._page.dataoffsets[index], self._page.databytecounts[index])
        tables = {}
        if self._frame.compression in JPEG_COMPRESSIONS:
            tables = {'jpegtables': self._page.jpegtables, 'jpegheader': self._frame.jpegheader}
            if not jpeg_is_complete(data):
                raise InputError(f'{self.path}: truncated JPEG data in tile or strip {index}. Copy or export it again.')
        with naming(self.path, f'cannot decode tile or strip {index}'):
            decoded, _, shape = self._frame.decode(data, index, **tables)
        return decoded[0, : shape[1]]  # JPEG strips are padded to whole blocks

    def _flat_rows(self, first: int, rows: int) -> npt.NDArray[np.generic]:
        """Return rows of an uncompressed image that lies in one piece, shape (rows, width, samples)."""
        dtype = np.dtype(self._tiff.byteorder + self._frame.dtype.char)
        planes = self._frame.samplesperpixel if self._frame.planarconfig == 2 else 1
        row_bytes = self.width_px * dtype.itemsize * (self._frame.samplesperpixel // planes)
        parts = []
        for plane in range(planes):
            offset = self._page.dataoffsets[0] + (plane * self.height_px + first) * row_bytes
            data = self._read_bytes(offset, rows * row_bytes)
            parts.append(np.frombuffer(data, dtype).reshape(rows, self.width_px, -1))
        return np.concatenate(parts, axis=2)

    def _read_bytes(self, offset: int, length: int) -> bytes:
        """Return bytes of the file; all of them or an error."""
        data = self._file.read(offset, length)
        if len(data) < length:
            raise InputError(f'{self.path}: the file is truncated. Copy or export it again.')
        return data


def _with_unstated_levels(path: Path, tiff: tifffile.TiffFile, found: TiffImages) -> TiffImages:
    """Join images that show the same as the first one at a half, a quarter and so on of its size, as its levels."""
    first, *others = found.images
    levels, kept = [], [first]
    for other in others:
        small, large = other.levels[0].keyframe, first.levels[0].keyframe
        scale = round(large.imagewidth / small.imagewidth)
        sides = ((large.imagewidth, small.imagewidth), (large.imagelength, small.imagelength))
        is_power = scale > 1 and scale & (scale - 1) == 0
        if is_power and all(abs(side - of_small * scale) <= scale for side, of_small in sides):
            slides = [TiffSlide(path, tiff, image, is_level=True) for image in (first, other)]
            if _show_the_same(*slides, scale):
                levels += other.levels
                continue
        kept.append(other)
    if not levels:
        return found
    note = f'{len(levels)} smaller pages show the same and are taken for levels of a pyramid'
    return TiffImages([first._replace(levels=[*first.levels, *levels]), *kept[1:]], [*found.notes, note])


def _show_the_same(large: Slide, small: Slide, scale: int) -> bool:
    """Return whether a smaller image shows what a larger one shows, by nine places of it."""
    for row, column in product(range(3), range(3)):
        width, height = min(SAMPLE_PX, small.width_px), min(SAMPLE_PX, small.height_px)
        x, y = (small.width_px - width) * column // 2, (small.height_px - height) * row // 2
        one = small.read(x, y, width, height).mean(axis=(0, 1))
        other = large.read(x * scale, y * scale, width * scale, height * scale).mean(axis=(0, 1))
        if np.abs(one - other).max() > MOST_LEVEL_DIFFERENCE:
            return False
    return True


@contextmanager
def naming(path: Path, what: str) -> Iterator[None]:
    """Turn what tifffile and the decoders raise for bad files into an InputError that names the file."""
    try:
        yield
    except DAMAGED as error:
        reason = ' '.join(str(error).split()) or type(error).__name__
        raise InputError(f'{path}: {what} ({reason}). Copy or export it again.') from error


def _check_layout(path: Path, level: tifffile.TiffPageSeries, frame: tifffile.TiffPage) -> None:
    """Refuse what can't be shown as one RGB image."""
    for axis, length in zip(level.axes, level.shape, strict=True):
        if axis not in 'YXS' and length > 1:
            what = AXIS_NAMES.get(axis, f'positions along axis {axis}')
            raise InputError(
                f'{path}: holds {length} {what}. Save a single RGB plane (ImageJ: Image > Type > RGB Color).'
            )
    if not (0 < frame.imagewidth <= LARGEST_PX and 0 < frame.imagelength <= LARGEST_PX):
        raise InputError(f'{path}: an image of {frame.imagewidth} x {frame.imagelength} px. Copy or export it again.')
    photometric, dtype = frame.photometric, frame.dtype
    if photometric not in (0, 1, 2, 3, 6):
        raise InputError(f'{path}: colour model {photometric!r} is not supported. Save it as 8-bit RGB.')
    if dtype is None or dtype.kind not in 'ub' or frame.bitspersample > 16:
        raise InputError(f'{path}: pixels of type {dtype} are not supported. Save it as 8-bit RGB.')
    if photometric == 3 and np.shape(frame.colormap) != (3, 2**frame.bitspersample):
        raise InputError(f'{path}: a palette image without its colours. Save it as 8-bit RGB.')
    if frame.samplesperpixel < 3 and photometric in (2, 6):
        raise InputError(f'{path}: a colour image with {frame.samplesperpixel} samples a pixel. Save it as 8-bit RGB.')


def _is_flat(frame: tifffile.TiffPage) -> bool:
    """Return whether rows can be read at computed places: uncompressed, whole bytes, in one piece, no tiles."""
    return bool(
        frame.is_contiguous and frame.compression == 1 and frame.predictor == 1 and frame.fillorder == 1
        and not frame.is_tiled and not frame.is_subsampled and frame.bitspersample in (8, 16) and frame.photometric != 3
    )  # fmt: skip


def _rows_per_chunk(frame: tifffile.TiffPage) -> int:
    """Return how many rows are decoded together: those of a tile, or of a group of strips."""
    if frame.is_tiled:
        return frame.tilelength
    if _is_flat(frame):
        return SMALLEST_CHUNK_ROWS
    return frame.rowsperstrip * math.ceil(SMALLEST_CHUNK_ROWS / frame.rowsperstrip)


def _check_extent(path: Path, page: tifffile.TiffPage, frame: tifffile.TiffPage, file_bytes: int) -> int:
    """Check that every segment lies inside the file, before any work is done; return how many it leaves out."""
    offsets = np.asarray(page.dataoffsets, np.int64)
    lengths = np.asarray(page.databytecounts, np.int64)
    high, wide = (frame.tilelength, frame.tilewidth) if frame.is_tiled else (frame.rowsperstrip, frame.imagewidth)
    expected = math.ceil(frame.imagelength / high) * math.ceil(frame.imagewidth / wide)
    expected *= frame.samplesperpixel if frame.planarconfig == 2 else 1
    if not (_is_flat(frame) and len(offsets) == 1) and not len(offsets) == len(lengths) == expected:
        raise InputError(f'{path}: lists {len(offsets)} tiles or strips instead of {expected}. Export it again.')
    if (offsets + lengths).max(initial=0) > file_bytes:
        missing = int((offsets + lengths).max()) - file_bytes
        raise InputError(
            f'{path}: the file is truncated, at least {missing} bytes are missing. Copy or export it again.'
        )
    if not lengths.any():
        raise InputError(f'{path}: the file holds no pixels, every tile is empty. Export it again.')
    chunk_bytes = high * wide * 3 * (frame.bitspersample + 7) // 8
    if not _is_flat(frame) and chunk_bytes > LARGEST_CHUNK_BYTES:
        raise InputError(
            f'{path}: must be decoded in one piece of {chunk_bytes / 2**30:.0f} GiB. Save it in strips or tiles.'
        )
    return int((lengths == 0).sum())


def _to_rgb(samples: npt.NDArray[np.generic], frame: tifffile.TiffPage) -> Rgb:
    """Return samples as stored, shape (height, width, samples), as 8-bit RGB on white."""
    if frame.photometric == 3:
        colors = np.asarray(frame.colormap)  # (3, 2 ** bits), 16 bits each; some writers use 8
        colors = colors >> 8 if colors.max() > 255 else colors
        return np.ascontiguousarray(colors.T.astype(np.uint8)[samples[..., 0].astype(np.intp)])
    bits = 1 if samples.dtype == bool else frame.bitspersample
    colors = eight_bit(samples, bits)
    if frame.photometric == 0:
        colors = np.concatenate([255 - colors[..., :1], colors[..., 1:]], axis=2)
    decoded_as_rgb = frame.compression in JPEG_COMPRESSIONS or frame.photometric != 6
    if frame.compression == APERIO_JPEG2000_YCBCR or not decoded_as_rgb:
        return rgb_from_ycbcr(colors[..., :3])
    extra = next(iter(frame.extrasamples), UNSPECIFIED_SAMPLE)
    return rgb_on_white(colors, has_alpha=extra != UNSPECIFIED_SAMPLE, premultiplied=extra == PREMULTIPLIED)


def _stated_mpp(path: Path, tiff: tifffile.TiffFile, image: TiffImage) -> float | InputError | None:
    """Return micrometres per pixel, None if the file does not say, or what is wrong with what it says."""
    frame = image.levels[0].keyframe
    resolution = [frame.tags.valueof(tag) for tag in (282, 283)]
    of_file = of_tags(resolution, frame.tags.valueof(296, 2), tiff.imagej_metadata if tiff.is_imagej else None)
    return agreed_mpp(path, [*image.stated, *of_file])
