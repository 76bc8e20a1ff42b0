"""Runs a plan, or prints what it would run. What is done is read from the records that the commands leave."""

import contextlib
import copy
import io
import shlex
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config

from noise_mm.errors import InputError
from noise_mm.evaluation.report import METRICS_FILE
from noise_mm.files import read_json
from noise_mm.protocols import launch
from noise_mm.protocols.launch import Launcher, at_work, shown
from noise_mm.protocols.plan import LABEL, TEST, TRAIN, Step, resolved_config
from noise_mm.stages import BEST_NAME, CONFIGS, can_resume, initial_checkpoints
from noise_mm.training.run_inputs import data_inputs, input_differences, training_inputs
from noise_mm.training.run_record import (
    RunRecord,
    differences,
    digest,
    evaluation_settings,
    listed,
    read_record,
    training_settings,
)

DONE, CUT, NEW = 'done', 'cut', 'new'


def run(steps: Sequence[Step], launcher: Launcher, resume: bool) -> None:
    """Run all steps that are not done, one after the other.

    Raises:
        InputError: If a step fails, or a folder holds a run of other settings or inputs.
    """
    check_before(steps, resume)
    for number, step in enumerate(steps, 1):
        what = f'[{number}/{len(steps)}] {step.title}, {step.folder}'
        with at_work(step.folder):
            state = state_of(step, steps, resume)
            if state == DONE:
                print(f'{what}: done before', flush=True)
                continue
            print(f'{what}: {"goes on" if state == CUT else "begins"}', flush=True)
            launch.run(_command(step, launcher, state), f'{step.title}, {step.folder}')
            if step.tool == TRAIN and state_of(step, steps, resume) != DONE:
                raise InputError(f'{step.folder}: its training ended without a record. Run the same command again.')


def dry_run(steps: Sequence[Step], launcher: Launcher, resume: bool) -> None:
    """Print the commands of all steps; those that are done already as comments.

    Raises:
        InputError: If a folder holds a run of other settings or inputs.
    """
    check_before(steps, resume)
    unfinished = set()
    for step in steps:
        pending = unfinished.intersection((*step.needs, step.folder))
        state = None if pending else state_of(step, steps, resume)
        if state != DONE and step.tool == TRAIN:
            unfinished.add(step.folder)
        print(('# done: ' if state == DONE else '') + shlex.join(_command(step, launcher, state)))


def _command(step: Step, launcher: Launcher, state: str | None) -> list[str]:
    return launcher.command(step.tool, step.arguments(shown(CONFIGS / step.config), resume=state == CUT))


# --- what is done


def check_before(steps: Sequence[Step], resume: bool) -> None:
    """Refuse a plan in whose folders are runs of other settings or inputs, before hours of work lead there.

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
                    'to train both again, or choose another --work-dir.'
                )
            _check_inputs(step, record)
        if not (record and record.finished):
            unfinished.add(step.folder)


def state_of(step: Step, steps: Sequence[Step], resume: bool) -> str:
    """Return DONE, CUT (a training that can go on) or NEW, when all steps before it are done.

    The labels of nuclei are DONE if the training that reads them is; else the tool decides whether they are up to date.

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
    _check_inputs(step, record)
    return DONE if record.finished else CUT


def config_of(step: Step) -> Config:
    """Return the config as the step's command resolves it, with its folder."""
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
    if record and record.finished and not step.best.is_file():
        raise InputError(f'{step.best}: no such file, but its training is finished. Put it back, or delete the folder.')
    return record


def _check_settings(step: Step, record: RunRecord) -> None:
    found = differences(record.settings, training_settings(config_of(step), amp='--amp' in step.options))
    if found:
        raise InputError(
            f'{step.folder}: was trained with other settings ({listed(found)}). '
            'Choose another --work-dir, or delete this folder.'
        )


def _check_inputs(step: Step, record: RunRecord) -> None:
    config = config_of(step)
    with contextlib.redirect_stdout(io.StringIO()):  # the training itself says that COCO weights are missing
        config.init_checkpoints = initial_checkpoints(config)
    found = input_differences(record.inputs, training_inputs(config))
    if found:
        raise InputError(
            f'{step.folder}: was trained from other files: {listed(found)}. Delete this folder and those of later '
            'stages to train them again, or choose another --work-dir.'
        )


def _is_scored(step: Step) -> bool:
    """Return whether `metrics.json` is of this run's best checkpoint, on these data, measured in this way."""
    path = step.folder / METRICS_FILE
    record = read_record(step.folder)
    if not path.is_file() or not record or not record.finished:
        return False
    config, run = config_of(step), read_json(path).get('run', {})
    return (
        Path(run.get('checkpoint') or '').name == BEST_NAME
        and (run.get('training') or {}).get('run_id') == record.run_id
        and run.get('settings_digest') == digest(evaluation_settings(config))
        and not input_differences(run.get('data') or {}, data_inputs(config, 'test_dataloader'))
    )
