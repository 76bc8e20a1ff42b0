"""Turns nuclei marked as points in the VGG Image Annotator into the nuclei dataset: patches and boxes."""

import argparse
import sys
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
from noise_mm.geometry.orientation import UPRIGHT, shown_size, to_stored
from noise_mm.patches.annotations import EXIF_CHOICES
from noise_mm.patches.cutting import at_reference
from noise_mm.patches.layout import PatchSettings
from noise_mm.patches.marked_images import MarkedImage, find_marked_images
from noise_mm.patches.nuclei_boxes import NUCLEUS_BOX_PX, nuclei_windows, nucleus_boxes, outside_image
from noise_mm.patches.planning import check_batch_name, pixel_size
from noise_mm.patches.png_writer import png_bytes
from noise_mm.scale import REFERENCE_UM_PER_PX, check_um_per_px, scale_to_reference
from noise_mm.slides.slide import open_slide
from noise_mm.splits import draw_validation_units

LARGEST_BOX = 1000.0  # px or um; the paper's boxes have 36 px

EXAMPLE = """
example:
  python data_prep/import_nuclei.py --images nuclei_images --via nuclei_images/M1/via.csv nuclei_images/M2/via.json \\
      --out data/osteoclast

Images are found by the names in the VIA files, and told apart by their sizes in bytes, as in VIA: first in the folder
of the VIA file, then in the folder `wells` beside that folder, then in --images and all folders in it. An image in
nuclei_images/M1 is of batch M1; images that lie in no sub-folder are of the batch --batch.
Writes OUT/nuclei/images/*.png, annotations.json (COCO, category 2 = nucleus) and wells.json.
"""


def parse_arguments() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--images', type=Path, required=True, help='folder of the images that were marked')
    parser.add_argument('--via', type=Path, nargs='+', required=True, help='VIA 2 files: .csv or .json')
    parser.add_argument('--out', type=Path, required=True, help='root of the dataset; OUT/nuclei is written')
    parser.add_argument('--batch', default='nuclei', help='batch of images that lie in no sub-folder (default: nuclei)')
    size = parser.add_mutually_exclusive_group()
    size.add_argument('--box-px', type=float, help='side of the boxes in pixels of the patches (default: 36)')
    size.add_argument('--box-um', type=float, help='side of the boxes in micrometres instead')
    parser.add_argument('--mpp', type=float, help='um per pixel of the images (default: as each file says, or 0.7784)')
    parser.add_argument(
        '--val-fraction', type=float, default=0.2, help='share of images for validation, 0 for none (default: 0.2)'
    )
    parser.add_argument('--seed', type=int, default=0, help='decides which images are for validation (default: 0)')
    parser.add_argument('--assume-mpp', action='store_true', help='accept 0.7784 for images that state no pixel size')
    parser.add_argument(
        '--exif',
        choices=EXIF_CHOICES,
        default='turned',
        help='points are places in images as their EXIF orientation turns them, as in every browser since 2020, or as '
        'they are stored (default: turned)',
    )
    parser.add_argument(
        '--keep-unmarked', action='store_true', help='also take images without a single point, as images without nuclei'
    )
    return parser.parse_args()


@dataclass
class NucleiBatch:
    """The nuclei dataset while it is being written.

    Attributes:
        folder: Where `images/` is.
        box_px: Side of the boxes at the reference magnification.
        um_per_px: Resolution of the images; None takes that of each file, or the reference where it says none.
        exif: Whether points are places in the image as its EXIF orientation turns it ('turned'), or as it is stored.
        assume_mpp: Whether the reference counts as the pixel size of images that state none.
        images: COCO entries so far.
        annotations: COCO annotations so far.
        wells: Entries of `wells.json` so far.
    """

    folder: Path
    box_px: float
    um_per_px: float | None
    exif: str
    assume_mpp: bool
    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    wells: list[dict[str, Any]] = field(default_factory=list)

    def add(self, image: MarkedImage, split: str) -> None:
        """Cuts one image, at the reference magnification, into patches and their boxes.

        Raises:
            InputError: If the image is damaged, or points lie outside it.
        """
        slide = open_slide(image.path)
        um_per_px, origin = pixel_size(slide, self.um_per_px, self.assume_mpp)
        stored_px = (slide.width_px, slide.height_px)
        turned = slide.orientation != UPRIGHT and self.exif == 'turned'
        shown_px = shown_size(slide.orientation, stored_px) if turned else stored_px
        outside = outside_image(image.points, *shown_px)
        if outside:
            raise InputError(
                f'{image.via}: {outside} points of {image.path.name} lie outside the image of {shown_px[0]} x '
                f'{shown_px[1]} px. Take the image that was marked'
                + ', or check --exif.'
                * (slide.orientation != UPRIGHT)
            )
        marked_points = to_stored(image.points, slide.orientation, stored_px) if turned else image.points
        notes = [*image.notes, *slide.notes]
        if slide.orientation != UPRIGHT:
            notes.append(
                f'has the EXIF orientation {slide.orientation}; points are places in the '
                f'{"turned image" if turned else "image as it is stored"} (--exif {self.exif})'
            )
        for note in notes:
            print(f'note: {image.path}: {note}', file=sys.stderr)
        self.wells.append(
            {
                'well': image.well,
                'width': slide.width_px,
                'height': slide.height_px,
                'mpp': um_per_px,
                'mpp_origin': origin,
                'source': image.path.name,
                'nuclei': len(image.points),
                'notes': notes,
            }
        )
        scale = scale_to_reference(um_per_px)
        with at_reference(slide, scale) as reference:
            size_px = (reference.width_px, reference.height_px)
            points = [(x * scale, y * scale) for x, y in marked_points]
            windows = nuclei_windows(*size_px, PatchSettings().patch_px)
            for window, pixels in zip(windows, reference.windows(windows), strict=True):
                x, y = round(window.x / scale), round(window.y / scale)
                file_name = patch_file_name(image.well, y, x)
                (self.folder / file_name).write_bytes(png_bytes(pixels))
                size = (window.width, window.height)
                facts = {
                    'batch': image.batch,
                    'well': image.well,
                    'x': x,
                    'y': y,
                    'mpp': None if origin == 'assumed' else um_per_px / scale,
                    'scale': scale,
                }
                self.images.append(image_entry(len(self.images) + 1, file_name, *size, **facts, split=split))
                for box in nucleus_boxes(points, window, size_px, self.box_px):
                    self.annotations.append(
                        coco_annotation(len(self.annotations) + 1, len(self.images), box, category_id=NUCLEUS_ID)
                    )


def box_side_px(arguments: argparse.Namespace) -> float:
    """The side of the boxes in pixels at the reference magnification.

    Raises:
        InputError: If it, or another number among the options, is out of range.
    """
    for option in ('box_px', 'box_um'):
        value = getattr(arguments, option)
        if value is not None and not 0 < value < LARGEST_BOX:
            option = f'--{option.replace("_", "-")}'
            raise InputError(f'{option} must be positive and below {LARGEST_BOX:g}, got {value}.')
    if arguments.box_um is not None:
        return arguments.box_um / REFERENCE_UM_PER_PX  # um / (um / px) = px
    return arguments.box_px or float(NUCLEUS_BOX_PX)


def validation_images(images: list[MarkedImage], fraction: float, seed: int) -> set[str]:
    """The names of the images that are held back for validation; whole images, so that no patch is on both sides.

    Raises:
        InputError: If the fraction is out of range, or there is only one image to share out.
    """
    if fraction == 0:
        return set()
    if len(images) < 2:
        raise InputError(f'{images[0].path}: one image cannot be split. Mark more images, or use --val-fraction 0.')
    drawn = draw_validation_units([(image.batch, image.well) for image in images], fraction, seed)
    return {well for _, well in drawn}


def main() -> None:
    """Reads all VIA files, then cuts image after image."""
    arguments = parse_arguments()
    check_batch_name(arguments.batch)
    check_um_per_px(arguments.mpp)
    box_px = box_side_px(arguments)
    refuse_existing(arguments.out / 'nuclei')
    found = find_marked_images(arguments.images, arguments.via, arguments.batch)
    marked = [image for image in found if image.points or arguments.keep_unmarked]
    if not any(image.points for image in marked):
        raise InputError(f'{arguments.via[0]}: no point in the VIA files. Mark nuclei first.')
    held_back = validation_images(marked, arguments.val_fraction, arguments.seed)
    with new_batch_folder(arguments.out / 'nuclei') as folder:
        batch = NucleiBatch(folder, box_px, arguments.mpp, arguments.exif, arguments.assume_mpp)
        for image in marked:
            batch.add(image, 'val' if image.well in held_back else 'train')
        info = {
            'description': 'nuclei marked as points, as boxes of one size',
            'box_px': box_px,
            'val_fraction': arguments.val_fraction,
            'seed': arguments.seed,
            'exif': arguments.exif,
        }
        write_batch(folder, batch.images, batch.annotations, batch.wells, info=info)
    print_summary(arguments.out / 'nuclei', found, marked, batch)


def print_summary(folder: Path, found: list[MarkedImage], marked: list[MarkedImage], batch: NucleiBatch) -> None:
    """Says what was written and what was left out."""
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
    assumed = [well['source'] for well in batch.wells if well['mpp_origin'] == 'assumed']
    if assumed:
        said = f'note: {len(assumed)} images state no pixel size; {REFERENCE_UM_PER_PX} um is assumed.'
        print(f'{said} Give it with --mpp, or accept it with --assume-mpp.', file=sys.stderr)
    for image in marked:
        if image.repeated:
            print(f'{image.path.name}: {image.repeated} points stand at the same place as another; one of each kept')


if __name__ == '__main__':
    run_command(main)
