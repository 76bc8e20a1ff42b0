"""Runs a config: training, and evaluation of a checkpoint."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size, is_main_process, master_only
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmyolo.registry import DATASETS, RUNNERS

import noise_mm.register
from noise_mm.checkpoints.loading import load_weights
from noise_mm.checkpoints.provenance import training_of
from noise_mm.checkpoints.safe_loading import load_checkpoint_file
from noise_mm.datasets.patch_datasets import PatchDataset
from noise_mm.errors import InputError
from noise_mm.evaluation.osteoclast_metric import OsteoclastMetric
from noise_mm.evaluation.seen_mark import marked
from noise_mm.files import read_json, sha256_of
from noise_mm.seen_batches import MARK, batches_of, seen_by_checkpoint, seen_by_config, seen_in_test, through
from noise_mm.training.optimizer import cpu_multiplies_bfloat16
from noise_mm.training.run_inputs import data_inputs, training_inputs
from noise_mm.training.run_record import (
    RunRecord,
    begin_record,
    digest,
    evaluation_settings,
    finish_record,
    listed,
    read_record,
    training_settings,
)
from noise_mm.training.runner import INITIAL_WEIGHTS_FILE, YOLOv8Runner, image_passes


def train(
    config: Config,
    resume: str | None = None,
    amp: bool = False,
    auto_scale_lr: bool = False,
    allow_seen: bool = False,
) -> None:
    """Trains; everything the run writes is in `config.work_dir`, at the very end `finished.json`.

    A folder of a finished run is trained in anew, and is not finished again before this run is.

    Args:
        config: From `noise_mm.configuration.load_config`, with `work_dir`.
        resume: 'auto' for the last checkpoint of the work folder, a checkpoint's path, or None.
        amp: Mixed precision: float16 on a GPU, bfloat16 on a CPU that has instructions for it.
        auto_scale_lr: Scale the learning rate with the images per step.
        allow_seen: Train also if a test batch is trained on, or was by what the training starts from.

    Raises:
        InputError: If the config has no training part, options can't be followed, or a test batch is seen.
    """
    _require(config, 'train_dataloader', 'is not for training')
    settings = training_settings(config, amp, auto_scale_lr)  # before the options change the config
    if amp:
        set_mixed_precision(config)
    if auto_scale_lr:
        config.auto_scale_lr.enable = True
    if resume is not None:
        config.resume = True
        config.load_from = None
        if resume != 'auto':
            load_checkpoint_file(resume)  # its errors are clearer than those of a run that has begun
            config.load_from = resume
    config.allow_seen = allow_seen or config.get('allow_seen', False)
    _check_seen(config, config.allow_seen)
    check_data(config, 'train_dataloader', 'val_dataloader')
    runner = _make_runner(config)
    runner.register_hook(RunRecordHook(settings), priority='LOWEST')
    runner.train()
    if is_main_process():
        finish_record(config.work_dir, runner.epoch, image_passes(runner, runner.epoch))


def set_mixed_precision(config: Config) -> None:
    """Choose the optimizer wrapper of mixed precision for the device.

    Raises:
        InputError: If the config has an optimizer wrapper of its own, or there is no GPU and the processor would be
            slower than without.
    """
    kind = (config.get('optim_wrapper') or {}).get('type')
    if kind not in ('YOLOv8OptimWrapper', 'YOLOv8AmpOptimWrapper', 'YOLOv8CPUAmpOptimWrapper'):
        raise InputError(
            f"--amp: the config has an optimizer wrapper of its own, {kind!r}. Set 'AmpOptimWrapper' there instead."
        )
    if torch.cuda.is_available():
        config.optim_wrapper.type = 'YOLOv8AmpOptimWrapper'
        config.optim_wrapper.setdefault('loss_scale', 'dynamic')
    elif cpu_multiplies_bfloat16():
        config.optim_wrapper.type = 'YOLOv8CPUAmpOptimWrapper'
    else:
        raise InputError(
            '--amp: there is no GPU, and this processor has no bfloat16 instructions (AVX512-BF16, AMX). Leave it out.'
        )


def evaluate(config: Config, checkpoint: str | Path, allow_seen: bool = False) -> tuple[dict[str, float], dict | None]:
    """The metrics of a checkpoint on the test data of a config.

    Args:
        config: From `noise_mm.configuration.load_config`, with `work_dir`.
        checkpoint: A checkpoint of its network.
        allow_seen: Score also if a test batch was seen in training; all results are then marked.

    Returns:
        All numbers by name, and the report of `OsteoclastMetric` (the content of `metrics.json`); None for the report
        on all processes but the first, and where the config has another metric.

    Raises:
        InputError: If the config has no test part, the checkpoint is not of its network, or a test batch was seen.
    """
    _require(config, 'test_dataloader', 'has no test data')
    config.load_from, config.resume = None, False
    config.allow_seen = allow_seen or config.get('allow_seen', False)
    meta = load_checkpoint_file(checkpoint).get('meta') or {}
    known = seen_by_checkpoint(meta, checkpoint)
    tested = batches_of(config, 'test_dataloader')
    seen = seen_in_test(tested, {**seen_by_config(config), **(known or {})}, str(checkpoint), config.allow_seen)
    check_data(config, 'test_dataloader')
    facts = _facts(config, checkpoint, meta)
    facts['seen_in_training'] = seen if seen or known is not None else None
    config.test_evaluator = marked(config.test_evaluator, seen)
    runner = _make_runner(config)
    model = getattr(runner.model, 'module', runner.model)
    load_weights(model, checkpoint)
    numbers = runner.test()
    reports = [metric.report for metric in runner.test_evaluator.metrics if isinstance(metric, OsteoclastMetric)]
    report = reports[0] if reports else None
    if report is not None:
        report['run'] |= facts
    return numbers, report


def _check_seen(config: Config, allow_seen: bool) -> None:
    """Refuse a training that sees a test batch, by itself or by what it starts from."""
    seen = {}
    starts = config.get('init_checkpoints') or ()
    if config.get('load_from') and not config.get('resume'):
        starts = [{'file': config.load_from}]
    for start in starts:
        meta = load_checkpoint_file(start['file']).get('meta') or {}
        seen |= through(seen_by_checkpoint(meta, start['file']), start['file'])
    seen |= seen_by_config(config)
    both = seen_in_test(batches_of(config, 'test_dataloader'), seen, config.filename, allow_seen)
    if both:
        print_log(f'{MARK}: {", ".join(both)}', logger='current', level=logging.WARNING)
    if allow_seen:  # labels of nuclei may come from a detector that has seen the test batch
        for loader in ('train_dataloader', 'val_dataloader'):
            if 'held_out' in ((config.get(loader) or {}).get('dataset') or {}):
                config[loader].dataset.held_out = []


def check_data(config: Config, *loaders: str) -> None:
    """Reads the annotation of some loaders: what is wrong is told before the runner has written and printed anything.

    Raises:
        InputError: See `PatchDataset`. Datasets of other projects are not looked at.
    """
    for loader in loaders:
        settings = (config.get(loader) or {}).get('dataset') or {}
        with DefaultScope.overwrite_default_scope(config.get('default_scope') or 'mmyolo'):
            kind = settings.get('type')
            kind = DATASETS.get(kind) if isinstance(kind, str) else kind
            if isinstance(kind, type) and issubclass(kind, PatchDataset):
                DATASETS.build({**settings, 'lazy_init': True}).read_images()


class RunRecordHook(Hook):
    """Notes what a training is made of, once its data are read, its weights are there, and all other hooks agree.

    Not sooner, because a run that can't begin, for a mistake in its options, must not undo the former one there.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings

    @master_only
    def before_train(self, runner: Runner) -> None:
        """Writes `started.json`."""
        version, gpus = noise_mm.__version__, get_world_size()
        record = RunRecord(self.settings, training_inputs(runner.cfg), noise_mm_version=version, gpus=gpus)
        changed = begin_record(runner.work_dir, record, resumed=runner.iter > 0)
        if isinstance(runner, YOLOv8Runner):
            runner.training['run_id'] = read_record(runner.work_dir).run_id
        if changed:
            runner.logger.warning(f'resumed with other settings than it began with: {listed(changed)}')


def _facts(config: Config, checkpoint: str | Path, meta: Mapping[str, Any]) -> dict[str, Any]:
    """What `metrics.json` says about a run: what was scored on what, and what its training started from."""
    initial = Path(checkpoint).parent / INITIAL_WEIGHTS_FILE
    sources = read_json(initial)['checkpoints'] if initial.is_file() else None
    return {
        'config': config.filename,
        'checkpoint': str(checkpoint),
        'checkpoint_sha256': sha256_of(checkpoint),
        'training': training_of(meta, checkpoint),
        'test_cfg': dict(config.model.get('test_cfg') or {}),
        'settings_digest': digest(evaluation_settings(config)),
        'data': data_inputs(config, 'test_dataloader'),
        'initialised_from': None
        if sources is None
        else [{key: each[key] for key in ('origin', 'file', 'sha256')} for each in sources],
        'coco_weights': None if sources is None else any(each['origin'] == 'coco' for each in sources),
        **{key: config.get(key) for key in ('fold', 'protocol', 'method')},
    }


def _make_runner(config: Config) -> Runner:
    """MMEngine's runner for a config."""
    config.noise_mm_version = noise_mm.__version__
    try:
        Path(config.work_dir).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f'{config.work_dir}: cannot be a folder ({error.strerror or error}). Choose another --work-dir.'
        ) from error
    return RUNNERS.get(config.get('runner_type', 'Runner')).from_cfg(config)


def _require(config: Config, key: str, problem: str) -> None:
    if not config.get(key):
        raise InputError(f'{config.filename}: {problem} (no {key}). Choose another config.')
