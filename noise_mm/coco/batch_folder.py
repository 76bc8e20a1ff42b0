"""The layout of one batch folder of the dataset, and how it is written.

    <batch>/images/<name>.png     the patches
    <batch>/annotations.json      plain COCO; read by any COCO tool
    <batch>/wells.json            the wells that the patches were cut from

Besides COCO's keys, every image carries `batch`, `well`, `x`, `y` (the patch's upper left corner in full-resolution
well pixels) and `mpp` (um per pixel of the stored image, None where it is not known). `file_name` is relative to the
batch folder: `images/<name>.png`. Category ids are the same in all files, so that files can be joined.
"""

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from noise_mm.errors import InputError
from noise_mm.files import write_json

OSTEOCLAST_ID = 1
NUCLEUS_ID = 2
CATEGORIES = (
    {'id': OSTEOCLAST_ID, 'name': 'osteoclast', 'supercategory': 'cell'},
    {'id': NUCLEUS_ID, 'name': 'nucleus', 'supercategory': 'cell'},
)

KNOWN_LABELS = (*(category['name'] for category in CATEGORIES), 'pre-osteoclast')

IMAGE_KEYS = ('id', 'file_name', 'width', 'height', 'batch', 'well', 'x', 'y', 'mpp')
WELL_KEYS = ('well', 'width', 'height', 'mpp', 'source')


def canonical_label(label: str) -> str:
    """Return the class among `KNOWN_LABELS` that differs from `label` in capitals only, else `label` itself."""
    by_small_letters = {known: known for known in KNOWN_LABELS}
    return by_small_letters.get(label.strip().casefold(), label)


def patch_file_name(well: str, row_px: int, column_px: int) -> str:
    """The `file_name` of a patch: `images/<well>_<row>_<col>.png`, offsets in pixels of the reference magnification."""
    return f'images/{well}_{row_px}_{column_px}.png'


def image_entry(
    image_id: int,
    file_name: str,
    width: int,
    height: int,
    *,
    batch: str,
    well: str,
    x: int,
    y: int,
    mpp: float | None,
    **more: Any,
) -> dict[str, Any]:
    """One entry of a COCO file's `images`, with all keys that this project needs; `more` follows them."""
    return {
        'id': image_id,
        'file_name': file_name,
        'width': width,
        'height': height,
        'batch': batch,
        'well': well,
        'x': x,
        'y': y,
        'mpp': mpp,
        **more,
    }


def coco_dictionary(
    images: Sequence[Mapping[str, Any]],
    annotations: Sequence[Mapping[str, Any]],
    *,
    categories: Iterable[Mapping[str, Any]] = CATEGORIES,
    info: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A COCO dataset as a dictionary, checked for the mistakes that COCO tools don't report.

    Args:
        images: `images` entries; ids from 1.
        annotations: `annotations` entries; ids from 1, because COCO's evaluation takes id 0 for "no match".
        categories: `categories` entries.
        info: Free facts on how the file came about, such as versions and settings.

    Raises:
        ValueError: If ids are not unique or below 1, or an annotation refers to an unknown image or category.
    """
    categories = [dict(category) for category in categories]
    image_ids = _unique_ids('image', images)
    category_ids = _unique_ids('category', categories)
    _unique_ids('annotation', annotations)
    for annotation in annotations:
        if annotation['image_id'] not in image_ids:
            raise ValueError(f'annotation {annotation["id"]} refers to unknown image {annotation["image_id"]}')
        if annotation['category_id'] not in category_ids:
            raise ValueError(f'annotation {annotation["id"]} refers to unknown category {annotation["category_id"]}')
    return {
        'info': dict(info or {}),
        'licenses': [],
        'categories': categories,
        'images': [dict(image) for image in images],
        'annotations': [dict(annotation) for annotation in annotations],
    }


def write_batch(
    folder: str | Path,
    images: Sequence[Mapping[str, Any]],
    annotations: Sequence[Mapping[str, Any]],
    wells: Sequence[Mapping[str, Any]],
    *,
    info: Mapping[str, Any] | None = None,
) -> None:
    """Writes `annotations.json` and `wells.json` of a batch folder, each whole or not at all.

    `annotations.json` is written last, so a folder that has it is complete. The images themselves are the
    caller's. Equal arguments give equal bytes.

    Args:
        folder: The batch folder, such as `data/osteoclast/M1`; made if missing.
        images: Entries as `image_entry` makes them.
        annotations: COCO annotations; ids from 1.
        wells: One mapping with the keys `WELL_KEYS` for each well; sizes in px, `mpp` in um per px or None.
        info: Free facts for the COCO file's `info`.

    Raises:
        ValueError: If a key is missing, ids are wrong, or an image names a well that `wells` lacks.
        InputError: If the folder can't be written to.
    """
    _require_keys('image', IMAGE_KEYS, images)
    _require_keys('well', WELL_KEYS, wells)
    names = {well['well'] for well in wells}
    if len(names) != len(wells):
        raise ValueError('two wells of one batch have the same name')
    for image in images:
        if image['well'] not in names:
            raise ValueError(f'{image["file_name"]} is of well {image["well"]!r}, which is not among the wells')
    dataset = coco_dictionary(images, annotations, info=info)
    folder = Path(folder)
    write_json(folder / 'wells.json', [dict(well) for well in wells], indent=1)
    write_json(folder / 'annotations.json', dataset)


def refuse_existing(folder: str | Path) -> None:
    """Refuses a batch folder that is there already, so that long work does not end in vain.

    Raises:
        InputError: If `folder` is a file, or a folder that is not empty.
    """
    folder = Path(folder)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise InputError(f'{folder}: already there. Remove it, or choose another --out.')


@contextmanager
def new_batch_folder(folder: str | Path) -> Iterator[Path]:
    """Gives a temporary folder beside `folder`, with `images/`, that becomes `folder` when the block ends well.

    If the block raises, nothing is left of it.

    Raises:
        InputError: If `folder` exists and is not empty, or can't be made.
    """
    folder = Path(folder)
    refuse_existing(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f'.{folder.name}-', dir=folder.parent))
    except OSError as error:
        raise InputError(f'{folder}: cannot be made ({error.strerror or error}). Choose another --out.') from error
    try:
        (temporary / 'images').mkdir()
        yield temporary
        temporary.chmod((temporary / 'images').stat().st_mode)  # mkdtemp makes folders private
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _unique_ids(kind: str, entries: Iterable[Mapping[str, Any]]) -> set[int]:
    """The ids of `entries`; refuses ids that are doubled or below 1."""
    ids: set[int] = set()
    for entry in entries:
        if entry['id'] < 1 or entry['id'] in ids:
            raise ValueError(f'{kind} id {entry["id"]} is below 1 or used twice')
        ids.add(entry['id'])
    return ids


def _require_keys(kind: str, keys: Sequence[str], entries: Iterable[Mapping[str, Any]]) -> None:
    """Refuses entries that lack one of `keys`."""
    for entry in entries:
        missing = [key for key in keys if key not in entry]
        if missing:
            raise ValueError(f'{kind} {entry.get("id", entry.get("well"))} lacks {", ".join(missing)}')
