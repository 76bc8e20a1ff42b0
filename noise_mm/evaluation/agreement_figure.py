"""Counts and areas of wells, annotated and predicted, as a scatter plot and a Bland-Altman plot each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from noise_mm.evaluation.well_scores import UNKNOWN_BATCH
from noise_mm.files import replacing


def draw_agreement(
    path: str | Path, rows: Sequence[Mapping[str, Any]], agreements: Mapping[str, Any], note: str = ''
) -> None:
    """Draw the figure as PNG.

    Args:
        path: The file.
        rows: The wells, see `well_scores.WELL_COLUMNS`; one colour for each batch, where batches are known.
        agreements: Of all wells together, see `well_scores.score_wells`; areas may be missing.
        note: Above the figure, such as that the wells were seen in training.

    Raises:
        InputError: If the file can't be written.
    """
    quantities = [('n', 'cells in a well', 1)]
    if 'area_um2' in agreements:
        quantities.append(('area_um2', 'total area (mm$^2$)', 1e-6))
    elif 'area_px2' in agreements:
        quantities.append(('area_px2', 'total area (px$^2$)', 1))
    figure = Figure(figsize=(10, 4 * len(quantities)), layout='constrained')
    lines = figure.subplots(len(quantities), 2, squeeze=False)
    for line, (what, words, unit) in zip(lines, quantities, strict=True):
        annotated, predicted = (
            np.array([row[f'{what}_{side}'] for row in rows]) * unit for side in ('annotated', 'predicted')
        )
        batches = np.array(['wells' if row['batch'] == UNKNOWN_BATCH else row['batch'] for row in rows])
        _scatter(line[0], annotated, predicted, batches, words, agreements[what])
        _bland_altman(line[1], annotated, predicted, batches, words, agreements[what], unit)
    handles, labels = figure.axes[1].get_legend_handles_labels()
    figure.suptitle(note, fontsize='medium')
    figure.legend(handles, labels, loc='outside lower center', ncols=8, fontsize='small')
    with replacing(path) as temporary:
        FigureCanvasAgg(figure).print_png(temporary)


def _scatter(
    axes: Axes, annotated: np.ndarray, predicted: np.ndarray, batches: np.ndarray, words: str, values: Mapping[str, Any]
) -> None:
    """Draw predicted against annotated, with the line on which both are equal."""
    most = max(annotated.max(initial=0), predicted.max(initial=0)) * 1.05 or 1
    axes.plot([0, most], [0, most], color='0.5', linewidth=1, linestyle='--')
    _points(axes, annotated, predicted, batches)
    axes.set(xlabel=f'annotated {words}', ylabel=f'predicted {words}', xlim=(0, most), ylim=(0, most), aspect='equal')
    named = {'Pearson': 'pearson', 'Spearman': 'spearman', 'Lin': 'concordance'}
    parts = [f'{name} {values[key]:.3f}' for name, key in named.items() if values[key] is not None]
    axes.set_title(', '.join(parts) or 'too few wells for a correlation', fontsize='medium')


def _bland_altman(
    axes: Axes,
    annotated: np.ndarray,
    predicted: np.ndarray,
    batches: np.ndarray,
    words: str,
    values: Mapping[str, Any],
    unit: float,
) -> None:
    """Draw difference against mean, with bias and limits of agreement."""
    _points(axes, (annotated + predicted) / 2, predicted - annotated, batches)
    axes.axhline(0, color='0.5', linewidth=1, linestyle='--')
    for key, style, name in (('bias', '-', 'bias'), ('lower_limit', ':', None), ('upper_limit', ':', '95 % limits')):
        if values[key] is not None:
            axes.axhline(values[key] * unit, color='black', linewidth=1, linestyle=style, label=name)
    axes.set(xlabel=f'mean of annotated and predicted {words}', ylabel='predicted - annotated')
    parts = [f'bias {values["bias"] * unit:.3g}']
    if values['lower_limit'] is not None:
        parts.append(f'95 % limits {values["lower_limit"] * unit:.3g} to {values["upper_limit"] * unit:.3g}')
    axes.set_title(', '.join(parts), fontsize='medium')


def _points(axes: Axes, x: np.ndarray, y: np.ndarray, batches: np.ndarray) -> None:
    """Draw points, one colour for each batch."""
    for number, batch in enumerate(sorted(set(batches.tolist()))):
        of_batch = batches == batch
        axes.scatter(x[of_batch], y[of_batch], s=20, color=f'C{number % 10}', label=batch, zorder=3)
