"""The size of a pixel as an image file states it, possibly several times: read from each place, and compared. Pure.

Sources are OME-XML, the texts of vendors, ImageJ's description, and resolution tags; in PNG and JPEG, pHYs, JFIF and
EXIF. A source that no microscope can mean (72 dots per inch) is none.
"""

import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from noise_mm.errors import InputError
from noise_mm.scale import plausible_um_per_px

UM_PER_UNIT = {
    'm': 1e6, 'meter': 1e6, 'metre': 1e6, 'cm': 1e4, 'centimeter': 1e4, 'centimetre': 1e4, 'mm': 1e3,
    'millimeter': 1e3, 'millimetre': 1e3, 'um': 1.0, 'micron': 1.0, 'micrometer': 1.0, 'micrometre': 1.0, 'nm': 1e-3,
    'nanometer': 1e-3, 'nanometre': 1e-3, 'pm': 1e-6, 'å': 1e-4, 'inch': 25400.0, 'in': 25400.0, 'inche': 25400.0,
}  # fmt: skip
"""Micrometres in a unit, in small letters and without the s of the plural; every sign for micro is a u."""

MOST_DIFFERENCE = 0.02
"""Share by which two sources of one file may differ: what rounding to two digits gives."""

MOST_OBLONG = 0.01
"""Share by which the sides of a pixel may differ."""


class StatedSize(NamedTuple):
    """Width and height of a pixel in micrometres as one source of a file states it; its name is for messages."""

    source: str
    x_um: float
    y_um: float


def agreed_mpp(path: Path, stated: Sequence[StatedSize]) -> float | InputError | None:
    """Return the side of a pixel in micrometres, from the first source; None if no source states a plausible one.

    Args:
        path: The file, for messages.
        stated: What its sources say, the most specific first.

    Returns:
        An error where two sources contradict each other: the user can say which is right.

    Raises:
        InputError: If pixels are not square, which no number can put right.
    """
    agreed: tuple[str, float] | None = None
    for source, x_um, y_um in stated:
        if abs(x_um / y_um - 1) > MOST_OBLONG:
            raise InputError(
                f'{path}: pixels are not square ({x_um:g} x {y_um:g} um), by its {source}. Resample the image first; '
                'if that is wrong, save the image without it.'
            )
        if plausible_um_per_px(x_um) is None:
            continue
        mpp = math.sqrt(x_um * y_um)
        if agreed is None:
            agreed = source, mpp
        elif abs(mpp / agreed[1] - 1) > MOST_DIFFERENCE:
            return InputError(
                f'{path}: states two pixel sizes, {agreed[1]:g} um ({agreed[0]}) and {mpp:g} um ({source}). Give '
                'the right one with --mpp.'
            )
    return None if agreed is None else agreed[1]


def um_per_unit(unit: Any) -> float | None:
    """Return the micrometres in a unit of length, however it is spelt; None for pixels and anything else."""
    text = str(unit).strip().lower().replace('\\u00b5', 'u').replace('µ', 'u').replace('μ', 'u')
    text = text if text in UM_PER_UNIT else text.removesuffix('.').removesuffix('s')
    return UM_PER_UNIT.get(text)


def number(text: Any) -> float | None:
    """Return the positive number in a text, with a decimal point or comma; None if there is none."""
    try:
        value = float(str(text).strip().replace(',', '.'))
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None


def of_ome(pixels: ElementTree.Element) -> list[StatedSize]:
    """Return what OME's `Pixels` says (schema 2016-06; the unit defaults to micrometres)."""
    sizes = []
    for axis in 'XY':
        size = number(pixels.get(f'PhysicalSize{axis}', ''))
        unit = um_per_unit(pixels.get(f'PhysicalSize{axis}Unit', 'um'))
        if size is None or unit is None:
            return []
        sizes.append(size * unit)
    return [StatedSize('OME-XML', *sizes)]


def of_aperio(description: str) -> list[StatedSize]:
    """Return what Aperio's text says (`MPP = 0.2500`)."""
    found = re.search(r'\bMPP\s*=\s*([0-9.,]+)', description)
    size = number(found[1].rstrip('.,')) if found else None
    return [] if size is None else [StatedSize('Aperio text', size, size)]


def of_philips(root: ElementTree.Element) -> list[StatedSize]:
    """Return what Philips' XML says of the full resolution: height and width in mm."""
    spacing = root.find('.//DataObject[@ObjectType="PixelDataRepresentation"]/Attribute[@Name="DICOM_PIXEL_SPACING"]')
    sides = [number(side) for side in ('' if spacing is None else spacing.text or '').replace('"', ' ').split()]
    if len(sides) != 2 or not all(sides):
        return []
    return [StatedSize('Philips XML', sides[1] * 1000, sides[0] * 1000)]


def of_tags(resolution: Sequence[Any], unit_code: Any, imagej: Mapping[str, Any] | None) -> list[StatedSize]:
    """Return what the tags XResolution, YResolution (pixels per unit, each a fraction) and ResolutionUnit say.

    The unit is that of ImageJ's metadata where it names one, else that of the code (2 is inch, 3 cm, 1 none).
    """
    unit, source = {2: UM_PER_UNIT['inch'], 3: UM_PER_UNIT['cm']}.get(unit_code), 'resolution tags'
    of_imagej = um_per_unit((imagej or {}).get('unit', ''))
    if of_imagej is not None:
        unit, source = of_imagej, 'ImageJ unit'
    sizes = []
    for value in resolution:
        try:
            numerator, denominator = value
            pixels_per_unit = numerator / denominator
        except (TypeError, ValueError, ZeroDivisionError):
            return []
        if unit is None or not 0 < pixels_per_unit < math.inf:
            return []
        sizes.append(unit / pixels_per_unit)
    return [StatedSize(source, *sizes)]
