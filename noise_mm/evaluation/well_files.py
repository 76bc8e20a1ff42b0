"""Finds and reads predicted and annotated outlines of the same wells."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from noise_mm.coco.annotations import read_coco
from noise_mm.errors import InputError
from noise_mm.evaluation.well_scores import UNKNOWN_BATCH, WellPair
from noise_mm.files import read_json
from noise_mm.formats.read import SUFFIXES, read_outlines
from noise_mm.patches.pairing import ANNOTATION_AFFIXES, WELL_AFFIXES, files_by_well, files_in

RUN_FILE = 'run.json'  # what tools/predict.py tells about itself, beside the wells


@dataclass(frozen=True)
class PairedFiles:
    """The files of the wells of two folders.

    Attributes:
        wells: For each well that has both, by name: the predictions and the annotation file.
        without_rois: Names of wells with predictions only.
        without_predictions: Names of wells with annotations only.
    """

    wells: dict[str, tuple[Path, Path]]
    without_rois: list[str]
    without_predictions: list[str]


def pair_files(predictions_dir: Path, rois_dir: Path) -> PairedFiles:
    """Pairs predictions `<well>.json` with annotation files of the same well, by name as `wells.pairing` does.

    Args:
        predictions_dir: A folder that tools/predict.py wrote, or of COCO files of other tools, one for each well.
        rois_dir: Folder of annotation files of any format that `read_outlines` reads.

    Raises:
        InputError: If a folder is missing or empty, both are the same, or a well has two files of a kind.
    """
    if predictions_dir.resolve() == rois_dir.resolve():
        raise InputError(
            f'{rois_dir}: holds the predictions, whose own exports would be taken for annotations. '
            'Put the annotations into another folder.'
        )
    jsons = [file for file in files_in(predictions_dir) if file.name != RUN_FILE]
    predictions = files_by_well(jsons, ['.json'], WELL_AFFIXES)
    annotations = files_by_well(files_in(rois_dir), SUFFIXES, ANNOTATION_AFFIXES)
    if not predictions:
        raise InputError(f'{predictions_dir}: no <well>.json. Predict with tools/predict.py --formats coco.')
    if not annotations:
        raise InputError(f'{rois_dir}: no annotation files ({", ".join(SUFFIXES)}). Check --rois.')
    for files in (predictions, annotations):
        for name, candidates in files.items():
            if len(candidates) > 1:
                names = ', '.join(file.name for file in candidates)
                raise InputError(f'{candidates[0].parent}: several files of well {name!r} ({names}). Keep one.')
    both = sorted(predictions.keys() & annotations.keys())
    return PairedFiles(
        {name: (predictions[name][0], annotations[name][0]) for name in both},
        sorted(predictions.keys() - annotations.keys()),
        sorted(annotations.keys() - predictions.keys()),
    )


def read_well(name: str, predictions: Path, annotation: Path, um_per_px: float | None = None) -> WellPair:
    """Both sides of one well.

    Args:
        name: The well's name.
        predictions: COCO file of one image; what it says under `mpp`, and `batch` or `plate`, is taken over.
        annotation: File of the annotated outlines.
        um_per_px: Pixel size; None to go by `mpp`.

    Raises:
        InputError: If a file is faulty, or the two are not of one image.
    """
    found = read_coco(predictions)
    image = read_json(predictions)['images'][0]
    um_per_px = um_per_px or image.get('mpp')
    size_px = image['width'], image['height']
    objects = read_outlines(annotation, size_px, um_per_px)
    batch = str(image.get('batch') or image.get('plate') or UNKNOWN_BATCH)
    return WellPair(name, batch, size_px, um_per_px, found, objects)


def require_labels(wells: Collection[WellPair], classes: Collection[str]) -> dict[str, int]:
    """How many outlines have labels that are not scored, after a check that some annotations have one that is.

    Raises:
        InputError: If no annotated outline is of one of the classes.
    """
    labels = Counter(outline.label for well in wells for outline in well.objects)
    if not any(label in labels for label in classes):
        there = f'there are {", ".join(map(repr, sorted(labels)))}' if labels else 'the files are empty'
        raise InputError(
            f'no {" or ".join(classes)} is annotated in any of the {len(wells)} wells; {there}. Set --classes.'
        )
    labels += Counter(outline.label for well in wells for outline in well.found)
    return {label: labels[label] for label in sorted(labels) if label not in classes}
