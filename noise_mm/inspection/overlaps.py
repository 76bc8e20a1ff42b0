"""Finds duplicates: wells in two batches, pictures under two names, patches on both sides of a split. Pure."""

import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from noise_mm.coco import issues as kinds
from noise_mm.coco.issues import Issue
from noise_mm.inspection.images import Picture
from noise_mm.inspection.patch_entries import ROUNDING_PX, Patch
from noise_mm.splits import Unit, draw_validation_units


def same_wells(patches: Iterable[Patch]) -> list[Issue]:
    """Return an issue for each name that wells of several batches have."""
    batches: dict[str, set[str]] = defaultdict(set)
    for patch in patches:
        batches[patch.well].add(patch.batch)
    return [
        Issue(kinds.SAME_WELL, f'well {well!r}', f'is in {" and ".join(sorted(found))}')
        for well, found in sorted(batches.items())
        if len(found) > 1
    ]


def same_pictures(pictures: Iterable[Picture]) -> list[Issue]:
    """Return an issue for each picture that shows exactly what another one shows.

    A picture among the nuclei may be one of the same batch's patches: the same wells are marked for both.
    """
    by_digest: dict[bytes, list[Picture]] = defaultdict(list)
    found = []
    for picture in pictures:
        if picture.digest is None:
            continue
        for other in by_digest[picture.digest]:
            if picture.part == other.part or picture.patch.batch != other.patch.batch:
                what = f'the same picture as {other.place} (well {other.patch.well!r} of batch {other.patch.batch!r})'
                found.append(Issue(kinds.SAME_PICTURE, picture.place, what))
                break
        by_digest[picture.digest].append(picture)
    return found


def training_sets(batches: Iterable[str]) -> list[list[str]]:
    """Return the lists of batches that the protocols of the paper (section 5) train on.

    Batches are told apart by the letters that their names begin with: M for mouse, H for human. Each kind is trained on
    as a whole (M->H), and without each of its batches in turn (M->M, H->H).

    >>> training_sets(['M1', 'M2', 'H1'])
    [['H1'], ['M1', 'M2'], ['M2'], ['M1']]
    """
    by_kind: dict[str, list[str]] = defaultdict(list)
    for batch in sorted(batches):
        by_kind[kind_of(batch)].append(batch)
    sets = []
    for _, members in sorted(by_kind.items()):
        sets.append(members)
        if len(members) > 1:
            sets += [[batch for batch in members if batch != held_out] for held_out in members]
    return sets


def kind_of(batch: str) -> str:
    """Return the letters that a batch's name begins with, or its whole name."""
    letters = re.match(r'[^\W\d_]+', batch)
    return letters[0] if letters else batch


def drawn_split_issues(pictures: Sequence[Picture], unit: str, val_fraction: float, seed: Hashable) -> list[Issue]:
    """Return an issue for each training set whose drawn split has the same pixels on both sides.

    Args:
        pictures: All patches of cells.
        unit: 'well' or 'patch': what is drawn.
        val_fraction: Share of the units that is held back.
        seed: Of the draw.
    """
    found = []
    for batches in training_sets({picture.patch.batch for picture in pictures}):
        chosen = [picture for picture in pictures if picture.patch.batch in batches]
        name = 'well' if unit == 'well' else 'file_name'
        units = [(picture.patch.batch, getattr(picture.patch, name)) for picture in chosen]
        place = f'training on {", ".join(batches)}, split by {unit}'
        if len(set(units)) < 2:
            found.append(Issue(kinds.ONE_SIDED, place, f'there is only one {unit} to split'))
            continue
        held_back = draw_validation_units(units, val_fraction, seed)
        in_val = [each in held_back for each in units]
        kind = kinds.SPLIT_OVERLAP if unit == 'well' else kinds.PATCH_SPLIT
        found += _overlap_issue(chosen, in_val, kind, place)
    return found


def stored_split_issues(pictures: Sequence[Picture], place: str) -> list[Issue]:
    """Return an issue if the split that a file states for its images has the same pixels on both sides."""
    stated = [picture for picture in pictures if picture.patch.split]
    in_val = [picture.patch.split == 'val' for picture in stated]
    return _overlap_issue(stated, in_val, kinds.SPLIT_OVERLAP, f'{place}, stored split')


def _overlap_issue(pictures: Sequence[Picture], in_val: Sequence[bool], kind: kinds.Kind, place: str) -> list[Issue]:
    """Return one issue if training shows a part of a validation patch."""
    train = [picture for picture, held_back in zip(pictures, in_val, strict=True) if not held_back]
    val = [picture for picture, held_back in zip(pictures, in_val, strict=True) if held_back]
    shared = _shared(val, train)
    if not shared:
        return []
    one, other = shared[0]
    more = f' and {len(shared) - 1} more' if len(shared) > 1 else ''
    what = (
        f'{len(shared)} of {len(val)} validation patches show what training shows: {one.place} as {other.place}{more}'
    )
    return [Issue(kind, place, what)]


def _shared(val: Iterable[Picture], train: Iterable[Picture]) -> list[tuple[Picture, Picture]]:
    """Return the pictures of `val` that show a part of one of `train`, each with the first such one."""
    digests: dict[bytes | None, Picture] = {}
    wells: dict[Unit, list[Picture]] = defaultdict(list)
    for picture in train:
        digests.setdefault(picture.digest, picture)
        wells[picture.patch.batch, picture.patch.well].append(picture)
    extents = {well: np.array([picture.patch.extent for picture in members]) for well, members in wells.items()}
    shared = []
    for picture in val:
        well = (picture.patch.batch, picture.patch.well)
        if picture.digest is not None and picture.digest in digests:
            shared.append((picture, digests[picture.digest]))
        elif well in wells:
            one, others = np.array(picture.patch.extent), extents[well]
            sides = np.minimum(one[2:], others[:, 2:]) - np.maximum(one[:2], others[:, :2])
            meeting = np.flatnonzero((sides > ROUNDING_PX).all(axis=1))
            if len(meeting):
                shared.append((picture, wells[well][meeting[0]]))
    return shared
