"""Check a dataset folder, list all that is wrong with it, and count what is in it."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from noise_mm.coco.issues import Issue, errors_of, limited, listing
from noise_mm.errors import InputError, run_command
from noise_mm.inspection.annotation_files import Part, Role, find_parts
from noise_mm.inspection.counts import cells_of_batches, cells_table, nuclei_of_batches, nuclei_table, pseudo_table
from noise_mm.inspection.dataset import CheckedPart, check_part, fix_part
from noise_mm.inspection.images import Picture, check_images, unlisted_images
from noise_mm.inspection.overlaps import drawn_split_issues, same_pictures, same_wells, stored_split_issues
from noise_mm.inspection.patch_entries import check_pseudo_patches
from noise_mm.progress import Progress

EPILOG = """\
example:
  python data_prep/validate_dataset.py data/osteoclast --pictures data/pictures

Prints the issues, kind by kind, then tables of wells, patches, cells, nuclei and areas. Notes are no issues: they name
what may be right, which only you can know.

--fix rewrites annotations.json where that is safe: outlines that cross themselves are repaired by the even-odd rule,
outlines and boxes that reach up to 1 px beyond their image are cut off there, boxes and areas are computed again from
the outlines, copies of an annotation are removed. The file as it was is kept as annotations.json.bak. Images are never
changed.

exit status: 0 nothing is wrong (any more), 2 something is
"""


def parse_arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('root', type=Path, metavar='DATA_ROOT', help='the folder that holds the batch folders')
    add('--fix', action='store_true', help='put right what is safe to, see below')
    add('--pictures', type=Path, metavar='DIR', help='write histograms.png and contact_sheet.png to this folder')
    add('--limit', type=int, default=10, metavar='N', help='issues of a kind to print (%(default)s)')
    add('--shared-well-names', action='store_true', help='different wells of two batches may have the same name')
    add('--val-fraction', type=float, default=0.2, help='of the splits to be checked, as in the config (%(default)s)')
    add('--split-seed', type=int, default=0, help='of the splits to be checked, as in the config (%(default)s)')
    add('--workers', type=int, default=os.cpu_count() or 1, metavar='N', help='threads for decoding (%(default)s)')
    arguments = parser.parse_args()
    if arguments.workers < 1 or arguments.limit < 1:
        parser.error('--workers and --limit must be at least 1')
    if not 0 < arguments.val_fraction < 1:
        parser.error(f'--val-fraction must lie between 0 and 1, got {arguments.val_fraction}')
    return arguments


def main() -> None:
    """Check entries, images and what is there twice; print everything, and end with an error if need be."""
    arguments = parse_arguments()
    parts, found = find_parts(arguments.root)
    checked = check_parts(parts, arguments)
    found += [issue for part in checked for issue in part.issues]
    found += pseudo_issues(checked)
    pictures, of_images = decode(checked, arguments.workers)
    found += of_images + repetition_issues(checked, pictures, arguments)
    print_report(found, checked, arguments.limit)
    if arguments.pictures:
        write_pictures(checked, arguments.pictures)
    errors = errors_of(found)
    if errors:
        fixable = sum(issue.fixable for issue in errors)
        remedy = f'--fix puts {fixable} of them right' if fixable else 'Put them right as said above each kind'
        count = f'{len(errors)} issue{"s" * (len(errors) > 1)}'
        raise InputError(f'{arguments.root}: {count}, listed above. {remedy}.')
    print(f'{arguments.root}: nothing is wrong')


def check_parts(parts: Sequence[Part], arguments: argparse.Namespace) -> list[CheckedPart]:
    """Checks, and with --fix fixes, the annotation files; says what was fixed."""
    checked = []
    for part in parts:
        if arguments.fix:
            result, fixed = fix_part(part)
            if fixed:
                print(f'{part.place}: put right ({len(fixed)}); the file as it was is kept beside it')
                lines = [f'{issue.place}: {issue.kind.title}: {issue.what}' for issue in fixed]
                print('\n'.join(limited(lines, arguments.limit)))
            checked.append(result)
        else:
            checked.append(check_part(part))
    return checked


def pseudo_issues(checked: Sequence[CheckedPart]) -> list[Issue]:
    """Return issues of pseudo-labels that are not of the patches of their batch."""
    of_batch = {
        one.part.name: {patch.file_name: patch for patch in one.patches}
        for one in checked
        if one.part.role is Role.CELLS
    }
    return [
        issue
        for one in checked
        if one.part.role is Role.PSEUDO
        for issue in check_pseudo_patches(one.part, one.patches, of_batch.get(one.part.batch, {}))
    ]


def decode(checked: Sequence[CheckedPart], workers: int) -> tuple[dict[Role, list[Picture]], list[Issue]]:
    """Decode all patches, each once: pseudo-labels have none of their own."""
    with_images = [one for one in checked if one.part.role is not Role.PSEUDO]
    patches = [patch for one in with_images for patch in one.patches]
    pictures: dict[Role, list[Picture]] = {Role.CELLS: [], Role.NUCLEI: []}
    found = []
    progress = Progress('decoding', len(patches))
    for one in with_images:
        for result in check_images(one.part, one.patches, workers):
            (found if isinstance(result, Issue) else pictures[one.part.role]).append(result)
            progress.update(1)
        found += unlisted_images(one.part, one.patches)
    progress.close()
    return pictures, found


def repetition_issues(
    checked: Sequence[CheckedPart], pictures: dict[Role, list[Picture]], arguments: argparse.Namespace
) -> list[Issue]:
    """Return issues: wells in two batches, pictures that are there twice, and what lies on both sides of a split."""
    cells = [patch for one in checked if one.part.role is Role.CELLS for patch in one.patches]
    found = [] if arguments.shared_well_names else same_wells(cells)
    found += same_pictures([*pictures[Role.CELLS], *pictures[Role.NUCLEI]])
    found += stored_split_issues(pictures[Role.NUCLEI], 'nuclei/annotations.json')
    for unit in ('well', 'patch'):
        found += drawn_split_issues(pictures[Role.CELLS], unit, arguments.val_fraction, arguments.split_seed)
    return found


def print_report(found: Sequence[Issue], checked: Sequence[CheckedPart], limit: int) -> None:
    """Print the issues and the tables."""
    for line in listing(found, limit):
        print(line)
    for lines in (cells_table(checked), nuclei_table(checked), pseudo_table(checked)):
        if lines:
            print('\n' + '\n'.join(lines))
    print(flush=True)


def write_pictures(checked: Sequence[CheckedPart], folder: Path) -> None:
    """Write the histograms and the contact sheet."""
    from noise_mm.inspection.report_pictures import write_contact_sheet, write_histograms

    write_histograms(folder / 'histograms.png', cells_of_batches(checked), nuclei_of_batches(checked))
    write_contact_sheet(folder / 'contact_sheet.png', checked)
    print(f'{folder}: histograms.png and contact_sheet.png')


if __name__ == '__main__':
    run_command(main)
