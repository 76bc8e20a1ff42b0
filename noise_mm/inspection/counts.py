"""Counts of a dataset as the paper's section 4 states them, and their tables: cells, nuclei, areas. Pure."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noise_mm.inspection.annotation_files import Role
from noise_mm.inspection.annotations import Labelled
from noise_mm.inspection.dataset import CheckedPart
from noise_mm.inspection.overlaps import kind_of

SMALLEST_CELL_PX2 = 2000
"""The paper's annotators took objects from this area on for candidates (section 4.1)."""

UNKNOWN = '-'


@dataclass(frozen=True)
class CellCounts:
    """Osteoclasts of one batch, or of several together.

    Attributes:
        name: The batch, or what is summed up.
        wells: Number of wells.
        cells: Number of different cells; None where the file does not say which outlines are of one cell.
        outlines: Number of outlines in patches; overlapping patches show a cell several times.
        ignored: Number of regions to ignore, not among the outlines.
        areas_px2: Areas in well pixels, of whole cells where the file tells them, else of whole outlines.
        areas_um2: The same in um^2, without those of unknown pixel size.
        per_patch: Number of outlines in each patch.
    """

    name: str
    wells: int
    cells: int | None
    outlines: int
    ignored: int
    areas_px2: NDArray[np.float64]
    areas_um2: NDArray[np.float64]
    per_patch: list[int]

    def row(self) -> list[str]:
        """Return the row of the table of osteoclasts."""
        small = np.mean(self.areas_px2 < SMALLEST_CELL_PX2) if len(self.areas_px2) else None
        return [
            self.name,
            str(self.wells),
            str(len(self.per_patch)),
            UNKNOWN if self.cells is None else str(self.cells),
            UNKNOWN if self.cells is None else _ratio(self.cells, self.wells),
            str(self.outlines),
            str(self.ignored),
            _ratio(self.outlines, len(self.per_patch)),
            _rounded(self.areas_px2, np.mean),
            _rounded(self.areas_um2, np.mean),
            _rounded(self.areas_um2, np.median),
            UNKNOWN if small is None else f'{small:.0%}',
        ]


@dataclass(frozen=True)
class NucleiCounts:
    """Nuclei marked in the images of one batch, or of several together.

    Attributes:
        name: The batch, or what is summed up.
        images: Number of images that were marked.
        patches: Number of patches cut from them, by split: 'train', 'val' or None.
        nuclei: Number of nuclei in each image; None where the file does not say.
        boxes: Number of boxes; nuclei in overlaps of patches have several.
        box_px: Sides of the boxes that no border cuts off, in stored pixels.
        box_um: The same in um, without those of unknown pixel size.
    """

    name: str
    images: int
    patches: Counter[str | None]
    nuclei: list[int] | None
    boxes: int
    box_px: NDArray[np.float64]
    box_um: NDArray[np.float64]

    def row(self) -> list[str]:
        """Return the row of the table of nuclei."""
        nuclei = None if self.nuclei is None else sum(self.nuclei)
        return [
            self.name,
            *map(str, (self.images, self.patches.total(), self.patches['train'], self.patches['val'])),
            *([UNKNOWN] * 2 if nuclei is None else [str(nuclei), _ratio(nuclei, self.images)]),
            str(self.boxes),
            _rounded(self.box_px, np.median, 1),
            _rounded(self.box_um, np.median, 1),
        ]


def count_cells(name: str, parts: Sequence[CheckedPart]) -> CellCounts:
    """Count the osteoclasts of one batch, or of several together.

    Args:
        name: What the row of the table is called.
        parts: The annotation files of the batches.
    """
    outlines = [one for part in parts for one in part.labelled if one.category == 'osteoclast']
    seen = [one for one in outlines if not one.ignored]
    best: dict[tuple[str, str, int], Labelled] = {}
    for one in seen:
        if one.cell is not None:
            key = (one.patch.batch, one.patch.well, one.cell)
            best[key] = max(best.get(key, one), one, key=lambda piece: piece.visible_fraction)
    tells_cells = all(one.cell is not None for one in seen)
    measured = list(best.values()) if tells_cells else [one for one in seen if not one.at_border]
    areas = [(one.area_px2 / one.visible_fraction, one.patch) for one in measured]
    per_patch = Counter((one.patch.batch, one.patch.file_name) for one in seen)
    return CellCounts(
        name,
        sum(len(part.wells) for part in parts),
        len(best) if tells_cells else None,
        len(seen),
        len(outlines) - len(seen),
        np.array([area / patch.scale**2 for area, patch in areas]),
        np.array([area * patch.um_per_px**2 for area, patch in areas if patch.um_per_px is not None]),
        [per_patch[patch.batch, patch.file_name] for part in parts for patch in part.patches],
    )


def count_nuclei(name: str, part: CheckedPart, batches: Iterable[str]) -> NucleiCounts:
    """Count the marked nuclei in the images that were taken from some batches.

    Args:
        name: What the row of the table is called.
        part: The annotation file of the nuclei.
        batches: Names of the batches.
    """
    patches = [patch for patch in part.patches if patch.batch in batches]
    boxes = [one for one in part.labelled if one.category == 'nucleus' and one.patch.batch in batches]
    wells = sorted({patch.well for patch in patches})
    stated = {well['well']: well.get('nuclei') for well in part.wells}
    nuclei = [stated.get(well) for well in wells]
    sides = [(max(one.box_px), one.patch.um_per_px) for one in boxes if not one.at_border]
    return NucleiCounts(
        name,
        len(wells),
        Counter(patch.split for patch in patches),
        nuclei if all(isinstance(count, int) for count in nuclei) else None,
        len(boxes),
        np.array([side for side, _ in sides]),
        np.array([side * um_per_px for side, um_per_px in sides if um_per_px is not None]),
    )


def cells_of_batches(parts: Iterable[CheckedPart]) -> list[CellCounts]:
    """Count the osteoclasts of each batch."""
    return [count_cells(part.part.name, [part]) for part in parts if part.part.role is Role.CELLS]


def nuclei_of_batches(parts: Iterable[CheckedPart]) -> list[NucleiCounts]:
    """Count the marked nuclei of each batch."""
    marked = [part for part in parts if part.part.role is Role.NUCLEI]
    return [count_nuclei(batch, part, [batch]) for part in marked for batch in _batches(part)]


def cells_table(parts: Iterable[CheckedPart]) -> list[str]:
    """Return the table of osteoclasts: a row for each batch, each kind of batch and all; no lines without batches."""
    members = {part.part.name: part for part in parts if part.part.role is Role.CELLS}
    if not members:
        return []
    header = ['batch', 'wells', 'patches', 'cells', 'cells/well', 'outlines', 'ignored', 'outlines/patch']
    header += ['mean px2', 'mean um2', 'median um2', f'<{SMALLEST_CELL_PX2} px2']
    counts = [count_cells(name, [members[batch] for batch in group]) for name, group in _groups(members)]
    measured = 'Areas: of whole cells'
    if any(one.cells is None for one in counts):
        measured += '; where cells are not told apart (-), of the outlines that no patch border cuts'
    notes = ['outlines: what patches show of cells; overlapping patches show a cell several times.', f'{measured}.']
    return ['osteoclasts', *table(header, [one.row() for one in counts]), *notes]


def nuclei_table(parts: Iterable[CheckedPart]) -> list[str]:
    """Return the table of marked nuclei, as `cells_table`."""
    part = next((part for part in parts if part.part.role is Role.NUCLEI), None)
    if part is None or not part.patches:
        return []
    header = ['batch', 'images', 'patches', 'train', 'val', 'nuclei', 'nuclei/image', 'boxes', 'box px', 'box um']
    return ['nuclei', *table(header, [count_nuclei(name, part, g).row() for name, g in _groups(_batches(part))])]


def pseudo_table(parts: Iterable[CheckedPart]) -> list[str]:
    """Return the table of pseudo-labels: a row for each batch; no lines without them."""
    rows = []
    for checked in parts:
        if checked.part.role is Role.PSEUDO:
            found = Counter(one.category for one in checked.labelled if not one.ignored)
            patches = len(checked.patches)
            numbers = [str(patches), str(found['osteoclast']), str(found['nucleus'])]
            rows.append([str(checked.part.batch), *numbers, _ratio(found['nucleus'], patches)])
    header = ['batch', 'patches', 'osteoclasts', 'nuclei', 'nuclei/patch']
    return ['pseudo-labels', *table(header, rows)] if rows else []


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table: the first column to the left, numbers to the right."""
    cells = [list(header), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for first, *others in cells:
        numbers = [text.rjust(width) for text, width in zip(others, widths[1:], strict=True)]
        lines.append('  '.join([first.ljust(widths[0]), *numbers]))
    return [lines[0], '-' * len(lines[0]), *lines[1:]]


def _batches(part: CheckedPart) -> list[str]:
    return sorted({patch.batch for patch in part.patches})


def _groups(batches: Iterable[str]) -> list[tuple[str, list[str]]]:
    """Return name and members of each row: batches, kinds of batches where they have several, and all kinds."""
    kinds: dict[str, list[str]] = {}
    for batch in batches:
        kinds.setdefault(kind_of(batch), []).append(batch)
    every = [batch for members in kinds.values() for batch in members]
    groups = [(batch, [batch]) for batch in every]
    groups += [(f'all {kind}', members) for kind, members in kinds.items() if len(members) > 1]
    return groups + ([('all', every)] if len(kinds) > 1 else [])


def _ratio(count: int, of: int) -> str:
    return f'{count / of:.1f}' if of else UNKNOWN


def _rounded(values: NDArray[np.float64], summary: Callable, digits: int = 0) -> str:
    return f'{summary(values):.{digits}f}' if len(values) else UNKNOWN
