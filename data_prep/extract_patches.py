"""Cut the wells of one batch into patches, with the parts of the annotated cells that lie in each, as COCO."""

import argparse
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from noise_mm.coco.outlines import CROWD_CHOICES
from noise_mm.errors import run_command
from noise_mm.patches.annotations import EXIF_CHOICES
from noise_mm.patches.extraction import WellsError, extract
from noise_mm.patches.layout import PatchSettings
from noise_mm.patches.planning import Request
from noise_mm.scale import REFERENCE_UM_PER_PX

EXIT_WITHOUT_BAD_WELLS = 3

EPILOG = """\
example:
  python data_prep/extract_patches.py --wells wells/M1 --rois rois/M1 --batch M1 --out data/osteoclast

writes data/osteoclast/M1/images/<well>_<row>_<col>.png, annotations.json (COCO) and wells.json. A well and its
annotation file have the same name: well3.tif and well3.zip (or well3_RoiSet.zip, RoiSet_well3.zip; or img_well3.tif
and roi_well3.csv), or one COCO file holds the annotations of all wells under their file names. Read are TIFF,
OME-TIFF, SVS, SCN, PNG and JPEG wells, and with the extra `formats` NDPI, BIF, MRXS, CZI, ND2 and LIF; ImageJ .roi and
RoiSet.zip, NOISe CSV, QuPath GeoJSON (.geojson, .gz, .zip), COCO JSON and label images (TIFF, PNG). Files that are not
used are named.

A killed run goes on where it stopped when the same command is given again.

exit status: 0 done, 2 bad input (each fault named), 3 done except for the wells named (--skip-bad)
"""


def parse_arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    standard = PatchSettings()
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('--wells', type=Path, required=True, metavar='DIR', help='folder of well images')
    add('--rois', type=Path, required=True, metavar='DIR', help='folder of annotation files; may be the same')
    add('--batch', required=True, help='name of the batch, that is of the experiment, such as M1')
    add('--out', type=Path, required=True, metavar='DIR', help='root of the dataset; the batch folder is made in it')
    add('--mpp', type=float, metavar='UM_PER_PX', help='pixel size of the wells; by default as each file says, else '
        f'{REFERENCE_UM_PER_PX}. Wells of another magnification are resampled to {REFERENCE_UM_PER_PX}')  # fmt: skip
    add('--assume-mpp', action='store_true', help=f'accept {REFERENCE_UM_PER_PX} for files that state no pixel size; '
        'without it their areas stay in px')  # fmt: skip
    add('--patch-size', type=int, default=standard.patch_px, metavar='PX', help='side of a patch (%(default)s)')
    add('--stride', type=int, default=standard.stride_px, metavar='PX', help='from patch to patch (%(default)s)')
    add('--network-size', type=int, metavar='PX', help='store the patches at this size, shrunk, for faster training')
    add('--keep-empty', type=float, default=standard.keep_empty, metavar='FRACTION',
        help='share of the patches without cells to keep as negatives (%(default)s)')  # fmt: skip
    add('--seed', type=int, default=standard.seed, help='decides which of them (%(default)s)')
    add('--sliver-fraction', type=float, default=standard.sliver_fraction, metavar='FRACTION',
        help='a cell of which a patch shows less than this share is ignored there: iscrowd (%(default)s)')  # fmt: skip
    add('--leave-out', nargs='+', default=[], metavar='CLASS', help='classes of outlines not to take over')
    add('--allow-unannotated', action='store_true', help='a well without annotation file is one without cells')
    add('--iscrowd', choices=CROWD_CHOICES,
        help='what iscrowd means in COCO files of other programs: cells, as CVAT and supervision write it, or regions '
        'to ignore (default: cells if all annotations have it; must be given if only some have)')  # fmt: skip
    add('--exif', choices=EXIF_CHOICES, help='outlines were drawn on images as their EXIF orientation turns them (in a '
        'browser) or as they are stored (ImageJ, QuPath)')  # fmt: skip
    add('--scene', type=int, metavar='N', help='which image to take, from 1, where files hold several')
    add('--skip-bad', action='store_true', help='go on without wells that have faults; exit status 3')
    add('--workers', type=int, metavar='N',
        help='processes on this machine; by default one for each core, as far as they fit into 2 GiB')  # fmt: skip
    add('--dask', metavar='ADDRESS', help='run on the workers of this dask scheduler (tcp://host:8786) instead')
    arguments = parser.parse_args()
    if arguments.workers is not None and arguments.workers < 1:
        parser.error('--workers must be at least 1')
    return arguments


def main() -> None:
    """Read the options, extract, and name every well with faults in a line of its own."""
    arguments = parse_arguments()
    logging.getLogger('tifffile').setLevel(logging.CRITICAL)  # what it complains of is reported once, by us
    request = Request(
        wells_dir=arguments.wells,
        annotations_dir=arguments.rois,
        batch=arguments.batch,
        out_dir=arguments.out,
        settings=PatchSettings(
            patch_px=arguments.patch_size,
            stride_px=arguments.stride,
            sliver_fraction=arguments.sliver_fraction,
            keep_empty=arguments.keep_empty,
            seed=arguments.seed,
            network_px=arguments.network_size,
        ),
        um_per_px=arguments.mpp,
        left_out=tuple(arguments.leave_out),
        allow_unannotated=arguments.allow_unannotated,
        skip_bad=arguments.skip_bad,
        crowd=arguments.iscrowd,
        scene=arguments.scene,
        exif=arguments.exif,
        assume_mpp=arguments.assume_mpp,
    )
    try:
        result = extract(request, arguments.workers, arguments.dask)
    except WellsError as error:
        name_faults(error.faults)
        raise
    name_faults(result.faults)
    for note in result.notes:
        print(f'note: {note}', file=sys.stderr)
    print(
        f'{request.folder}: {result.images} patches of {result.wells} wells, {result.annotations} annotations, '
        f'{result.ignored} of them slivers or regions to ignore'
    )
    if result.faults:
        sys.exit(EXIT_WITHOUT_BAD_WELLS)


def name_faults(faults: dict[str, Exception]) -> None:
    """Print each fault in one line."""
    for _, fault in sorted(faults.items()):
        print(f'error: {" ".join(str(fault).split())}', file=sys.stderr)


if __name__ == '__main__':
    run_command(main)
