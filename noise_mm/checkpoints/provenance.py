"""What a checkpoint says about the training that made it: size, data, length, and the stages before.

`meta['training']` of every checkpoint of a training holds

    config, run_id                    file of the config; id of the run, as in its `finished.json`
    model_size, network_size_px, patch_size_px, seed, amp, best_metric, split_unit
    patience                          of early stopping, in validations; null without it
    augmentation                      random steps of the training pipeline, such as 'RandomFlip horizontal'
    batches, n_patches, batch_size    what one epoch is made of; images of an iteration on all devices
    max_epochs                        as configured
    epochs, image_passes              trained when the checkpoint was written; a pass is one sample of one epoch
    coco_weights                      whether it started from weights trained on COCO, itself or by an earlier stage
    stages                            of each training before, in order: {config, run_id, batches, n_patches, epochs,
                                      image_passes}, that of a detector behind nuclei labels included

and `metrics.json` takes it over, with the epochs and passes of the whole training if its record is at hand.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from noise_mm.files import read_json
from noise_mm.seen_batches import batches_of, datasets_in
from noise_mm.stages import BEST_NAME, COCO, FINISHED_FILE

META_KEY = 'training'
STAGE_KEYS = ('config', 'run_id', 'batches', 'n_patches', 'epochs', 'image_passes')
CONFIG_KEYS = ('network_size_px', 'patch_size_px', 'best_metric', 'split_unit', 'max_epochs')
FEW_EPOCHS = 5  # without an earlier stage a network has learnt little then
NO_AUGMENTATION = ('Load', 'Fit', 'Draw', 'Pack')  # how the names of steps begin that are no augmentation

Training = dict[str, Any]


def training_facts(
    config: Mapping[str, Any], starts: Sequence[Mapping[str, Any]], labels: Iterable[Training]
) -> Training:
    """Return what its config and its start say about a training.

    Args:
        config: The resolved config.
        starts: Reports of `load_initial`, with `origin` and `training`.
        labels: `training` of the detectors behind the nuclei labels.
    """
    datasets = list(datasets_in((config.get('train_dataloader') or {}).get('dataset')))
    before = [*labels, *(each['training'] for each in starts)]
    return {
        **{key: config.get(key) for key in CONFIG_KEYS},
        'model_size': (config.get('model') or {}).get('size'),
        'patience': ((config.get('default_hooks') or {}).get('early_stopping') or {}).get('patience'),
        'augmentation': _augmentation(datasets[0].get('pipeline') or () if datasets else ()),
        'batches': batches_of(config, 'train_dataloader'),
        'coco_weights': any(each['origin'] == COCO for each in starts)
        or any((each or {}).get('coco_weights') for each in before),
        'stages': stages_before(before),
    }


def _augmentation(pipeline: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the random steps; of flips with their direction."""
    names = []
    for step in pipeline:
        name = str(step['type']).rpartition('.')[2]
        if not name.startswith(NO_AUGMENTATION) and step.get('stain_augmentation', True):
            names.append(' '.join([name, *([step['direction']] if isinstance(step.get('direction'), str) else [])]))
    return names


def stages_before(trainings: Iterable[Training | None]) -> list[Training]:
    """Return the trainings before, each once, those that they started from first."""
    found: dict[Any, Training] = {}
    for training in filter(None, trainings):
        for stage in [*training.get('stages', ()), {key: training.get(key) for key in STAGE_KEYS}]:
            found.setdefault(stage['run_id'] or repr(stage), stage)
    return list(found.values())


def training_of(meta: Mapping[str, Any], checkpoint: str | Path) -> Training | None:
    """Return what a checkpoint says about its training; None if it does not.

    The best checkpoint of a finished run was written before the run's end: if the run's record lies beside it, epochs
    and image passes are those of the whole run.

    Args:
        meta: The checkpoint's `meta`.
        checkpoint: Its file.
    """
    training = meta.get(META_KEY)
    if not isinstance(training, Mapping):
        return None
    record = finished_run(checkpoint)
    if record.get('run_id') is None or record.get('run_id') != training.get('run_id'):
        return dict(training)
    return {**training, 'epochs': record['epochs'], 'image_passes': record['image_passes']}


def finished_run(checkpoint: str | Path) -> dict[str, Any]:
    """Return the record of the finished run whose best checkpoint this is; empty if it is no such checkpoint."""
    path = Path(checkpoint).parent / FINISHED_FILE
    return read_json(path) if Path(checkpoint).name == BEST_NAME and path.is_file() else {}


def passes_text(training: Training) -> str:
    """Return the image passes of a training and its stages in words.

    >>> passes_text({'image_passes': 30, 'stages': [{'config': 'a.py', 'image_passes': 20}]})
    '50 image passes (a.py 20, this one 30)'
    """
    stages = training.get('stages') or ()
    total = training['image_passes'] + sum(each['image_passes'] for each in stages)
    parts = [f'{each["config"]} {each["image_passes"]}' for each in stages]
    parts += [f'this one {training["image_passes"]}'] if stages else []
    return f'{total} image passes' + (f' ({", ".join(parts)})' if parts else '')


def short_training_note(training: Training | None) -> str:
    """Return a sentence on a training that was too short to expect much of it; empty for others."""
    if not training or training.get('stages') or training.get('coco_weights'):
        return ''
    epochs = training.get('epochs')
    if epochs is None or epochs >= FEW_EPOCHS:
        return ''
    return (
        f'trained for {epochs} epochs ({training.get("image_passes")} image passes) without an earlier stage or COCO '
        'weights, so it may find little or nothing: train longer'
    )
