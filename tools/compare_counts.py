"""Compare a model's counts with counts by hand, and suggest a score threshold for each plate."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from noise_mm.errors import InputError, run_command

EXAMPLE = """
example:
  python tools/compare_counts.py results/ counts.csv
      counts.csv (or .xlsx) has the columns well and count, and perhaps plate; results/ is a folder of tools/predict.py.
      Prints bias with its 95 % confidence interval, limits of agreement and correlation for each plate, and a score
      threshold for it; writes results/counts_compared.json and results/counts_compared.png (scatter and Bland-Altman)

Count about 20 wells or fields of each plate, chosen at random before you see the predictions. Predict them with a low
--score-thr (0.05), so that thresholds below the default can be suggested too.
"""


def main() -> None:
    """Read, compare, write and print."""
    options = parse_options()
    from dataclasses import asdict

    from noise_mm.evaluation.agreement import agreement
    from noise_mm.evaluation.agreement_figure import draw_agreement
    from noise_mm.evaluation.hand_counts import confidence_of_bias, read_hand_counts, read_scores, suggest_threshold
    from noise_mm.files import write_json

    counts = read_hand_counts(options.counts)
    scores = read_scores(options.results, [each.well for each in counts])
    predicted = {well: int((values >= options.score_thr).sum()) for well, values in scores.items()}
    plates = {each.plate: [other for other in counts if other.plate == each.plate] for each in counts}
    report, rows = {'score_thr': options.score_thr, 'plates': {}}, []
    for plate, own in plates.items():
        values = agreement([each.count for each in own], [predicted[each.well] for each in own])
        half = confidence_of_bias(values.deviation, values.n_wells)
        suggestion = suggest_threshold(own, scores)
        report['plates'][plate or 'all'] = asdict(values) | {
            'bias_confidence_95': half,
            'suggestion': suggestion and asdict(suggestion),
        }
        rows += [
            {'batch': plate or '-', 'n_annotated': each.count, 'n_predicted': predicted[each.well]} for each in own
        ]
        print_plate(plate or 'all wells', values, half, suggestion, options.score_thr)
    overall = asdict(agreement([row['n_annotated'] for row in rows], [row['n_predicted'] for row in rows]))
    out = options.out or options.results / 'counts_compared.json'
    draw_agreement(out.with_suffix('.png'), rows, {'n': overall})
    write_json(out, report | {'all': overall}, indent=1)
    print(f'written to {out} and {out.with_suffix(".png").name}')


def print_plate(plate: str, values, half: float | None, suggestion, score_thr: float) -> None:
    """Print the agreement of one plate and the threshold suggested for it."""
    from noise_mm.evaluation.hand_counts import ENOUGH_WELLS

    interval = '' if half is None else f' (95 % CI {values.bias - half:+.1f} to {values.bias + half:+.1f})'
    print(f'{plate}: {values.n_wells} wells counted; at score threshold {score_thr:g}')
    print(f'  bias {values.bias:+.1f} cells per well{interval}')
    if values.lower_limit is not None:
        print(f'  95 % limits of agreement {values.lower_limit:+.1f} to {values.upper_limit:+.1f}')
    for name, value in (('Pearson', values.pearson), ('Lin', values.concordance)):
        print(f'  {name} {"not defined" if value is None else f"{value:.3f}"}')
    if suggestion is None:
        print('  no cell was predicted, so no threshold can be suggested; look at the overlays')
    else:
        left_out = (
            '' if suggestion.error_left_out is None else f', {suggestion.error_left_out:.1f} on wells left out in turn'
        )
        print(
            f'  suggested: --score-thr {suggestion.threshold:.3f} '
            f'(mean difference {suggestion.error:.1f} cells per well{left_out})'
        )
        if suggestion.at_lower_end:
            print('  that is the lowest score predicted: predict with a lower --score-thr and compare again')
    if values.n_wells < ENOUGH_WELLS:
        print(f'  note: {values.n_wells} wells are few; count about {ENOUGH_WELLS}')


def parse_options() -> argparse.Namespace:
    """Return the options of the command line.

    Raises:
        InputError: If the folder of results is missing or the threshold is out of range.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('results', type=Path, metavar='RESULTS_DIR', help='folder of tools/predict.py')
    parser.add_argument('counts', type=Path, metavar='COUNTS', help='counts by hand: CSV or XLSX')
    parser.add_argument(
        '--score-thr', type=float, default=0.25, metavar='S', help='count cells from this score on (default: 0.25)'
    )
    parser.add_argument('--out', type=Path, metavar='FILE.json', help='default: counts_compared.json in RESULTS_DIR')
    options = parser.parse_args()
    if not options.results.is_dir():
        raise InputError(f'{options.results}: no such folder. Name the folder that tools/predict.py wrote.')
    if not 0 <= options.score_thr <= 1:
        raise InputError(f'--score-thr must lie between 0 and 1 (got {options.score_thr:g}).')
    return options


if __name__ == '__main__':
    run_command(main)
