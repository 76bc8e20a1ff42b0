"""Brings the published NOISe dataset (YOLO layout: m1/images, m1/labels, ...) into this project's layout."""

import argparse
import os
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shapely import MultiPolygon, Polygon

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from noise_mm.coco.annotations import coco_annotation
from noise_mm.coco.batch_folder import (
    NUCLEUS_ID,
    OSTEOCLAST_ID,
    image_entry,
    new_batch_folder,
    patch_file_name,
    refuse_existing,
    write_batch,
)
from noise_mm.coco.file_issues import FileIssues
from noise_mm.errors import InputError, run_command
from noise_mm.files import write_json
from noise_mm.formats.published import (
    PATCH_PX,
    Origin,
    names_hold_offsets,
    parse_patch_name,
    patch_cell,
    patch_origin,
)
from noise_mm.formats.yolo import YoloRow, read_yolo_rows
from noise_mm.progress import Progress
from noise_mm.scale import REFERENCE_UM_PER_PX, check_um_per_px
from noise_mm.slides.slide import open_slide
from noise_mm.splits import draw_validation_units

VAL_FRACTION = 0.2  # of the wells with nuclei, as data_prep/import_nuclei.py holds back by default
SPLIT_SEED = 0

EXAMPLE = """
example:
  python data_prep/import_published.py downloads/dataset --out data/osteoclast
  python data_prep/import_published.py downloads/dataset --out data/osteoclast --batches m1 m2 --nuclei downloads/n1

Every folder in SOURCE that holds images/ and labels/ is a batch: m1 becomes OUT/M1. Folders given with --nuclei hold
YOLO boxes and become OUT/nuclei together. Beside annotations.json lies import_report.json with all warnings.

The published patches can only be imported as they are: vertices outside a patch were dropped when they were made, so
cells at the borders of patches are deformed. With the whole wells at hand, extract_patches.py cuts them exactly.
"""


def parse_arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('source', type=Path, metavar='SOURCE', help='the unpacked dataset')
    add('--out', type=Path, required=True, help='root of the dataset to be written')
    add('--batches', nargs='+', metavar='FOLDER', help='folders in SOURCE to import (default: all)')
    add('--nuclei', nargs='+', type=Path, default=[], metavar='DIR', help='folders of nuclei boxes')
    add('--link', action='store_true', help='hard-link the patches instead of copying them')
    add('--names', choices=('auto', 'count', 'px'), default='auto',
        help='whether row and column in names are counts of windows or pixels (default: by their size)')  # fmt: skip
    add('--mpp', type=float, default=REFERENCE_UM_PER_PX, help=f'um per pixel (default: {REFERENCE_UM_PER_PX})')
    return parser.parse_args()


@dataclass(frozen=True)
class PublishedPatch:
    """One patch: image, batch, a well name that no other batch has, (width, height), place, lines of its label file."""

    path: Path
    batch: str
    well: str
    size_px: tuple[int, int]
    origin: Origin
    rows: list[YoloRow]


@dataclass
class Batch:
    """One batch, read and checked: folder to write, patches, class of its objects, and places of warnings by kind."""

    name: str
    patches: list[PublishedPatch]
    category_id: int
    warnings: dict[str, list[str]] = field(default_factory=dict)

    def warn(self, kind: str, where: str) -> None:
        """Record a warning of a kind at a place: a file, or a file and a line."""
        self.warnings.setdefault(kind, []).append(where)


def batch_folders(source: Path, wanted: list[str] | None, nuclei: list[Path]) -> list[Path]:
    """Return the folders of cells with `images/` and `labels/` that are to be imported, without those of nuclei."""
    if not source.is_dir():
        raise InputError(f'{source}: no such folder. Unpack the dataset there.')
    if wanted is None:
        holders = [source, *sorted(path for path in source.iterdir() if path.is_dir())]
        folders = [path for path in holders if any((path / part).is_dir() for part in ('images', 'labels'))]
        others = {path.resolve() for path in nuclei}
        folders = [path for path in folders if path.resolve() not in others]
        if not folders and not nuclei:
            raise InputError(f'{source}: holds no folder with images/ and labels/. Unpack the dataset there.')
    else:
        folders = [source / name for name in wanted]
    for folder in folders:
        require_parts(folder)
    return folders


def require_parts(folder: Path) -> None:
    """Refuse a folder without `images/` or `labels/`."""
    for part in ('images', 'labels'):
        if not (folder / part).is_dir():
            raise InputError(f'{folder / part}: no such folder. A batch holds images/ and labels/; unpack it again.')


def read_batch_folder(folder: Path, batch: Batch, names: str) -> None:
    """Add the patches of one folder to a batch; `names` is the option `--names`."""
    images = sorted(path for path in (folder / 'images').iterdir() if path.suffix.lower() == '.png')
    labels = {path.stem: path for path in sorted((folder / 'labels').iterdir()) if path.suffix.lower() == '.txt'}
    if not images:
        raise InputError(f'{folder / "images"}: holds no PNG patches. Unpack the dataset again.')
    warn_of_unmatched(folder, images, labels, batch)
    rows = read_labels(folder, labels, batch.category_id)
    parsed = {path: parse_patch_name(path.stem) for path in images}
    offsets = names == 'px' or (names == 'auto' and names_hold_offsets(filter(None, parsed.values())))
    name_of_batch = folder.resolve().name.upper()
    for path, size_px in zip(images, sizes_of(images, name_of_batch), strict=True):
        name = parsed[path]
        origin = Origin(0, 0, True) if name is None else patch_origin(name, size_px, offsets)
        if name is None:
            batch.warn('names_without_position', path.name)
        elif not origin.exact:
            batch.warn('positions_known_to_415_px', path.name)
        if not {size_px[0], size_px[1]} <= {PATCH_PX, PATCH_PX - 1}:
            batch.warn('patches_of_other_size', f'{path.name}: {size_px[0]} x {size_px[1]} px')
        well = f'{name_of_batch}-{path.stem if name is None else name.well}'
        batch.patches.append(PublishedPatch(path, name_of_batch, well, size_px, origin, rows.get(path.stem, [])))


def warn_of_unmatched(folder: Path, images: list[Path], labels: dict[str, Path], batch: Batch) -> None:
    """Warn of images without a label file, label files without an image, and files that are neither."""
    stems = {path.stem for path in images}
    for stem in sorted(stems - set(labels)):
        batch.warn('images_without_labels', f'{stem}.png')
    for stem in sorted(set(labels) - stems):
        batch.warn('labels_without_image', f'{stem}.txt')
    used = {*images, *labels.values()}
    for part in ('images', 'labels'):
        for path in sorted((folder / part).iterdir()):
            if path not in used:
                batch.warn('other_files', f'{part}/{path.name}')


def read_labels(folder: Path, labels: dict[str, Path], category_id: int) -> dict[str, list[YoloRow]]:
    """Return the lines of all label files, by name of the patch; boxes among polygons and other classes are refused."""
    issues = FileIssues(folder / 'labels', 'Unpack the dataset again, or correct these lines.')
    rows = {stem: read_yolo_rows(path) for stem, path in labels.items()}
    for stem, of_patch in rows.items():
        for row in of_patch:
            if row.is_box != (category_id == NUCLEUS_ID):
                issues.add(f'{stem}.txt, line {row.line}', 'is a box' if row.is_box else 'is not a box')
            elif row.class_index != 0:
                issues.add(f'{stem}.txt, line {row.line}', f'is of class {row.class_index}; only 0 is known')
    issues.raise_if_any()
    return rows


def sizes_of(images: list[Path], name: str) -> Iterator[tuple[int, int]]:
    """Yield width and height of patches, each decoded whole: a damaged one is found now and not in training."""

    def size_of(path: Path) -> tuple[int, int]:
        with open_slide(path) as slide:
            slide.decode_chunk(0, 0)
            return slide.width_px, slide.height_px

    progress = Progress(f'{name}: checking', len(images))
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoding is done outside the interpreter's lock
        for size_px in pool.map(size_of, images):
            progress.update(1)
            yield size_px
    progress.close()


def write_published(batch: Batch, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Write one batch folder; return its report: counts, and places of warnings."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    wells = {(patch.batch, patch.well) for patch in batch.patches}
    held_back = draw_validation_units(wells, VAL_FRACTION, SPLIT_SEED) if len(wells) > 1 else set()
    with new_batch_folder(folder) as temporary:
        for patch in batch.patches:
            file_name = patch_file_name(patch.well, patch.origin.y, patch.origin.x)
            if (temporary / file_name).exists():
                raise InputError(f'{patch.path}: a second patch of the same place in its well. Remove one of them.')
            bring(patch.path, temporary / file_name, arguments.link)
            facts = {'batch': patch.batch, 'well': patch.well, 'x': patch.origin.x, 'y': patch.origin.y}
            if batch.category_id == NUCLEUS_ID:
                facts['split'] = 'val' if (patch.batch, patch.well) in held_back else 'train'
            images.append(image_entry(len(images) + 1, file_name, *patch.size_px, **facts, mpp=arguments.mpp))
            for cell in cells_of(patch, batch):
                annotations.append(
                    coco_annotation(len(annotations) + 1, len(images), cell, category_id=batch.category_id)
                )
        lines = sum(len(patch.rows) for patch in batch.patches)
        report = {
            'patches': len(images),
            'label_lines': lines,
            'annotations': len(annotations),
            'left_out': lines - len(annotations),
            'warnings': batch.warnings,
        }
        info = {'description': 'published NOISe patches; vertices outside a patch were dropped by their authors'}
        write_json(temporary / 'import_report.json', report, indent=1)
        write_batch(temporary, images, annotations, wells_of(batch, arguments.mpp), info=info)
    return report


def bring(source: Path, target: Path, link: bool) -> None:
    """Copy or hard-link a file; a full disk, and links between disks, are errors."""
    try:
        (os.link if link else shutil.copyfile)(source, target)
    except OSError as error:
        remedy = 'Leave out --link' if link else 'Make room there'
        raise InputError(f'{source}: cannot be brought to {target} ({error.strerror or error}). {remedy}.') from error


def cells_of(patch: PublishedPatch, batch: Batch) -> Iterator[Polygon | MultiPolygon]:
    """Yield the outlines in a patch; what is repaired, cut off or left out is a warning."""
    seen = set()
    for row in patch.rows:
        where = f'{patch.path.stem}.txt, line {row.line}'
        cell = patch_cell(row, patch.size_px)
        if cell is None:
            batch.warn('left_out_without_area', where)
        elif row.values in seen:
            batch.warn('left_out_repeated', where)
        else:
            if cell.crossing:
                batch.warn('repaired_self_crossing', where)
            if cell.outside:
                batch.warn('cut_off_outside_patch', where)
            yield cell.geometry
        seen.add(row.values)


def wells_of(batch: Batch, um_per_px: float) -> list[dict[str, Any]]:
    """Return the entries of `wells.json`; a well is at least as large as its patches reach."""
    wells: dict[str, dict[str, Any]] = {}
    common = {'width': 0, 'height': 0, 'mpp': um_per_px, 'source': 'published patches', 'size_exact': False}
    for patch in batch.patches:
        well = wells.setdefault(patch.well, {'well': patch.well, **common})
        well['width'] = max(well['width'], patch.origin.x + patch.size_px[0])
        well['height'] = max(well['height'], patch.origin.y + patch.size_px[1])
    return list(wells.values())


def print_report(folder: Path, report: dict[str, Any]) -> None:
    """Print what was written, and the warnings."""
    print(
        f'{folder}: {report["patches"]} patches, {report["annotations"]} annotations from {report["label_lines"]} '
        f'label lines, {report["left_out"]} left out'
    )
    for kind, places in report['warnings'].items():
        more = ', ...' if len(places) > 3 else ''
        print(f'  {kind.replace("_", " ")}: {len(places)} ({", ".join(places[:3])}{more})')


def main() -> None:
    """Read and check all batches, then write them one after the other."""
    arguments = parse_arguments()
    check_um_per_px(arguments.mpp)
    batches = []
    folders = batch_folders(arguments.source, arguments.batches, arguments.nuclei)
    for name in [folder.resolve().name.upper() for folder in folders] + ['nuclei'] * bool(arguments.nuclei):
        refuse_existing(arguments.out / name)
    for folder in folders:
        batches.append(Batch(folder.resolve().name.upper(), [], OSTEOCLAST_ID))
        read_batch_folder(folder, batches[-1], arguments.names)
    if arguments.nuclei:
        batches.append(Batch('nuclei', [], NUCLEUS_ID))
        for folder in arguments.nuclei:
            require_parts(folder)
            read_batch_folder(folder, batches[-1], arguments.names)
    for batch in batches:
        folder = arguments.out / batch.name
        print_report(folder, write_published(batch, folder, arguments))


if __name__ == '__main__':
    run_command(main)
