"""Writes 8-bit RGB as PNG (W3C Portable Network Graphics, third edition), one and a half times as fast as OpenCV does.

Encoding is what extraction of patches spends its time on. Measured on 832 x 832 px patches of a stained culture:
OpenCV's fastest setting that shrinks such images (average filter, Huffman coding only) takes 19 ms a patch and 1.00 MB,
its default 22 ms and 1.07 MB, this module 13 ms and 1.16 MB: one filter for all rows, then libdeflate at level 1.
"""

import struct
import zlib

import imagecodecs
import numpy as np
import numpy.typing as npt

from noise_mm.slides.chunked import Rgb

SIGNATURE = b'\x89PNG\r\n\x1a\n'
EIGHT_BITS, TRUE_COLOR = 8, 2
UP_FILTER = 2
"""Each byte minus the one above: one subtraction. The average filter gives files 5 % smaller for 5 % more time."""


def png_bytes(pixels: Rgb) -> bytes:
    """A PNG file of an image of shape (height, width, 3), uint8 RGB."""
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f'pixels must be uint8 of shape (height, width, 3), got {pixels.dtype} {pixels.shape}.')
    height, width, _ = pixels.shape
    header = struct.pack('>IIBBBBB', width, height, EIGHT_BITS, TRUE_COLOR, 0, 0, 0)
    data = imagecodecs.deflate_encode(_filtered(pixels), level=1)  # with zlib's header, as PNG wants it
    return b''.join([SIGNATURE, *_chunk(b'IHDR', header), *_chunk(b'IDAT', data), *_chunk(b'IEND', b'')])


def _filtered(pixels: Rgb) -> npt.NDArray[np.uint8]:
    """Rows after the filter, each led by the filter's number: shape (height, 1 + width * 3)."""
    height, width, _ = pixels.shape
    rows = np.ascontiguousarray(pixels).reshape(height, width * 3)
    filtered = np.empty((height, 1 + width * 3), np.uint8)
    filtered[:, 0] = UP_FILTER
    filtered[0, 1:] = rows[0]  # above the image all is zero
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    return filtered


def _chunk(kind: bytes, data: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """A chunk: length, kind, data and checksum (section 5.3)."""
    checksum = zlib.crc32(data, zlib.crc32(kind))
    return struct.pack('>I', len(data)), kind, data, struct.pack('>I', checksum)
