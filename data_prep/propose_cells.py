"""Propose first outlines of cells by colour and area, without a network, to be corrected in ImageJ or QuPath."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from noise_mm.errors import InputError, run_command
from noise_mm.proposals.folder import propose_batch
from noise_mm.proposals.trap_regions import ProposalSettings
from noise_mm.report.output_files import check_output_folder
from noise_mm.slides.well_images import find_images, unread_note

EPILOG = """\
example:
  python data_prep/propose_cells.py plate7/ --out proposals

writes <well>_RoiSet.zip (ImageJ) and <well>.geojson (QuPath) for each well, and for all of them contact_sheet.png,
proposals.csv and proposals.json. The wells of one call are one batch and share one threshold: give wells that were
stained apart in calls of their own. Colour does not tell osteoclasts from cells with one or two nuclei: delete these,
correct the outlines, and cut patches as docs/human_in_the_loop.md describes.
"""


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    defaults = ProposalSettings()
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('wells', type=Path, nargs='+', metavar='WELL_OR_FOLDER', help='well images, or folders of them')
    add('--out', type=Path, required=True, metavar='DIR', help='folder for the proposals')
    add('--mpp', type=float, metavar='UM_PER_PX', help='um per pixel; by default as each file states')
    add('--threshold', type=float, metavar='S', help='stain strength; by default chosen for the batch and printed. '
        'Lower proposes more and larger regions')  # fmt: skip
    add('--min-area', type=float, default=defaults.min_area_px2, metavar='PX2',
        help='smallest area in px2 of 0.7784 um pixels (default: %(default)g)')  # fmt: skip
    add('--process', type=float, default=defaults.process_px, metavar='PX',
        help='processes thinner than this are left out, in pixels of 0.7784 um (default: %(default)g)')  # fmt: skip
    add('--neck', type=float, default=defaults.neck, metavar='SHARE',
        help='split where a region narrows to less than this share of its body (default: %(default)g)')  # fmt: skip
    add('--scene', type=int, metavar='N', help='which image to take, from 1, where files hold several')
    return parser.parse_args()


def main() -> None:
    """Read the options, propose, and print counts and threshold."""
    options = parse_options()
    for name in ('mpp', 'threshold'):
        value = getattr(options, name)
        if value is not None and not 0 < value < 1e4:
            raise InputError(f'--{name} must lie between 0 and 10000 (got {value:g}).')
    settings = ProposalSettings(options.min_area, options.process, options.neck)
    images = find_images(options.wells)
    if note := unread_note(options.wells):
        print(note)
    check_output_folder(options.out, images)
    record = propose_batch(images, options.out, settings, options.mpp, options.threshold, options.scene)
    total = sum(record['wells'].values())
    print(f'threshold {record["threshold"]:.1f} ({record["threshold_from"]}); {total} regions proposed')
    for well, count in record['wells'].items():
        print(f'  {well}: {count}')
    if record['um_per_px_assumed']:
        print(
            f'note: {", ".join(record["um_per_px_assumed"])}: no pixel size stated; 0.7784 um is assumed and no um2 is '
            'given. Give it with --mpp.'
        )
    print(f'look at {options.out / "contact_sheet.png"}')


if __name__ == '__main__':
    run_command(main)
