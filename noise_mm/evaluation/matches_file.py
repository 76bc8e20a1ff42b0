"""What became of each detection, in a small file beside the curves: scores of any choice of wells follow from it.

`<kind>_matches.npz`, readable with `numpy.load`: `description`, a JSON text with `mode`, `iou_thrs`, `classes`, and
`wells`, a list of [batch, well]; and arrays for N detections and M objects

    scores, classes, wells                                 (N,), wells by position in the list
    found                                                  (thresholds, N) the object that was found, -1 for none
    ignored                                                (thresholds, N) whether it lies on an ignored region
    object_classes, object_ignored, object_wells           (M,)
"""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from noise_mm.errors import InputError
from noise_mm.evaluation.evaluate import Evaluation
from noise_mm.evaluation.matching import Matches, Overlaps, Pairs
from noise_mm.evaluation.precision_recall import Score, mean_score, score_classes
from noise_mm.files import replacing

Well = tuple[str, str]  # batch, well


@dataclass(frozen=True)
class WellMatches:
    """The content of a file.

    Attributes:
        mode: One of `matching.MODES`.
        iou_thrs: Thresholds.
        classes: Class names.
        wells: The wells; an image whose well is not known is a well of its own.
        overlaps: Detections and objects, with wells for images and without their pairs.
        matches: For each threshold what was found.
    """

    mode: str
    iou_thrs: tuple[float, ...]
    classes: tuple[str, ...]
    wells: list[Well]
    overlaps: Overlaps
    matches: list[Matches]

    def mean_scores(self, times: Mapping[Well, int] | None = None) -> list[Score]:
        """Return for each threshold the means over the classes, each well counting so many times (once)."""
        weights = None if times is None else np.array([times[well] for well in self.wells], dtype=np.int64)
        return [
            mean_score(score_classes(self.overlaps, each, self.mode, len(self.classes), weights))
            for each in self.matches
        ]

    def objects_of_wells(self) -> dict[Well, int]:
        """Return how many objects each well has, ignored ones not counted."""
        counted = self.overlaps.object_images[~self.overlaps.object_ignored]
        return dict(zip(self.wells, np.bincount(counted, minlength=len(self.wells)).tolist(), strict=True))


def matches_path(folder: str | Path, kind: str) -> Path:
    """Return the path of the file with what became of each detection, as the module says."""
    return Path(folder) / f'{kind}_matches.npz'


def write_matches(path: str | Path, evaluation: Evaluation, kind: str) -> None:
    """Write the file for one kind of region.

    Raises:
        InputError: If it can't be written.
    """
    names = [(image.batch, image.well or f'image {image.image_id}') for image in evaluation.images]
    wells = sorted(set(names))
    numbers = {well: number for number, well in enumerate(wells)}
    of_image = np.array([numbers[name] for name in names], dtype=np.int32)
    overlaps, matches = evaluation.overlaps[kind], evaluation.matches[kind]
    description = {
        'mode': evaluation.mode,
        'iou_thrs': evaluation.iou_thrs,
        'classes': evaluation.classes,
        'wells': wells,
    }
    with replacing(path) as temporary, open(temporary, 'wb') as file:
        np.savez_compressed(
            file,
            description=json.dumps(description),
            scores=overlaps.scores,
            classes=overlaps.classes.astype(np.int32),
            wells=of_image[overlaps.images],
            found=np.array([each.objects for each in matches], dtype=np.int32),
            ignored=np.array([each.ignored for each in matches], dtype=bool),
            object_classes=overlaps.object_classes.astype(np.int32),
            object_ignored=overlaps.object_ignored,
            object_wells=of_image[overlaps.object_images],
        )


def read_matches(path: str | Path) -> WellMatches:
    """Read a file.

    Raises:
        InputError: If there is none, or it is damaged.
    """
    remedy = 'Test the run again with tools/test.py, which writes it.'
    if not Path(path).is_file():
        raise InputError(f'{path}: no such file. {remedy}')
    try:
        with np.load(path, allow_pickle=False) as file:
            content: dict[str, NDArray] = {name: file[name] for name in file.files}
        facts = json.loads(str(content['description']))
        scores, empty = content['scores'], np.zeros(0, np.int64)
        overlaps = Overlaps(
            scores=scores,
            classes=content['classes'],
            images=content['wells'],
            object_classes=content['object_classes'],
            object_ignored=content['object_ignored'],
            object_images=content['object_wells'],
            order=np.argsort(-scores, kind='stable'),
            candidates=Pairs(empty, empty, np.zeros(0)),
            ignored_overlaps=np.full(len(scores), -1.0),
        )
        matches = [Matches(*each) for each in zip(content['found'], content['ignored'], strict=True)]
        wells = [tuple(map(str, well)) for well in facts['wells']]
        return WellMatches(facts['mode'], tuple(facts['iou_thrs']), tuple(facts['classes']), wells, overlaps, matches)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f'{path}: damaged, or not a file of matches ({error}). {remedy}') from error
