"""Turn nuclei marked as points (VIA, ImageJ, QuPath) into the nuclei dataset: patches and boxes."""

import argparse
import contextlib
import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from noise_mm.coco.annotations import coco_annotation
from noise_mm.coco.batch_folder import (
    NUCLEUS_ID,
    image_entry,
    new_batch_folder,
    patch_file_name,
    refuse_existing,
    write_batch,
)
from noise_mm.errors import InputError, run_command
from noise_mm.formats.imagej_points import unwrapped_points
from noise_mm.formats.imagej_shapes import WRAP_PX
from noise_mm.geometry.orientation import UPRIGHT, shown_size, to_stored
from noise_mm.patches.annotations import EXIF_CHOICES
from noise_mm.patches.cutting import at_reference
from noise_mm.patches.layout import PatchSettings
from noise_mm.patches.marked_images import MarkedImage, find_marked_images
from noise_mm.patches.nuclei_boxes import NUCLEUS_BOX_PX, nuclei_windows, nucleus_boxes, outside_image
from noise_mm.patches.planning import check_batch_name, pixel_size
from noise_mm.patches.png_writer import png_bytes
from noise_mm.scale import REFERENCE_UM_PER_PX, check_um_per_px, scale_to_reference
from noise_mm.slides.chunked import Slide
from noise_mm.slides.slide import open_slide
from noise_mm.splits import draw_validation_units

LARGEST_BOX = 1000.0  # px or um; the paper's boxes have 36 px

EXAMPLE = """
example:
  python data_prep/import_nuclei.py --images nuclei_images --out data/osteoclast \\
      --points nuclei_images/M1/via.csv nuclei_images/M2/A1_nuclei.roi nuclei_images/M2/A2.geojson

VIA 2 files (.csv, .json) name their images, and tell them apart by their sizes in bytes. ImageJ selections (.roi,
RoiSet.zip) and QuPath points (GeoJSON) belong to the image that they are named after: A1_nuclei.roi to A1.tif. Images
are looked for in the folder of the points, then in the folder `wells` beside that folder, then in --images and all
folders in it. An image in nuclei_images/M1 is of batch M1; images that lie in no sub-folder are of the batch --batch.
Writes OUT/nuclei/images/*.png, annotations.json (COCO, category 2 = nucleus) and wells.json.
"""


def parse_arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('--images', type=Path, required=True, help='folder of the images that were marked')
    add('--points', '--via', type=Path, nargs='+', required=True, metavar='FILE',
        help='points: VIA .csv or .json, ImageJ .roi or .zip, QuPath .geojson')  # fmt: skip
    add('--out', type=Path, required=True, help='root of the dataset; OUT/nuclei is written')
    add('--batch', default='nuclei', help='batch of images that lie in no sub-folder (default: nuclei)')
    size = parser.add_mutually_exclusive_group()
    size.add_argument('--box-px', type=float, help='side of the boxes in pixels of the patches (default: 36)')
    size.add_argument('--box-um', type=float, help='side of the boxes in micrometres instead')
    add('--mpp', type=float, help='um per pixel of the images (default: as each file says, or 0.7784)')
    add('--assume-mpp', action='store_true', help='accept 0.7784 for images that state no pixel size')
    add('--scene', type=int, metavar='N', help='which image to take, from 1, where files hold several')
    add('--val-fraction', type=float, default=0.2, help='share of images for validation, 0 for none (default: 0.2)')
    add('--seed', type=int, default=0, help='decides which images are for validation (default: 0)')
    add('--exif', choices=EXIF_CHOICES, help='points are places in images as their EXIF orientation turns them, or '
        'as they are stored (default: turned for VIA, as browsers do; stored for ImageJ and QuPath)')  # fmt: skip
    add('--keep-unmarked', action='store_true', help='also take images without a point, as images without nuclei')
    return parser.parse_args()


@dataclass
class NucleiBatch:
    """The nuclei dataset while it is being written.

    Attributes:
        folder: Where `images/` is.
        box_px: Side of the boxes at the reference magnification.
        options: The command line.
        images: COCO entries so far.
        annotations: COCO annotations so far.
        wells: Entries of `wells.json` so far.
    """

    folder: Path
    box_px: float
    options: argparse.Namespace
    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    wells: list[dict[str, Any]] = field(default_factory=list)

    def add(self, image: MarkedImage, split: str) -> None:
        """Cut one image, at the reference magnification, into patches and their boxes.

        Raises:
            InputError: If the image is damaged, or points lie outside it.
        """
        slide = open_slide(image.path, self.options.scene)
        mpp, origin = pixel_size(slide, self.options.mpp, self.options.assume_mpp)
        scale, notes = scale_to_reference(mpp), [*image.notes, *slide.notes]
        marked = stored_points(image, slide, self.options.exif, notes)
        for note in notes:
            print(f'note: {image.path}: {note}', file=sys.stderr)
        self.wells.append(
            {
                'well': image.well,
                'width': slide.width_px,
                'height': slide.height_px,
                'mpp': mpp,
                'mpp_origin': origin,
                'source': image.path.name,
                'nuclei': len(image.points),
                'notes': notes,
            }
        )
        with at_reference(slide, scale) as reference:
            size_px = (reference.width_px, reference.height_px)
            points = [(x * scale, y * scale) for x, y in marked]
            windows = nuclei_windows(*size_px, PatchSettings().patch_px)
            for window, pixels in zip(windows, reference.windows(windows), strict=True):
                x, y = round(window.x / scale), round(window.y / scale)
                file_name = patch_file_name(image.well, y, x)
                (self.folder / file_name).write_bytes(png_bytes(pixels))
                facts = {'batch': image.batch, 'well': image.well, 'x': x, 'y': y}
                facts |= {'mpp': None if origin == 'assumed' else mpp / scale, 'scale': scale, 'split': split}
                self.images.append(image_entry(len(self.images) + 1, file_name, window.width, window.height, **facts))
                for box in nucleus_boxes(points, window, size_px, self.box_px):
                    self.annotations.append(
                        coco_annotation(len(self.annotations) + 1, len(self.images), box, category_id=NUCLEUS_ID)
                    )


def stored_points(image: MarkedImage, slide: Slide, exif: str | None, notes: list[str]) -> list[tuple[float, float]]:
    """Return the points in pixels of the image as it is stored; `notes` takes how it was turned when marked.

    Raises:
        InputError: If points lie outside the image.
    """
    stored_px, remedy = (slide.width_px, slide.height_px), ''
    exif = exif or ('turned' if image.in_browser else 'stored')
    turned = slide.orientation != UPRIGHT and exif == 'turned'
    if slide.orientation != UPRIGHT:
        remedy = ', or check --exif'
        shown = 'turned image' if turned else 'image as it is stored'
        notes.append(f'has the EXIF orientation {slide.orientation}; points are places in the {shown} (--exif {exif})')
    shown_px = shown_size(slide.orientation, stored_px) if turned else stored_px
    points, wrapped = (image.points, 0) if image.in_browser else unwrapped_points(image.points, shown_px)
    if wrapped:
        notes.append(f'{wrapped} points had coordinates that ImageJ wrapped at {WRAP_PX:,} px and were moved back')
    outside = outside_image(points, *shown_px)
    if outside:
        raise InputError(
            f'{image.source}: {outside} points of {image.path.name} lie outside the image of {shown_px[0]} x '
            f'{shown_px[1]} px. Take the image that was marked{remedy}.'
        )
    return to_stored(points, slide.orientation, stored_px) if turned else points


def box_side_px(options: argparse.Namespace) -> float:
    """Return the side of the boxes in pixels at the reference magnification; InputError if it is out of range."""
    for name in ('box_px', 'box_um'):
        value = getattr(options, name)
        if value is not None and not 0 < value < LARGEST_BOX:
            option = f'--{name.replace("_", "-")}'
            raise InputError(f'{option} must be positive and below {LARGEST_BOX:g}, got {value}.')
    if options.box_um is not None:
        return options.box_um / REFERENCE_UM_PER_PX  # um / (um / px) = px
    return options.box_px or float(NUCLEUS_BOX_PX)


def validation_images(images: list[MarkedImage], fraction: float, seed: int) -> set[str]:
    """Return the images that are held back for validation: whole ones, so that no patch is on both sides."""
    if fraction == 0:
        return set()
    if len(images) < 2:
        raise InputError(f'{images[0].path}: one image cannot be split. Mark more images, or use --val-fraction 0.')
    drawn = draw_validation_units([(image.batch, image.well) for image in images], fraction, seed)
    return {well for _, well in drawn}


@contextlib.contextmanager
def unlogged_notes() -> Iterator[None]:
    """Keep notes on files out of the log; they are printed with their images."""
    logger = logging.getLogger('noise_mm.coco.file_issues')
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = False


def main() -> None:
    """Read all files of points, then cut image after image."""
    options = parse_arguments()
    check_batch_name(options.batch)
    check_um_per_px(options.mpp)
    box_px = box_side_px(options)
    refuse_existing(options.out / 'nuclei')
    with unlogged_notes():
        found = find_marked_images(options.images, options.points, options.batch)
    marked = [image for image in found if image.points or options.keep_unmarked]
    if not any(image.points for image in marked):
        raise InputError(f'{options.points[0]}: no point in the files. Mark nuclei first.')
    held_back = validation_images(marked, options.val_fraction, options.seed)
    with new_batch_folder(options.out / 'nuclei') as folder:
        batch = NucleiBatch(folder, box_px, options)
        for image in marked:
            batch.add(image, 'val' if image.well in held_back else 'train')
        info = {
            'description': 'nuclei marked as points, as boxes of one size',
            'box_px': box_px,
            'val_fraction': options.val_fraction,
            'seed': options.seed,
            'exif': options.exif or 'turned for VIA, stored for ImageJ and QuPath',
        }
        write_batch(folder, batch.images, batch.annotations, batch.wells, info=info)
    print_summary(options.out / 'nuclei', found, marked, batch)


def print_summary(folder: Path, found: list[MarkedImage], marked: list[MarkedImage], batch: NucleiBatch) -> None:
    """Print what was written and what was left out."""
    nuclei = sum(len(image.points) for image in marked)
    held_back = sum(image['split'] == 'val' for image in batch.images)
    print(
        f'{folder}: {nuclei} nuclei in {len(marked)} images ({nuclei / len(marked):.1f} an image); '
        f'{len(batch.images)} patches with {len(batch.annotations)} boxes of {batch.box_px:g} px, '
        f'{held_back} patches for validation'
    )
    unmarked = [image.path.name for image in found if image not in marked]
    if unmarked:
        print(f'left out, without a single point (--keep-unmarked takes them): {", ".join(unmarked)}')
    assumed = sum(well['mpp_origin'] == 'assumed' for well in batch.wells)
    if assumed:
        said = f'note: {assumed} images state no pixel size; {REFERENCE_UM_PER_PX} um is assumed.'
        print(f'{said} Give it with --mpp, or accept it with --assume-mpp.', file=sys.stderr)
    for image in marked:
        if image.repeated:
            print(f'{image.path.name}: {image.repeated} points stand at the same place as another; one of each kept')


if __name__ == '__main__':
    run_command(main)
