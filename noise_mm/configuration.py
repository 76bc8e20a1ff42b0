"""Reads a config and makes everything follow that is derived from something else in it.

MMEngine computes nothing again when a child config or `--cfg-options` changes a value that others were made from. So
the configs of this project state such values once, at the top level, and `load_config` writes them to where MMEngine
looks:

* `model_size` -> depth, width and channels of backbone, neck and head;
* `classes` -> class counts of head and assigner, class names of all datasets;
* `data_root`, `train_batches`, `test_batches`, `split_unit`, `split_seed` -> the datasets;
* `batch_size`, `num_workers`, `network_size_px` -> loaders and pipelines;
* `max_epochs` -> the training loop (schedule and end of mosaic follow at run time, in `noise_mm.hooks`).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from noise_mm.checkpoints.yolov8_size import SIZES
from noise_mm.errors import InputError

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def load_config(path: str | Path, overrides: dict[str, Any] | None = None, fold: str | None = None) -> Config:
    """A config with all its consequences.

    Args:
        path: A config file.
        overrides: What `--cfg-options` gave: dotted keys and values, applied before anything is derived.
        fold: The batch to hold out: it becomes `test_batches`, and the others of `train_batches` and
            `test_batches` together become `train_batches`. The saved config of a run records it.

    Raises:
        InputError: If the file is missing or not a config, an option can't be applied, or values contradict each
            other.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f'{path}: no such config. Look in configs/ for those that exist.')
    try:
        config = Config.fromfile(str(path))
    except (SyntaxError, NameError, KeyError, AttributeError, OSError, TypeError, ValueError, ImportError) as error:
        raise InputError(f'{path}: not a readable config ({type(error).__name__}: {error}). Correct it.') from error
    if overrides:
        try:
            config.merge_from_dict(overrides)
        except (KeyError, TypeError, AssertionError, IndexError) as error:
            raise InputError(f'--cfg-options: cannot be applied to {path} ({error}). Check the names.') from error
    if fold is not None:
        hold_out(config, fold)
    resolve(config)
    return config


def hold_out(config: Config, fold: str) -> None:
    """Makes batch `fold` the test data and all the other batches of the config the training data.

    Raises:
        InputError: If the config names no such batch, or no other one.
    """
    batches = sorted({*config.get('train_batches', ()), *config.get('test_batches', ())})
    if fold not in batches:
        raise InputError(f"--fold {fold}: not a batch of this config. Choose one of {', '.join(batches)}.")
    config.train_batches = [batch for batch in batches if batch != fold]
    config.test_batches = [fold]
    config.fold = fold
    if not config.train_batches:
        raise InputError(f'--fold {fold}: no other batch is left to train on. Add some to train_batches.')


def resolve(config: Config) -> None:
    """Writes every derived value to its place; see the module's text. Doing it twice changes nothing more."""
    if 'model_size' in config:
        _resolve_size(config)
    if 'classes' in config:
        _resolve_classes(config)
    _resolve_data(config)
    _resolve_run(config)


def _resolve_size(config: Config) -> None:
    if config.model_size not in SIZES:
        raise InputError(f"model_size is {config.model_size!r}. Choose one of {', '.join(SIZES)}.")
    depth, width, last_channels = SIZES[config.model_size]
    channels = [256, 512, last_channels]
    model = config.model
    model.backbone.update(deepen_factor=depth, widen_factor=width, last_stage_out_channels=last_channels)
    model.neck.update(deepen_factor=depth, widen_factor=width, in_channels=channels, out_channels=channels)
    model.bbox_head.head_module.update(widen_factor=width, in_channels=channels)


def _resolve_classes(config: Config) -> None:
    classes = tuple([config.classes] if isinstance(config.classes, str) else config.classes)
    if not classes or len(set(classes)) < len(classes):
        raise InputError(f'classes is {classes!r}. Give at least one name, each once.')
    config.classes = classes
    config.model.bbox_head.head_module.num_classes = len(classes)
    config.model.train_cfg.assigner.num_classes = len(classes)
    for dataset in _datasets(config):
        dataset.metainfo = {**dataset.get('metainfo', {}), 'classes': classes}


def _resolve_data(config: Config) -> None:
    """Batches, folder, split, sizes of batches and of images."""
    for loader in LOADERS:
        dataset = _dataset(config, loader)
        if dataset is None:
            continue
        batches = config.get('test_batches' if loader == 'test_dataloader' else 'train_batches')
        if batches is not None and 'batches' in dataset:
            dataset.batches = [batches] if isinstance(batches, str) else list(batches)
        for key in ('data_root', 'split_unit', 'split_seed', 'val_fraction'):
            if key in config and key in dataset:
                dataset[key] = config[key]
        workers = config.get('num_workers')
        if workers is not None:
            config[loader].update(num_workers=workers, persistent_workers=workers > 0)
        if 'batch_size' in config:
            config[loader].batch_size = config.batch_size
    if 'network_size_px' in config:
        for pipeline in _pipelines(config):
            _set_network_size(pipeline, config.network_size_px)


def _resolve_run(config: Config) -> None:
    """Length of the run, the metric that decides, and the list of hooks."""
    if 'max_epochs' in config and config.get('train_cfg'):
        config.train_cfg.max_epochs = config.max_epochs
    hooks = config.get('hooks', {})
    if 'best_metric' in config:
        config.default_hooks.checkpoint.save_best = config.best_metric
        if hooks.get('early_stopping'):
            hooks.early_stopping.monitor = config.best_metric
    if hooks.get('close_mosaic') and 'train_pipeline_no_mosaic' in config:
        hooks.close_mosaic.switch_pipeline = config.train_pipeline_no_mosaic
    if hooks:
        config.custom_hooks = [hook for hook in hooks.values() if hook]


def _dataset(config: Config, loader: str) -> ConfigDict | None:
    """The dataset of a loader; None where the config has no such loader."""
    return config[loader].dataset if config.get(loader) else None


def _datasets(config: Config) -> Iterator[ConfigDict]:
    return (dataset for dataset in (_dataset(config, loader) for loader in LOADERS) if dataset is not None)


def _pipelines(config: Config) -> Iterator[list]:
    """Every pipeline of the config, also those that a hook switches to."""
    yield from (config[name] for name in config if name.endswith(('pipeline', 'pipeline_no_mosaic')))
    yield from (dataset.pipeline for dataset in _datasets(config) if 'pipeline' in dataset)
