"""Finds and reads predicted and annotated outlines of the same wells."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from noise_mm.coco.outlines import coco_outlines, image_named
from noise_mm.coco.reader import CocoContent, CocoImage
from noise_mm.errors import InputError
from noise_mm.evaluation.well_scores import UNKNOWN_BATCH, WellPair
from noise_mm.files import read_json
from noise_mm.formats.read import SUFFIXES, read_annotation_json, read_outlines
from noise_mm.patches.pairing import (
    ANNOTATION_AFFIXES,
    WELL_AFFIXES,
    Annotated,
    coco_images,
    files_by_well,
    files_in,
    well_of,
    without_pictures,
)

RUN_FILE = 'run.json'  # what tools/predict.py tells about itself, beside the wells


@dataclass(frozen=True)
class PairedFiles:
    """The files of the wells of two folders.

    Attributes:
        wells: For each well that has both, by name: where the predictions and the annotations are.
        without_rois: Names of wells with predictions only.
        without_predictions: Names of wells with annotations only.
    """

    wells: dict[str, tuple[Annotated, Annotated]]
    without_rois: list[str]
    without_predictions: list[str]


def pair_files(predictions_dir: Path, rois_dir: Path) -> PairedFiles:
    """Pair predictions with annotations of the same well, by name as `patches.pairing` does.

    Predictions are a file `<well>.json` for each well or one COCO file of several images; annotations are files of any
    format that `read_outlines` reads, or one COCO file of several images.

    Args:
        predictions_dir: A folder that tools/predict.py wrote, or of COCO files of other tools.
        rois_dir: Folder of annotation files.

    Raises:
        InputError: If a folder is missing or empty, both are the same, or a well has two files of a kind.
    """
    if predictions_dir.resolve() == rois_dir.resolve():
        raise InputError(
            f'{rois_dir}: holds the predictions, whose own exports would be taken for annotations. '
            'Put the annotations into another folder.'
        )
    jsons = [file for file in files_in(predictions_dir) if file.suffix.lower() == '.json' and file.name != RUN_FILE]
    by_name = [
        files_by_well(files, SUFFIXES, affixes)
        for files, affixes in ((jsons, WELL_AFFIXES), (files_in(rois_dir), ANNOTATION_AFFIXES))
    ]
    predictions, annotations = _located(*by_name), _located(*by_name[::-1])
    if not predictions:
        raise InputError(f'{predictions_dir}: no <well>.json. Predict with tools/predict.py --formats coco.')
    if not annotations:
        raise InputError(f'{rois_dir}: no annotation files ({", ".join(SUFFIXES)}). Check --rois.')
    for files in (predictions, annotations):
        for name, candidates in files.items():
            if len(candidates) > 1:
                names = ', '.join(map(str, candidates))
                raise InputError(f'{candidates[0].path.parent}: several files of well {name!r} ({names}). Keep one.')
    both = sorted(predictions.keys() & annotations.keys())
    return PairedFiles(
        {name: (predictions[name][0], annotations[name][0]) for name in both},
        sorted(predictions.keys() - annotations.keys()),
        sorted(annotations.keys() - predictions.keys()),
    )


def _located(files: Mapping[str, Sequence[Path]], others: Collection[str]) -> dict[str, list[Annotated]]:
    """Return where the outlines of each well are: a file of its name, or an image of a COCO file of several.

    Args:
        files: Files by the wells that they are named after.
        others: Wells of the other side; a file that is named after one of these belongs to it.
    """
    found: dict[str, list[Annotated]] = {}
    for name, candidates in files.items():
        for file in without_pictures(candidates, []):
            images = {} if name in others else coco_images(file)
            if len(images) > 1 and name not in images:
                for well, file_names in images.items():
                    found.setdefault(well, []).extend(Annotated(file, file_name) for file_name in file_names)
            else:
                found.setdefault(name, []).append(Annotated(file))
    return found


def read_well(
    name: str,
    predictions: Annotated,
    annotation: Annotated,
    um_per_px: float | None = None,
    crowd: str | None = None,
) -> WellPair:
    """Read both sides of one well.

    Args:
        name: The well's name.
        predictions: Where the predictions are; what the file says of the image under `mpp`, and `batch` or `plate`, is
            taken over.
        annotation: Where the annotated outlines are.
        um_per_px: Pixel size; None to go by `mpp`.
        crowd: What `iscrowd` means in COCO files of other programs, see `coco.outlines`.

    Raises:
        InputError: If a file is damaged, or the two are not of one image.
    """
    content = read_annotation_json(predictions.path)
    if not isinstance(content, CocoContent):
        raise InputError(f'{predictions.path}: not a COCO file. Predict with tools/predict.py --formats coco.')
    notes: list[str] = []
    image = image_named(content, predictions.path, predictions.coco_image or name, well_of)
    found = coco_outlines(content, predictions.path, None, image.file_name, crowd=crowd, notes=notes)
    origin = 'given' if um_per_px else 'file'
    um_per_px = um_per_px or _stated_mpp(image, predictions.path)
    size_px = image.width, image.height
    objects = read_outlines(
        annotation.path,
        size_px,
        um_per_px,
        file_name=annotation.coco_image or name,
        crowd=crowd,
        key=well_of,
        notes=notes,
    )
    batch = str(image.entry.get('batch') or image.entry.get('plate') or UNKNOWN_BATCH)
    return WellPair(name, batch, size_px, um_per_px, found, objects, tuple(notes), origin if um_per_px else '')


def seen_by_network(predictions_dir: Path) -> list[str] | None:
    """Return the batches that the network behind some predictions has seen in training; None where nobody says."""
    path = predictions_dir / RUN_FILE
    run = read_json(path) if path.is_file() else {}
    seen = (run.get('arguments') or {}).get('seen_batches') if isinstance(run, dict) else None
    return list(map(str, seen)) if isinstance(seen, list) else None


def _stated_mpp(image: CocoImage, path: Path) -> float | None:
    """Return the pixel size that a COCO file states for an image.

    Raises:
        InputError: If it is no number.
    """
    mpp = image.entry.get('mpp')
    if mpp is not None and not (isinstance(mpp, int | float) and 0 < mpp < 1e6):
        raise InputError(f'{path}: has the mpp {mpp!r}. Give the pixel size with --mpp.')
    return mpp


def require_labels(wells: Collection[WellPair], classes: Collection[str]) -> dict[str, int]:
    """Return how many outlines have labels that are not scored, after a check that some annotations have one that is.

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
