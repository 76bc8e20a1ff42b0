"""Conditions compared: means over biological replicates, a test against the control, and a box plot.

The unit of n is the biological replicate where the plate map names it: the wells of one mouse or donor are averaged
first, because they are not independent. Without replicates the wells are listed as they are, and nothing is tested.
"""

import io
import math
import statistics
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MEASURES = {
    'count': 'osteoclasts',
    'pre_osteoclasts': 'pre-osteoclasts',
    'total_area_um2': 'total area (µm²)',
    'total_area_px2': 'total area (px²)',
    'mean_area_um2': 'mean area (µm²)',
    'covered_of_image_percent': 'image covered (%)',
    'covered_of_well_percent': 'well covered (%)',
    'count_per_mm2': 'osteoclasts per mm²',
    'nuclei': 'nuclei',
    'nuclei_per_osteoclast': 'nuclei per osteoclast',
    'fusion_index': 'fusion index',
}
"""Columns of the table of wells that are summed up, and what they are called in pictures and pages."""

TESTS = {'welch': "Welch's t-test", 'mann-whitney': 'Mann-Whitney U test'}
"""Tests against the control, two-sided; p-values are corrected by Holm over the conditions of a measure."""

CONDITION_COLUMNS = (
    'condition',
    'wells',
    'replicates',
    'unit',
    'control',
    'test',
    *(f'{measure}_{kind}' for measure in MEASURES for kind in ('n', 'mean', 'sd', 'p_holm')),
)
"""Of `conditions.csv`: `n`, mean and sample standard deviation (n - 1) over units, and the corrected p-value."""

LEAST_SPREAD = 1e-9
"""Of values relative to the largest; less is rounding, and no t-test."""

FEWEST_FOR_BOX = 3
"""Units; fewer have no quartiles, and points alone say all."""
PLOT_COLUMNS = 3
POINT_DISTANCE, POINTS_ABREAST = 0.12, 3
LONGEST_LABELS = 36
"""Characters that stand side by side below a plot; more are turned."""


@dataclass(frozen=True)
class Design:
    """Which condition and replicate each well belongs to.

    Attributes:
        condition_of: The condition of each well, in the order of the map; wells that it does not have are left out.
        replicate_of: The biological replicate of each well; empty if the map names none.
        unit: What n counts: the name of the column of replicates, or `well`.
        control: The condition that others are tested against, or None.
        test: Of `TESTS`.
    """

    condition_of: Mapping[str, str]
    replicate_of: Mapping[str, str]
    unit: str = 'well'
    control: str | None = None
    test: str = 'welch'

    @property
    def conditions(self) -> list[str]:
        """Return the conditions in the order of the map."""
        return list(dict.fromkeys(self.condition_of.values()))

    def units(self, rows: Sequence[Mapping[str, Any]], condition: str, measure: str) -> dict[str, float]:
        """Return the value of each replicate (the mean of its wells), or of each well; missing ones are left out."""
        values: dict[str, list[float]] = {}
        for row in rows:
            if self.condition_of.get(row['well']) == condition and row.get(measure) is not None:
                values.setdefault(self.replicate_of.get(row['well']) or row['well'], []).append(row[measure])
        return {unit: statistics.fmean(of_unit) for unit, of_unit in values.items()}


def condition_rows(rows: Sequence[Mapping[str, Any]], design: Design) -> list[dict[str, Any]]:
    """Return the table of conditions (`CONDITION_COLUMNS`), in the order of the map.

    Args:
        rows: Rows of the table of wells.
        design: See there.
    """
    is_tested = bool(design.replicate_of) and design.control is not None
    table: dict[str, dict[str, Any]] = {}
    for condition in design.conditions:
        members = [row['well'] for row in rows if design.condition_of.get(row['well']) == condition]
        replicates = {design.replicate_of[well] for well in members if design.replicate_of.get(well)}
        table[condition] = {
            'condition': condition,
            'wells': len(members),
            'replicates': len(replicates) if design.replicate_of else None,
            'unit': design.unit,
            'control': design.control,
            'test': TESTS[design.test] if is_tested else None,
        }
    for measure in MEASURES:
        units = {condition: list(design.units(rows, condition, measure).values()) for condition in table}
        p_values = _p_values(units, design) if is_tested else {}
        for condition, values in units.items():
            table[condition] |= {
                f'{measure}_n': len(values),
                f'{measure}_mean': _significant(statistics.fmean(values)) if values else None,
                f'{measure}_sd': _significant(statistics.stdev(values)) if len(values) > 1 else None,
                f'{measure}_p_holm': p_values.get(condition),
            }
    return list(table.values())


def _p_values(units: Mapping[str, Sequence[float]], design: Design) -> dict[str, float]:
    """Return the corrected p-value of each condition that can be tested; both sides need two units that differ."""
    from scipy import stats

    control = units.get(design.control, ())
    raw = {}
    for condition, values in units.items():
        if condition == design.control or min(len(values), len(control)) < 2:
            continue
        if design.test == 'mann-whitney':
            raw[condition] = float(stats.mannwhitneyu(values, control).pvalue)
        elif max(np.ptp(values), np.ptp(control)) > LEAST_SPREAD * max(*values, *control):
            with warnings.catch_warnings():
                warnings.simplefilter('ignore', RuntimeWarning)  # one side without spread
                raw[condition] = float(stats.ttest_ind(values, control, equal_var=False).pvalue)
    return {condition: _significant(p) for condition, p in holm(raw).items()}


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return p-values corrected for their number (Holm, Scand. J. Statist. 1979, 6:65).

    >>> holm({'a': 0.01, 'b': 0.04, 'c': 0.03})
    {'a': 0.03, 'c': 0.06, 'b': 0.06}
    """
    corrected: dict[str, float] = {}
    largest = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        corrected[name] = largest
    return corrected


def design_notes(rows: Sequence[Mapping[str, Any]], design: Design) -> list[str]:
    """Return what the reader of the comparison has to know, a sentence each."""
    notes = []
    if not design.replicate_of:
        notes.append(
            'n counts wells, which are not independent; a column mouse, donor or replicate in the plate map makes '
            'biological replicates the unit and allows a test'
        )
    elif design.control is None:
        notes.append('no condition is marked as the control in the plate map (column control), so nothing is tested')
    if design.replicate_of and (
        without := [
            row['well']
            for row in rows
            if row['well'] in design.condition_of and not design.replicate_of.get(row['well'])
        ]
    ):
        notes.append(f'{len(without)} wells have no {design.unit} and count as replicates of their own')
    return notes


def shown_measures(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the measures that some row has; areas in px² only where they are not known in µm²."""
    names = [name for name in MEASURES if any(row.get(name) is not None for row in rows)]
    return [name for name in names if name != 'total_area_px2' or 'total_area_um2' not in names]


def box_plot(rows: Sequence[Mapping[str, Any]], design: Design) -> bytes:
    """Return a PNG with a box plot of each measure that wells have: median, quartiles, and every unit as a point."""
    import matplotlib  # imported here: it takes a second, and only this picture needs it
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    conditions = design.conditions
    measures = shown_measures([row for row in rows if row['well'] in design.condition_of])
    lines = math.ceil(len(measures) / PLOT_COLUMNS)
    width = PLOT_COLUMNS * max(3.2, 0.55 * len(conditions) + 1.2)
    figure = Figure(figsize=(width, 2.9 * lines), layout='constrained')
    FigureCanvasAgg(figure)
    colours = [matplotlib.colormaps['tab10'](index % 10) for index in range(len(conditions))]
    for place, measure in enumerate(measures, start=1):
        axes = figure.add_subplot(lines, PLOT_COLUMNS, place)
        values = [list(design.units(rows, name, measure).values()) for name in conditions]
        _draw(axes, values, conditions, colours)
        axes.set_title(MEASURES[measure], fontsize=10)
    file = io.BytesIO()
    figure.savefig(file, format='png', dpi=110, metadata={'Software': None})
    return file.getvalue()


def _draw(axes: Any, values: Sequence[Sequence[float]], conditions: Sequence[str], colours: Sequence[Any]) -> None:
    """Draw one box plot; every unit is a point."""
    axes.boxplot(
        [of_condition if len(of_condition) >= FEWEST_FOR_BOX else [] for of_condition in values],
        widths=0.6,
        showfliers=False,
    )
    for place, (of_condition, colour) in enumerate(zip(values, colours, strict=True), start=1):
        count = len(of_condition)  # beside each other, so that equal ones are seen
        aside = POINT_DISTANCE * (np.arange(count) % POINTS_ABREAST - (min(count, POINTS_ABREAST) - 1) / 2)
        axes.scatter(place + aside, of_condition, s=16, color=colour, alpha=0.75)
    axes.set_xlim(0.4, len(conditions) + 0.6)
    axes.set_ylim(0, 1.08 * max((max(of_condition, default=0) for of_condition in values), default=0) or 1)
    is_long = max(map(len, conditions)) * len(conditions) > LONGEST_LABELS
    turned = {'rotation': 35, 'ha': 'right', 'rotation_mode': 'anchor'} if is_long else {}
    labels = [name.replace('$', r'\$') for name in conditions]  # matplotlib takes text between dollars for formulas
    axes.set_xticks(range(1, len(conditions) + 1), labels, fontsize=8, **turned)
    axes.tick_params(axis='y', labelsize=8)
    axes.spines[['top', 'right']].set_visible(False)


def _significant(value: float) -> float:
    """Round to six significant digits."""
    return float(f'{value:.6g}')
