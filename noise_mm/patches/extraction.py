"""Wells and annotations of one batch to a batch folder of the dataset: planned, cut in parallel, resumed after a kill.

Which patches there are, and all annotations, follow from the outlines alone; only the pixels take time. They are cut
block by block. A line in the journal says that a block's patches are written, and the annotations are written last, in
the order of wells and rows: so a run that was killed goes on at the next block and ends with the same bytes.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from noise_mm.coco.annotations import coco_annotation
from noise_mm.coco.batch_folder import image_entry, write_batch
from noise_mm.errors import InputError
from noise_mm.files import read_json, write_text
from noise_mm.patches.cutting import Block, cut_block
from noise_mm.patches.layout import Patch
from noise_mm.patches.pairing import find_wells
from noise_mm.patches.parallel import completed
from noise_mm.patches.planning import (
    CATEGORY_IDS,
    PlannedWell,
    Request,
    default_workers,
    patch_file,
    patch_origin,
    plan_well,
)
from noise_mm.progress import Progress
from noise_mm.scale import REFERENCE_UM_PER_PX
from noise_mm.slides.well_images import first_of

JOURNAL = '.extracted'


@dataclass(frozen=True)
class Extracted:
    """What came of it.

    Attributes:
        wells: Number of wells.
        images: Number of patches.
        annotations: Number of annotations, pieces to ignore included.
        ignored: Number of pieces to ignore.
        faults: Every well that was left out, with the reason.
        notes: What the user should know of the others, in sentences.
    """

    wells: int
    images: int
    annotations: int
    ignored: int
    faults: dict[str, InputError]
    notes: list[str]


class WellsError(InputError):
    """Wells that can't be used; `faults` holds what is wrong with each, by name."""

    def __init__(self, faults: dict[str, InputError], wells: int) -> None:
        """`wells`: number of wells in all."""
        super().__init__(
            f'{len(faults)} of {wells} wells cannot be used ({", ".join(sorted(faults))}). Put them right, or use '
            '--skip-bad to go on without them.'
        )
        self.faults = faults


def extract(request: Request, workers: int | None = None, dask_address: str | None = None) -> Extracted:
    """Cuts all wells of a batch into patches and writes the batch folder (see `noise_mm.coco.batch_folder`).

    Every fault of the wells and annotation files that can be seen without decoding pixels is found before any work is
    done. Besides the keys of `image_entry`, every image has `scale`: its pixels per pixel of the well, so that pixel
    (i, j) of the patch lies at (x + i / scale, y + j / scale) in the well. Besides COCO's keys, every annotation has
    `cell` (number of the cell in its well's annotation file, from 1), `cell_name` (as that file calls it, if it does)
    and `visible_fraction` (the share of the cell's area that the patch shows).

    Args:
        request: What to extract.
        workers: Processes on this machine; by default as many as `default_workers` finds room for.
        dask_address: Runs on the workers of this `dask.distributed` scheduler instead.

    Raises:
        WellsError: If wells can't be used, unless `request.skip_bad`; or if none can.
        InputError: If folders are missing or can't be written to, or hold something else.
    """
    found, faults, notes = find_wells(request.wells_dir, request.annotations_dir, request.allow_unannotated)
    names = {files.name for files in found} | set(faults)
    _refuse_other_wells(request.folder, names)
    planned: dict[str, PlannedWell] = {}
    for files in found:
        try:
            planned[files.name] = plan_well(files, request)
        except InputError as fault:
            faults[files.name] = fault
    _raise_faults(faults, names, request)
    _cut(planned, faults, names, request, workers, dask_address)
    wells = [well for name, well in planned.items() if name not in faults]
    images, annotations = _coco_entries(wells, request)
    write_batch(request.folder, images, annotations, [well.facts for well in wells], info=_info(request, notes))
    _remove_stale_patches(request.folder, names, {image['file_name'] for image in images})
    ignored = sum(annotation['iscrowd'] for annotation in annotations)
    return Extracted(len(wells), len(images), len(annotations), ignored, faults, [*notes, *_notes(wells)])


def _raise_faults(faults: dict[str, InputError], names: set[str], request: Request) -> None:
    """Ends the work if there are faults and it may not go on without those wells, or nothing is left.

    Raises:
        WellsError: Then.
    """
    if faults and (not request.skip_bad or len(faults) == len(names)):
        raise WellsError(faults, len(names))


def _cut(
    planned: dict[str, PlannedWell],
    faults: dict[str, InputError],
    names: set[str],
    request: Request,
    workers: int | None,
    dask_address: str | None,
) -> None:
    """Cuts the blocks that an earlier run has not; wells that turn out damaged are added to `faults`."""
    images_dir, journal = request.folder / 'images', request.folder / JOURNAL
    _prepare_folder(images_dir)
    keys = {block: block.key() for well in planned.values() for block in well.blocks}
    done = _finished(journal, keys)
    pending = [block for block in keys if block not in done]
    if pending:  # what is there is no longer a whole batch
        (request.folder / 'annotations.json').unlink(missing_ok=True)
    write_text(journal, ''.join(f'{keys[block]}\n' for block in keys if block in done))
    progress = Progress(request.batch, sum(len(block.files) for block in keys))
    progress.skip(sum(len(block.files) for block in done))
    workers = default_workers(list(planned.values())) if workers is None else workers
    with open(journal, 'a', encoding='ascii') as lines:
        for block, outcome in completed(cut_block, pending, workers, dask_address):
            if isinstance(outcome, InputError):
                faults[block.well] = outcome
                _raise_faults(faults, names, request)
            else:
                lines.write(f'{keys[block]}\n')
                lines.flush()
                progress.update(outcome)
    progress.close()
    write_text(journal, ''.join(f'{key}\n' for block, key in keys.items() if block.well not in faults))


def _finished(journal: Path, keys: dict[Block, str]) -> set[Block]:
    """Blocks that an earlier run wrote from the same image and settings, and whose patches are still there."""
    try:
        written = set(journal.read_text(encoding='ascii', errors='replace').split())
    except FileNotFoundError:
        return set()
    return {block for block, key in keys.items() if key in written and all(file.exists() for file in block.files)}


def _prepare_folder(images_dir: Path) -> None:
    """Makes the folder, and removes half-written files that a killed run has left in it."""
    try:
        images_dir.mkdir(parents=True, exist_ok=True)
        for file in images_dir.glob('.*.png'):
            file.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f'{images_dir}: cannot write here ({error.strerror or error}). Choose another --out.'
        ) from error


def _refuse_other_wells(folder: Path, names: set[str]) -> None:
    """Keeps a batch folder from losing wells that this run does not know.

    Raises:
        InputError: If the folder holds other wells.
    """
    listed = folder / 'wells.json'
    if not listed.exists():
        return
    wells = read_json(listed)
    if not isinstance(wells, list) or not all(isinstance(well, dict) and 'well' in well for well in wells):
        raise InputError(f'{listed}: not a list of wells. Choose another --batch or --out, or delete the folder.')
    others = sorted({str(well['well']) for well in wells} - names)
    if others:
        raise InputError(
            f'{folder}: already holds other wells ({", ".join(others[:3])}{", ..." * (len(others) > 3)}). A batch is '
            'extracted in one go: put its wells into one folder, choose another --batch, or delete the folder.'
        )


def _remove_stale_patches(folder: Path, names: set[str], file_names: set[str]) -> None:
    """Removes patches of these wells that an earlier run with other settings wrote and no annotation lists."""
    for file in (folder / 'images').glob('.*.png'):  # half-written by a worker that was killed
        file.unlink(missing_ok=True)
    for file in (folder / 'images').glob('*.png'):
        well = re.fullmatch(r'(.+)_\d+_\d+', file.stem)
        if well and well[1] in names and f'images/{file.name}' not in file_names:
            file.unlink()


def _coco_entries(wells: Sequence[PlannedWell], request: Request) -> tuple[list[dict], list[dict]]:
    """COCO's images and annotations, numbered from 1 in the order of wells, rows, columns and cells."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    stored_px, stored_scale = request.settings.stored_px, request.settings.stored_scale
    for well in wells:
        for patch in well.patches:
            x, y = patch_origin(patch.window, well.scale)
            file_name = patch_file(well.files.name, patch.window)
            scale = well.scale * stored_scale
            mpp = None if well.facts['mpp_origin'] == 'assumed' else well.facts['mpp'] / scale
            place = {'batch': request.batch, 'well': well.files.name, 'x': x, 'y': y, 'mpp': mpp}
            images.append(image_entry(len(images) + 1, file_name, stored_px, stored_px, **place, scale=scale))
            annotations.extend(_annotations(well, patch, len(images), len(annotations) + 1))
    return images, annotations


def _annotations(well: PlannedWell, patch: Patch, image_id: int, first_id: int) -> Iterator[dict[str, Any]]:
    """COCO's annotations of one patch."""
    for annotation_id, piece in enumerate(patch.pieces, start=first_id):
        outline = well.outlines[piece.cell]
        more = {'cell': piece.cell + 1, 'visible_fraction': round(piece.visible_fraction, 6)}
        if outline.name:
            more['cell_name'] = outline.name
        yield coco_annotation(
            annotation_id,
            image_id,
            piece.geometry,
            category_id=CATEGORY_IDS.get(outline.label, CATEGORY_IDS['osteoclast']),
            ignored=piece.ignored,
            **more,
        )


def _info(request: Request, notes: list[str]) -> dict[str, Any]:
    """How the batch was made, without dates and folders, so that the same work gives the same file."""
    return {
        'description': f'Patches of batch {request.batch}, cut by noise_mm.',
        'reference_mpp': REFERENCE_UM_PER_PX,
        **asdict(request.settings),
        'left_out': list(request.left_out),
        'iscrowd': request.crowd,
        'exif': request.exif,
        'scene': request.scene,
        'notes': notes,
    }


def _notes(wells: Sequence[PlannedWell]) -> list[str]:
    """What was assumed about wells, one sentence for each kind."""
    assumed = [well.files.name for well in wells if well.facts['mpp_origin'] == 'assumed']
    sparse = [well.files.name for well in wells if well.facts['empty_segments']]
    notes = []
    if assumed:
        notes.append(
            f'{first_of(assumed)}: the file states no pixel size; {REFERENCE_UM_PER_PX} um is assumed, and no '
            'area in um^2 is written. Give it with --mpp, or accept it with --assume-mpp.'
        )
    if sparse:
        notes.append(f'{first_of(sparse)}: the file leaves out tiles or strips; they are white in the patches.')
    return notes
