"""The wells of each condition summed up: a table of means and standard deviations, and a box plot."""

import io
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MEASURES = {
    'count': 'osteoclasts',
    'pre_osteoclasts': 'pre-osteoclasts',
    'total_area_um2': 'total area (µm²)',
    'mean_area_um2': 'mean area (µm²)',
    'covered_of_image_percent': 'image covered (%)',
    'covered_of_well_percent': 'well covered (%)',
    'count_per_mm2': 'osteoclasts per mm²',
    'nuclei': 'nuclei',
    'nuclei_per_osteoclast': 'nuclei per osteoclast',
    'fusion_index': 'fusion index',
}
"""Columns of the table of wells that are summed up, and what they are called in pictures and pages."""

CONDITION_COLUMNS = (
    'condition',
    'wells',
    *(f'{measure}_{kind}' for measure in MEASURES for kind in ('n', 'mean', 'sd')),
)
"""Of `conditions.csv`: number of wells that have a value, mean, and standard deviation of a sample (n - 1)."""

FEWEST_FOR_BOX = 3
"""Wells; of fewer there are no quartiles, and points alone say all."""
PLOT_COLUMNS = 3
POINT_DISTANCE, POINTS_ABREAST = 0.12, 3
LONGEST_LABELS = 36
"""Characters that stand side by side below a plot; more are turned."""


def condition_rows(rows: Sequence[Mapping[str, Any]], condition_of: Mapping[str, str]) -> list[dict[str, Any]]:
    """The table of conditions (`CONDITION_COLUMNS`), in the order in which `condition_of` first names them.

    Wells count equally, whatever the number of their cells. A value that a well does not have, such as the mean area
    of no cell, is left out, and `n` says so.

    Args:
        rows: Rows of the table of wells.
        condition_of: The condition of each well; wells that it does not have are left out.
    """
    table = []
    for condition in dict.fromkeys(condition_of.values()):
        members = [row for row in rows if condition_of.get(row['well']) == condition]
        result: dict[str, Any] = {'condition': condition, 'wells': len(members)}
        for measure in MEASURES:
            values = [row[measure] for row in members if row[measure] is not None]
            result[f'{measure}_n'] = len(values)
            result[f'{measure}_mean'] = _significant(statistics.fmean(values)) if values else None
            result[f'{measure}_sd'] = _significant(statistics.stdev(values)) if len(values) > 1 else None
        table.append(result)
    return table


def box_plot(rows: Sequence[Mapping[str, Any]], condition_of: Mapping[str, str]) -> bytes:
    """A PNG with a box plot of each measure that wells have: median, quartiles, and every well as a point."""
    import matplotlib  # imported here: it takes a second, and only this picture needs it
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    conditions = list(dict.fromkeys(condition_of.values()))
    members = {name: [row for row in rows if condition_of.get(row['well']) == name] for name in conditions}
    measures = [name for name in MEASURES if any(row[name] is not None for one in members.values() for row in one)]
    lines = math.ceil(len(measures) / PLOT_COLUMNS)
    width = PLOT_COLUMNS * max(3.2, 0.55 * len(conditions) + 1.2)
    figure = Figure(figsize=(width, 2.9 * lines), layout='constrained')
    FigureCanvasAgg(figure)
    colours = [matplotlib.colormaps['tab10'](index % 10) for index in range(len(conditions))]
    for place, measure in enumerate(measures, start=1):
        axes = figure.add_subplot(lines, PLOT_COLUMNS, place)
        values = [[row[measure] for row in members[name] if row[measure] is not None] for name in conditions]
        _draw(axes, values, conditions, colours)
        axes.set_title(MEASURES[measure], fontsize=10)
    file = io.BytesIO()
    figure.savefig(file, format='png', dpi=110, metadata={'Software': None})
    return file.getvalue()


def _draw(axes: Any, values: Sequence[Sequence[float]], conditions: Sequence[str], colours: Sequence[Any]) -> None:
    """One box plot."""
    for place, (of_condition, colour) in enumerate(zip(values, colours, strict=True), start=1):
        if len(of_condition) >= FEWEST_FOR_BOX:
            line = {'color': colour, 'linewidth': 1.2}
            axes.boxplot(
                of_condition,
                positions=[place],
                widths=0.6,
                showfliers=False,  # every well is drawn as a point
                boxprops=line,
                whiskerprops=line,
                capprops=line,
                medianprops=line | {'linewidth': 2},
            )
        axes.scatter(place + _aside(len(of_condition)), of_condition, s=16, color=colour, alpha=0.75)
    axes.set_xlim(0.4, len(conditions) + 0.6)
    axes.set_ylim(0, 1.08 * max((max(of_condition, default=0) for of_condition in values), default=0) or 1)
    is_long = max(map(len, conditions)) * len(conditions) > LONGEST_LABELS
    turned = {'rotation': 35, 'ha': 'right', 'rotation_mode': 'anchor'} if is_long else {}
    axes.set_xticks(range(1, len(conditions) + 1), [_escaped(name) for name in conditions], fontsize=8, **turned)
    axes.tick_params(axis='y', labelsize=8)
    for side in ('top', 'right'):
        axes.spines[side].set_visible(False)


def _aside(count: int) -> NDArray[np.float64]:
    """How far points stand beside the middle, so that equal ones are seen; by their order, so that files are equal."""
    return POINT_DISTANCE * (np.arange(count) % POINTS_ABREAST - (min(count, POINTS_ABREAST) - 1) / 2)


def _escaped(name: str) -> str:
    """A name as matplotlib shows it; it takes text between dollar signs for formulas."""
    return name.replace('$', r'\$')


def _significant(value: float) -> float:
    """Rounded to six significant digits."""
    return float(f'{value:.6g}')
