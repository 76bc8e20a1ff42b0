"""Well images in microscopes' own formats, each opened by the library that reads it best (the extra `formats`).

Every opener yields the images of a file; `MicroscopeSlide` reads one of them by windows, as 8-bit RGB on white. Several
scenes or positions are images of their own (`--scene`); several channels, planes or time points are refused.
"""

import importlib
import threading
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from noise_mm.errors import InputError
from noise_mm.geometry.outline import LARGEST_PX
from noise_mm.slides.chunked import Rgb, Slide
from noise_mm.slides.color import eight_bit, rgb_on_white
from noise_mm.slides.pixel_size import StatedSize, agreed_mpp, number, of_tags, um_per_unit
from noise_mm.slides.tiff import naming
from noise_mm.slides.tiff_images import chosen_image

CHUNK_PX = 1024
SMALLEST_LEVEL_PX = 1024
CZI_BITS = {'Bgr24': 8, 'Bgr48': 16, 'Gray8': 8, 'Gray16': 16}
RESOLUTION_UNITS = {'inch': 2, 'centimeter': 3}


@dataclass
class Scan:
    """One image of a file: its name there, (width, height), and what reads a window (x, y, width, height) inside it.

    Attributes:
        problem: Why it can't be shown as one RGB image, if so.
        levels: Smaller copies of it, largest first.
    """

    name: str
    size_px: tuple[int, int]
    read: Callable[[int, int, int, int], Rgb] | None = None
    stated: list[StatedSize] = field(default_factory=list)
    problem: str = ''
    notes: list[str] = field(default_factory=list)
    levels: list['Scan'] = field(default_factory=list)


class MicroscopeSlide(Slide):
    """An image of a microscope's file; see `open_microscope_slide`."""

    def __init__(self, path: Path, scan: Scan, stack: ExitStack, mpp: float | InputError | None) -> None:
        """`stack` closes the file."""
        super().__init__(path, scan.size_px, (CHUNK_PX, CHUNK_PX), mpp)
        self.notes += scan.notes
        self._scan, self._stack, self._lock = scan, stack, threading.Lock()

    def close(self) -> None:
        """Close the file."""
        super().close()
        self._stack.close()

    def smaller_levels(self) -> list[Slide]:
        """Return the smaller levels of the pyramid, largest first."""
        return [MicroscopeSlide(self.path, level, ExitStack(), None) for level in self._scan.levels]

    def decode_chunk(self, row: int, column: int) -> Rgb:
        """Return a square of the image."""
        x, y = column * self.chunk_width_px, row * self.chunk_height_px
        width, height = min(self.chunk_width_px, self.width_px - x), min(self.chunk_height_px, self.height_px - y)
        with self._lock, naming(self.path, 'cannot be decoded'):
            pixels = self._scan.read(x, y, width, height)
        if pixels.shape != (height, width, 3):
            raise InputError(f'{self.path}: holds less than it says at x {x}, y {y}. Copy or export it again.')
        return pixels


def open_microscope_slide(path: Path, scene: int | None) -> MicroscopeSlide:
    """Open a file whose suffix is one of `READERS`.

    Raises:
        InputError: If the library is not installed, or the file is damaged, holds several images of which none is
            chosen, or holds channels, planes or time points.
    """
    reader = READERS[path.suffix.lower()]
    try:
        library = importlib.import_module(reader.module)
    except ImportError as error:
        raise InputError(
            f'{path}: reading {path.suffix.lower()} needs {reader.packages} ({error}). Install it with: '
            "pip install '.[formats]'"
        ) from error
    with ExitStack() as stack, naming(path, f'not a whole {path.suffix[1:].upper()} file'):
        scans = stack.enter_context(reader.images(library, path))
        scan = chosen_image(path, scans, scene)
        if not all(0 < side <= LARGEST_PX for side in scan.size_px):
            raise ValueError(f'an image of {scan.size_px[0]} x {scan.size_px[1]} px')
        if scan.problem:
            raise InputError(f'{path}: {scan.problem}. Save a single RGB plane, as OME-TIFF for example.')
        return MicroscopeSlide(path, scan, stack.pop_all(), agreed_mpp(path, scan.stated))


@contextmanager
def _openslide_images(openslide: Any, path: Path) -> Iterator[list[Scan]]:
    """Yield the scan of a slide; where the file states which region was scanned, that region, as QuPath shows it."""
    try:
        slide = openslide.OpenSlide(str(path))
    except openslide.OpenSlideError as error:
        raise ValueError(error) from error
    with slide:
        facts = slide.properties
        x, y = (int(facts.get(f'openslide.bounds-{axis}', 0)) for axis in 'xy')
        width, height = (
            int(facts.get(f'openslide.bounds-{side}', full))
            for side, full in zip(('width', 'height'), slide.dimensions, strict=True)
        )
        notes = []
        if (width, height) != slide.dimensions:
            notes.append(f'the scanned region of {width} x {height} px is read; it begins at ({x}, {y}) of the slide')

        def level_scan(level: int, scale: float) -> Scan:
            def read(left: int, top: int, wide: int, high: int) -> Rgb:
                place = (x + round(left * scale), y + round(top * scale))
                try:
                    pixels = np.asarray(slide.read_region(place, level, (wide, high)))
                except openslide.OpenSlideError as error:
                    raise ValueError(error) from error
                return rgb_on_white(pixels, has_alpha=True)

            return Scan(path.stem, (max(1, int(width / scale)), max(1, int(height / scale))), read)

        full, *smaller = (level_scan(*pair) for pair in enumerate(slide.level_downsamples))
        full.stated, full.notes, full.levels = _of_openslide(facts), notes, smaller
        yield [full]


def _of_openslide(facts: Mapping[str, str]) -> list[StatedSize]:
    """Return the pixel sizes among OpenSlide's properties, of the vendor's text and of the TIFF tags."""
    stated = _stated('vendor text', *(number(facts.get(f'openslide.mpp-{axis}', '')) for axis in 'xy'))
    tags = [(number(facts.get(f'tiff.{axis}Resolution', '')), 1) for axis in 'XY']
    return stated + of_tags(tags, RESOLUTION_UNITS.get(facts.get('tiff.ResolutionUnit')), None)


@contextmanager
def _czi_images(czi: Any, path: Path) -> Iterator[list[Scan]]:
    """Yield the scenes of a CZI file; gaps between the tiles of a scene are white."""
    with czi.open_czi(str(path)) as file:
        pixel_type, ranges = next(iter(file.pixel_types.values()), 'none'), file.total_bounding_box_no_pyramid
        problem = _several({axis: end - first for axis, (first, end) in ranges.items() if axis in 'CZT'})
        bits = CZI_BITS.get(pixel_type)
        if bits is None:
            problem = problem or f'pixels of type {pixel_type} are not supported'
        plane = {axis: ranges[axis][0] for axis in 'CZT' if axis in ranges}
        scenes = file.scenes_bounding_rectangle_no_pyramid or {None: file.total_bounding_rectangle_no_pyramid}
        stated = _of_czi(file.raw_metadata)

        def level_scan(scene: int | None, box: Any, scale: int) -> Scan:
            def read(x: int, y: int, width: int, height: int) -> Rgb:
                roi = (box.x + x * scale, box.y + y * scale, width * scale, height * scale)
                white = (1.0, 1.0, 1.0)
                pixels = file.read(roi=roi, plane=plane, scene=scene, zoom=1 / scale, background_pixel=white)
                return _rgb(pixels[..., ::-1], bits)  # libCZI has blue first

            name = 'image' if scene is None else f'scene {scene + 1}'
            return Scan(name, (max(1, box.w // scale), max(1, box.h // scale)), read, stated, problem)

        scans = []
        for scene, box in sorted(scenes.items(), key=lambda pair: pair[0] or 0):
            scans.append(level_scan(scene, box, 1))
            scale = 2
            while max(box.w, box.h) // scale >= SMALLEST_LEVEL_PX:
                scans[-1].levels.append(level_scan(scene, box, scale))
                scale *= 2
        yield scans


def _of_czi(metadata: str) -> list[StatedSize]:
    """Return the pixel size in the XML of a CZI file, which is in metres."""
    scaling = ElementTree.fromstring(metadata).find('.//{*}Scaling/{*}Items')
    if scaling is None:
        return []
    sides = {item.get('Id'): 1e6 * (number(item.findtext('{*}Value')) or 0) for item in scaling.findall('{*}Distance')}
    return _stated('CZI metadata', sides.get('X'), sides.get('Y'))


@contextmanager
def _nd2_images(nd2: Any, path: Path) -> Iterator[list[Scan]]:
    """Yield the positions of an ND2 file; uncompressed pixels are mapped, not read."""
    with nd2.ND2File(str(path)) as file:
        sizes, facts = dict(file.sizes), file.attributes
        positions = sizes.pop('P', 1)
        problem = _several(sizes)
        if file.dtype.kind != 'u' or facts.bitsPerComponentSignificant > 16:
            problem = problem or f'pixels of type {file.dtype} are not supported'
        volume = file.metadata.channels[0].volume if file.metadata and file.metadata.channels else None
        known = volume is not None and all(volume.axesCalibrated[:2])
        stated = _stated('ND2 metadata', *volume.axesCalibration[:2]) if known else []

        kept: dict[int, npt.NDArray] = {}  # compressed frames, which can only be unpacked whole
        checked: set[int] = set()

        def frame_at(position: int) -> npt.NDArray:
            frame = kept[position] if position in kept else file.read_frame(position)
            if facts.compressionType == 'lossless':
                kept[position] = frame
            if position not in checked and not frame[:: len(frame) // 32 + 1, :: len(frame[0]) // 32 + 1].any():
                raise ValueError('its pixels are missing')  # for which the library gives zeros
            checked.add(position)
            return frame

        def scan(position: int) -> Scan:
            def read(x: int, y: int, width: int, height: int) -> Rgb:
                window = frame_at(position)[y : y + height, x : x + width]
                return _rgb(window[..., ::-1] if window.ndim == 3 else window, facts.bitsPerComponentSignificant)

            return Scan(f'position {position + 1}', (sizes['X'], sizes['Y']), read, stated, problem)

        yield [scan(position) for position in range(positions)]


@contextmanager
def _lif_images(liffile: Any, path: Path) -> Iterator[list[Scan]]:
    """Yield the images of a LIF file; their pixels are mapped, not read."""
    with liffile.LifFile(str(path)) as file:
        yield [_lif_scan(image) for image in file.images]


def _lif_scan(image: Any) -> Scan:
    description = image.xml_element.find('./Data/Image/ImageDescription')
    sizes = dict(image.sizes)
    size_px = (sizes.get('X', 1), sizes.get('Y', 1))
    if description is None or image.is_flim:
        return Scan(image.name, size_px, problem='not an intensity image')
    bits = max(int(each.get('Resolution', 8)) for each in description.iter('ChannelDescription'))
    problem = _several({axis: size for axis, size in sizes.items() if axis not in 'XYS'})
    if image.dtype.kind != 'u' or bits > 16:
        problem = problem or f'pixels of type {image.dtype} are not supported'
    pixels: list[npt.NDArray] = []

    def read(x: int, y: int, width: int, height: int) -> Rgb:
        if not pixels:  # mode c, because liffile exchanges red and blue in place
            mapped = image.asarray(mode='c', out='memmap')
            names = [axis for axis, size in sizes.items() if axis in 'YXS' or size > 1]
            pixels.append(mapped.reshape([sizes[axis] for axis in names]))
        return _rgb(pixels[0][y : y + height, x : x + width], bits)

    sides = {}
    for each in description.iter('DimensionDescription'):
        length, count = number(each.get('Length')), int(each.get('NumberOfElements', 0))
        unit = um_per_unit(each.get('Unit'))
        if length and unit and count > 1:  # from the middle of the first pixel to that of the last
            sides[each.get('DimID')] = length * unit / (count - 1)
    return Scan(image.name, size_px, read, _stated('LIF metadata', sides.get('1'), sides.get('2')), problem)


def _stated(source: str, x: float | None, y: float | None) -> list[StatedSize]:
    """Return a pixel size in micrometres if both sides are stated."""
    return [StatedSize(source, x, y)] if x and y and x > 0 and y > 0 else []


def _several(sizes: Mapping[str, int]) -> str:
    """Say which axes besides x, y and colour have several places; nothing if none has."""
    names = {'C': 'channels', 'Z': 'focal planes', 'T': 'time points', 'M': 'tiles that are not stitched'}
    found = [f'{size} {names.get(axis, "places along axis " + axis)}' for axis, size in sizes.items()
             if axis not in 'XYS' and size > 1]  # fmt: skip
    return f'holds {", ".join(found)}' if found else ''


def _rgb(samples: npt.NDArray[np.generic], bits: int) -> Rgb:
    """Return grey (height, width) or RGB samples of `bits` bits as 8-bit RGB."""
    grey_or_rgb = samples.reshape(*samples.shape[:2], -1)
    return rgb_on_white(eight_bit(np.ascontiguousarray(grey_or_rgb), bits), has_alpha=False)


class Reader(NamedTuple):
    """How files of a suffix are read: the module to import, the packages that have it, and what yields the images."""

    module: str
    packages: str
    images: Callable[[Any, Path], AbstractContextManager[Sequence[Scan]]]


READERS = {
    **dict.fromkeys(
        ('.ndpi', '.bif', '.mrxs'), Reader('openslide', 'openslide-bin and openslide-python', _openslide_images)
    ),
    '.czi': Reader('pylibCZIrw.czi', 'pylibCZIrw', _czi_images),
    '.nd2': Reader('nd2', 'nd2', _nd2_images),
    '.lif': Reader('liffile', 'liffile', _lif_images),
}
"""Readers by suffix. Aperio SVS, Leica SCN and Philips TIFF need none of them: `slides.tiff` reads these."""
