"""Which images a TIFF file holds: scenes of an OME-TIFF, the scan and the overview of a slide scanner, plain pages.

tifffile takes the first image of what an OME-XML lists, which may lie in another file of the set, and the first of a
Leica file, which is the picture of the whole glass slide. Here the images that lie in this very file are found, each
with its levels and its stated pixel size; pictures that are no scan (label, macro, thumbnail) are left out by name.
"""

import math
import re
import unicodedata
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath
from typing import NamedTuple, TypeVar

import tifffile

from noise_mm.errors import InputError
from noise_mm.slides.pixel_size import StatedSize, number, of_aperio, of_ome, of_philips

PICTURES = re.compile(r'\b(label|macro|thumbnail|overview)\b', re.IGNORECASE)
BASELINE = 'Baseline'  # what tifffile calls the scan in files of slide scanners (SVS, NDPI, BIF, Philips, QPTIFF)
LARGEST_COMPANION_BYTES = 2**28
COVERED = 0.99  # of the glass slide: such a view is Leica's macro picture


Named = TypeVar('Named')  # an image of any class, with a `name`


class TiffImage(NamedTuple):
    """One image: its name in the file or its size, levels from full resolution on, pixel sizes besides the tags'."""

    name: str
    levels: list[tifffile.TiffPageSeries]
    stated: list[StatedSize]


class TiffImages(NamedTuple):
    """The images of a file that may be wells, in its order, and notes on what was left out."""

    images: list[TiffImage]
    notes: list[str]


def images_in(path: Path, tiff: tifffile.TiffFile) -> TiffImages:
    """Return the images in an open file.

    Raises:
        InputError: If its metadata is damaged or does not say which images are its own.
    """
    if tiff.is_ome:
        found = _ome_images(path, tiff)
    elif tiff.is_scn:
        found = _leica_images(path, tiff)
    else:
        found = None
    return _without_pictures(_plain_images(path, tiff) if found is None else found)


def chosen_image(path: Path, images: Sequence[Named], scene: int | None) -> Named:
    """Return the image of a scene, numbered from 1, or the only one.

    Raises:
        InputError: If there are several and none is chosen, or not so many.
    """
    count = len(images)
    if not count or (scene is not None and not 1 <= scene <= count):
        wanted = 'image' if scene is None else f'scene {scene}'
        raise InputError(f'{path}: has no {wanted}; it holds {count} image{"s" * (count != 1)}. Check --scene.')
    if scene is None and count > 1:
        names = ', '.join(image.name for image in images[:4]) + (', ...' if count > 4 else '')
        raise InputError(
            f'{path}: holds {count} images ({names}). Choose one with --scene 1 to {count}, or save a file for each.'
        )
    return images[0 if scene is None else scene - 1]


def _without_pictures(images: list[TiffImage]) -> TiffImages:
    """Leave out what is named like a picture of the slide and not its scan, unless nothing else is there."""
    scans = [image for image in images if image.name == BASELINE]
    pictures = [image for image in images if image not in scans and (scans or PICTURES.search(image.name))]
    if not pictures or len(pictures) == len(images):
        return TiffImages(images, [])
    names = ', '.join(image.name for image in pictures)
    return TiffImages(
        [image for image in images if image not in pictures], [f'images that are no scan are not used: {names}']
    )


def _plain_images(path: Path, tiff: tifffile.TiffFile) -> list[TiffImage]:
    """Return the images of a TIFF that tells none apart by XML: one for each page of its own size."""
    stated = of_aperio(tiff.pages.first.description) if tiff.is_svs else []
    if tiff.is_philips:
        stated = of_philips(_xml(path, tiff.pages.first.description))
    if tiff.is_bif:
        stated = _of_ventana(path, tiff)
    images = []
    for series in tiff.series:
        is_pages = series.kind in ('uniform', 'generic') and series.axes[:1] == 'I' and series.shape[0] > 1
        if is_pages and not tiff.is_imagej:
            images += [TiffImage(_size_text(page), _levels([page]), stated) for page in series.pages]
        else:
            levels, others = _stated_levels(series)
            is_thumbnail = series.keyframe.is_reduced and images
            name = series.name or ('thumbnail of ' if is_thumbnail else '') + _size_text(series.keyframe)
            images.append(TiffImage(name, levels, stated))
            images += [TiffImage(_size_text(level.keyframe), [level], stated) for level in others]
    return images


def _stated_levels(
    series: tifffile.TiffPageSeries,
) -> tuple[list[tifffile.TiffPageSeries], list[tifffile.TiffPageSeries]]:
    """Return the levels of a series, and pages that tifffile takes for levels although only their sizes say so."""
    if series.kind not in ('generic', 'uniform'):
        return list(series.levels), []
    first, *others = series.levels
    sub_directories = set(first.keyframe.aspage().subifds or ())
    stated = [each.keyframe.is_reduced or each.keyframe.offset in sub_directories for each in others]
    return (
        [first, *(level for level, is_stated in zip(others, stated, strict=True) if is_stated)],
        [level for level, is_stated in zip(others, stated, strict=True) if not is_stated],
    )


def _size_text(page: tifffile.TiffPage) -> str:
    return f'{page.imagewidth} x {page.imagelength} px'


def _levels(pages: list[tifffile.TiffPage], sizes: dict[str, int] | None = None) -> list[tifffile.TiffPageSeries]:
    """Return the levels of an image with these planes (`sizes` along each axis): `pages[0]` and its sub-directories."""
    first = pages[0].aspage()
    sizes = {axis: size for axis, size in (sizes or {}).items() if size > 1}
    levels = [tifffile.TiffPageSeries(pages, (*sizes.values(), *first.shape), first.dtype, ''.join(sizes) + first.axes)]
    for sub in (first.pages or []) if first.subifds else []:
        sub = sub.aspage()
        levels.append(tifffile.TiffPageSeries([sub], sub.shape, sub.dtype, sub.axes))
    return levels


def _ome_images(path: Path, tiff: tifffile.TiffFile) -> list[TiffImage] | None:
    """Return the images whose pixels lie in this file, by the `TiffData` that name it; None if the XML lists none."""
    root = _xml(path, tiff.ome_metadata or '')
    own_uuid = root.get('UUID')
    binary_only = root.find('{*}BinaryOnly')
    if binary_only is not None:
        companion = _companion(path, binary_only.get('MetadataFile', ''))
        root = companion if companion is not None else root
    elements = root.findall('{*}Image')
    if not elements:
        return None
    here = [(image, _first_page(image, path.name, own_uuid)) for image in elements]
    here = [(image, first) for image, first in here if first is not None]
    if not here and len(elements) == 1:
        here = [(elements[0], 0)]  # a renamed file
    if not here:
        raise InputError(
            f'{path}: its OME-XML lists {len(elements)} images and does not say which of them is in this file. Give '
            'the file its own name back.'
        )
    return [_ome_image(image, first, tiff) for image, first in here]


def _ome_image(image: ElementTree.Element, first_page: int, tiff: tifffile.TiffFile) -> TiffImage:
    """Return one image of an OME-TIFF."""
    pixels = image.find('{*}Pixels')
    page = tiff.pages[first_page].aspage()
    sizes = {axis: int(number(pixels.get(f'Size{axis}', '1')) or 1) for axis in 'TZC'}
    sizes['C'] = math.ceil(sizes['C'] / page.samplesperpixel)
    return TiffImage(image.get('Name') or _size_text(page), _levels([page], sizes), of_ome(pixels))


def _first_page(image: ElementTree.Element, file_name: str, own_uuid: str | None) -> int | None:
    """Return the number of the first page of an image in the file of this name; None if it has none there."""
    blocks = image.findall('{*}Pixels/{*}TiffData')
    if image.find('{*}Pixels') is None:
        return None
    if not blocks:
        return 0
    pages = []
    for block in blocks:
        uuid = block.find('{*}UUID')
        named = uuid is not None and _plain_name(file_name) == _plain_name(uuid.get('FileName', ''))
        if uuid is None or named or (own_uuid and own_uuid == (uuid.text or '').strip()):
            pages.append(int(number(block.get('IFD', '0')) or 0))
    return min(pages, default=None)


def _plain_name(file_name: str) -> str:
    """Return a file name without folders and capitals, by which files and systems differ."""
    return unicodedata.normalize('NFC', PureWindowsPath(file_name).name).lower()


def _companion(path: Path, name: str) -> ElementTree.Element | None:
    """Return the OME-XML beside the files of a set; None if it is not there."""
    companion = path.parent / Path(name).name
    try:
        if not name or companion.stat().st_size > LARGEST_COMPANION_BYTES:
            return None
        return _xml(companion, companion.read_text(encoding='utf-8-sig', errors='replace'))
    except OSError:
        return None


def _xml(path: Path, text: str) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise InputError(f'{path}: the XML in the file is damaged ({error}). Export it again.') from error


def _leica_images(path: Path, tiff: tifffile.TiffFile) -> list[TiffImage]:
    """Return the images of a Leica SCN file; the picture of the whole glass slide is called macro.

    The XML gives each image its view on the glass in nanometres, and the page of each of its levels.
    """
    root = _xml(path, tiff.pages.first.description)
    images = []
    for collection in root.findall('{*}collection'):
        for number_of, image in enumerate(collection.findall('{*}image'), start=1):
            pixels, view = image.find('{*}pixels'), image.find('{*}view')
            pages = {}
            for dimension in pixels.findall('{*}dimension'):
                key = tuple(int(dimension.get(axis, 0)) for axis in 'rzc')
                pages[key] = tiff.pages[int(dimension.get('ifd'))].aspage()
            sizes = {'Z': len({z for _, z, _ in pages}), 'C': len({c for _, _, c in pages})}
            order = sorted(pages)
            levels = _levels([pages[order[0]]], sizes)
            levels += [_levels([pages[key]])[0] for key in order if key[0] > order[0][0] and key[1:] == order[0][1:]]
            whole = all(
                (number(view.get(side)) or 0) >= COVERED * (number(collection.get(side)) or math.inf)
                for side in ('sizeX', 'sizeY')
            )
            name = image.get('name') or f'image {number_of}'
            name = f'{name} (macro)' if whole and not PICTURES.search(name) else name
            images.append(TiffImage(name, levels, _of_leica(pixels, view)))
    return images


def _of_leica(pixels: ElementTree.Element, view: ElementTree.Element) -> list[StatedSize]:
    """Return the pixel size from the extent of the view in nanometres and its pixels."""
    sides = [(number(view.get(side)), number(pixels.get(side))) for side in ('sizeX', 'sizeY')]
    if not all(nm and px for nm, px in sides):
        return []
    return [StatedSize('Leica XML', *(nm / 1000 / px for nm, px in sides))]


def _of_ventana(path: Path, tiff: tifffile.TiffFile) -> list[StatedSize]:
    """Return the pixel size in the XML of Ventana's scanners; slides whose tiles overlap are not for this reader."""
    stated = []
    for page in tiff.pages:
        packet = bytes(page.aspage().tags.valueof(700, b'')).strip(b'\0 \r\n')
        if not packet:
            continue
        root = _xml(path, packet.decode('utf-8', 'replace'))
        size = number(next((each.get('ScanRes', '') for each in root.iter('iScan')), ''))
        stated += [StatedSize('Ventana XML', size, size)] if size else []
        joints = [each.get(f'Overlap{axis}', '0') for each in root.iter('TileJointInfo') for axis in 'XY']
        if any(number(joint.lstrip('-')) for joint in joints):
            raise InputError(
                f'{path}: a Ventana slide whose tiles overlap. Rename it to .bif, and it is read with OpenSlide.'
            )
    return stated[:1]
