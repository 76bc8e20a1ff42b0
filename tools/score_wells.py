"""Scores predictions of whole wells against their full sets of annotated outlines."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from noise_mm.command_line import add_allow_seen_option
from noise_mm.errors import InputError, run_command
from noise_mm.scale import check_um_per_px
from noise_mm.seen_batches import MARK, TRAINED_ON, seen_in_test

MODES = ('coco', 'ultralytics')
EXAMPLE = """
example:
  python tools/score_wells.py results/ --rois plate7_rois/ --score-thr 0.5
      pairs results/A1.json (from tools/predict.py) with plate7_rois/A1.zip and so on; prints P, R and mAP with cells
      matched in the whole well, and how counts and areas of wells agree; writes to results/scores/: scores.json,
      scores_wells.csv (a row for each well) and scores_agreement.png (scatter and Bland-Altman plots)

AP is of the cells that were written. For the whole precision-recall curve predict with --score-thr 0.01, and give the
confidence from which on cells are to be counted here.
"""


def main() -> None:
    """Pair, reads, scores, writes and prints."""
    args = parse_options()
    from noise_mm.csv_table import write_table
    from noise_mm.evaluation.agreement_figure import draw_agreement
    from noise_mm.evaluation.well_files import pair_files, read_well, require_labels
    from noise_mm.evaluation.well_scores import WELL_COLUMNS, score_wells, well_score_text
    from noise_mm.files import require_folder, write_json

    files = pair_files(args.predictions, args.rois)
    require_both(files, args.allow_missing)
    require_folder(args.out.parent)
    wells = [read_well(name, *sides, args.mpp, args.iscrowd) for name, sides in files.wells.items()]
    others = require_labels(wells, args.classes)
    seen = seen_wells(args.predictions, wells, args.allow_seen)
    run = {'method': args.name, 'seen_in_training': seen}
    report = score_wells(wells, tuple(args.classes), args.score_thr, mode=args.mode, run=run)
    missing = {'without_rois': files.without_rois, 'without_predictions': files.without_predictions}
    notes = {well.name: list(well.notes) for well in wells if well.notes}
    report |= {'missing': missing, 'not_scored': others, 'notes': notes}

    table, picture = (args.out.with_name(f'{args.out.stem}_{name}') for name in ('wells.csv', 'agreement.png'))
    columns, rows = list(WELL_COLUMNS), report['wells']
    if seen:
        columns.append('warning')
        rows = [{**row, 'warning': MARK if row['batch'] in seen else ''} for row in rows]
    write_table(table, columns, rows)
    draw_agreement(picture, report['wells'], report['agreement']['all'], MARK if seen else '')
    write_json(args.out, report, indent=1)
    print(well_score_text(report))
    for label, count in others.items():
        print(f'not scored: {count} outlines labelled {label!r} (see --classes)')
    print(f'written to {args.out}, {table.name} and {picture.name}')


def seen_wells(predictions: Path, wells: list, allow_seen: bool) -> list[str] | None:
    """Return the batches of the wells that the network has seen in training; None where its record does not say.

    Raises:
        InputError: If there are some, and this is not allowed.
    """
    from noise_mm.evaluation.well_files import seen_by_network
    from noise_mm.evaluation.well_scores import UNKNOWN_BATCH

    batches = sorted({well.batch for well in wells})
    seen = seen_by_network(predictions)
    is_known = seen is not None and UNKNOWN_BATCH not in batches
    if not is_known:
        known = f' It was trained on {", ".join(seen)}.' if seen else ''
        print(f'note: whether the network has seen these wells in training is not known.{known}')
    found = seen_in_test(batches, dict.fromkeys(seen or (), TRAINED_ON), str(predictions), allow_seen)
    return found if found or is_known else None


def require_both(files, allow_missing: bool) -> None:
    """Name the wells that lack one side.

    Raises:
        InputError: If there are some and that is not allowed, or no well has both sides.
    """
    lacking = [f'{name} (no annotations)' for name in files.without_rois]
    lacking += [f'{name} (no predictions)' for name in files.without_predictions]
    if not files.wells:
        raise InputError(f'no well has both predictions and annotations: {", ".join(lacking)}. Name files alike.')
    if lacking and not allow_missing:
        raise InputError(
            f'{len(lacking)} wells lack one side: {", ".join(lacking)}. Add it (an empty annotation file for a well '
            'without cells), or score the others with --allow-missing.'
        )
    for each in lacking:
        print(f'left out: {each}')


def parse_options() -> argparse.Namespace:
    """Return the options of the command line.

    Raises:
        InputError: If one is out of range, or the output would lie among the predictions.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'predictions', type=Path, metavar='PREDICTIONS_DIR', help='folder with <well>.json, from tools/predict.py'
    )
    parser.add_argument(
        '--rois',
        type=Path,
        required=True,
        metavar='DIR',
        help='annotation files of the wells: ImageJ .roi or .zip, ROI .csv, GeoJSON, COCO or label TIFF',
    )
    parser.add_argument('--out', type=Path, metavar='FILE', help='default: scores/scores.json in PREDICTIONS_DIR')
    parser.add_argument(
        '--score-thr', type=float, default=0.0, metavar='S', help='count cells from this confidence on (default: all)'
    )
    parser.add_argument(
        '--mpp', type=float, metavar='UM_PER_PX', help='pixel size of the wells (default: as the predictions say)'
    )
    parser.add_argument(
        '--classes', nargs='+', default=['osteoclast'], metavar='NAME', help='labels to score (default: osteoclast)'
    )
    parser.add_argument(
        '--iscrowd',
        choices=('cells', 'ignore'),
        help='what iscrowd means in COCO files of other programs: cells, as CVAT and supervision write it, or regions '
        'to ignore (default: cells if all annotations have it; must be given if only some have)',
    )
    parser.add_argument('--mode', choices=MODES, default='coco', help='see docs/metrics.md (default: coco)')
    parser.add_argument('--name', help="the method's name, for tools/summarize.py")
    add_allow_seen_option(parser)
    parser.add_argument('--allow-missing', action='store_true', help='score the wells that have both sides')
    args = parser.parse_args()
    if not 0 <= args.score_thr <= 1:
        raise InputError(f'--score-thr {args.score_thr}: not from 0 to 1. Leave it out to count all cells.')
    check_um_per_px(args.mpp)
    args.out = args.out or args.predictions / 'scores' / 'scores.json'
    if args.out.parent.resolve() == args.predictions.resolve():
        raise InputError(
            f'--out {args.out}: lies among the predictions and would be taken for one. Choose a subfolder.'
        )
    return args


if __name__ == '__main__':
    run_command(main)
