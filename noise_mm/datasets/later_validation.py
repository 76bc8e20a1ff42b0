"""Which images with marked nuclei show wells that stages 2 and 3 validate on."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mmengine.logging import print_log

from noise_mm.errors import InputError
from noise_mm.files import read_json
from noise_mm.formats.published import parse_patch_name
from noise_mm.splits import draw_validation_units

PLACE = re.compile(r'_\d+_\d+$')  # of a patch in its well, at the end of its file's name


def wells_of_batches(data_root: str | Path, batches: Iterable[str]) -> dict[str, set[str]]:
    """The wells that the osteoclast patches of each batch were cut from; a batch without a folder is left out.

    Raises:
        InputError: If a file can't be read, or a patch doesn't name its well.
    """
    wells = {}
    for batch in batches:
        path = Path(data_root) / batch / 'annotations.json'
        if not path.exists():
            continue
        content = read_json(path)
        images = content.get('images') if isinstance(content, Mapping) else None
        named = [image.get('well') for image in images or [] if isinstance(image, Mapping)]
        if not named or None in named:
            raise InputError(
                f'{path}: its patches do not name their wells, so those of the later validation are not known. '
                "Extract the batch again, or set later_validation='kept'."
            )
        wells[batch] = {str(well) for well in named}
    return wells


def without_later_validation(
    images: Sequence[dict], wells: Mapping[str, set[str]], val_fraction: float, split_seed: int
) -> list[dict]:
    """The images that show no well of the later validation, after a line that says how many do.

    Args:
        images: With `batch` and `well`.
        wells: The wells of each batch that osteoclasts are trained on.
        val_fraction: As of stages 2 and 3.
        split_seed: As of stages 2 and 3.
    """
    units = [(batch, well) for batch, names in wells.items() for well in names]
    # A single well can't be divided: stages 2 and 3 can't validate on wells then.
    held_back = draw_validation_units(units, val_fraction, split_seed) if len(units) > 1 else set()
    shown = [(image['batch'], well_shown(image, wells.get(image['batch'], ()))) for image in images]
    remaining = [image for image, unit in zip(images, shown, strict=True) if unit not in held_back]
    names = sorted({f'{batch} {well}' for batch, well in set(shown) & held_back})
    n_unknown = sum(well is None and batch in wells for batch, well in shown)
    print_log(
        f'NucleiDataset: {len(images) - len(remaining)} of {len(images)} patches left out, because stages 2 and 3 '
        f'validate on their wells ({", ".join(names) or "none"}); {n_unknown} are of wells without osteoclast patches',
        logger='current',
    )
    return remaining


def well_shown(image: Mapping, wells: Iterable[str]) -> str | None:
    """Which of the `wells` of its batch an image with nuclei shows; None if none of them.

    Such an image may be a whole well or a piece of one. It goes by the name of its file, after the name of its batch
    (`data_prep/import_nuclei.py`): as the well is called, or as a patch of it, `<well>_<row>_<column>`, or by the
    published data's `img_<well>_<row>_<column>`, whose wells are `<batch>-<well>`.
    """
    name, wells = str(image.get('well')), set(wells)
    bare = name.removeprefix(f'{image["batch"]}-')
    published = parse_patch_name(bare)
    candidates = [name, bare, PLACE.sub('', name), PLACE.sub('', bare)]
    if published is not None:
        candidates += [published.well, f'{image["batch"]}-{published.well}']
    return next((each for each in candidates if each in wells), None)
