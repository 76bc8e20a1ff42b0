"""Read the annotated cells of one well: whatever the format, and however the image was turned when they were drawn."""

import logging
from dataclasses import replace
from pathlib import Path

from noise_mm.coco.outlines import image_named
from noise_mm.coco.reader import CocoContent
from noise_mm.errors import InputError
from noise_mm.formats.read import JSON_SUFFIXES, read_annotation_json, read_outlines
from noise_mm.geometry.orientation import QUARTER_TURNS, UPRIGHT, geometry_to_stored, shown_size
from noise_mm.geometry.outline import Outline
from noise_mm.patches.pairing import WellFiles, well_of

logger = logging.getLogger(__name__)

EXIF_CHOICES = ('turned', 'stored')


def read_cells(
    files: WellFiles,
    size_px: tuple[int, int],
    orientation: int,
    um_per_px: float,
    *,
    crowd: str | None = None,
    exif: str | None = None,
) -> tuple[list[Outline], list[str]]:
    """Return the outlines of a well in pixels of the stored image, and notes on what was left out, assumed or changed.

    Args:
        files: The well.
        size_px: Width and height of the image as it is stored.
        orientation: Its EXIF orientation.
        um_per_px: Its pixel size.
        crowd: What `iscrowd` means in COCO files, see `coco.outlines`.
        exif: 'turned' if the outlines were drawn on the image as its orientation shows it, 'stored' if on the pixels as
            they are; None decides by the format.

    Raises:
        InputError: If the annotations are damaged or were made for another image, or nobody can know how the image was
            turned when they were drawn.
    """
    if files.annotation is None:
        return [], []
    notes: list[str] = []
    turned = orientation != UPRIGHT and _is_turned(files, size_px, orientation, exif, notes)
    outlines = read_outlines(
        files.annotation,
        shown_size(orientation, size_px) if turned else size_px,
        um_per_px,
        file_name=files.coco_image or files.image.name,
        crowd=crowd,
        key=well_of,
        notes=notes,
    )
    if turned:
        outlines = [replace(o, geometry=geometry_to_stored(o.geometry, orientation, size_px)) for o in outlines]
    return outlines, notes


def _is_turned(
    files: WellFiles, size_px: tuple[int, int], orientation: int, exif: str | None, notes: list[str]
) -> bool:
    """Return whether the outlines of an image with an orientation were drawn on the turned image, and note it.

    ImageJ and QuPath show the pixels as they are stored. COCO files come from web pages, where browsers have turned
    images since 2020, and from programs that have not; the size in the file tells which, but only for quarter turns.
    """
    said = 'by --exif'
    if exif is None:
        drawn_px = _coco_size(files)
        if drawn_px is None:
            exif, said = 'stored', 'as in ImageJ and QuPath; --exif turned if they were drawn in a browser'
        elif orientation in QUARTER_TURNS and size_px[0] != size_px[1]:
            exif, said = ('stored' if drawn_px == size_px else 'turned'), 'as the size in the file says'
        else:
            raise InputError(
                f'{files.image}: has the EXIF orientation {orientation}, so web pages show it turned and other '
                f'programs do not. Say where {files.annotation.name} was drawn: --exif turned (in a browser) or '
                '--exif stored.'
            )
    note = (
        f'{files.image.name} has the EXIF orientation {orientation}; outlines are places in the '
        f'{"turned image" if exif == "turned" else "image as it is stored"} ({said})'
    )
    logger.warning('%s: %s', files.annotation, note)
    notes.append(note)
    return exif == 'turned'


def _coco_size(files: WellFiles) -> tuple[int, int] | None:
    """Return the size that a COCO file states for the image of a well; None for files of another format."""
    if not files.annotation.name.lower().endswith(JSON_SUFFIXES):
        return None
    content = read_annotation_json(Path(files.annotation))
    if not isinstance(content, CocoContent):
        return None
    image = image_named(content, files.annotation, files.coco_image or files.image.name, well_of)
    return image.width, image.height
