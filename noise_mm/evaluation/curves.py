"""Precision-recall and F1-confidence curves as PNG, of one run or of several arms."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from noise_mm.evaluation.evaluate import Evaluation
from noise_mm.evaluation.matches_file import matches_path, write_matches
from noise_mm.evaluation.precision_recall import CONFIDENCES, RECALLS
from noise_mm.files import replacing


def draw_curves(evaluation: Evaluation, folder: str | Path, note: str = '') -> None:
    """Draw two figures for each class with objects and each kind of region, with one line for each threshold.

    Args:
        evaluation: What was scored.
        folder: Where `<kind>_<class>_precision_recall.png`, `<kind>_<class>_f1_confidence.png` and, for figures and
            tables of several runs, `<kind>_matches.npz` are written.
        note: Added to the titles.

    Raises:
        InputError: If the folder can't be written to.
    """
    for kind, by_threshold in evaluation.scores.items():
        write_matches(matches_path(folder, kind), evaluation, kind)
        for index, name in enumerate(evaluation.classes):
            scores = [scores[index] for scores in by_threshold]
            if not scores[0].n_objects:
                continue
            recall_lines, confidence_lines = {}, {}
            for thr, score in zip(evaluation.iou_thrs, scores, strict=True):
                at = '' if np.isnan(score.confidence) else f' at {score.confidence:.3f}'
                recall_lines[f'IoU {thr:.2f}: AP {score.ap:.3f}'] = score.precision_at_recall
                confidence_lines[f'IoU {thr:.2f}: F1 {score.f1:.3f}{at}'] = score.f1_at_confidence
            title = f'{name}, {kind}, mode {evaluation.mode}' + (f', {note}' if note else '')
            stem = f'{kind}_{re.sub(r"[^A-Za-z0-9_-]+", "_", name)}'
            for what, x, lines, axis_names in (
                ('precision_recall', RECALLS, recall_lines, ('recall', 'precision')),
                ('f1_confidence', CONFIDENCES, confidence_lines, ('confidence', 'F1')),
            ):
                figure = Figure(figsize=(6, 4.5), layout='constrained')
                axes = figure.add_subplot(title=title)
                _plot(axes, x, lines, axis_names)
                axes.legend(fontsize='small')
                _save(figure, Path(folder) / f'{stem}_{what}.png')


def draw_arms(
    path: str | Path, curves: Mapping[str, Sequence[np.ndarray]], iou_thrs: Sequence[float], title: str
) -> None:
    """Draw the precision-recall curves of several arms, one panel for each threshold.

    Args:
        path: The PNG file.
        curves: For each arm and threshold its precision at `RECALLS`.
        iou_thrs: Thresholds.
        title: What was measured, and how.

    Raises:
        InputError: If the file can't be written.
    """
    figure = Figure(figsize=(3.2 * len(iou_thrs), 3.6), layout='constrained')
    for k, (axes, thr) in enumerate(zip(figure.subplots(1, len(iou_thrs), squeeze=False)[0], iou_thrs, strict=True)):
        _plot(axes, RECALLS, {name: lines[k] for name, lines in curves.items()}, ('recall', 'precision'))
        axes.set_title(f'IoU {thr:.2f}')
    figure.suptitle(title, fontsize='medium')
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc='outside lower center', ncols=4)
    _save(figure, path)


def _plot(axes: Axes, x: np.ndarray, lines: Mapping[str, np.ndarray], axis_names: tuple[str, str]) -> None:
    for label, y in lines.items():
        axes.plot(x, y, label=label)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel=axis_names[0], ylabel=axis_names[1])
    axes.grid(alpha=0.3)


def _save(figure: Figure, path: str | Path) -> None:
    with replacing(path) as temporary:
        FigureCanvasAgg(figure).print_png(temporary)
