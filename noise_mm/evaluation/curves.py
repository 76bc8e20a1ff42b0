"""Precision-recall and F1-confidence curves as PNG."""

import re
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from noise_mm.evaluation.evaluate import Evaluation
from noise_mm.evaluation.precision_recall import CONFIDENCES, RECALLS, Score
from noise_mm.files import replacing


def draw_curves(evaluation: Evaluation, folder: str | Path, note: str = '') -> list[Path]:
    """Draws two figures for each class with objects and each kind of region, with one line for each threshold.

    Args:
        evaluation: What was scored.
        folder: Where `<kind>_<class>_precision_recall.png` and `<kind>_<class>_f1_confidence.png` are written.
        note: Added to the titles.

    Returns:
        The files written.

    Raises:
        InputError: If the folder can't be written to.
    """
    written = []
    for kind, by_threshold in evaluation.scores.items():
        for index, name in enumerate(evaluation.classes):
            scores = [scores[index] for scores in by_threshold]
            if not scores[0].n_objects:
                continue
            title = f'{name}, {kind}, mode {evaluation.mode}' + (f', {note}' if note else '')
            stem = f'{kind}_{re.sub(r"[^A-Za-z0-9_-]+", "_", name)}'
            figures = {
                'precision_recall': _precision_recall(scores, evaluation.iou_thrs, title),
                'f1_confidence': _f1_confidence(scores, evaluation.iou_thrs, title),
            }
            for what, figure in figures.items():
                path = Path(folder) / f'{stem}_{what}.png'
                with replacing(path) as temporary:
                    FigureCanvasAgg(figure).print_png(temporary)
                written.append(path)
    return written


def _precision_recall(scores: list[Score], iou_thrs: tuple[float, ...], title: str) -> Figure:
    lines = {
        f'IoU {thr:.2f}: AP {score.ap:.3f}': score.precision_at_recall
        for thr, score in zip(iou_thrs, scores, strict=True)
    }
    return _figure(RECALLS, lines, ('recall', 'precision'), title)


def _f1_confidence(scores: list[Score], iou_thrs: tuple[float, ...], title: str) -> Figure:
    lines = {}
    for thr, score in zip(iou_thrs, scores, strict=True):
        at = '' if np.isnan(score.confidence) else f' at {score.confidence:.3f}'
        lines[f'IoU {thr:.2f}: F1 {score.f1:.3f}{at}'] = score.f1_at_confidence
    return _figure(CONFIDENCES, lines, ('confidence', 'F1'), title)


def _figure(x: np.ndarray, lines: dict[str, np.ndarray], axis_names: tuple[str, str], title: str) -> Figure:
    figure = Figure(figsize=(6, 4.5), layout='constrained')
    axes = figure.add_subplot(xlim=(0, 1), ylim=(0, 1.02), xlabel=axis_names[0], ylabel=axis_names[1], title=title)
    for label, y in lines.items():
        axes.plot(x, y, label=label)
    axes.grid(alpha=0.3)
    axes.legend(fontsize='small')
    return figure
