"""A figure of patches, one in each row: what is annotated, and beside it what each method found, with confidences.

As figures 6 and 7 of the NOISe paper. Cells found are matched with those annotated at mask IoU 0.5, and coloured by
whether they are right.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path as Line
from matplotlib.patheffects import withStroke
from shapely import MultiPolygon, Polygon

from noise_mm.errors import InputError
from noise_mm.evaluation.matching import join, match
from noise_mm.evaluation.overlaps import compare_outlines
from noise_mm.files import replacing
from noise_mm.geometry.outline import Outline, parts_of

SUFFIXES = ('.png', '.pdf', '.svg')
IOU_THR = 0.5  # the paper's default threshold
PANEL_INCH = 3.4
DPI = 250  # a panel is then about as wide as a patch of 832 px
# Colours that are told apart with any colour vision, on purple cells and on light ground.
ANNOTATED, RIGHT, WRONG, MISSED, IGNORED = '#0050C8', '#00A078', '#E65000', '#0050C8', '#808080'
NUMBER_SHARE = 0.04, 0.02  # half the width and height of a confidence, of the width of the patch
BAR_SHARE = 0.2  # of the width of the patch, about, is the length of the scale bar


@dataclass(frozen=True)
class FigureRow:
    """One patch and what was found in it.

    Attributes:
        label: What it is called, beside the row.
        pixels: (height, width, 3) uint8, RGB.
        um_per_px: Pixel size, for the scale bar; None for no bar.
        objects: What is annotated, in pixels of the patch.
        found: For each method what it found.
    """

    label: str
    pixels: np.ndarray
    um_per_px: float | None
    objects: Sequence[Outline]
    found: Sequence[Sequence[Outline]]


def draw_figure(path: str | Path, rows: Sequence[FigureRow], methods: Sequence[str]) -> None:
    """Draw the figure as PNG, PDF or SVG, which the suffix says.

    Args:
        path: The file.
        rows: The rows, at least one.
        methods: Names of the methods, one for each column after the first.

    Raises:
        InputError: If the suffix is another, or the file can't be written.
    """
    if Path(path).suffix.lower() not in SUFFIXES:
        raise InputError(
            f'{path}: cannot be drawn as {Path(path).suffix or "a file without suffix"}. Use .png or .pdf.'
        )
    with replacing(path) as temporary:
        compose_figure(rows, methods).savefig(temporary, dpi=DPI)


def compose_figure(rows: Sequence[FigureRow], methods: Sequence[str]) -> Figure:
    """Return the figure before it is written; arguments as of `draw_figure`."""
    n_columns = len(methods) + 1
    heights = [row.pixels.shape[0] / row.pixels.shape[1] for row in rows]
    size = PANEL_INCH * n_columns + 0.3, PANEL_INCH * sum(heights) + 0.7
    figure = Figure(figsize=size, dpi=DPI, layout='constrained')
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(rows), n_columns, squeeze=False, gridspec_kw={'height_ratios': heights})
    for row, axes in zip(rows, panels, strict=True):
        _draw_annotated(axes[0], row)
        for panel, found in zip(axes[1:], row.found, strict=True):
            _draw_found(panel, row, found)
    for panel, title in zip(panels[0], ('annotated', *methods), strict=True):
        panel.set_title(title, fontsize=11)
    figure.legend(handles=_legend(), loc='outside lower center', ncols=5, fontsize=8, frameon=False)
    return figure


def judge(
    found: Sequence[Outline], objects: Sequence[Outline], size_px: tuple[int, int]
) -> tuple[list[str], list[bool]]:
    """Return which cells are right, and which were missed, at mask IoU 0.5 as in `matching`, mode coco.

    Args:
        found: n outlines.
        objects: m annotated outlines.
        size_px: Width and height of the patch.

    Returns:
        The colour of each cell found, and for each annotated one whether it was missed; ignored regions never are.
    """
    classes = sorted({outline.label for outline in [*found, *objects]})
    image = compare_outlines(found, objects, classes, size_px, image_id=0, batch='', well='')
    matches = match(join([image], 'segm'), IOU_THR)
    colours = [
        RIGHT if right else IGNORED if ignored else WRONG
        for right, ignored in zip(matches.true_positive, matches.ignored, strict=True)
    ]
    taken = set(matches.objects.tolist())
    return colours, [index not in taken and not outline.ignored for index, outline in enumerate(objects)]


def scale_bar_um(width_um: float) -> int | float:
    """Return the length of a scale bar: 1, 2 or 5 times a power of ten, near a fifth of the picture's width."""
    wanted = width_um * BAR_SHARE
    power = 10.0 ** np.floor(np.log10(wanted))
    length = max(step * power for step in (1, 2, 5) if step * power <= wanted)
    return int(length) if length >= 1 else float(length)


def _draw_annotated(axes: Axes, row: FigureRow) -> None:
    _show(axes, row.pixels)
    axes.set_ylabel(row.label, fontsize=7)
    for outline in row.objects:
        _outline(axes, outline.geometry, IGNORED if outline.ignored else ANNOTATED)
    if row.um_per_px is not None:
        _scale_bar(axes, row.pixels.shape[1], row.pixels.shape[0], row.um_per_px)


def _draw_found(axes: Axes, row: FigureRow, found: Sequence[Outline]) -> None:
    height, width = row.pixels.shape[:2]
    _show(axes, row.pixels)
    colours, missed = judge(found, row.objects, (width, height))
    for outline, is_missed in zip(row.objects, missed, strict=True):
        if is_missed:
            _outline(axes, outline.geometry, MISSED, dashed=True)
    for outline, colour in zip(found, colours, strict=True):
        _outline(axes, outline.geometry, colour)
    for outline, colour in zip(found, colours, strict=True):  # last, so that no outline crosses a number
        if outline.score is not None:
            _confidence(axes, outline, colour, (width, height))


def _show(axes: Axes, pixels: np.ndarray) -> None:
    """Draw the patch; its pixel corners are at whole numbers, as those of outlines."""
    height, width = pixels.shape[:2]
    axes.imshow(pixels, extent=(0, width, height, 0), interpolation='antialiased')
    axes.set(xticks=[], yticks=[], xlim=(0, width), ylim=(height, 0))


def _outline(axes: Axes, geometry: Polygon | MultiPolygon, colour: str, dashed: bool = False) -> None:
    """Draw a line with a light hem, filled faintly; holes stay open."""
    rings = [Line(shapely.get_coordinates(ring), closed=True) for ring in shapely.get_rings(parts_of(geometry))]
    line = Line.make_compound_path(*rings)
    if not dashed:
        axes.add_patch(PathPatch(line, facecolor=colour, edgecolor='none', alpha=0.18))
    hem = [withStroke(linewidth=2.2, foreground='white', alpha=0.7)]
    style = {'linestyle': (0, (4, 2))} if dashed else {'path_effects': hem}
    axes.add_patch(PathPatch(line, facecolor='none', edgecolor=colour, linewidth=1.2, **style))


def _confidence(axes: Axes, outline: Outline, colour: str, size_px: tuple[int, int]) -> None:
    """Write the confidence within the largest part of the cell, as far as the border lets a number be read."""
    point = max(parts_of(outline.geometry), key=lambda part: part.area).representative_point()
    margins = NUMBER_SHARE[0] * size_px[0], NUMBER_SHARE[1] * size_px[0]
    x, y = (np.clip(at, m, size - m) for at, m, size in zip((point.x, point.y), margins, size_px, strict=True))
    hem = [withStroke(linewidth=1.8, foreground='white')]
    style = {'fontsize': 6.5, 'fontweight': 'bold', 'ha': 'center', 'va': 'center', 'path_effects': hem}
    axes.text(x, y, f'{outline.score:.2f}', color=colour, clip_on=True, **style)


def _scale_bar(axes: Axes, width_px: int, height_px: int, um_per_px: float) -> None:
    """Draw a bar with its length, on a light ground, in the lower right corner."""
    length_um = scale_bar_um(width_px * um_per_px)
    length_px, unit = length_um / um_per_px, width_px / 100
    right, bottom = width_px - 3 * unit, height_px - 3 * unit
    ground = (right - length_px - 1.5 * unit, bottom - 7.5 * unit)
    axes.add_patch(Rectangle(ground, length_px + 3 * unit, 9 * unit, facecolor='white', alpha=0.8, edgecolor='none'))
    axes.add_patch(Rectangle((right - length_px, bottom - 1.2 * unit), length_px, 1.2 * unit, facecolor='black'))
    axes.text(right - length_px / 2, bottom - 2 * unit, f'{length_um:g} µm', fontsize=7, ha='center', va='bottom')


def _legend() -> list[Line2D]:
    entries = {
        'annotated': (ANNOTATED, '-'),
        f'found, right (IoU {IOU_THR:g} or more)': (RIGHT, '-'),
        'found, wrong': (WRONG, '-'),
        'missed': (MISSED, '--'),
        'ignored region, or found in one': (IGNORED, '-'),
    }
    return [Line2D([], [], color=colour, linestyle=style, label=text) for text, (colour, style) in entries.items()]
