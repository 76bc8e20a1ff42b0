"""Counts of a dataset in the form of the paper's section 4: wells, patches, cells, nuclei per image, areas. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noise_mm.inspection.annotations import Labelled
from noise_mm.inspection.dataset import CheckedPart


@dataclass(frozen=True)
class CellCounts:
    """Counts of one batch, or of several together.

    Attributes:
        name: The batch, or what is summed up.
        wells: Number of wells.
        cells: Number of different cells; None where the file does not say which outlines are of one cell.
        outlines: Number of outlines in patches; overlapping patches show a cell several times.
        ignored: Number of regions to ignore, not among the outlines.
        areas_px2: Areas in well pixels, whole cells where the file tells them; else outlines inside their patches.
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
    per_patch: NDArray[np.int64]


@dataclass(frozen=True)
class NucleiCounts:
    """Counts of the nuclei marked in the images of one batch, or of several together.

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


def count_cells(checked: CheckedPart) -> CellCounts:
    """The counts of the osteoclasts of one batch."""
    outlines = [one for one in checked.labelled if one.category == 'osteoclast']
    seen = [one for one in outlines if not one.ignored]
    best: dict[tuple[str, int], Labelled] = {}
    for one in seen:
        key = (one.patch.well, one.cell or 0)
        if one.cell is not None and (key not in best or best[key].visible_fraction < one.visible_fraction):
            best[key] = one
    tells_cells = all(one.cell is not None for one in seen)
    measured = list(best.values()) if tells_cells else [one for one in seen if not one.at_border]
    per_patch = Counter(one.patch.file_name for one in seen)
    return CellCounts(
        checked.part.name,
        len(checked.wells),
        len(best) if tells_cells else None,
        len(seen),
        len(outlines) - len(seen),
        np.array([one.area_px2 / one.patch.scale**2 / one.visible_fraction for one in measured]),
        np.array(
            [
                one.area_px2 * one.patch.um_per_px**2 / one.visible_fraction  # px^2 * (um / px)^2
                for one in measured
                if one.patch.um_per_px is not None
            ]
        ),
        np.array([per_patch[patch.file_name] for patch in checked.patches], dtype=np.int64),
    )


def count_nuclei(checked: CheckedPart) -> list[NucleiCounts]:
    """The counts of the marked nuclei, for each batch that images were taken from."""
    nuclei_in = {well['well']: well.get('nuclei') for well in checked.wells}
    return [_nuclei_of(batch, checked, nuclei_in) for batch in sorted({patch.batch for patch in checked.patches})]


def _nuclei_of(batch: str, checked: CheckedPart, nuclei_in: dict[str, Any]) -> NucleiCounts:
    patches = [patch for patch in checked.patches if patch.batch == batch]
    boxes = [one for one in checked.labelled if one.category == 'nucleus' and one.patch.batch == batch]
    wells = sorted({patch.well for patch in patches})
    nuclei = [nuclei_in.get(well) for well in wells]
    whole = [one for one in boxes if not one.at_border]
    return NucleiCounts(
        batch,
        len(wells),
        Counter(patch.split for patch in patches),
        nuclei if all(isinstance(count, int) for count in nuclei) else None,
        len(boxes),
        np.array([max(one.box_px) for one in whole]),
        np.array([max(one.box_px) * one.patch.um_per_px for one in whole if one.patch.um_per_px is not None]),
    )


def sum_cells(name: str, counts: Sequence[CellCounts]) -> CellCounts:
    """The counts of several batches together."""
    cells = [one.cells for one in counts]
    return CellCounts(
        name,
        sum(one.wells for one in counts),
        None if None in cells else sum(cells),
        sum(one.outlines for one in counts),
        sum(one.ignored for one in counts),
        np.concatenate([one.areas_px2 for one in counts]),
        np.concatenate([one.areas_um2 for one in counts]),
        np.concatenate([one.per_patch for one in counts]),
    )


def sum_nuclei(name: str, counts: Sequence[NucleiCounts]) -> NucleiCounts:
    """The counts of several batches together."""
    nuclei = [one.nuclei for one in counts]
    return NucleiCounts(
        name,
        sum(one.images for one in counts),
        sum((one.patches for one in counts), Counter()),
        None if None in nuclei else [count for of_batch in nuclei for count in of_batch],
        sum(one.boxes for one in counts),
        np.concatenate([one.box_px for one in counts]),
        np.concatenate([one.box_um for one in counts]),
    )
