"""Runs a config: training, and evaluation of a checkpoint."""

from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmyolo.registry import RUNNERS

import noise_mm
from noise_mm.checkpoints.loading import load_weights
from noise_mm.compat.checkpoint_loading import load_checkpoint_file
from noise_mm.errors import InputError
from noise_mm.evaluation.osteoclast_metric import OsteoclastMetric


def train(config: Config, resume: str | None = None, amp: bool = False, auto_scale_lr: bool = False) -> None:
    """Trains; everything the run writes is in `config.work_dir`.

    Args:
        config: From `noise_mm.configuration.load_config`, with `work_dir`.
        resume: 'auto' for the last checkpoint of the work folder, a checkpoint's path, or None.
        amp: Mixed precision.
        auto_scale_lr: Scale the learning rate with the images per step.

    Raises:
        InputError: If the config has no training part, or options can't be followed.
    """
    _require(config, 'train_dataloader', 'is not for training')
    if amp:
        if not torch.cuda.is_available():
            raise InputError('--amp: needs a GPU, and there is none. Leave it out.')
        config.optim_wrapper.type = 'YOLOv8AmpOptimWrapper'
        config.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if auto_scale_lr:
        config.auto_scale_lr.enable = True
    if resume is not None:
        config.resume = True
        config.load_from = None
        if resume != 'auto':
            load_checkpoint_file(resume)  # its errors are clearer than those of a run that has begun
            config.load_from = resume
    runner = _make_runner(config)
    runner.train()


def evaluate(config: Config, checkpoint: str | Path) -> tuple[dict[str, float], dict | None]:
    """The metrics of a checkpoint on the test data of a config.

    Returns:
        All numbers by name, and the report of `OsteoclastMetric` (the content of `metrics.json`); None for the report
        on all processes but the first, and where the config has another metric.

    Raises:
        InputError: If the config has no test part, or the checkpoint is not of its network.
    """
    _require(config, 'test_dataloader', 'has no test data')
    config.load_from, config.resume = None, False
    runner = _make_runner(config)
    model = getattr(runner.model, 'module', runner.model)
    load_weights(model, checkpoint)
    numbers = runner.test()
    reports = [metric.report for metric in runner.test_evaluator.metrics if isinstance(metric, OsteoclastMetric)]
    report = reports[0] if reports else None
    if report is not None:
        run = {'config': config.filename, 'checkpoint': str(checkpoint), 'fold': config.get('fold')}
        report['run'] |= run | {key: config.get(key) for key in ('protocol', 'method')}
    return numbers, report


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
