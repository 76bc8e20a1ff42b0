"""What a training was made of, written beside its results, so that it is known later whether it need be done again.

A run's folder holds `started.json` while it trains, and `finished.json` once it is done: its settings, the files it
was made from with their SHA-256, and the SHA-256 of `best.pth`. A run that was cut has no `finished.json`.

Two runs of equal settings and inputs give equal results, up to what the machine adds. So settings are those of the
resolved config without what changes no result: places (folders, names of runs), logging, processes, and what only the
evaluation reads. The number of GPUs is not compared either. Inputs are compared by content, wherever they lie.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noise_mm.coco.pseudo_file import provenance_of, pseudo_path
from noise_mm.errors import InputError
from noise_mm.files import read_json, sha256_of, write_json
from noise_mm.stages import BEST_NAME, LAST_CHECKPOINT_FILE

STARTED_FILE = 'started.json'
FINISHED_FILE = 'finished.json'
SCHEMA = 1

# Settings of the top level, or dotted ones, that change no result of a training.
NOT_COMPARED = {
    # where things lie and what they are called; what lies there is compared as an input
    *('work_dir', 'protocol', 'method', 'fold', 'noise_mm_version'),
    *('init_from', 'init_checkpoints', 'coco_checkpoint', 'load_from', 'resume'),
    # how it runs and what it tells meanwhile
    *('launcher', 'env_cfg', 'visualizer', 'vis_backends', 'log_processor', 'log_level'),
    *('default_hooks.timer', 'default_hooks.logger', 'default_hooks.visualization'),
    *('default_hooks.checkpoint.interval', 'default_hooks.checkpoint.max_keep_ckpts'),
    # what only the evaluation reads; test_pipeline is also that of the validation
    *('test_batches', 'test_dataloader', 'test_evaluator', 'test_cfg'),
    # the same again, as MMEngine wants it
    *('custom_hooks', 'hooks_are_listed', 'custom_imports', 'default_scope'),
}
# Names of settings that change no result wherever they stand.
NOT_COMPARED_ANYWHERE = {
    *('data_root', 'pseudo_dir', 'curves_dir'),
    *('num_workers', 'persistent_workers', 'pin_memory', 'cache'),
}
WRITERS = ('CocoResultsWriter',)  # evaluators that measure nothing
LISTED_DIFFERENCES = 3

Settings = dict[str, Any]  # dotted name -> a JSON value that is no dictionary
Input = dict[str, str | None]  # file, sha256; of labels of nuclei also weights_sha256, of the detector's weights
Inputs = dict[str, Input]  # by what it is


@dataclass(frozen=True)
class RunRecord:
    """The content of `started.json` or `finished.json`.

    Attributes:
        settings: From `training_settings`.
        inputs: From `training_inputs`; of a resumed run those that it began with.
        finished: Whether the run came to its end.
        checkpoint_sha256: Of `best.pth` at the end; None before, and where there is none.
        noise_mm_version: The version that wrote it.
        gpus: Processes that trained.
    """

    settings: Settings
    inputs: Inputs
    finished: bool = False
    checkpoint_sha256: str | None = None
    noise_mm_version: str = ''
    gpus: int = 1

    def to_json(self) -> dict[str, Any]:
        """The content of the file."""
        return {
            'schema': SCHEMA,
            'settings_digest': digest(self.settings),
            'checkpoint_sha256': self.checkpoint_sha256,
            'inputs': self.inputs,
            'noise_mm_version': self.noise_mm_version,
            'gpus': self.gpus,
            'settings': self.settings,
        }

    @classmethod
    def from_json(cls, path: Path) -> 'RunRecord':
        """The record in a file.

        Raises:
            InputError: If it is none of this schema.
        """
        content = read_json(path)
        if not isinstance(content, dict) or content.get('schema') != SCHEMA:
            raise InputError(f'{path}: no record of a run of schema {SCHEMA}. Delete its folder, to train anew.')
        fields = {key: content[key] for key in ('settings', 'inputs', 'checkpoint_sha256', 'noise_mm_version', 'gpus')}
        return cls(**fields, finished=path.name == FINISHED_FILE)


# --- the files of a run's folder


def read_record(work_dir: str | Path) -> RunRecord | None:
    """What the folder's run was made of; None where no run was begun.

    Raises:
        InputError: If the file is not readable.
    """
    for name in (FINISHED_FILE, STARTED_FILE):
        path = Path(work_dir) / name
        if path.is_file():
            return RunRecord.from_json(path)
    return None


def begin_record(work_dir: str | Path, record: RunRecord, resumed: bool) -> list[str]:
    """Notes that a run begins or goes on, and that the folder's former run, if any, is finished no more.

    A new run also forgets the former one's last checkpoint: cut before its own first one, it would otherwise be resumed
    from there.

    Returns:
        How the settings of a resumed run differ from those it began with.
    """
    folder = Path(work_dir)
    former = read_record(folder) if resumed else None
    if former:
        record = RunRecord(**{**vars(record), 'inputs': former.inputs})
    write_json(folder / STARTED_FILE, record.to_json(), indent=1)
    (folder / FINISHED_FILE).unlink(missing_ok=True)
    if not resumed:
        (folder / LAST_CHECKPOINT_FILE).unlink(missing_ok=True)
    return differences(former.settings, record.settings) if former else []


def finish_record(work_dir: str | Path) -> None:
    """Notes that the run which `begin_record` began has come to its end."""
    folder = Path(work_dir)
    record = RunRecord.from_json(folder / STARTED_FILE)
    best = folder / BEST_NAME
    sha256 = sha256_of(best) if best.is_file() else None
    content = RunRecord(**{**vars(record), 'finished': True, 'checkpoint_sha256': sha256}).to_json()
    write_json(folder / FINISHED_FILE, content, indent=1)
    (folder / STARTED_FILE).unlink()


# --- what makes a result


def training_settings(config: Mapping[str, Any], amp: bool = False, auto_scale_lr: bool = False) -> Settings:
    """The settings that decide what a training ends in, by dotted name.

    Args:
        config: A resolved config, before its run is made.
        amp: As `noise_mm.training.run.train` is told.
        auto_scale_lr: Likewise.
    """
    content = {key: config[key] for key in config}  # MMEngine's Config is no mapping
    found = {name: value for name, value in _flat(content) if not _is_ignored(name)}
    if 'hooks' not in config:  # not a config of this project: its hooks are in MMEngine's list only
        found |= {name: value for name, value in _flat({'custom_hooks': config.get('custom_hooks')})}
    return found | {'--amp': amp, '--auto-scale-lr': auto_scale_lr}


def evaluation_settings(config: Mapping[str, Any]) -> Settings:
    """The settings that decide what a checkpoint scores, by dotted name."""
    part = {key: config[key] for key in ('model', 'test_dataloader') if key in config}
    evaluators = config.get('test_evaluator') or []
    evaluators = [evaluators] if isinstance(evaluators, Mapping) else evaluators
    part['test_evaluator'] = [each for each in evaluators if each.get('type') not in WRITERS]
    return {name: value for name, value in _flat(part) if name.rpartition('.')[2] not in NOT_COMPARED_ANYWHERE}


def training_inputs(config: Mapping[str, Any], known: Inputs | None = None) -> Inputs:
    """The files that a training is made from: initial checkpoints, patches, and the labels of nuclei.

    What is not there is left out: it was optional, or the run itself refuses to begin without it. Initial checkpoints
    are counted from the last, because the first, COCO's, are the optional ones.

    Args:
        config: A resolved config.
        known: Inputs of an earlier time; large files that have not changed since are not parsed again.
    """
    inputs = {}
    for number, checkpoint in enumerate(reversed(config.get('init_checkpoints') or ()), 1):
        inputs |= _file(f'initial checkpoint {number} from the last', Path(checkpoint['file']))
    return inputs | data_inputs(config, 'train_dataloader', known)


def data_inputs(config: Mapping[str, Any], loader: str, known: Inputs | None = None) -> Inputs:
    """The data that a loader of the config reads, if it is of one of this project's datasets."""
    dataset = (config.get(loader) or {}).get('dataset') or {}
    kind = str(dataset.get('type')).rpartition('.')[2]
    if kind not in ('OsteoclastDataset', 'NucleiDataset', 'OsteoclastNucleiDataset'):
        return {}
    if dataset.get('ann_file'):
        return _file('annotation', Path(dataset['ann_file']))
    root = Path(dataset.get('data_root', ''))
    inputs = {}
    for batch in dataset.get('batches') or ():
        inputs |= _patches(f'patches of {batch}', root / batch)
        if kind == 'OsteoclastNucleiDataset':
            name = f'nuclei labels of {batch}'
            inputs |= _labels(name, pseudo_path(root, dataset['pseudo_dir'], batch), (known or {}).get(name))
    if kind == 'NucleiDataset':
        inputs |= _patches('marked nuclei', root / 'nuclei')
    return inputs


def digest(settings: Settings) -> str:
    """A short name for settings: SHA-256 of their JSON."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


# --- comparisons


def differences(old: Settings, new: Settings) -> list[str]:
    """The settings that differ, as `name: old -> new`, those of the top level first: others follow from them."""
    absent = object()
    names = [name for name in {**old, **new} if old.get(name, absent) != new.get(name, absent)]
    names.sort(key=lambda name: (name.count('.'), name))
    return [f'{name}: {_shown(old, name)} -> {_shown(new, name)}' for name in names]


def input_differences(old: Inputs, new: Inputs) -> list[str]:
    """The inputs that differ in content, with the file they were read from."""
    lines = []
    for name in {**old, **new}:
        before, now = old.get(name), new.get(name)
        if before is None:
            lines.append(f'{name} ({now["file"]}) was not there')
        elif now is None:
            lines.append(f'{name} ({before["file"]}) is gone')
        elif before['sha256'] != now['sha256']:
            lines.append(f'{name} ({now["file"]}) has changed')
    return lines


def listed(lines: list[str]) -> str:
    """The first few of some differences, and how many there are more."""
    more = len(lines) - LISTED_DIFFERENCES
    return '; '.join(lines[:LISTED_DIFFERENCES]) + (f'; and {more} more' if more > 0 else '')


# --- parts


def _flat(node: Any, name: str = '') -> Iterator[tuple[str, Any]]:
    """Dotted names and values of everything below a dictionary, lists by position; empty ones as they stand."""
    if isinstance(node, Mapping) and node:
        children = node.items()
    elif isinstance(node, list | tuple) and any(isinstance(child, Mapping) for child in node):
        children = enumerate(node)
    else:
        yield name, json.loads(json.dumps(node, default=str))
        return
    for key, child in children:
        yield from _flat(child, f'{name}.{key}' if name else str(key))


def _is_ignored(name: str) -> bool:
    parts = name.split('.')
    heads = {'.'.join(parts[:length]) for length in range(1, len(parts) + 1)}
    return bool(heads & NOT_COMPARED) or parts[-1] in NOT_COMPARED_ANYWHERE


def _shown(settings: Settings, name: str) -> str:
    return json.dumps(settings[name], ensure_ascii=False) if name in settings else 'not set'


def _file(name: str, path: Path) -> Inputs:
    return {name: {'file': str(path), 'sha256': sha256_of(path)}} if path.is_file() else {}


def _labels(name: str, path: Path, known: Input | None) -> Inputs:
    """The labels of nuclei of a batch, and which weights of stage 1 found them; None if the file doesn't say."""
    found = _file(name, path)
    if not found:
        return {}
    if known and known['sha256'] == found[name]['sha256']:
        return {name: found[name] | {'weights_sha256': known['weights_sha256']}}
    made_from = provenance_of(read_json(path)).get('made_from') or {}
    return {name: found[name] | {'weights_sha256': made_from.get('weights_sha256')}}


def _patches(name: str, folder: Path) -> Inputs:
    """The patches of a batch: the content of its annotation, and names and sizes of its images.

    Images are compared by size only: reading all of them would take minutes, and PNG files of other pixels hardly ever
    have the same sizes.
    """
    annotation = folder / 'annotations.json'
    if not annotation.is_file():
        return {}
    sizes = sorted((path.name, path.stat().st_size) for path in (folder / 'images').glob('*'))
    sha256 = hashlib.sha256(json.dumps([sha256_of(annotation), sizes]).encode()).hexdigest()
    return {name: {'file': str(annotation), 'sha256': sha256}}
