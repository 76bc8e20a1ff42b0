"""The record of a training in its folder: is it done, and was it done with these settings?

A run's folder holds `started.json` while it trains, and `finished.json` once it is done. A run that was cut has no
`finished.json`. The record holds the settings and the inputs of the run (see `run_inputs`), one digest for both, and
how many epochs and image passes the training had.

Two runs of equal digest give equal results, up to what the machine adds. So settings are those of the resolved config
without what changes no result: places (folders, names of runs), logging, processes, and what only the evaluation reads.
The number of GPUs is not compared either.
"""

import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from noise_mm.errors import InputError
from noise_mm.files import read_json, write_json
from noise_mm.stages import FINISHED_FILE, LAST_CHECKPOINT_FILE
from noise_mm.training.run_inputs import Inputs

STARTED_FILE = 'started.json'
SCHEMA = 2

# Settings of the top level, or dotted ones, that change no result of a training.
NOT_COMPARED = {
    # where things lie and what they are called; what lies there is compared as an input
    *('work_dir', 'protocol', 'method', 'fold', 'noise_mm_version', 'allow_seen'),
    *('init_from', 'init_checkpoints', 'coco_checkpoint', 'load_from', 'resume'),
    # how it runs and what it tells meanwhile
    *('launcher', 'env_cfg', 'visualizer', 'vis_backends', 'log_processor', 'log_level'),
    *('default_hooks.timer', 'default_hooks.logger', 'default_hooks.visualization'),
    *('default_hooks.checkpoint.interval', 'default_hooks.checkpoint.max_keep_ckpts'),
    # what only the evaluation reads; test_pipeline is also that of the validation
    *('test_batches', 'test_dataloader', 'test_evaluator', 'test_cfg'),
    # how MMEngine finds all that
    *('filled_in', 'custom_imports', 'default_scope'),
}
# Names of settings that change no result wherever they stand.
NOT_COMPARED_ANYWHERE = {
    *('data_root', 'pseudo_dir', 'curves_dir', 'seen_in_training', 'held_out'),
    *('num_workers', 'persistent_workers', 'pin_memory', 'cache'),
}
WITHOUT_NUMBERS = ('CocoResultsWriter', 'SeenInTraining')  # evaluators that measure nothing
LISTED_DIFFERENCES = 3

Settings = dict[str, Any]  # dotted name -> a JSON value that is no dictionary


@dataclass(frozen=True)
class RunRecord:
    """The content of `started.json` or `finished.json`.

    Attributes:
        settings: From `training_settings`.
        inputs: From `run_inputs`; of a resumed run those that it began with.
        run_id: Tells the run from all others, also from one of equal settings.
        epochs: Epochs that were trained; 0 before the end.
        image_passes: Samples that the network was trained on; 0 before the end.
        noise_mm_version: The version that wrote it.
        gpus: Processes that trained.
        finished: Whether the run came to its end.
    """

    settings: Settings
    inputs: Inputs
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    epochs: int = 0
    image_passes: int = 0
    noise_mm_version: str = ''
    gpus: int = 1
    finished: bool = False

    def write(self, folder: Path) -> None:
        """Write the file of this record."""
        identities = {name: each['identity'] for name, each in self.inputs.items()}
        content = {'schema': SCHEMA, 'digest': digest([self.settings, identities]), **asdict(self)}
        write_json(folder / (FINISHED_FILE if content.pop('finished') else STARTED_FILE), content, indent=1)

    @classmethod
    def from_json(cls, path: Path) -> 'RunRecord':
        """Read the record in a file.

        Raises:
            InputError: If it is none of this schema.
        """
        content = read_json(path)
        if not isinstance(content, dict) or content.get('schema') != SCHEMA:
            raise InputError(f'{path}: no record of a run of schema {SCHEMA}. Delete its folder, to train again.')
        fields = {key: content[key] for key in asdict(cls({}, {})) if key != 'finished'}
        return cls(**fields, finished=path.name == FINISHED_FILE)


# --- the files of a run's folder


def read_record(work_dir: str | Path) -> RunRecord | None:
    """Return the record of the folder's run; None where no run was begun.

    Raises:
        InputError: If the file is not readable.
    """
    for name in (FINISHED_FILE, STARTED_FILE):
        path = Path(work_dir) / name
        if path.is_file():
            return RunRecord.from_json(path)
    return None


def begin_record(work_dir: str | Path, record: RunRecord, resumed: bool) -> list[str]:
    """Note that a run begins or goes on, and that the folder's former run, if any, is finished no more.

    A new run also forgets the former one's last checkpoint: cut before its own first one, it would otherwise be resumed
    from there.

    Returns:
        How the settings of a resumed run differ from those it began with.
    """
    folder = Path(work_dir)
    former = read_record(folder) if resumed else None
    if former:
        record = replace(record, inputs=former.inputs, run_id=former.run_id)
    record.write(folder)
    (folder / FINISHED_FILE).unlink(missing_ok=True)
    if not resumed:
        (folder / LAST_CHECKPOINT_FILE).unlink(missing_ok=True)
    return differences(former.settings, record.settings) if former else []


def finish_record(work_dir: str | Path, epochs: int, image_passes: int) -> None:
    """Note that the run which `begin_record` began has come to its end."""
    folder = Path(work_dir)
    record = RunRecord.from_json(folder / STARTED_FILE)
    replace(record, finished=True, epochs=epochs, image_passes=image_passes).write(folder)
    (folder / STARTED_FILE).unlink()


# --- settings


def training_settings(config: Mapping[str, Any], amp: bool = False, auto_scale_lr: bool = False) -> Settings:
    """Return the settings that decide what a training ends in, by dotted name.

    Args:
        config: A resolved config, before its run is made.
        amp: As `noise_mm.training.run.train` is told.
        auto_scale_lr: Likewise.
    """
    content = {key: config[key] for key in config}  # MMEngine's Config is no mapping
    found = {name: value for name, value in _flat(content) if not _is_ignored(name)}
    return found | {'--amp': amp, '--auto-scale-lr': auto_scale_lr}


def evaluation_settings(config: Mapping[str, Any]) -> Settings:
    """Return the settings that decide what a checkpoint scores, by dotted name."""
    part = {key: config[key] for key in ('model', 'test_dataloader') if key in config}
    evaluators = config.get('test_evaluator') or []
    evaluators = [evaluators] if isinstance(evaluators, Mapping) else evaluators
    part['test_evaluator'] = [each for each in evaluators if each.get('type') not in WITHOUT_NUMBERS]
    return {name: value for name, value in _flat(part) if name.rpartition('.')[2] not in NOT_COMPARED_ANYWHERE}


def digest(value: Any) -> str:
    """Return a short name for settings: SHA-256 of their JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def differences(old: Settings, new: Settings) -> list[str]:
    """Return the settings that differ, as `name: old -> new`, those of the top level first: others follow from them."""
    absent = object()
    names = [name for name in {**old, **new} if old.get(name, absent) != new.get(name, absent)]
    names.sort(key=lambda name: (name.count('.'), name))
    return [f'{name}: {_shown(old, name)} -> {_shown(new, name)}' for name in names]


def listed(lines: list[str]) -> str:
    """Return the first few of some differences, and how many there are more."""
    more = len(lines) - LISTED_DIFFERENCES
    return '; '.join(lines[:LISTED_DIFFERENCES]) + (f'; and {more} more' if more > 0 else '')


def _flat(node: Any, name: str = '') -> Iterator[tuple[str, Any]]:
    """Yield dotted names and values of everything below a dictionary, lists by position; empty ones as they stand."""
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
