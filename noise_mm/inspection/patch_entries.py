"""Checks the entries of patches and categories in an annotation file. Pure; no files."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from noise_mm.coco import issues as kinds
from noise_mm.coco.batch_folder import CATEGORIES
from noise_mm.coco.issues import Issue
from noise_mm.coco.reader import CocoImage
from noise_mm.inspection.annotation_files import Part, PartContent, Role

ROUNDING_PX = 2
"""How far a patch may reach beyond its well: origins in resampled wells are rounded to whole pixels."""

LARGEST_NUMBER = 1e300
"""Beyond this a JSON number is infinite, or an integer that no float can hold."""

KNOWN_CATEGORIES = {category['id']: category['name'] for category in CATEGORIES}


class Patch(NamedTuple):
    """One patch, as its entry describes it.

    Attributes:
        image_id: Id in its annotation file.
        file_name: Relative to the batch folder.
        width: In stored pixels.
        height: In stored pixels.
        batch: Its batch.
        well: Its well.
        x: Left edge in well pixels.
        y: Upper edge in well pixels.
        um_per_px: Of the stored image; None if not known.
        scale: Stored pixels per well pixel.
        split: 'train' or 'val' where the file says so.
    """

    image_id: int
    file_name: str
    width: int
    height: int
    batch: str
    well: str
    x: float
    y: float
    um_per_px: float | None
    scale: float
    split: str | None

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, upper, right and lower edge in well pixels."""
        return self.x, self.y, self.x + self.width / self.scale, self.y + self.height / self.scale


def is_number(value: Any, low: float = -np.inf, high: float = np.inf) -> bool:
    """Return whether a JSON value is a finite number in the open interval from `low` to `high`."""
    is_a_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_a_number and abs(value) < LARGEST_NUMBER and low < value < high


def check_patches(part: Part, content: PartContent) -> tuple[list[Patch], list[Issue]]:
    """Return the patches whose entries have all that this project needs, and what is wrong with the others.

    What every COCO file needs (ids, names, sizes) has been checked by the reader.
    """
    patches: list[Patch] = []
    found: list[Issue] = []
    wells = {well['well']: well for well in content.wells}
    for image in content.coco.images:
        place = f'{part.place}, image {image.id} ({image.file_name})'
        lacking = _lacking(image)
        if lacking:
            found.append(Issue(kinds.BAD_ENTRY, place, f'has no valid {", ".join(lacking)}'))
            continue
        entry = image.entry
        place_in_well = {key: entry[key] for key in ('batch', 'well', 'x', 'y')}
        stated = {'um_per_px': entry['mpp'], 'scale': entry.get('scale', 1), 'split': entry.get('split')}
        patch = Patch(image.id, image.file_name, image.width, image.height, **place_in_well, **stated)
        patches.append(patch)
        found += [Issue(kind, place, what) for kind, what in _issues_of_patch(patch, part, wells)]
    return patches, found


def check_categories(part: Part, content: PartContent) -> list[Issue]:
    """Return what is wrong with the categories of this project."""
    return [
        Issue(kinds.UNKNOWN_CATEGORY, f'{part.place}, category {key}', f'is called {name!r}')
        for key, name in content.coco.categories.items()
        if KNOWN_CATEGORIES.get(key) != name
    ]


def check_pseudo_patches(part: Part, patches: Iterable[Patch], of_batch: Mapping[str, Patch]) -> list[Issue]:
    """Return what differs between the patches of pseudo-labels and those of the same files in their batch.

    Another well would give another split: a network would be trained in stage 2 on what it is validated on in stage 3.

    Args:
        part: The pseudo-labels.
        patches: Their patches.
        of_batch: The patches of the batch by file name.
    """
    found = []
    for patch in patches:
        place = f'{part.place}, image {patch.image_id} ({patch.file_name})'
        other = of_batch.get(patch.file_name)
        if other is None:
            found.append(Issue(kinds.MISSING_IMAGE, place, f'batch {part.batch} does not list this patch'))
        elif (patch.width, patch.height) != (other.width, other.height):
            sizes = f'{patch.width} x {patch.height} px, in the batch {other.width} x {other.height} px'
            found.append(Issue(kinds.WRONG_SIZE, place, f'annotated as {sizes}'))
        elif patch.well != other.well:
            found.append(Issue(kinds.UNKNOWN_WELL, place, f'of well {patch.well!r}, in the batch of {other.well!r}'))
    return found


def _lacking(image: CocoImage) -> list[str]:
    """Return the keys of an image entry that are missing or have no sensible value."""
    entry, name = image.entry, image.file_name
    right = {
        'id': isinstance(image.id, int),
        'file_name': not PurePosixPath(name).is_absolute() and '..' not in name.split('/'),
        'batch': isinstance(entry.get('batch'), str),
        'well': isinstance(entry.get('well'), str),
        'x': is_number(entry.get('x')),
        'y': is_number(entry.get('y')),
        'mpp': 'mpp' in entry and (entry['mpp'] is None or is_number(entry['mpp'], 0)),
        'scale': is_number(entry.get('scale', 1), 0),
        'split': entry.get('split') in (None, 'train', 'val'),
    }
    return [key for key, is_right in right.items() if not is_right]


def _issues_of_patch(patch: Patch, part: Part, wells: Mapping[str, Mapping[str, Any]]) -> list[tuple[kinds.Kind, str]]:
    """Check a patch, apart from its pixels."""
    found = []
    if part.batch is not None and patch.batch != part.batch:
        found.append((kinds.OTHER_BATCH, f'its batch is {patch.batch!r}'))
    if patch.um_per_px is None:
        found.append((kinds.NO_PIXEL_SIZE, 'mpp is null'))
    if part.role is Role.PSEUDO:
        return found
    well = wells.get(patch.well)
    if well is None:
        found.append((kinds.UNKNOWN_WELL, f'its well is {patch.well!r}'))
    elif is_number(well.get('width'), 0) and is_number(well.get('height'), 0):
        left, top, right, bottom = patch.extent
        # A well smaller than a patch gives one patch, which is filled up with white.
        beyond_px = max(right - well['width'] if left > 0 else 0, bottom - well['height'] if top > 0 else 0)
        if min(left, top) < 0 or beyond_px > ROUNDING_PX:
            size = f'{well["width"]} x {well["height"]} px'
            found.append((kinds.OUTSIDE_WELL, f'x {left:g} to {right:g}, y {top:g} to {bottom:g} in a well of {size}'))
    return found


def check_stored_split(part: Part, patches: Iterable[Patch]) -> list[Issue]:
    """Return what is wrong with the split that a file of nuclei states for each of its images."""
    splits = Counter(patch.split for patch in patches)
    if not splits:
        return []
    if splits[None]:
        kind = kinds.NO_SPLIT if len(splits) == 1 else kinds.PART_SPLIT
        return [Issue(kind, part.place, f'{splits[None]} of {splits.total()} images say neither train nor val')]
    if len(splits) == 1:
        return [Issue(kinds.ONE_SIDED, part.place, f'all {splits.total()} images are of split {next(iter(splits))!r}')]
    return []
