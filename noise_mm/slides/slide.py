"""Opens any well image: TIFF, BigTIFF, OME-TIFF, SVS, SCN, PNG and JPEG by content, microscopes' formats by suffix.

Whatever the file holds, windows come out as 8-bit RGB: grey is repeated, palettes are looked up, of 9 to 16 bits the
upper 8 are kept (a 12-bit image in a 16-bit file has to be stretched to the full range first), and transparent pixels
are laid on white. What can't be shown so without a choice that is the user's (several channels, planes or time points;
floating point; CMYK) is refused. The orientation that a camera notes in a file is not applied, as in ImageJ, where
outlines are drawn.
"""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from PIL.Image import Exif
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from noise_mm.errors import InputError
from noise_mm.files import read_bytes
from noise_mm.formats.damaged_tiff import DAMAGED
from noise_mm.formats.png import PNG_SIGNATURE, without_metadata
from noise_mm.geometry.orientation import ORIENTATIONS, UPRIGHT
from noise_mm.slides.chunked import Rgb, Slide
from noise_mm.slides.color import rgb_on_white
from noise_mm.slides.microscope import READERS, open_microscope_slide
from noise_mm.slides.pixel_size import StatedSize, agreed_mpp, of_tags
from noise_mm.slides.tiff import TiffSlide, jpeg_is_complete

TIFF_SIGNATURES = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')
PNG_END = b'\0\0\0\0IEND\xaeB`\x82'
END_BYTES = 4096
JPEG_SIGNATURE = b'\xff\xd8\xff'

SLIDE_SUFFIXES = ('.tif', '.tiff', '.svs', '.scn', '.btf', '.tf8', '.png', '.jpg', '.jpeg', *READERS)
"""Suffixes by which well images are found in a folder; TIFF, PNG and JPEG are then told apart by content."""

LARGEST_UNTILED_PX = 2**30
"""Largest PNG or JPEG, which must be decoded whole: 3 GiB of pixels, a well of 32,768 px a side."""


def open_slide(path: str | Path, scene: int | None = None) -> Slide:
    """Open a well image; no pixels are decoded yet.

    Memory: a tiled or striped TIFF costs the chunks under the windows that are read; a PNG or JPEG is decoded whole on
    first use, 3 bytes a pixel (0.66 GB for a well of 14,880 px a side) and up to twice that while it is decoded.

    Args:
        path: The file.
        scene: Number of the image to open, from 1, where a file holds several; without it such files are refused.

    Raises:
        InputError: If the file is missing, truncated, not an image or an image of a kind that is refused, or holds
            several images. Damage inside compressed data is found when that part is read.
    """
    path = Path(path)
    head = read_bytes(path, 8)
    if path.suffix.lower() in READERS:
        return open_microscope_slide(path, scene)
    if path.suffix.lower() == '.vsi':  # a TIFF that holds the overview only
        raise InputError(
            f'{path}: VSI files are not read, that needs Java. Save it as OME-TIFF, with cellSens or QuPath.'
        )
    if head.startswith(TIFF_SIGNATURES):
        return TiffSlide.open(path, scene)
    if head.startswith((PNG_SIGNATURE, JPEG_SIGNATURE)):
        if scene not in (None, 1):
            raise InputError(f'{path}: has no scene {scene}; it holds one image. Check --scene.')
        return UntiledSlide(path)
    raise InputError(f'{path}: not an image of a known format. Save it as TIFF, PNG or JPEG, best as a TIFF.')


class UntiledSlide(Slide):
    """A PNG or JPEG file: one chunk, which is decoded on first use and kept until the slide is closed."""

    def __init__(self, path: Path) -> None:
        """Read the header, and the end: InputError if it is truncated, damaged or too large to be decoded whole."""
        _check_end(path)
        width_px, height_px, mpp, orientation = _read_header(path)
        if width_px * height_px > LARGEST_UNTILED_PX:
            raise InputError(
                f'{path}: {width_px} x {height_px} px is too large for a file that must be decoded whole. '
                'Save it as a TIFF, in strips or tiles.'
            )
        super().__init__(path, (width_px, height_px), (width_px, height_px), mpp)
        self.orientation = orientation
        self._pixels: Rgb | None = None

    def close(self) -> None:
        """Let the pixels go."""
        super().close()
        self._pixels = None

    def decode_chunk(self, row: int, column: int) -> Rgb:
        """Return the whole image."""
        if self._pixels is None:
            self._pixels = _decode_untiled(self.path)
            if self._pixels.shape[:2] != (self.height_px, self.width_px):
                raise InputError(f'{self.path}: the image is not as large as its header says. Export it again.')
        return self._pixels


def _check_end(path: Path) -> None:
    """Refuse a file without the end marker of its format: some decoders give half an image for half a file."""
    with open(path, 'rb') as file:
        if file.read(len(PNG_SIGNATURE)) == PNG_SIGNATURE:
            file.seek(-min(END_BYTES, path.stat().st_size), os.SEEK_END)
            # the last chunk has no data: length 0, kind, checksum; some programs append something of their own
            complete = PNG_END in file.read()
        else:
            file.seek(0)
            complete = jpeg_is_complete(file.read())
    if not complete:
        raise InputError(f'{path}: the file is truncated, its end is missing. Copy or export it again.')


def _read_header(path: Path) -> tuple[int, int, float | InputError | None, int]:
    """Return width, height, um per pixel (or what is wrong with it) and EXIF orientation of a PNG or JPEG."""
    try:
        with open(path, 'rb') as file:
            # not Image.open: it refuses wells of more than 178 Mpx as an attack; there is our own limit
            plugin = PngImageFile if file.read(8) == PNG_SIGNATURE else JpegImageFile
            file.seek(0)
            image = plugin(file)
            if image.mode == 'CMYK':
                raise InputError(f'{path}: colour mode CMYK is not supported. Save it as 8-bit RGB.')
            if getattr(image, 'n_frames', 1) > 1:
                raise InputError(f'{path}: holds {image.n_frames} images. Save one as 8-bit RGB.')
            exif = _exif(image.info.get('exif', b''))
            orientation = exif.get(274, UPRIGHT)
            stated = _stated_sizes(image.info, exif)
    except DAMAGED as error:
        raise InputError(f'{path}: the image header is damaged ({error}). Copy or export it again.') from error
    mpp = agreed_mpp(path, stated)
    return image.width, image.height, mpp, orientation if orientation in ORIENTATIONS else UPRIGHT


def _exif(data: bytes) -> Exif:
    """Return EXIF tags, none where they are damaged, as in viewers; `getexif` would decode a PNG that has none."""
    exif = Exif()
    try:
        exif.load(data)
        dict(exif)
    except DAMAGED:
        return Exif()
    return exif


def _stated_sizes(info: Mapping[str, Any], exif: Mapping[int, Any]) -> list[StatedSize]:
    """Return what the header of a PNG or JPEG says about the size of its pixels.

    Densities without a unit give only the shape of pixels; such pixels are taken to be some metres large.
    """
    stated = []
    shape = info.get('aspect') or (info.get('jfif_density') if info.get('jfif_unit') == 0 else None)
    if shape and all(shape):
        stated.append(StatedSize('pixel aspect', 1e6 / shape[0], 1e6 / shape[1]))
    elif 'jfif_density' in info or 'aspect' not in info:
        dots_per_inch = info.get('dpi', (0, 0))
        if all(0 < float(value) < math.inf for value in dots_per_inch):
            stated.append(StatedSize('resolution', *(25400 / float(value) for value in dots_per_inch)))
    fractions = [(float(exif[tag]), 1.0) if tag in exif else None for tag in (282, 283)]
    return stated + [each._replace(source='EXIF') for each in of_tags(fractions, exif.get(296, 2), None)]


def _decode_untiled(path: Path) -> Rgb:
    """Return all pixels of a PNG or JPEG; half a file is an error, never half an image."""
    data = path.read_bytes()
    is_png = data.startswith(PNG_SIGNATURE)
    try:
        pixels = imagecodecs.png_decode(without_metadata(data)) if is_png else imagecodecs.jpeg8_decode(data)
    except (RuntimeError, ValueError) as error:
        raise InputError(f'{path}: damaged ({error}). Copy or export it again.') from error
    samples = pixels.reshape(*pixels.shape[:2], -1)
    if samples.dtype == np.uint16:
        samples = (samples >> 8).astype(np.uint8)
    return rgb_on_white(samples, has_alpha=samples.shape[2] in (2, 4))
