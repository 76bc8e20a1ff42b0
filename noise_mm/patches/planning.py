"""What is to be extracted from each well of a batch: read and decided here, before any pixels are decoded."""

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from noise_mm.coco.batch_folder import CATEGORIES, patch_file_name
from noise_mm.errors import InputError
from noise_mm.geometry.outline import Outline
from noise_mm.geometry.tiles import Window
from noise_mm.geometry.windows import area_um2
from noise_mm.patches.annotations import read_cells
from noise_mm.patches.cutting import Block, at_reference, group_windows, working_bytes
from noise_mm.patches.layout import Patch, PatchSettings, plan_patches
from noise_mm.patches.pairing import WellFiles
from noise_mm.scale import REFERENCE_UM_PER_PX, PixelSize, check_um_per_px, scale_to_reference
from noise_mm.slides.chunked import Slide
from noise_mm.slides.slide import open_slide

logger = logging.getLogger(__name__)

STREAMING_BYTES = 7 * 2**28  # 1.75 GiB; the promise is 2 GiB
PROCESS_BYTES = 130 * 2**20  # a process with its packages, before it has decoded anything
CATEGORY_IDS = {category['name']: category['id'] for category in CATEGORIES}


@dataclass(frozen=True)
class Request:
    """What is to be extracted.

    Attributes:
        wells_dir: Folder of well images.
        annotations_dir: Folder of annotation files.
        batch: Name of the batch, the experiment.
        out_dir: Root of the dataset; the batch folder is made in it.
        settings: How wells are cut.
        um_per_px: Pixel size of the wells; None takes it from each file, or the reference where the file has none.
        left_out: Classes of outlines that are not taken over.
        allow_unannotated: Whether a well without an annotation file counts as one without cells.
        skip_bad: Whether wells with faults are left out instead of ending the work.
        crowd: What `iscrowd` means in COCO files of other programs, see `coco.outlines`.
        scene: Number, from 1, of the image to take from files that hold several; None refuses such files.
        assume_mpp: Whether the reference counts as the pixel size of wells whose files state none; without it they have
            no areas in um^2.
        exif: Whether outlines were drawn on the image as its EXIF orientation turns it, or as it is stored: 'turned' or
            'stored'; None decides by the format, see `patches.orientation`.
    """

    wells_dir: Path
    annotations_dir: Path
    batch: str
    out_dir: Path
    settings: PatchSettings = field(default_factory=PatchSettings)
    um_per_px: float | None = None
    left_out: tuple[str, ...] = ()
    allow_unannotated: bool = False
    skip_bad: bool = False
    crowd: str | None = None
    scene: int | None = None
    exif: str | None = None
    assume_mpp: bool = False

    def __post_init__(self) -> None:
        """Refuses what can't be a folder's name or a pixel's size.

        Raises:
            InputError: With the name of the option.
        """
        check_batch_name(self.batch)
        check_um_per_px(self.um_per_px)

    @property
    def folder(self) -> Path:
        """The batch folder."""
        return self.out_dir / self.batch


def check_batch_name(batch: str) -> None:
    """Refuse a name of a batch that can't be a folder's name or would lead out of its folder.

    Raises:
        InputError: With the name of the option.
    """
    if not re.fullmatch(r'\w[\w.-]*', batch):
        raise InputError(f'--batch {batch!r}: becomes a folder name. Use letters, digits, "_", "-" and ".".')


@dataclass(frozen=True)
class PlannedWell:
    """One well that can be cut.

    Attributes:
        files: Its files.
        facts: Its entry in `wells.json`.
        scale: Reference pixels per pixel of the well.
        outlines: Its cells, in pixels of the well.
        patches: Its patches, row by row.
        blocks: The work.
        working_bytes: Memory for pixels that a process needs to do a block.
        is_streamed: Whether the image is decoded piece by piece, not whole.
    """

    files: WellFiles
    facts: dict[str, Any]
    scale: float
    outlines: list[Outline]
    patches: list[Patch]
    blocks: list[Block]
    working_bytes: int
    is_streamed: bool


def plan_well(files: WellFiles, request: Request) -> PlannedWell:
    """Opens a well, reads its cells, and decides on patches; decodes nothing.

    Raises:
        InputError: If the image or the annotation file is damaged, or has cells of an unknown class.
    """
    with open_slide(files.image, request.scene) as slide:
        um_per_px, origin = pixel_size(slide, request.um_per_px, request.assume_mpp)
        for note in slide.notes:
            logger.warning('%s: %s', files.image, note)
        outlines, notes = _read_cells(files, slide, um_per_px, request)
        scale = scale_to_reference(um_per_px)
        reference = at_reference(slide, scale)
        reference_px = (reference.width_px, reference.height_px)
        patches = plan_patches(outlines, reference_px, scale, request.settings, files.name)
        groups = group_windows(slide, scale, [patch.window for patch in patches])
        memory = working_bytes(slide, scale, request.settings.patch_px, request.settings.stride_px)
    blocks = [
        Block(
            files.name,
            files.image.resolve(),
            scale,
            request.settings.stored_px,
            tuple(windows),
            tuple((request.folder / patch_file(files.name, window)).resolve() for window in windows),
            request.scene,
        )
        for windows in groups
    ]
    area_px2 = sum(outline.geometry.area for outline in outlines)
    facts = {
        'well': files.name,
        'width': slide.width_px,
        'height': slide.height_px,
        'mpp': um_per_px,
        'mpp_origin': origin,
        'source': files.image.name,
        'annotation_source': files.annotation.name if files.annotation else None,
        'cells': len(outlines),
        'cell_area_um2': None if origin == 'assumed' else area_um2(area_px2, um_per_px),
        'patches': len(patches),
        'empty_segments': slide.empty_segments,
        'notes': [*slide.notes, *notes],
    }
    return PlannedWell(files, facts, scale, outlines, patches, blocks, memory, not slide.is_one_chunk)


def default_workers(wells: Sequence[PlannedWell]) -> int:
    """As many processes as there are cores and as keep within the memory that the documentation promises.

    Wells that are decoded piece by piece stay within `STREAMING_BYTES` in all, however large they are. Wells that must
    be decoded whole may take half of the computer's memory.
    """
    installed = psutil.virtual_memory().total
    workers = os.cpu_count() or 1
    for well in wells:
        budget = STREAMING_BYTES if well.is_streamed else installed // 2
        workers = min(workers, (budget - PROCESS_BYTES) // (PROCESS_BYTES + well.working_bytes))
    return max(workers, 1)


def pixel_size(slide: Slide, of_option: float | None, assume: bool = False) -> PixelSize:
    """Return the pixel size of a well: as given, else as the file states, else the reference.

    Args:
        slide: The well.
        of_option: What the user gave.
        assume: Whether the user accepts the reference where neither says it.

    Raises:
        InputError: If the file contradicts itself.
    """
    if of_option is not None:
        return PixelSize(of_option, 'option')
    if slide.mpp is not None:
        return PixelSize(slide.mpp, 'file')
    return PixelSize(REFERENCE_UM_PER_PX, 'accepted' if assume else 'assumed')


def _read_cells(files: WellFiles, slide: Slide, um_per_px: float, request: Request) -> tuple[list[Outline], list[str]]:
    """Return the outlines of a well, checked to be of known classes, and notes."""
    size_px = (slide.width_px, slide.height_px)
    outlines, notes = read_cells(files, size_px, slide.orientation, um_per_px, crowd=request.crowd, exif=request.exif)
    left_out = {label.casefold() for label in request.left_out}
    kept = [outline for outline in outlines if outline.label.casefold() not in left_out]
    if len(kept) < len(outlines):
        notes.append(
            f'{len(outlines) - len(kept)} outlines of {", ".join(request.left_out)} are left out (--leave-out)'
        )
    unknown = sorted({outline.label for outline in kept if not outline.ignored} - set(CATEGORY_IDS))
    if unknown:
        raise InputError(
            f'{files.annotation}: outlines of class {", ".join(map(repr, unknown))}, known are '
            f'{", ".join(CATEGORY_IDS)}. Rename the class, or leave it out with --leave-out {" ".join(unknown)}.'
        )
    return kept, notes


def patch_origin(window: Window, scale: float) -> tuple[float, float]:
    """Upper left corner of a patch in pixels of the well; whole numbers where nothing was resampled."""
    return (window.x, window.y) if scale == 1 else (window.x / scale, window.y / scale)


def patch_file(well: str, window: Window) -> str:
    """A patch's `file_name`, by its corner in reference pixels: whole numbers, and no two patches have the same."""
    return patch_file_name(well, window.y, window.x)
