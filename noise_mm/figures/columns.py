"""What the columns of a figure show: cells found by a network, or listed in COCO results, in given patches.

The name of a checkpoint or file may hold `{fold}`, which stands for the batch of the patch: so every patch is shown
to the network that did not train on its batch.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from noise_mm.configuration import load_config
from noise_mm.datasets.patch_images import read_patch
from noise_mm.errors import InputError
from noise_mm.figures.shown_patches import ShownPatch, outline_of
from noise_mm.files import read_json
from noise_mm.geometry.outline import Outline
from noise_mm.geometry.pixels import trace
from noise_mm.inference.detector import TileDetector
from noise_mm.seen_batches import refuse_marked, seen_in_test

FOLD = '{fold}'


def found_by_network(
    config: Path,
    checkpoint: str,
    patches: Sequence[ShownPatch],
    classes: Sequence[str],
    score_thr: float,
    device: torch.device,
    overrides: Mapping[str, Any] | None = None,
    allow_seen: bool = False,
) -> tuple[list[list[Outline]], bool]:
    """Return the cells that a network finds in each patch, in its pixels, and whether it has seen one in training.

    Args:
        config: Config of the network.
        checkpoint: Its weights; `{fold}` stands for the batch of a patch.
        patches: The patches.
        classes: Which classes are shown.
        score_thr: Cells of lower scores are left out.
        device: Where it runs.
        overrides: Changes to the config, see `load_config`.
        allow_seen: Show also patches of batches that the network has seen in training.

    Raises:
        InputError: If config, checkpoint or image can't be used, the network knows none of the classes, or has seen a
            patch.
    """
    found: dict[int, list[Outline]] = {}
    seen = []
    for file, of_file in _by_file(checkpoint, patches).items():
        detector = TileDetector(load_config(config, dict(overrides or {})), file, device, score_thr)
        if not set(detector.classes) & set(classes):
            raise InputError(f'{file}: finds {", ".join(detector.classes)}, not {", ".join(classes)}. Choose another.')
        batches = sorted({patches[index].batch for index in of_file})
        seen += seen_in_test(batches, detector.seen_batches or {}, file, allow_seen)
        for index in of_file:
            image = read_patch(patches[index].path)[..., ::-1]
            found[index] = [
                Outline(trace(each.mask, each.x, each.y), label=detector.classes[each.label], score=each.score)
                for each in detector([image])[0]
                if detector.classes[each.label] in classes
            ]
    return [found[index] for index in range(len(patches))], bool(seen)


def found_in_results(
    results: str,
    patches: Sequence[ShownPatch],
    score_thr: float,
    category_names: dict[str, dict[int, str]],
    allow_seen: bool = False,
) -> tuple[list[list[Outline]], bool]:
    """Return the cells of each patch in files of COCO results, and whether these are on data seen in training.

    Args:
        results: The file; `{fold}` stands for the batch of a patch. Without it, all patches must be of one batch,
            because image ids of two may be the same.
        patches: The patches.
        score_thr: Results of lower scores are left out.
        category_names: For each batch the names of the categories shown, by id.
        allow_seen: Show also results that are marked as on data that were seen in training.

    Raises:
        InputError: If a file is missing, or no list of results with masks; or is one for several batches, or marked.
    """
    found: dict[int, list[Outline]] = {}
    seen = False
    for file, of_file in _by_file(results, patches).items():
        batches = {patches[index].batch for index in of_file}
        if len(batches) > 1:
            raise InputError(
                f'{file}: one file for {", ".join(sorted(batches))}. Name the files by batch, with {FOLD}.'
            )
        names = category_names[batches.pop()]
        content = read_json(file)
        seen |= refuse_marked(content, file, allow_seen)
        try:
            entries = [each for each in content if each['score'] >= score_thr and each['category_id'] in names]
            of_image = defaultdict(list)
            for entry in entries:
                of_image[entry['image_id']].append(entry)
        except (KeyError, TypeError) as error:
            raise InputError(
                f'{file}: no COCO results (lacks or has another {error}). Write a list of results.'
            ) from error
        for index in of_file:
            patch = patches[index]
            found[index] = [
                outline_of(each, names[each['category_id']], patch.size_px, file) for each in of_image[patch.image_id]
            ]
    return [found[index] for index in range(len(patches))], seen


def _by_file(pattern: str, patches: Sequence[ShownPatch]) -> dict[str, list[int]]:
    """Return the indices of the patches that each file is for."""
    of_file = defaultdict(list)
    for index, patch in enumerate(patches):
        of_file[pattern.replace(FOLD, patch.batch)].append(index)
    return of_file
