"""Scores what was found in whole wells: each cell by its mask, and counts and areas of wells by their agreement. Pure.

Cells are matched in the whole well, after the tiles' views were merged, so that a cell that is missed, doubled or cut
at a seam shows. P, R and AP are those of `precision_recall`; AP knows only the cells that were written, so predict with
a low --score-thr where the whole curve is wanted, and count with a higher one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noise_mm.evaluation.agreement import agreement
from noise_mm.evaluation.counts import errors
from noise_mm.evaluation.evaluate import IOU_THRS, Evaluation, evaluate
from noise_mm.evaluation.overlaps import compare_outlines
from noise_mm.evaluation.report import make_report, score_text
from noise_mm.geometry.outline import Outline
from noise_mm.geometry.windows import area_um2

KIND = 'segm'
UNKNOWN_BATCH = 'unknown'  # of predictions that don't name theirs
WORDS = {'n': 'cells', 'area_px2': 'area (px^2)', 'area_um2': 'area (um^2)'}
WELL_COLUMNS = (
    'batch', 'well', 'n_annotated', 'n_predicted', 'n_error', 'n_error_percent', 'n_true_positives', 'precision',
    'recall', 'area_px2_annotated', 'area_px2_predicted', 'area_px2_error', 'area_px2_error_percent', 'um_per_px',
    'um_per_px_from', 'area_um2_annotated', 'area_um2_predicted', 'area_um2_error',
)  # fmt: skip


@dataclass(frozen=True)
class WellPair:
    """Both sides of one well, in pixels of its image.

    Attributes:
        name: The well's name.
        batch: Its batch or plate.
        size_px: Width and height of its image.
        um_per_px: Pixel size; None where nobody knows.
        found: What was found.
        objects: What is annotated.
        um_per_px_from: `given` by the user, or stated by the `file` of predictions; empty where nobody knows.
        notes: What readers left out, assumed or changed.
    """

    name: str
    batch: str
    size_px: tuple[int, int]
    um_per_px: float | None
    found: list[Outline]
    objects: list[Outline]
    notes: tuple[str, ...] = ()
    um_per_px_from: str = ''


def score_wells(
    wells: Sequence[WellPair],
    classes: Sequence[str],
    score_thr: float = 0.0,
    iou_thrs: Sequence[float] = IOU_THRS,
    mode: str = 'coco',
    run: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the content of `scores.json`.

    That of `metrics.json` (see `report`) with wells for images and 'well' for `mask_resolution`, and instead of
    `counts`:

        score_thr      score threshold of the cells that are counted below
        as_predicted   [{iou_thr, precision, recall, f1, n_true_positives}] of all cells that are counted: what a user
                       gets, while `segm` reads P and R at the best confidence
        wells          a row for each well with the keys `WELL_COLUMNS`; matches at IoU 0.5 (or nearest to it)
        agreement      {all: PAIR, batches: {name: PAIR}}, PAIR being {n: AGREEMENT, area_px2: AGREEMENT} and, where
                       all pixel sizes are known, area_um2; AGREEMENT has the keys of `agreement.Agreement`

    Cells on ignored regions are counted on neither side.

    Args:
        wells: The wells.
        classes: Which labels are scored; outlines of other labels are left out. All classes are counted together.
        score_thr: See above; P, R and AP of `segm` are of all cells whatever it is.
        iou_thrs: IoU thresholds.
        mode: 'coco' or 'ultralytics'.
        run: Where the predictions come from, any of `report.RUN_KEYS`.

    Raises:
        InputError: If a setting is wrong.
    """
    images = [
        compare_outlines(
            [outline for outline in well.found if outline.label in classes],
            [outline for outline in well.objects if outline.label in classes],
            classes,
            well.size_px,
            image_id=number,
            batch=well.batch,
            well=well.name,
        )
        for number, well in enumerate(wells)
    ]
    evaluation = evaluate(images, classes, (KIND,), iou_thrs, mode)
    report = make_report(evaluation, 'well', run)
    del report['counts']
    rows = _well_rows(evaluation, wells, score_thr)
    batches = sorted({row['batch'] for row in rows})
    return {
        **report,
        'score_thr': score_thr,
        'as_predicted': _as_predicted(evaluation, score_thr),
        'wells': rows,
        'agreement': {
            'all': _agreements(rows),
            'batches': {name: _agreements([row for row in rows if row['batch'] == name]) for name in batches},
        },
    }


def well_score_text(report: Mapping[str, Any]) -> str:
    """Return the numbers of `score_wells` for reading: P, R and mAP, and how counts and areas of wells agree."""
    delivered = [
        f'IoU {row["iou_thr"]:.2f} {_number(row["precision"])} and {_number(row["recall"])}'
        for row in report['as_predicted']
    ]
    return '\n\n'.join(
        [
            score_text(report, 'wells'),
            f'P and R of all cells of confidence {report["score_thr"]:g} or more: {", ".join(delivered)}',
            '\n'.join(_agreement_lines(report['agreement'])),
        ]
    )


def _agreement_lines(agreements: Mapping[str, Any]) -> list[str]:
    """Return a table of the agreement, for all wells and for each batch of two wells or more."""
    groups = {'all': agreements['all']}
    if len(agreements['batches']) > 1:
        several = {name: pair for name, pair in agreements['batches'].items() if pair['n']['n_wells'] > 1}
        groups |= {f'batch {name}': pair for name, pair in several.items()}
    rows = [('', 'wells', 'Pearson', 'Spearman', "Lin's", 'bias', '95 % limits of agreement', 'absolute error')]
    for name, pair in groups.items():
        for what in ('n', 'area_um2' if 'area_um2' in pair else 'area_px2'):
            values, digits = pair[what], 1 if what == 'n' else 0
            limits = [_number(values[key], digits) for key in ('lower_limit', 'upper_limit') if values[key] is not None]
            percentage = values['absolute_percentage_error']
            cells = [_number(values[key]) for key in ('pearson', 'spearman', 'concordance')]
            cells += [_number(values['bias'], digits), ' to '.join(limits) or '-']
            cells.append('-' if percentage is None else f'{percentage:.1f} %')
            rows.append((f'{name}, {WORDS[what]}', str(values['n_wells']), *cells))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    head = "predicted against annotated values of wells (Lin's: concordance; bias: mean of predicted - annotated)"
    lines = ('  '.join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return [head, *lines]


def _number(value: float | None, digits: int = 3) -> str:
    return '-' if value is None else f'{value:.{digits}f}'


def _counted(evaluation: Evaluation, score_thr: float, at: int) -> NDArray[np.bool_]:
    """Return (N,) the cells found that count: confident enough, and not on an ignored region."""
    return (evaluation.overlaps[KIND].scores >= score_thr) & ~evaluation.matches[KIND][at].ignored


def _as_predicted(evaluation: Evaluation, score_thr: float) -> list[dict[str, Any]]:
    """Return precision and recall of all cells that count. Ones of lower score choose last, so they change no match."""
    n_objects = int(np.count_nonzero(~evaluation.overlaps[KIND].object_ignored))
    rows = []
    for at, thr in enumerate(evaluation.iou_thrs):
        counted = _counted(evaluation, score_thr, at)
        n_true = int(np.count_nonzero(counted & evaluation.matches[KIND][at].true_positive))
        rows.append(
            {
                'iou_thr': thr,
                'precision': _ratio(n_true, np.count_nonzero(counted)),
                'recall': _ratio(n_true, n_objects),
                'f1': _ratio(2 * n_true, np.count_nonzero(counted) + n_objects),
                'n_true_positives': n_true,
            }
        )
    return rows


def _well_rows(evaluation: Evaluation, wells: Sequence[WellPair], score_thr: float) -> list[dict[str, Any]]:
    at = evaluation.count_threshold
    overlaps, matches = evaluation.overlaps[KIND], evaluation.matches[KIND][at]
    counted, wanted = _counted(evaluation, score_thr, at), ~overlaps.object_ignored
    rows = []
    for number, (image, well) in enumerate(zip(evaluation.images, wells, strict=True)):
        found, objects = overlaps.images == number, overlaps.object_images == number
        n_true = int(np.count_nonzero(counted & found & matches.true_positive))
        n = int(np.count_nonzero(wanted & objects)), int(np.count_nonzero(counted & found))
        areas = image.object_areas_px2[wanted[objects]].sum(), image.areas_px2[counted[found]].sum()
        row = {'batch': image.batch, 'well': image.well, **errors('n', *n, 'predicted'), 'n_true_positives': n_true}
        row |= {'precision': _ratio(n_true, n[1]), 'recall': _ratio(n_true, n[0])}
        row |= errors('area_px2', *map(float, areas), 'predicted')
        row |= {'um_per_px': well.um_per_px, 'um_per_px_from': well.um_per_px_from}
        if well.um_per_px is not None:
            in_um2 = errors('area_um2', *(area_um2(float(area), well.um_per_px) for area in areas), 'predicted')
            row |= {key: value for key, value in in_um2.items() if key in WELL_COLUMNS}
        rows.append(row)
    return rows


def _agreements(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    whats = [what for what in WORDS if all(f'{what}_annotated' in row for row in rows)]
    return {
        what: asdict(agreement([row[f'{what}_annotated'] for row in rows], [row[f'{what}_predicted'] for row in rows]))
        for what in whats
    }


def _ratio(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None
