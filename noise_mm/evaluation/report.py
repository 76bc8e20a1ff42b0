"""What is written about an evaluation: `metrics.json`, the numbers that MMEngine logs, and a table to read. Pure.

`metrics.json`, schema 1; null stands for what is not defined, such as the AP of a class without objects:

    schema            1
    run               {config, checkpoint, fold, protocol, method}: texts, and results: a list of files, if it was files
                      that were scored; null or missing where nobody said. seen_in_training: the test batches that the
                      network has seen, null where that is not known
    warning           'test data seen in training', if there are such batches
    mode              'coco' or 'ultralytics', see `matching` and `precision_recall`
    mask_resolution   'native' or 'prototype', see `OsteoclastMetric`; or 'well', see `well_scores`
    iou_thrs          [0.1, 0.25, 0.5, 0.75, 0.9]
    classes           class names
    n_images, n_objects, n_ignored, n_detections      of all images; ignored regions are not among the objects
    max_detections    largest number of detections in an image: all are counted, as with maxDets of this size
    segm, bbox        those that were scored: {mean: SCORES, classes: {name: SCORES}, ap50_95: the AP averaged over the
                      IoU thresholds 0.50, 0.55, ... 0.95}
    fitness           0.1 AP50 + 0.9 AP50-95, of boxes plus of masks: by which Ultralytics 8.1 chooses the best epoch
    batches           [{batch, n_images, n_objects, n_ignored, n_detections, segm: SCORES, bbox: SCORES}], means over
                      the classes; precision and recall at the batch's own best confidence
    counts            number and area of cells, see `counts`: {kind, iou_thr, confidence: {name: number},
                      batches: ROWS, wells: ROWS}, ROWS being [{batch, well, class, n_images,
                      n_annotated, n_detected, n_error, n_error_percent, and the same of area_px2}]

SCORES has one entry for each threshold: {iou_thr, precision, recall, f1, confidence, ap, n_objects, n_detections,
n_true_positives}; detections on ignored regions are not among n_detections. The confidence is where precision, recall
and F1 were read; in a mean it is null unless all classes have the same.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from noise_mm.evaluation.counts import count_report
from noise_mm.evaluation.evaluate import KINDS, Evaluation, fitness, mean_ap
from noise_mm.evaluation.precision_recall import Score, mean_score
from noise_mm.seen_batches import MARK

METRICS_FILE = 'metrics.json'
SCHEMA = 1
RUN_KEYS = ('config', 'checkpoint', 'fold', 'protocol', 'method', 'results', 'seen_in_training')
MODE_TEXTS = {
    'coco': "COCO's matching and 101-point AP, P and R at maximum F1",
    'ultralytics': "Ultralytics' matching, AP and smoothed-F1 P and R",
}
RESOLUTION_TEXTS = {
    'native': ', masks at native resolution',
    'prototype': ', masks at prototype resolution',
    'well': ', cells matched in whole wells',
}


def curves_folder(metrics: Path) -> Path:
    """Return the folder of the curves and matches beside a `metrics.json`, whatever that is called."""
    return metrics.with_name(f'{metrics.stem}_curves')


def make_report(
    evaluation: Evaluation, mask_resolution: str = 'native', run: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the content of `metrics.json`, as described above.

    Args:
        evaluation: What was scored.
        mask_resolution: What masks were compared at, one of `RESOLUTION_TEXTS`.
        run: Where the detections come from; any of `RUN_KEYS`.
    """
    selected = np.ones(len(evaluation.images), dtype=bool)
    return {
        'schema': SCHEMA,
        'run': {key: (run or {}).get(key) for key in RUN_KEYS},
        **({'warning': MARK} if (run or {}).get('seen_in_training') else {}),
        'mode': evaluation.mode,
        'mask_resolution': mask_resolution,
        'iou_thrs': list(evaluation.iou_thrs),
        'classes': list(evaluation.classes),
        **_sizes(evaluation, selected),
        'max_detections': max((len(image.scores) for image in evaluation.images), default=0),
        **{kind: _kind_report(evaluation, kind) for kind in evaluation.overlaps},
        'fitness': _number_or_none(fitness(evaluation)),
        'batches': _batch_rows(evaluation),
        'counts': count_report(evaluation),
    }


def flat_metrics(report: Mapping[str, Any]) -> dict[str, float]:
    """Return the means as numbers by name: `segm_mAP50`, `segm_P50`, `segm_R50`, `segm_mAP50_95`; and `fitness`.

    With several classes there are numbers of each class, whose keys end in its name, `segm_mAP50_nucleus`. They say mAP
    there too, so that MMEngine's hooks know that more is better. The first key is the mAP at 0.5 where that was asked
    for. What is not defined is -1, as in pycocotools, because MMEngine stops a run at NaN.
    """
    metrics = {}
    for kind in (kind for kind in report if kind in KINDS):
        sections = {'': report[kind]['mean']}
        if len(report['classes']) > 1:
            sections.update({f'_{name}': rows for name, rows in report[kind]['classes'].items()})
        for suffix, rows in sections.items():
            for row in sorted(rows, key=lambda row: row['iou_thr'] != 0.5):
                percent = f'{100 * row["iou_thr"]:g}'
                for letters, key in (('mAP', 'ap'), ('P', 'precision'), ('R', 'recall')):
                    metrics[f'{kind}_{letters}{percent}{suffix}'] = -1.0 if row[key] is None else row[key]
        metrics[f'{kind}_mAP50_95'] = -1.0 if report[kind]['ap50_95'] is None else report[kind]['ap50_95']
    metrics['fitness'] = -1.0 if report['fitness'] is None else report['fitness']
    return metrics


def table_text(report: Mapping[str, Any]) -> str:
    """Return P, R and mAP at each threshold, for reading, as the paper's tables have them; then counts and areas."""
    return '\n\n'.join([score_text(report), '\n'.join(_count_lines(report['counts']))])


def score_text(report: Mapping[str, Any], images: str = 'images') -> str:
    """Return P, R and mAP at each threshold, for reading.

    Args:
        report: From `make_report`.
        images: What its images are called.
    """
    blocks = []
    for kind in (kind for kind in report if kind in KINDS):
        resolution = RESOLUTION_TEXTS[report['mask_resolution']] if kind == 'segm' else ''
        head = (
            f'{kind}, mode {report["mode"]} ({MODE_TEXTS[report["mode"]]}{resolution}): {report["n_images"]} {images}, '
            f'{report["n_objects"]} objects, {report["n_ignored"]} ignored regions, {report["n_detections"]} detections'
        )
        rows = [('all', report[kind]['mean'])]
        if len(report['classes']) > 1:
            rows += list(report[kind]['classes'].items())
        if len(report['batches']) > 1:
            rows += [(f'batch {row["batch"]}', row[kind]) for row in report['batches']]
        seen = report['run'].get('seen_in_training')
        mark = [f'{MARK}: {", ".join(seen)}'] if seen else []
        blocks.append('\n'.join([*mark, head, *_score_lines(report['iou_thrs'], rows)]))
    return '\n\n'.join(blocks)


def _kind_report(evaluation: Evaluation, kind: str) -> dict[str, Any]:
    by_class = zip(*evaluation.scores[kind], strict=True)
    return {
        'mean': _score_rows(evaluation, evaluation.mean_scores(kind)),
        'classes': {
            name: _score_rows(evaluation, scores) for name, scores in zip(evaluation.classes, by_class, strict=True)
        },
        'ap50_95': _number_or_none(mean_ap(evaluation, kind)),
    }


def _batch_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    rows = []
    for batch in sorted({image.batch for image in evaluation.images}):
        selected = np.array([image.batch == batch for image in evaluation.images])
        row = {'batch': batch, **_sizes(evaluation, selected)}
        for kind in evaluation.overlaps:
            means = [mean_score(scores) for scores in evaluation.scores_of_images(kind, selected)]
            row[kind] = _score_rows(evaluation, means)
        rows.append(row)
    return rows


def _sizes(evaluation: Evaluation, selected: np.ndarray) -> dict[str, int]:
    images = [image for image, is_in in zip(evaluation.images, selected, strict=True) if is_in]
    n_ignored = sum(int(image.object_ignored.sum()) for image in images)
    return {
        'n_images': len(images),
        'n_objects': sum(len(image.object_ignored) for image in images) - n_ignored,
        'n_ignored': n_ignored,
        'n_detections': sum(len(image.scores) for image in images),
    }


def _score_rows(evaluation: Evaluation, scores: Iterable[Score]) -> list[dict[str, Any]]:
    numbers = ('precision', 'recall', 'f1', 'confidence', 'ap')
    counts = ('n_objects', 'n_detections', 'n_true_positives')
    return [
        {
            'iou_thr': thr,
            **{name: _number_or_none(getattr(score, name)) for name in numbers},
            **{name: getattr(score, name) for name in counts},
        }
        for thr, score in zip(evaluation.iou_thrs, scores, strict=True)
    ]


def _number_or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _score_lines(iou_thrs: list[float], rows: list[tuple[str, list[dict]]]) -> list[str]:
    width = max(len(name) for name, _ in rows) + 1
    lines = [
        f'{"IoU":<{width}}' + '  '.join(f'{f"{thr:.2f}":^19}' for thr in iou_thrs).rstrip(),
        ' ' * width + '  '.join(f'{"P":>5}  {"R":>5}  {"mAP":>5}' for _ in iou_thrs),
    ]
    for name, scores in rows:
        cells = ('  '.join(_cell(score[key]) for key in ('precision', 'recall', 'ap')) for score in scores)
        lines.append(f'{name:<{width}}' + '  '.join(cells))
    return lines


def _cell(value: float | None) -> str:
    return f'{"-":>5}' if value is None else f'{value:5.3f}'


def _count_lines(counts: Mapping[str, Any]) -> list[str]:
    lines = [
        f'cells and their area, summed over patches, at the confidence of maximum F1 ({counts["kind"]}, IoU '
        f'{counts["iou_thr"]:.2f}); a cell in several patches counts in each, detected and annotated alike'
    ]
    for row in counts['batches']:
        line = f'batch {row["batch"]}, {row["class"]}: {row["n_annotated"]} annotated, {row["n_detected"]} detected'
        line += _percent(row['n_error_percent'])
        if 'area_px2_error' in row:
            line += f'; area {row["area_px2_annotated"]:.0f} and {row["area_px2_detected"]:.0f} px^2'
            line += _percent(row['area_px2_error_percent'])
        wells = [each for each in counts['wells'] if all(each[key] == row[key] for key in ('batch', 'class'))]
        lines += [line, *_well_line(wells)]
    return lines


def _well_line(wells: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return how far the wells of a batch are off, each taken by itself; nothing where there is but one."""
    if len(wells) < 2:
        return []
    parts = []
    for what, key, digits in (('count', 'n_error', 1), ('area', 'area_px2_error', 0)):
        if key in wells[0]:
            unit = ' px^2' if what == 'area' else ''
            part = f'{what} {np.mean([abs(row[key]) for row in wells]):.{digits}f}{unit}'
            percents = [abs(row[f'{key}_percent']) for row in wells if row[f'{key}_percent'] is not None]
            parts.append(part + (f' ({np.mean(percents):.1f} %)' if percents else ''))
    return [f'  mean absolute error of its {len(wells)} wells: {", ".join(parts)}']


def _percent(error: float | None) -> str:
    return '' if error is None else f' ({error:+.1f} %)'
