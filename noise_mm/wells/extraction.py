"""Wells and annotations of one batch to a batch folder of the dataset: planned, cut in parallel, resumed after a kill.

Which patches there are, and all annotations, follow from the outlines alone; only the pixels take time. They are cut
block by block. A line in the journal says that a block's patches are written, and the annotations are written last, in
the order of wells and rows: so a run that was killed goes on at the next block and ends with the same bytes.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from noise_mm.annotations.batch_folder import CATEGORIES, image_entry, patch_file_name, write_batch
from noise_mm.annotations.coco import coco_annotation
from noise_mm.annotations.outline import Outline
from noise_mm.annotations.read import read_outlines
from noise_mm.errors import InputError
from noise_mm.files import read_json, write_text
from noise_mm.wells.cutting import Block, at_reference, cut_block, group_windows
from noise_mm.wells.outlines import area_um2
from noise_mm.wells.pairing import WellFiles, find_wells
from noise_mm.wells.parallel import completed
from noise_mm.wells.patches import REFERENCE_UM_PER_PX, Patch, PatchSettings, plan_patches, scale_to_reference
from noise_mm.wells.progress import Progress
from noise_mm.wells.slide import open_slide
from noise_mm.wells.tiles import Window

JOURNAL = '.extracted'
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

    def __post_init__(self) -> None:
        """Refuses what can't be a folder's name or a pixel's size.

        Raises:
            InputError: With the name of the option.
        """
        if not re.fullmatch(r'\w[\w.-]*', self.batch):
            raise InputError(f'--batch {self.batch!r}: becomes a folder name. Use letters, digits, "_", "-" and ".".')
        if self.um_per_px is not None and not 0 < self.um_per_px < float('inf'):
            raise InputError(f'--mpp must be positive, got {self.um_per_px}.')

    @property
    def folder(self) -> Path:
        """The batch folder."""
        return self.out_dir / self.batch


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
    """

    files: WellFiles
    facts: dict[str, Any]
    scale: float
    outlines: list[Outline]
    patches: list[Patch]
    blocks: list[Block]


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


def extract(request: Request, workers: int = 1, dask_address: str | None = None) -> Extracted:
    """Cuts all wells of a batch into patches and writes the batch folder (see `noise_mm.annotations.batch_folder`).

    Every fault of the wells and annotation files that can be seen without decoding pixels is found before any work is
    done. Besides the keys of `image_entry`, every image has `scale`: its pixels per pixel of the well, so that pixel
    (i, j) of the patch lies at (x + i / scale, y + j / scale) in the well. Besides COCO's keys, every annotation has
    `cell` (number of the cell in its well's annotation file, from 1), `cell_name` (as that file calls it, if it does)
    and `visible_fraction` (the share of the cell's area that the patch shows).

    Args:
        request: What to extract.
        workers: Processes on this machine.
        dask_address: Runs on the workers of this `dask.distributed` scheduler instead.

    Raises:
        WellsError: If wells can't be used, unless `request.skip_bad`; or if none can.
        InputError: If folders are missing or can't be written to, or hold something else.
    """
    found, faults = find_wells(request.wells_dir, request.annotations_dir, request.allow_unannotated)
    names = {files.name for files in found} | set(faults)
    _refuse_other_wells(request.folder, names)
    planned: dict[str, PlannedWell] = {}
    for files in found:
        try:
            planned[files.name] = _plan_well(files, request)
        except InputError as fault:
            faults[files.name] = fault
    _raise_faults(faults, names, request)
    _cut(planned, faults, names, request, workers, dask_address)
    wells = [well for name, well in planned.items() if name not in faults]
    images, annotations = _coco_entries(wells, request)
    write_batch(request.folder, images, annotations, [well.facts for well in wells], info=_info(request))
    _remove_stale_patches(request.folder, names, {image['file_name'] for image in images})
    ignored = sum(annotation['iscrowd'] for annotation in annotations)
    return Extracted(len(wells), len(images), len(annotations), ignored, faults, _notes(wells))


def _plan_well(files: WellFiles, request: Request) -> PlannedWell:
    """Opens a well, reads its cells, and decides on patches; decodes nothing.

    Raises:
        InputError: If the image or the annotation file is damaged, or has cells of an unknown class.
    """
    with open_slide(files.image) as slide:
        um_per_px, origin = _um_per_px(slide.um_per_px, request.um_per_px)
        size_px = (slide.width_px, slide.height_px)
        outlines = _read_cells(files, size_px, um_per_px, request)
        scale = scale_to_reference(um_per_px)
        reference = at_reference(slide, scale)
        reference_px = (reference.width_px, reference.height_px)
        patches = plan_patches(outlines, reference_px, scale, request.settings, files.name)
        groups = group_windows(slide, scale, [patch.window for patch in patches])
    blocks = [
        Block(
            files.name,
            files.image.resolve(),
            scale,
            request.settings.stored_px,
            tuple(windows),
            tuple((request.folder / _file_name(files.name, window, scale)).resolve() for window in windows),
        )
        for windows in groups
    ]
    facts = {
        'well': files.name,
        'width': slide.width_px,
        'height': slide.height_px,
        'mpp': um_per_px,
        'mpp_origin': origin,
        'source': files.image.name,
        'annotation_source': files.annotation.name if files.annotation else None,
        'cells': len(outlines),
        'cell_area_um2': area_um2(sum(outline.geometry.area for outline in outlines), um_per_px),
        'patches': len(patches),
        'empty_segments': slide.empty_segments,
    }
    return PlannedWell(files, facts, scale, outlines, patches, blocks)


def _um_per_px(of_file: float | None, of_option: float | None) -> tuple[float, str]:
    """Pixel size of a well and where it is from: the option, the file, or the reference for want of both."""
    if of_option is not None:
        return of_option, 'option'
    return (of_file, 'file') if of_file is not None else (REFERENCE_UM_PER_PX, 'assumed')


def _read_cells(files: WellFiles, size_px: tuple[int, int], um_per_px: float, request: Request) -> list[Outline]:
    """The outlines of a well, checked to be of known classes."""
    if files.annotation is None:
        return []
    outlines = read_outlines(files.annotation, size_px=size_px, um_per_px=um_per_px)
    outlines = [outline for outline in outlines if outline.label not in request.left_out]
    unknown = sorted({outline.label for outline in outlines if not outline.ignored} - set(CATEGORY_IDS))
    if unknown:
        raise InputError(
            f'{files.annotation}: outlines of class {", ".join(map(repr, unknown))}, known are '
            f'{", ".join(CATEGORY_IDS)}. Rename the class, or leave it out with --leave-out {" ".join(unknown)}.'
        )
    return outlines


def _origin(window: Window, scale: float) -> tuple[float, float]:
    """Upper left corner of a patch in pixels of the well; whole numbers where nothing was resampled."""
    return (window.x, window.y) if scale == 1 else (window.x / scale, window.y / scale)


def _file_name(well: str, window: Window, scale: float) -> str:
    x, y = _origin(window, scale)
    return patch_file_name(well, round(y), round(x))


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
    workers: int,
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
    progress = Progress(request.batch, sum(len(block.files) for block in keys), request.settings.patch_px**2)
    progress.skip(sum(len(block.files) for block in done))
    with open(journal, 'a', encoding='ascii') as lines:
        for block, outcome in completed(cut_block, pending, workers, dask_address):
            if isinstance(outcome, InputError):
                faults[block.well] = outcome
                _raise_faults(faults, names, request)
            else:
                lines.write(f'{keys[block]}\n')
                lines.flush()
                progress.add(outcome)
    progress.finish()
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
            x, y = _origin(patch.window, well.scale)
            file_name = _file_name(well.files.name, patch.window, well.scale)
            scale = well.scale * stored_scale
            place = {'batch': request.batch, 'well': well.files.name, 'x': x, 'y': y, 'mpp': well.facts['mpp'] / scale}
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


def _info(request: Request) -> dict[str, Any]:
    """How the batch was made, without dates and folders, so that the same work gives the same file."""
    return {
        'description': f'Patches of batch {request.batch}, cut by noise_mm.',
        'reference_mpp': REFERENCE_UM_PER_PX,
        **asdict(request.settings),
        'left_out': list(request.left_out),
    }


def _notes(wells: Sequence[PlannedWell]) -> list[str]:
    """What was assumed about wells, one sentence for each kind."""
    assumed = [well.files.name for well in wells if well.facts['mpp_origin'] == 'assumed']
    sparse = [well.files.name for well in wells if well.facts['empty_segments']]
    notes = []
    if assumed:
        notes.append(
            f'{_some(assumed)}: the file states no pixel size; {REFERENCE_UM_PER_PX} um is assumed. Give it with --mpp.'
        )
    if sparse:
        notes.append(f'{_some(sparse)}: the file leaves out tiles or strips; they are white in the patches.')
    return notes


def _some(names: Sequence[str]) -> str:
    """The first names of a list, and how many more there are."""
    more = f' and {len(names) - 3} more' if len(names) > 3 else ''
    return ', '.join(names[:3]) + more
