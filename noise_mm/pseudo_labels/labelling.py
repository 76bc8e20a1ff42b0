"""Labels the nuclei in the patches of batches and writes the pseudo-label files, all ranks together."""

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import barrier, broadcast_object_list, get_world_size, is_main_process
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from mmyolo.registry import DATASETS

import noise_mm
from noise_mm.coco.pseudo_file import (
    INFO_KEY,
    differences,
    digest_of_images,
    digest_of_json,
    pseudo_content,
    pseudo_path,
)
from noise_mm.files import require_folder, sha256_of, write_json
from noise_mm.progress import Progress
from noise_mm.pseudo_labels.batches import BatchPatches
from noise_mm.pseudo_labels.labeller import NucleusLabeller
from noise_mm.pseudo_labels.weak_nuclei import MAXIMUM_F1, Threshold, WeakNuclei, best_threshold

GIVEN = 'given'
USUAL_SCORE_THR = 0.25  # where the validation patches tell nothing


def label_batches(
    labeller: NucleusLabeller,
    batches: Sequence[BatchPatches],
    data_root: str | Path,
    pseudo_dir: str,
    force: bool = False,
) -> list[str]:
    """Write the pseudo-label files that are missing or out of date, and log of each why.

    To be called on all ranks; the first one writes. The files are the same for any number of ranks. Each is written
    when it is whole, so that labelling that was cut goes on with the next one.

    Args:
        labeller: The detector, with its settings and validation data.
        batches: From `read_batches`.
        data_root: Folder of the batch folders.
        pseudo_dir: Folder of the files, below `data_root`.
        force: Write also what is up to date.

    Returns:
        The batches whose files were written.

    Raises:
        InputError: If data can't be read or files not be written, or no threshold can be chosen.
    """
    settings = labeller.settings
    validation = _validation_data(labeller.config) if settings.score_thr is None else None
    paths = {patches.batch: pseudo_path(data_root, pseudo_dir, patches.batch) for patches in batches}
    due: list[dict[str, dict]] = [{}]  # `made_from` of the files to write; a list, because that is what is broadcast
    if is_main_process():
        require_folder(Path(data_root) / pseudo_dir)
        detector = {**labeller.made_from, **settings.made_from(), 'validation_sha256': _digest_of(validation)}
        all_files = {each.batch: made_from_of(each, detector) for each in batches}
        due = [{batch: each for batch, each in all_files.items() if _is_due(paths[batch], each, force)}]
    broadcast_object_list(due)
    (made_from,) = due
    if not made_from:
        return []

    threshold = Threshold(settings.score_thr) if validation is None else _choose_threshold(labeller, validation)
    provenance = {
        'detector': labeller.facts,
        'threshold': {**asdict(threshold), 'chosen_by': GIVEN if validation is None else MAXIMUM_F1},
        'noise_mm': noise_mm.__version__,
    }
    least = _least_score(threshold.score_thr, settings.uncertain_from)
    for patches in batches:
        if patches.batch in made_from:
            nuclei = _find(labeller, patches, least)
            if is_main_process():
                whole = {**provenance, 'made_from': made_from[patches.batch]}
                _write(paths[patches.batch], patches, nuclei, threshold.score_thr, whole)
    barrier()
    return list(made_from)


def made_from_of(patches: BatchPatches, detector: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that the labels of a batch follow from: detector, settings, osteoclasts and images."""
    return {
        **detector,
        'annotations_sha256': sha256_of(patches.annotations_file),
        'n_images': len(patches.image_paths),
        'images_sha256': digest_of_images(patches.image_paths),
    }


def _is_due(path: Path, made_from: Mapping[str, Any], force: bool) -> bool:
    """Return whether a file has to be written; log why or why not."""
    changed = differences(path, made_from)
    if changed == [] and not force:
        print_log(f'{path}: up to date, skipped', logger='current')
        return False
    if changed is None:
        why = 'is there but does not say what it was made from' if path.exists() else 'is not there yet'
    else:
        why = f'changed since: {", ".join(changed)}' if changed else 'up to date, but asked for again'
    print_log(f'{path}: {why}; labelling', logger='current')
    return True


def _validation_data(config: Config) -> list[dict]:
    """Return the records of the detector's validation patches, with their `instances`."""
    settings = copy.deepcopy(config.val_dataloader.dataset)
    if 'cache' in settings:
        settings['cache'] = 'none'
    with DefaultScope.overwrite_default_scope(config.get('default_scope') or 'mmdet'):
        dataset = DATASETS.build(settings)
    return [dataset.get_data_info(index) for index in range(len(dataset))]


def _digest_of(validation: Sequence[Mapping] | None) -> str | None:
    """Return one digest for the pictures and marked nuclei of the validation patches."""
    if validation is None:
        return None
    boxes = [[[each['bbox'], each['ignore_flag']] for each in record['instances']] for record in validation]
    return digest_of_json([digest_of_images(record['img_path'] for record in validation), boxes])


def _choose_threshold(labeller: NucleusLabeller, validation: Sequence[Mapping]) -> Threshold:
    """Return the threshold of maximum F1; with a warning `USUAL_SCORE_THR` if no nucleus is found."""
    records = [{**record, 'instances': []} for record in validation]
    threshold = best_threshold(labeller(records), [record['instances'] for record in validation])
    if threshold is None:
        n_nuclei = sum(not each['ignore_flag'] for record in validation for each in record['instances'])
        print_log(
            f'pseudo-labels: {labeller.facts["checkpoint"]} finds none of the {n_nuclei} nuclei in {len(validation)} '
            f'validation patches, so score_thr is {USUAL_SCORE_THR}. Labels will be poor: train stage 1 for longer.',
            logger='current',
            level=logging.WARNING,
        )
        return Threshold(USUAL_SCORE_THR, 0.0, None, 0.0, len(validation), n_nuclei)
    print_log(
        f'pseudo-labels: score_thr {threshold.score_thr:g} has the maximum F1, {threshold.f1:.3f} (precision '
        f'{threshold.precision:.3f}, recall {threshold.recall:.3f}), on {threshold.n_nuclei} nuclei in '
        f'{threshold.n_images} validation patches',
        logger='current',
    )
    return threshold


def _least_score(score_thr: float, uncertain_from: float | None) -> float:
    """Return the score threshold of what is written."""
    if uncertain_from is None or uncertain_from < score_thr:
        return uncertain_from or score_thr
    print_log(
        f'pseudo-labels: no nucleus is uncertain, because the chosen score_thr, {score_thr:g}, is not above '
        f'uncertain_from, {uncertain_from:g}',
        logger='current',
        level=logging.WARNING,
    )
    return score_thr


def _find(labeller: NucleusLabeller, patches: BatchPatches, least: float) -> list[WeakNuclei]:
    """Return the nuclei of all patches of a batch, on every rank; the first one shows how far the work is."""
    records = patches.records
    if not is_main_process():
        return labeller(records, least)
    progress = Progress(f'nuclei of {patches.batch}', len(records))
    # All ranks go at about the same speed.
    found = labeller(records, least, lambda n: progress.update(min(n * get_world_size(), progress.total - progress.n)))
    progress.update(progress.total - progress.n)
    progress.close()
    return found


def _write(
    path: Path, patches: BatchPatches, nuclei: Sequence[WeakNuclei], score_thr: float, provenance: Mapping
) -> None:
    image_ids = [image['id'] for image in patches.annotated['images']]
    content = pseudo_content(patches.annotated, dict(zip(image_ids, nuclei, strict=True)), score_thr, provenance)
    write_json(path, content)
    counts = content['info'][INFO_KEY]
    uncertain = f' and {counts["n_uncertain"]} uncertain ones' if counts['n_uncertain'] else ''
    print_log(f'{path}: {counts["n_nuclei"]} nuclei{uncertain} in {len(image_ids)} patches', logger='current')
