"""One well with its cells in their final classes, measured, from which all its files are made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from noise_mm.geometry.cell_masks import CellMask, cell_masks
from noise_mm.geometry.orientation import UPRIGHT
from noise_mm.geometry.outline import Outline
from noise_mm.measure.cells import PRE_OSTEOCLAST, CellMeasures, measure_cells, with_pre_osteoclasts
from noise_mm.measure.found import Found
from noise_mm.measure.image_quality import focus_windows, image_quality
from noise_mm.measure.nuclei import Nuclei, assign_nuclei
from noise_mm.measure.well import WellArea, covered_px2, measure_well
from noise_mm.measure.well_disc import Disc, find_disc
from noise_mm.report.advice import advice
from noise_mm.report.options import WellOptions
from noise_mm.report.overlay import OVERLAY_SIDE_PX, draw_overlay
from noise_mm.scale import PixelSize, scale_to_reference
from noise_mm.slides.chunked import Rgb, Slide
from noise_mm.slides.resample import slide_thumbnail

DARKEST_GROUND = 64
"""An image without a pixel so bright, of 256 levels, is none of bright field: most often 12 bits in a file of 16."""


@dataclass(frozen=True, eq=False)
class WellContent:
    """One well.

    Attributes:
        well: Its name.
        image_name: Name of the image's file.
        size_px: Width and height of the image.
        pixel: Its pixel size.
        thumbnail: The image, reduced to `OVERLAY_SIDE_PX`.
        outlines: The cells. The number in the name of each is its place, from 1.
        masks: Their pixels.
        cells: Their measures.
        nuclei: Nuclei, if they were looked for.
        cell_of: Index of each nucleus's cell, or -1; None without nuclei.
        disc: Border of the well, if it was looked for and found.
        measures: Of the well and of the quality of its image, by column of `wells.csv`.
        notes: What the reader of the numbers has to know, a sentence each.
    """

    well: str
    image_name: str
    size_px: tuple[int, int]
    pixel: PixelSize
    thumbnail: Rgb
    outlines: Sequence[Outline]
    masks: Sequence[CellMask]
    cells: Sequence[CellMeasures]
    nuclei: Nuclei | None
    cell_of: NDArray[np.int64] | None
    disc: Disc | None
    measures: Mapping[str, Any]
    notes: Sequence[str]

    def overlay(self) -> Rgb:
        """Return the reduced picture of the well with everything that was found."""
        nuclei_px = None if self.nuclei is None else self.nuclei.xy_px
        return draw_overlay(self.thumbnail, self.size_px, self.outlines, nuclei_px=nuclei_px, disc=self.disc)


def measured_content(
    well: str,
    slide: Slide,
    found: Found,
    pixel: PixelSize,
    options: WellOptions,
) -> WellContent:
    """Class and measure the cells of a well.

    Raises:
        InputError: If the image is damaged.
        ValueError: If `options` ask for nuclei and none were looked for.
    """
    size_px = (slide.width_px, slide.height_px)
    thumbnail = slide_thumbnail(slide, OVERLAY_SIDE_PX)
    outlines, nuclei, cell_of, counts = found.outlines, found.nuclei, None, None
    if nuclei is not None:
        cell_of = assign_nuclei(outlines, nuclei.xy_px)
        counts = np.bincount(cell_of[cell_of >= 0], minlength=len(outlines))
    if options.min_nuclei is not None:
        if counts is None:
            raise ValueError('min_nuclei needs nuclei, but none were looked for.')
        outlines = with_pre_osteoclasts(outlines, counts, options.min_nuclei)
    masks = cell_masks(outlines, size_px)
    cells = list(measure_cells(outlines, masks, size_px, pixel.known_um, counts))
    osteoclasts = [mask for mask, cell in zip(masks, cells, strict=True) if cell.label != PRE_OSTEOCLAST]
    disc, well_area = find_disc(thumbnail) if options.find_well else None, None
    if disc is not None:
        disc = disc.scaled(size_px[0] / thumbnail.shape[1], size_px[1] / thumbnail.shape[0])
        well_area = WellArea(disc.area_px2(size_px), 'disc')
    elif options.well_area_px2 is not None:
        well_area = WellArea(options.well_area_px2, 'given')
    measures = measure_well(
        cells,
        covered_px2(osteoclasts),
        size_px,
        pixel.known_um,
        well_area=well_area,
        nuclei=None if nuclei is None else len(nuclei),
        are_classed=options.min_nuclei is not None,
    )
    scale = scale_to_reference(pixel.um)
    windows = slide.windows(focus_windows(thumbnail, size_px, scale))
    measures |= image_quality(thumbnail, windows, scale)
    notes = _notes(thumbnail, cells, nuclei, disc, measures, options)
    if not any(note.startswith('the image') for note in notes):  # which says enough
        notes += advice(thumbnail, cells, measures['stained_percent'])
    notes = slide_notes(slide) + notes
    return WellContent(
        well, slide.path.name, size_px, pixel, thumbnail, outlines, masks, cells, nuclei, cell_of, disc, measures, notes
    )


def slide_notes(slide: Slide) -> list[str]:
    """Return what of an image file is not used: further images, and the orientation that a camera noted."""
    if slide.orientation == UPRIGHT:
        return list(slide.notes)
    turned = f'the EXIF orientation {slide.orientation} is not applied; places are those of the image as it is stored'
    return [*slide.notes, turned]


def _notes(
    thumbnail: Rgb,
    cells: Sequence[CellMeasures],
    nuclei: Nuclei | None,
    disc: Disc | None,
    measures: Mapping[str, Any],
    options: WellOptions,
) -> list[str]:
    """Return what the reader of the numbers has to know, a sentence each."""
    notes = []
    if thumbnail.max() < DARKEST_GROUND:
        notes.append('the image is nearly black, so cells are hardly found; stretch its brightness to the full range')
    elif (thumbnail == thumbnail[..., :1]).all() and thumbnail.min() < thumbnail.max():
        notes.append('the image has no colour, and a network that was trained on stained cells in colour finds few')
    if options.find_well and disc is None:
        notes.append('no border of a round well in the image, so no share of the well; --well-area states its area')
    if disc is not None:
        places = {'cells': [cell.centroid_px for cell in cells], 'nuclei': [] if nuclei is None else nuclei.xy_px}
        outside = [f'{count} {what}' for what, xy_px in places.items() if (count := _outside(xy_px, disc))]
        if outside:
            notes.append(f'{" and ".join(outside)} lie outside the border of the well and are counted; see the overlay')
    area_px2 = measures['well_area_px2']
    if area_px2 is not None and measures['covered_area_px2'] > area_px2:
        notes.append(f'cells cover more than the area of the well, {area_px2:g} px^2; it counts pixels of the image')
    return notes


def _outside(xy_px: ArrayLike, disc: Disc) -> int:
    """Count the places (n, 2) that lie outside a disc."""
    x, y = np.asarray(xy_px, dtype=np.float64).reshape(-1, 2).T
    return int(np.count_nonzero(np.hypot(x - disc.x, y - disc.y) > disc.radius))
