"""The kinds of issues that a COCO file or dataset can have, what to do about each, and how they are listed. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Kind:
    """A kind of issue.

    Attributes:
        title: What is the matter.
        remedy: What to do about it, a sentence.
        is_note: Whether it may well be right, which only the user can know; notes are no errors.
    """

    title: str
    remedy: str
    is_note: bool = False


class Issue(NamedTuple):
    """One thing that is wrong.

    Attributes:
        kind: Which kind of thing.
        place: The file, and the entry in it.
        what: What is wrong there.
        fixable: Whether `--fix` puts it right.
    """

    kind: Kind
    place: str
    what: str
    fixable: bool = False


AGAIN = 'Write the folder again with the command in data_prep that made it.'
CORRECT = 'Correct these entries, or write the folder again.'

UNREADABLE = Kind('file that cannot be read', AGAIN)
UNFINISHED = Kind('folder of patches without annotations', 'Run extract_patches.py again: it goes on where it stopped.')
BAD_ENTRY = Kind('entry that is incomplete', CORRECT)
OTHER_FORM = Kind('entries in another form than the standard', 'They are read all the same.', True)
DOUBLE_ID = Kind('id or name used twice', CORRECT)
LOW_ID = Kind('id below 1', "Number from 1: COCO's evaluation takes an annotation with id 0 for no match.")

MISSING_IMAGE = Kind('missing image', 'Copy it there, or extract the batch again.')
CORRUPT_IMAGE = Kind('corrupt image', 'Copy or extract it again.')
WRONG_SIZE = Kind('image of another size than annotated', 'Take the images and annotations of the same run.')
UNLISTED_IMAGE = Kind('image that no annotation file lists', 'It is never used. Remove it, or annotate it.', True)
OTHER_BATCH = Kind('image of another batch than its folder', CORRECT)
UNKNOWN_WELL = Kind('image of a well that wells.json lacks', CORRECT)
OUTSIDE_WELL = Kind('patch outside its well', CORRECT)
NO_PIXEL_SIZE = Kind('pixel size not known', 'Areas in um2 leave these images out. Import again with --mpp.', True)

UNKNOWN_IMAGE = Kind('annotation of an image that is not listed', CORRECT)
UNKNOWN_CATEGORY = Kind('unknown category', 'Categories are 1 osteoclast and 2 nucleus. Rename or leave out others.')
EMPTY_CATEGORY = Kind('empty category', 'Nothing can be learned from this file. Annotate it, or remove the folder.')
NO_SHAPE = Kind('annotation without outline and box', CORRECT)
BAD_OUTLINE = Kind('outline that cannot be read', 'Draw these cells again.')
CROSSING = Kind('outline that crosses itself', 'Repair it with --fix (by the even-odd rule), or draw it again.')
OUTLINE_OUTSIDE = Kind('outline outside its image', 'Check that the outlines belong to these images.')
BOX_OUTSIDE = Kind('box outside its image', 'Check that the boxes belong to these images.')
WRONG_BOX = Kind('box that is not that of the outline', 'Compute it again with --fix.')
WRONG_AREA = Kind('area that is not that of the outline or box', 'Compute it again with --fix.')
REPEATED = Kind('annotation that is there twice', 'Remove the copies with --fix.')
BAD_FLAG = Kind('iscrowd that is neither 0 nor 1', CORRECT)
IGNORED = Kind('ignored without a reason in the file', 'Right if the annotator marked a region to ignore.', True)
SLIVER = Kind('sliver that is not ignored', 'Right if annotations were corrected by hand; else extract again.', True)

SAME_WELL = Kind(
    'same well in two batches',
    'Leave the well in one batch. If they are different wells of one name, add --shared-well-names.',
)
SAME_PICTURE = Kind('same picture twice', 'Remove one of the two: folds and splits would train on what they test.')
SPLIT_OVERLAP = Kind('training and validation overlap', 'Remove what is on both sides, or draw the split by well.')
PATCH_SPLIT = Kind(
    "overlap with split_unit='patch'",
    "Not so with the default, split_unit='well'. Expected of the looser reading.",
    True,
)
PART_SPLIT = Kind('images without the split that others have', CORRECT)
NO_SPLIT = Kind('no stored split', "Set split_unit='well' in the config of stage 1, which expects a stored one.", True)
ONE_SIDED = Kind('split with an empty side', 'Add wells, or set another split_unit or --val-fraction.', True)


def errors_of(issues: Iterable[Issue]) -> list[Issue]:
    """Return the issues that are more than notes."""
    return [issue for issue in issues if not issue.kind.is_note]


def listing(issues: Iterable[Issue], limit: int) -> list[str]:
    """Return the issues in lines, kind by kind in the order of their first issue, errors before notes.

    Args:
        issues: What was found.
        limit: How many of each kind to print; the last line of a longer list says how many more there are.
    """
    by_kind: dict[Kind, list[Issue]] = {}
    for issue in issues:
        by_kind.setdefault(issue.kind, []).append(issue)
    lines = []
    for kind, found in sorted(by_kind.items(), key=lambda item: item[0].is_note):
        lines.append(f'{"note" if kind.is_note else "issue"}: {kind.title} ({len(found)}). {kind.remedy}')
        lines += limited([f'{issue.place}: {issue.what}' for issue in found], limit)
    return lines


def limited(lines: Sequence[str], limit: int) -> list[str]:
    """Return the first lines, indented, and how many more there are."""
    more = [f'  ... and {len(lines) - limit} more'] if len(lines) > limit else []
    return [f'  {line}' for line in lines[:limit]] + more
