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


def canonical_label(label: str) -> str:
    """Return the class among `KNOWN_LABELS` that differs from `label` in capitals only, else `label` itself."""
    by_small_letters = {known: known for known in KNOWN_LABELS}
    return by_small_letters.get(label.strip().casefold(), label)


def patch_file_name(well: str, row_px: int, column_px: int) -> str:
    """Return the `file_name` of a patch; offsets are in pixels of the reference magnification."""
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
    """Return one entry of a COCO file's `images`, with all keys that this project needs; `more` follows them."""
    size = {'id': image_id, 'file_name': file_name, 'width': width, 'height': height}
    return {**size, 'batch': batch, 'well': well, 'x': x, 'y': y, 'mpp': mpp, **more}


def coco_dictionary(
    images: Sequence[Mapping[str, Any]],
    annotations: Sequence[Mapping[str, Any]],
    *,
    categories: Iterable[Mapping[str, Any]] = CATEGORIES,
    info: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a COCO dataset as a dictionary, checked for the mistakes that COCO tools don't report.

    Args:
        images: `images` entries; ids from 1.
        annotations: `annotations` entries; ids from 1, because COCO's evaluation takes id 0 for "no match".
        categories: `categories` entries.
        info: Free facts on how the file came about, such as versions and settings.

    Raises:
        ValueError: If ids are not unique or below 1, or an annotation refers to an unknown image or category.
    """
    lists = {'categories': [*categories], 'images': [*images], 'annotations': [*annotations]}
    ids = {name: {entry['id'] for entry in entries} for name, entries in lists.items()}
    for name, entries in lists.items():
        if len(ids[name]) < len(entries) or min(ids[name], default=1) < 1:
            raise ValueError(f'ids of {name} are below 1 or used twice')
    for key, name in (('image_id', 'images'), ('category_id', 'categories')):
        if unknown := {annotation[key] for annotation in annotations} - ids[name]:
            raise ValueError(f'annotations refer to unknown {name}: {unknown}')
    return {'info': dict(info or {}), 'licenses': []} | {k: [*map(dict, each)] for k, each in lists.items()}


def write_batch(
    folder: str | Path,
    images: Sequence[Mapping[str, Any]],
    annotations: Sequence[Mapping[str, Any]],
    wells: Sequence[Mapping[str, Any]],
    *,
    info: Mapping[str, Any] | None = None,
) -> None:
    """Write `annotations.json` and `wells.json` of a batch folder, each whole or not at all.

    `annotations.json` is written last, so a folder that has it is complete. The images themselves are the
    caller's. Equal arguments give equal bytes.

    Args:
        folder: The batch folder, such as `data/osteoclast/M1`; made if missing.
        images: Entries as `image_entry` makes them.
        annotations: COCO annotations; ids from 1.
        wells: For each well `well`, `width`, `height`, `mpp` and `source`; sizes in px, `mpp` in um per px or None.
        info: Free facts for the COCO file's `info`.

    Raises:
        ValueError: If ids are wrong, or an image names a well that `wells` lacks.
        InputError: If the folder can't be written to.
    """
    names = [well['well'] for well in wells]
    if len(set(names)) < len(names) or not {image['well'] for image in images} <= set(names):
        raise ValueError(f'two wells of one batch have the same name, or an image is of another well than {names}')
    dataset = coco_dictionary(images, annotations, info=info)
    folder = Path(folder)
    write_json(folder / 'wells.json', [dict(well) for well in wells], indent=1)
    write_json(folder / 'annotations.json', dataset)


def refuse_existing(folder: str | Path) -> None:
    """Refuse a batch folder that is there already, so that long work does not end in vain.

    Raises:
        InputError: If `folder` is a file, or a folder that is not empty.
    """
    folder = Path(folder)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise InputError(f'{folder}: already there. Remove it, or choose another --out.')


@contextmanager
def new_batch_folder(folder: str | Path) -> Iterator[Path]:
    """Give a temporary folder beside `folder`, with `images/`, that becomes `folder` when the block ends well.

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
