"""What of a plan is done: told from the records that the commands leave, and from nothing else."""

import contextlib
import copy
import io
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config

from noise_mm.checkpoints.safe_loading import load_checkpoint_file
from noise_mm.checkpoints.weights_digest import weights_digest
from noise_mm.errors import InputError
from noise_mm.files import read_json, sha256_of
from noise_mm.protocols.plan import LABEL, TEST, TRAIN, Step, resolved_config
from noise_mm.stages import BEST_NAME, can_resume, initial_checkpoints
from noise_mm.training.run_record import (
    Inputs,
    RunRecord,
    data_inputs,
    differences,
    digest,
    evaluation_settings,
    input_differences,
    listed,
    read_record,
    training_inputs,
    training_settings,
)

DONE, CUT, NEW = 'done', 'cut', 'new'
METRICS_FILE = 'metrics.json'


def check_before(steps: Sequence[Step], resume: bool) -> None:
    """Refuses a plan in whose folders are runs of other settings or inputs, before hours of work lead there.

    Raises:
        InputError: With the folder and what to do.
    """
    unfinished: set[Path] = set()
    for step in steps:
        if step.tool != TRAIN:
            continue
        record = _record_of(step)
        if record and (record.finished or (resume and can_resume(step.folder))):
            _check_settings(step, record)
            missing = [folder for folder in step.needs if folder in unfinished]
            if missing:
                raise InputError(
                    f'{step.folder}: was trained from {missing[0]}, which is not finished. Delete {step.folder} too, '
                    'to train both anew, or choose another --work-dir.'
                )
        if record and record.finished:
            _check_finished(step, record)
        else:
            unfinished.add(step.folder)


def state_of(step: Step, steps: Sequence[Step], resume: bool) -> str:
    """DONE, CUT (a training that can go on) or NEW, when all steps before it are done.

    The labels of nuclei are DONE if the training that reads them is; else it is for the tool to say whether they are up
    to date. Two studies may well write their labels to the same files, one after the other.

    Args:
        step: The step.
        steps: The whole plan.
        resume: Whether cut trainings are to go on; else they count as NEW.

    Raises:
        InputError: If a training was made with other settings or from other files than it would be now.
    """
    if step.tool == TEST:
        return DONE if _is_scored(step) else NEW
    if step.tool == LABEL:
        readers = [other for other in steps if other.tool == TRAIN and step.folder in other.needs]
        records = [read_record(reader.folder) for reader in readers]
        return DONE if all(record and record.finished for record in records) else NEW
    record = _record_of(step)
    if record is None or (not record.finished and not (resume and can_resume(step.folder))):
        return NEW
    _check_settings(step, record)
    if record.finished:
        _check_finished(step, record)
        return DONE
    _check_inputs(step, record)
    return CUT


def config_of(step: Step) -> Config:
    """The config as the step's command resolves it, with its folder."""
    config = copy.deepcopy(resolved_config(step.config, step.cfg_options, step.fold))
    config.work_dir = str(step.folder)
    return config


def _record_of(step: Step) -> RunRecord | None:
    record = read_record(step.folder)
    if record is None and (can_resume(step.folder) or step.best.is_file()):
        raise InputError(
            f'{step.folder}: holds checkpoints, but no record of what they were trained with. '
            'Choose another --work-dir, or move the folder away.'
        )
    return record


def _check_settings(step: Step, record: RunRecord) -> None:
    found = differences(record.settings, training_settings(config_of(step), amp='--amp' in step.options))
    if found:
        raise InputError(
            f'{step.folder}: was trained with other settings ({listed(found)}). '
            'Choose another --work-dir, or delete this folder.'
        )


def _check_finished(step: Step, record: RunRecord) -> None:
    if not step.best.is_file() or sha256_of(step.best) != record.checkpoint_sha256:
        raise InputError(f'{step.best}: is not the one that the run ended with. Put it back, or delete the folder.')
    _check_inputs(step, record)


def _check_inputs(step: Step, record: RunRecord) -> None:
    found = input_differences(record.inputs, _inputs_now(step, record.inputs))
    if found:
        raise InputError(
            f'{step.folder}: was trained from other files: {listed(found)}. Delete this folder and those of later '
            'stages to train them anew, or choose another --work-dir.'
        )


def _inputs_now(step: Step, known: Inputs) -> Inputs:
    """What the training of the step would be made from now.

    Labels of nuclei are those that this study's stage 1 gives. Where other ones lie now, written by another study, the
    known ones still stand, as long as they are of the same weights of stage 1.
    """
    config = config_of(step)
    with contextlib.redirect_stdout(io.StringIO()):  # the training itself says that COCO weights are missing
        config.init_checkpoints = initial_checkpoints(config)
    inputs = training_inputs(config, known)
    labels = [name for name, value in {**known, **inputs}.items() if 'weights_sha256' in value]
    weights = detector_weights(step.needs[0] / BEST_NAME) if labels else None
    for name in labels:
        if name in known and known[name]['weights_sha256'] == weights:
            if name not in inputs or inputs[name]['weights_sha256'] != weights:
                inputs[name] = known[name]
        elif name in inputs:  # made from an earlier checkpoint: different, even if the file is still the same
            inputs[name] = inputs[name] | {'sha256': f'of weights {weights}'}
    return inputs


def detector_weights(checkpoint: Path) -> str:
    """The digest of a checkpoint's weights, as files of labels have it."""
    return weights_digest(load_checkpoint_file(checkpoint)['state_dict'])


def _is_scored(step: Step) -> bool:
    """Whether `metrics.json` is of this checkpoint, on these data, measured in this way."""
    path = step.folder / METRICS_FILE
    if not path.is_file():
        return False
    config, run = config_of(step), read_json(path).get('run', {})
    return (
        run.get('checkpoint_sha256') == sha256_of(step.best)
        and run.get('settings_digest') == digest(evaluation_settings(config))
        and not input_differences(run.get('data') or {}, data_inputs(config, 'test_dataloader'))
    )
