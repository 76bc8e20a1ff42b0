"""The counts of a dataset as tables of text. Pure."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from noise_mm.inspection.annotation_files import Role
from noise_mm.inspection.counts import CellCounts, NucleiCounts, count_cells, count_nuclei, sum_cells, sum_nuclei
from noise_mm.inspection.dataset import CheckedPart
from noise_mm.inspection.overlaps import kind_of

SMALLEST_CELL_PX2 = 2000
"""Area from which on the paper's annotators took objects for candidates (section 4.1)."""

UNKNOWN = '-'

Counts = TypeVar('Counts', CellCounts, NucleiCounts)


def cells_table(parts: Iterable[CheckedPart]) -> list[str]:
    """The table of the osteoclasts: a row for each batch, each kind of batch and all. No lines without batches."""
    counts = [count_cells(part) for part in parts if part.part.role is Role.CELLS]
    if not counts:
        return []
    header = ['batch', 'wells', 'patches', 'cells', 'cells/well', 'outlines', 'ignored', 'outlines/patch']
    header += ['mean px2', 'mean um2', 'median um2', f'<{SMALLEST_CELL_PX2} px2']
    rows = [_cells_row(one) for one in _with_sums(counts, sum_cells)]
    measured = 'Areas: of whole cells'
    if any(one.cells is None for one in counts):
        measured += '; where cells are not told apart (-), of the outlines that no patch border cuts'
    notes = ['outlines: what patches show of cells; overlapping patches show a cell several times.', f'{measured}.']
    return ['osteoclasts', *table(header, rows), *notes]


def nuclei_table(parts: Iterable[CheckedPart]) -> list[str]:
    """The table of the marked nuclei, as `cells_table`."""
    counts = [one for part in parts if part.part.role is Role.NUCLEI for one in count_nuclei(part)]
    if not counts:
        return []
    header = ['batch', 'images', 'patches', 'train', 'val', 'nuclei', 'nuclei/image', 'boxes', 'box px', 'box um']
    return ['nuclei', *table(header, [_nuclei_row(one) for one in _with_sums(counts, sum_nuclei)])]


def pseudo_table(parts: Iterable[CheckedPart]) -> list[str]:
    """The table of the pseudo-labels: a row for each batch. No lines without them."""
    rows = []
    for checked in parts:
        if checked.part.role is Role.PSEUDO:
            found = Counter(one.category for one in checked.labelled if not one.ignored)
            patches = len(checked.patches)
            numbers = [str(patches), str(found['osteoclast']), str(found['nucleus'])]
            rows.append([str(checked.part.batch), *numbers, _ratio(found['nucleus'], patches)])
    return (
        ['pseudo-labels', *table(['batch', 'patches', 'osteoclasts', 'nuclei', 'nuclei/patch'], rows)] if rows else []
    )


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table: the first column to the left, numbers to the right."""
    cells = [list(header), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        first, *others = row
        numbers = [text.rjust(width) for text, width in zip(others, widths[1:], strict=True)]
        lines.append('  '.join([first.ljust(widths[0]), *numbers]))
    return [lines[0], '-' * len(lines[0]), *lines[1:]]


def _with_sums(counts: list[Counts], add: Callable[[str, Sequence[Counts]], Counts]) -> list[Counts]:
    """Counts followed by their sums for each kind of batch, where it has several, and by the sum of all kinds."""
    kinds: dict[str, list[Counts]] = {}
    for one in counts:
        kinds.setdefault(kind_of(one.name), []).append(one)
    sums = [add(f'all {kind}', members) for kind, members in kinds.items() if len(members) > 1]
    return counts + sums + ([add('all', counts)] if len(kinds) > 1 else [])


def _cells_row(one: CellCounts) -> list[str]:
    small = (one.areas_px2 < SMALLEST_CELL_PX2).sum()
    return [
        one.name,
        str(one.wells),
        str(len(one.per_patch)),
        UNKNOWN if one.cells is None else str(one.cells),
        UNKNOWN if one.cells is None else _ratio(one.cells, one.wells),
        str(one.outlines),
        str(one.ignored),
        _ratio(one.outlines, len(one.per_patch)),
        _rounded(one.areas_px2, np.mean),
        _rounded(one.areas_um2, np.mean),
        _rounded(one.areas_um2, np.median),
        f'{small / len(one.areas_px2):.0%}' if len(one.areas_px2) else UNKNOWN,
    ]


def _nuclei_row(one: NucleiCounts) -> list[str]:
    return [
        one.name,
        str(one.images),
        str(one.patches.total()),
        str(one.patches['train']),
        str(one.patches['val']),
        UNKNOWN if one.nuclei is None else str(sum(one.nuclei)),
        UNKNOWN if one.nuclei is None else _ratio(sum(one.nuclei), one.images),
        str(one.boxes),
        _rounded(one.box_px, np.median, 1),
        _rounded(one.box_um, np.median, 1),
    ]


def _ratio(count: int, of: int) -> str:
    return f'{count / of:.1f}' if of else UNKNOWN


def _rounded(values: NDArray[np.float64], summary: Callable, digits: int = 0) -> str:
    return f'{summary(values):.{digits}f}' if len(values) else UNKNOWN
