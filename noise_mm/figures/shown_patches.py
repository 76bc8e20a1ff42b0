"""Which patches a figure shows: all of some batches as they are annotated, and a choice among them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from noise_mm.coco.reader import REMEDY, CocoAnnotation, read_content
from noise_mm.coco.segmentation import geometry_from_segmentation
from noise_mm.errors import InputError
from noise_mm.files import read_json
from noise_mm.geometry.outline import Outline


@dataclass(frozen=True, eq=False)
class ShownPatch:
    """One patch of a batch.

    Attributes:
        batch: Its batch.
        image_id: Its id in the annotation file of the batch.
        path: The image.
        facts: Its entry there: `file_name`, `width`, `height` and, where known, `well`, `x`, `y`, `mpp`.
        annotations: The annotations of the classes shown, ignored ones included.
    """

    batch: str
    image_id: int
    path: Path
    facts: Mapping[str, Any]
    annotations: Sequence[CocoAnnotation]

    @property
    def name(self) -> str:
        """Batch and file name without folder and suffix, which is what users call it by: `M1/A1_0_416`."""
        return f'{self.batch}/{self.path.stem}'

    @property
    def well(self) -> str:
        """Its well; where nobody says, the patch is a well of its own."""
        return str(self.facts.get('well') or self.path.stem)

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height."""
        return self.facts['width'], self.facts['height']

    @property
    def n_cells(self) -> int:
        """Number of annotated cells, without those to be ignored."""
        return sum(not annotation.ignored for annotation in self.annotations)

    def outlines(self) -> list[Outline]:
        """Return what is annotated.

        Raises:
            InputError: If a mask can't be read.
        """
        return [
            outline_of(each.entry, each.category, self.size_px, str(self.path), each.ignored)
            for each in self.annotations
        ]


def outline_of(
    entry: Mapping[str, Any], label: str, size_px: tuple[int, int], source: str, ignored: bool = False
) -> Outline:
    """Return the outline of a COCO annotation or result.

    Raises:
        InputError: If it has no mask or a faulty one.
    """
    width, height = size_px
    try:
        geometry, _ = geometry_from_segmentation(entry.get('segmentation'), height, width)
    except (ValueError, TypeError) as error:
        raise InputError(f'{source}: a cell of it has no mask that can be read ({error}). {REMEDY}') from error
    return Outline(geometry, label=label, score=entry.get('score'), ignored=ignored)


def read_patches(annotation_file: Path, image_dir: Path, batch: str, classes: Sequence[str]) -> list[ShownPatch]:
    """Return the patches of one batch, in the order of its annotation file.

    Raises:
        InputError: If the file can't be read or is no COCO dataset.
    """
    content = read_content(read_json(annotation_file), str(annotation_file), annotation_ids=False)
    content.raise_if_any(str(annotation_file))
    of_image = defaultdict(list)
    for annotation in content.annotations:
        if annotation.category in classes:
            of_image[annotation.image.id].append(annotation)
    return [
        ShownPatch(batch, image.id, image_dir / image.file_name, image.entry, of_image[image.id])
        for image in content.images
    ]


def choose_patches(patches: Sequence[ShownPatch], count: int, seed: int) -> list[ShownPatch]:
    """Draw patches at random among those with annotated cells, evenly over batches and their wells.

    The batches, in the order of their names, give one patch each in turn; within a batch its wells do, in an order that
    is drawn; so does which patch of a well comes first. Which cells a model finds plays no part. The rows come sorted
    by batch.

    Raises:
        InputError: If there are fewer patches with cells.
    """
    wells = defaultdict(lambda: defaultdict(list))
    for patch in sorted(patches, key=lambda patch: patch.name):
        if patch.n_cells:
            wells[patch.batch][patch.well].append(patch)
    rng = np.random.default_rng(seed)
    queues = []
    for batch in sorted(wells):
        members = [_shuffled(wells[batch][well], rng) for well in _shuffled(sorted(wells[batch]), rng)]
        queues.append(_in_turn(members))
    chosen = _in_turn(queues)[:count]
    if len(chosen) < count:
        raise InputError(f'--rows {count}: only {len(chosen)} patches have annotated cells. Ask for fewer.')
    return sorted(chosen, key=lambda patch: patch.batch)


def named_patches(patches: Sequence[ShownPatch], names: Sequence[str]) -> list[ShownPatch]:
    """Return the patches of these names: `A1_0_416`, `A1_0_416.png`, or with the batch: `M1/A1_0_416`.

    Raises:
        InputError: If a name fits no patch, or patches of several batches.
    """
    known = defaultdict(list)
    for patch in patches:
        for name in (patch.path.stem, patch.name):
            known[name].append(patch)
    chosen = []
    for name in names:
        fitting = known[name.removesuffix(Path(name).suffix) if name not in known else name]
        if not fitting:
            raise InputError(
                f'--patches {name}: no such patch in these batches. They are called e.g. {patches[0].name}.'
            )
        if len(fitting) > 1:
            raise InputError(
                f'--patches {name}: is in several batches. Write {" or ".join(each.name for each in fitting)}.'
            )
        chosen += fitting
    return chosen


def _shuffled(items: Sequence, rng: np.random.Generator) -> list:
    return [items[index] for index in rng.permutation(len(items))]


def _in_turn(queues: Sequence[Sequence]) -> list:
    """Return the first of each queue, then the second of each, and so on."""
    longest = max(map(len, queues), default=0)
    return [queue[turn] for turn in range(longest) for queue in queues if turn < len(queue)]
