"""What a training is made from: annotation files and initial checkpoints, each with a cheap identity.

Annotation files are compared by their SHA-256, wherever they lie; images are not compared. The best checkpoint of a
finished run is compared by the id of that run, other checkpoints by their SHA-256.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.registry import DefaultScope
from mmyolo.registry import DATASETS

from noise_mm.checkpoints.provenance import finished_run
from noise_mm.coco.pseudo_file import pseudo_path
from noise_mm.datasets.patch_datasets import NucleiDataset, OsteoclastNucleiDataset, PatchDataset
from noise_mm.files import sha256_of
from noise_mm.seen_batches import batches_in, datasets_in

ANNOTATION_FILE = 'annotations.json'  # of a batch, in its folder

Inputs = dict[str, dict[str, str]]  # by what it is: {file, identity}


def training_inputs(config: Mapping[str, Any]) -> Inputs:
    """Return the files that a training is made from.

    What is not there is left out: it was optional, or the run itself refuses to begin without it. Initial checkpoints
    are counted from the last, because the first, COCO's, are the optional ones.

    Args:
        config: A resolved config with `init_checkpoints`.
    """
    checkpoints = {}
    for number, start in enumerate(reversed(config.get('init_checkpoints') or ()), 1):
        file = start['file']
        if Path(file).is_file():
            name = f'initial checkpoint {number} from the last'
            checkpoints[name] = {'file': str(file), 'identity': _identity_of_checkpoint(Path(file))}
    return checkpoints | data_inputs(config, 'train_dataloader')


def data_inputs(config: Mapping[str, Any], loader: str) -> Inputs:
    """Return the annotation files that a loader of the config reads, as far as they are there; of any dataset."""
    with DefaultScope.overwrite_default_scope(config.get('default_scope') or 'mmyolo'):
        files = [file for dataset in datasets_in((config.get(loader) or {}).get('dataset')) for file in _files(dataset)]
    found = {}
    for file in dict.fromkeys(files):
        if file.is_file():
            name = f'annotation {file.parent.name}/{file.name}'
            name += f' ({sum(each.startswith(name) for each in found) + 1})' if name in found else ''
            found[name] = {'file': str(file), 'identity': sha256_of(file)}
    return found


def input_differences(old: Inputs, new: Inputs) -> list[str]:
    """Return the inputs that differ, with the file they are read from; what is gone meanwhile can't be compared."""
    lines = []
    for name, now in new.items():
        if name not in old:
            lines.append(f'{name} ({now["file"]}) was not there')
        elif old[name]['identity'] != now['identity']:
            lines.append(f'{name} ({now["file"]}) has changed')
    return lines


def _files(dataset: Mapping[str, Any]) -> list[Path]:
    """Return the annotation files that a dataset reads, whether or not they are there."""
    root = Path(dataset.get('data_root') or '')
    if dataset.get('ann_file'):
        return [root / dataset['ann_file']]
    kind = dataset.get('type')
    kind = DATASETS.get(kind) if isinstance(kind, str) else kind
    if not (isinstance(kind, type) and issubclass(kind, PatchDataset)):
        return []
    batches = batches_in(dataset)
    files = [root / batch / ANNOTATION_FILE for batch in batches]
    if issubclass(kind, NucleiDataset):  # the other files say which wells are validated on later
        return [root / kind.FOLDER / ANNOTATION_FILE, *files]
    if issubclass(kind, OsteoclastNucleiDataset):
        files += [pseudo_path(root, dataset.get('pseudo_dir', 'pseudo'), batch) for batch in batches]
    return files


def _identity_of_checkpoint(file: Path) -> str:
    run_id = finished_run(file).get('run_id')
    return f'run {run_id}' if run_id else f'sha256 {sha256_of(file)}'
