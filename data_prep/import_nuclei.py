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
from noise_mm.coco.file_issues import FileFaults
from noise_mm.errors import InputError, run_command
from noise_mm.formats.via import read_via_points
from noise_mm.patches.cutting import at_reference
from noise_mm.patches.layout import PatchSettings
from noise_mm.patches.nuclei_boxes import NUCLEUS_BOX_PX, nuclei_windows, nucleus_boxes, outside_image
from noise_mm.patches.png_writer import png_bytes
from noise_mm.scale import REFERENCE_UM_PER_PX, scale_to_reference
from noise_mm.slides.slide import SLIDE_SUFFIXES, open_slide
from noise_mm.splits import draw_validation_units

EXAMPLE = """
example:
  python data_prep/import_nuclei.py --images nuclei_images --via nuclei_images/M1/via.csv nuclei_images/M2/via.json \\
      --out data/osteoclast

Images are found by the names in the VIA files: first in the folder of the VIA file, then in the folder `wells` beside
that folder, then in --images and all folders in it. An image in nuclei_images/M1 is of batch M1; images that lie in no
sub-folder are of the batch --batch.
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
    parser.add_argument(
        '--keep-unmarked', action='store_true', help='also take images without a single point, as images without nuclei'
    )
    return parser.parse_args()


@dataclass(frozen=True)
class MarkedImage:
    """An image and the nuclei marked in it.

    Attributes:
        path: The image file.
        batch: Its batch.
        via: The VIA file.
        points: Marked places (x, y) in pixels of the image, each once.
        repeated: How many more points stand at one of these places.
    """

    path: Path
    batch: str
    via: Path
    points: list[tuple[float, float]]
    repeated: int

    @property
    def well(self) -> str:
        """A name that no image of another batch has."""
        return f'{self.batch}-{self.path.stem}'


def find_marked_images(images_dir: Path, via_files: list[Path], batch: str) -> list[MarkedImage]:
    """The images that VIA files name, sorted by batch and name.

    Raises:
        InputError: If the folder or an image is missing, a name fits several images, or two VIA files or two images of
            one name stand for the same thing. All such faults are named at once.
    """
    if not images_dir.is_dir():
        raise InputError(f'{images_dir}: no such folder. Check --images.')
    files = [path for path in sorted(images_dir.rglob('*')) if path.suffix.lower() in SLIDE_SUFFIXES]
    faults = FileFaults(images_dir, 'Put each VIA file beside its images, and give each image once.')
    marked: dict[str, MarkedImage] = {}
    for via in via_files:
        for name, points in read_via_points(via).items():
            named = [path for path in files if path.name == Path(name).name]
            beside = [path for path in named if path.parent.resolve() == via.parent.resolve()]
            wells = via.resolve().parent.parent / 'wells'  # as data_prep/synthesize.py lays them out
            found = beside or [path for path in named if path.parent.resolve() == wells] or named
            if len(found) != 1:
                faults.add(str(via), f'image {name} is {"there several times" if found else "not there"}')
                continue
            folders = found[0].relative_to(images_dir).parts[:-1]
            places = list(dict.fromkeys((point.x, point.y) for point in points))
            image = MarkedImage(found[0], folders[0] if folders else batch, via, places, len(points) - len(places))
            if image.well in marked:
                other = marked[image.well]
                faults.add(str(via), f'image {image.path} stands for the same as {other.path} of {other.via}')
            marked[image.well] = image
    faults.raise_if_any()
    return [marked[well] for well in sorted(marked)]


@dataclass
class NucleiBatch:
    """The nuclei dataset while it is being written.

    Attributes:
        folder: Where `images/` is.
        box_px: Side of the boxes at the reference magnification.
        um_per_px: Resolution of the images; None takes that of each file, or the reference where it says none.
        images: COCO entries so far.
        annotations: COCO annotations so far.
        wells: Entries of `wells.json` so far.
    """

    folder: Path
    box_px: float
    um_per_px: float | None
    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    wells: list[dict[str, Any]] = field(default_factory=list)

    def add(self, image: MarkedImage, split: str) -> None:
        """Cuts one image, at the reference magnification, into patches and their boxes.

        Raises:
            InputError: If the image is damaged, or points lie outside it.
        """
        slide = open_slide(image.path)
        um_per_px = self.um_per_px or slide.um_per_px or REFERENCE_UM_PER_PX
        outside = outside_image(image.points, slide.width_px, slide.height_px)
        if outside:
            raise InputError(
                f'{image.via}: {outside} points of {image.path.name} lie outside the image of {slide.width_px} x '
                f'{slide.height_px} px. Take the image that was marked.'
            )
        self.wells.append(
            {
                'well': image.well,
                'width': slide.width_px,
                'height': slide.height_px,
                'mpp': um_per_px,
                'source': image.path.name,
                'nuclei': len(image.points),
            }
        )
        scale = scale_to_reference(um_per_px)
        with at_reference(slide, scale) as reference:
            size_px = (reference.width_px, reference.height_px)
            points = [(x * scale, y * scale) for x, y in image.points]
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
                    'mpp': um_per_px / scale,
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
    for option in ('box_px', 'box_um', 'mpp'):
        value = getattr(arguments, option)
        if value is not None and not 0 < value < float('inf'):
            raise InputError(f'--{option.replace("_", "-")} must be positive, got {value}.')
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
    box_px = box_side_px(arguments)
    refuse_existing(arguments.out / 'nuclei')
    found = find_marked_images(arguments.images, arguments.via, arguments.batch)
    marked = [image for image in found if image.points or arguments.keep_unmarked]
    if not any(image.points for image in marked):
        raise InputError(f'{arguments.via[0]}: no point in the VIA files. Mark nuclei first.')
    held_back = validation_images(marked, arguments.val_fraction, arguments.seed)
    with new_batch_folder(arguments.out / 'nuclei') as folder:
        batch = NucleiBatch(folder, box_px, arguments.mpp)
        for image in marked:
            batch.add(image, 'val' if image.well in held_back else 'train')
        info = {
            'description': 'nuclei marked as points, as boxes of one size',
            'box_px': box_px,
            'val_fraction': arguments.val_fraction,
            'seed': arguments.seed,
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
    for image in marked:
        if image.repeated:
            print(f'{image.path.name}: {image.repeated} points stand at the same place as another; one of each kept')


if __name__ == '__main__':
    run_command(main)
