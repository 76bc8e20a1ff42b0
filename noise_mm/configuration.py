"""Reads a config and makes everything follow that is derived from something else in it.

MMEngine computes nothing again when a child config or `--cfg-options` changes a value that others were made from. So
the configs of this project state such values once, at the top level, and `load_config` writes them to where MMEngine
looks. The top level always wins: change a value there, not where it is written to.

* `model_size` -> depth, width and channels of backbone, neck and head;
* `classes` -> class counts of head and assigner, class names of all datasets;
* `train_batches`, `test_batches` -> the batches of the datasets;
* `data_root`, `split_unit`, `val_fraction`, `split_seed`, `later_validation`, `cache`, `pseudo_dir` -> the datasets
  that have such a setting; `test_batches` -> `held_out` of those that must not have seen them;
* `train_batches`, `data_root`, `pseudo_dir` -> the hook that labels nuclei;
* `train_pipeline`, `test_pipeline` -> the datasets; `train_pipeline_no_mosaic` -> the hook that closes mosaic;
* `batch_size`, `num_workers` -> all loaders; `network_size_px`, `stain_augmentation` -> every step and dataset that has
  such a setting;
* `max_epochs`, `val_interval` -> the training loop; what follows in turn is worked out in the run, by `noise_mm.hooks`;
* `best_metric` -> the hooks that keep the best checkpoint and stop early;
* `hooks`, a dictionary -> the list `custom_hooks`, so that a child config can change one hook and keep the others.
"""

import copy
import difflib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from noise_mm.checkpoints.yolov8_size import SIZES
from noise_mm.derived_settings import base_paths, refuse_overwritten, setting_behind
from noise_mm.errors import InputError
from noise_mm.seen_batches import refuse_repeated

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
OUR_TYPES = (
    'YOLOv8DetHeadModule',
    'YOLOv8InsHeadModule',
    'OsteoclastDataset',
    'NucleiDataset',
    'OsteoclastNucleiDataset',
)
NETWORK_STRIDE_PX = 32  # of the coarsest level: the network's input is a multiple of it
PIPELINES = ('train_pipeline', 'train_pipeline_no_mosaic', 'test_pipeline')
DATASET_SETTINGS = ('data_root', 'split_unit', 'val_fraction', 'split_seed', 'later_validation', 'cache', 'pseudo_dir')
FOLD_FOLDER = '/without_'  # between the folder of pseudo-labels and the batch whose nuclei were not trained on


def load_config(path: str | Path, overrides: dict[str, Any] | None = None, fold: str | None = None) -> Config:
    """A config with all its consequences.

    Args:
        path: A config file.
        overrides: What `--cfg-options` gave: dotted keys and values, applied before anything is derived.
        fold: The batch to hold out: it becomes `test_batches`, and the others of `train_batches` and
            `test_batches` together become `train_batches`; if `overrides` give only `train_batches`, the others of
            these. The saved config of a run records it.

    Raises:
        InputError: If the file is missing or not a config, an option can't be applied, values contradict each other,
            or the file or an option sets what follows from another setting.
    """
    path, overrides = Path(path), overrides or {}
    config = _read(path)
    _check_file(path, config)
    _apply(config, overrides, path)
    resolve(config)
    for key, value in overrides.items():
        _check_kept(config, key, value)
    if fold is not None:
        if 'train_batches' in overrides and 'test_batches' not in overrides:
            config.test_batches = []
        hold_out(config, fold)
        resolve(config)
    return config


def _read(path: Path) -> Config:
    if not path.is_file():
        raise InputError(f'{path}: no such config. Look in configs/ for those that exist.')
    try:
        return Config.fromfile(str(path))
    # A config is a program, and may fail in any of these ways.
    except (SyntaxError, NameError, LookupError, AttributeError, OSError, TypeError, ValueError, ImportError) as error:
        raise InputError(f'{path}: not a readable config ({type(error).__name__}: {error}). Correct it.') from error
    except (ArithmeticError, RuntimeError, AssertionError) as error:
        raise InputError(f'{path}: not a readable config ({type(error).__name__}: {error}). Correct it.') from error


def _check_file(path: Path, config: Config, is_base: bool = False) -> None:
    """Refuses a file that sets what follows from another setting, and one whose bases do.

    A base need not be complete: one that can't be resolved by itself is not compared.
    """
    if not _is_ours(config):
        return
    plain = copy.deepcopy(config)
    try:
        resolve(plain)
    except (InputError, AttributeError, KeyError):
        if not is_base:
            raise
        return
    refuse_overwritten(path, config.to_dict(), plain.to_dict())
    for base in base_paths(path) or ():
        _check_file(base, _read(base), is_base=True)


def _apply(config: Config, overrides: dict[str, Any], path: Path) -> None:
    """Applies the options, after a look for names that are nearly right and would do nothing."""
    for key in overrides:
        near = difflib.get_close_matches(key, list(config), n=1, cutoff=0.8) if '.' not in key else []
        if near and key not in config:
            raise InputError(f'--cfg-options {key}: {path} has no such setting. Did you mean {near[0]}?')
    try:
        config.merge_from_dict(overrides)
    except (KeyError, TypeError, AssertionError, IndexError) as error:
        raise InputError(f'--cfg-options: cannot be applied to {path} ({error}). Check the names.') from error


def _check_kept(config: Config, key: str, value: Any) -> None:
    """Refuses an option that a value of the top level has overwritten: it would do nothing without a word."""
    node = config
    for part in key.split('.'):
        node = node[int(part)] if isinstance(node, list) else node[part]
    given = list(value) if isinstance(value, tuple) else value
    found = list(node) if isinstance(node, tuple) else node
    if found != given and not isinstance(value, dict) and not (isinstance(found, list) and [given] == found):
        raise InputError(
            f'--cfg-options {key}={value}: follows from a setting of the top level, which makes it {node}. '
            f'Set {setting_behind(key)} instead.'
        )


def hold_out(config: Config, fold: str) -> None:
    """Makes batch `fold` the test data and all the other batches of the config the training data.

    Raises:
        InputError: If the config names no such batch, or no other one.
    """
    batches = sorted({*config.get('train_batches', ()), *config.get('test_batches', ())})
    if fold not in batches:
        raise InputError(f'--fold {fold}: not a batch of this config. Choose one of {", ".join(batches)}.')
    config.train_batches = [batch for batch in batches if batch != fold]
    config.test_batches = [fold]
    config.fold = fold
    if config.get('pseudo_dir'):
        config.pseudo_dir = re.sub(rf'{FOLD_FOLDER}[^/]*$', '', config.pseudo_dir) + FOLD_FOLDER + fold
    if not config.train_batches:
        raise InputError(f'--fold {fold}: no other batch is left to train on. Add some to train_batches.')


def resolve(config: Config) -> None:
    """Writes every derived value to its place; see the module's text. Doing it twice changes nothing more.

    Configs that aren't built on those of this project, such as MMDetection's own, are left as they are.
    """
    if not _is_ours(config):
        return
    _check_values(config)
    if 'model_size' in config:
        _resolve_size(config)
    if 'classes' in config:
        _resolve_classes(config)
    _resolve_data(config)
    _resolve_run(config)


def _is_ours(config: Config) -> bool:
    """Whether the network or a dataset is one of this project's."""
    head = (config.get('model') or {}).get('bbox_head') or {}
    types = [(head.get('head_module') or {}).get('type'), *(dataset.get('type') for dataset in _datasets(config))]
    return any(str(kind).rpartition('.')[2] in OUR_TYPES for kind in types)


def _check_values(config: Config) -> None:
    """Refuses sizes and counts that nothing could be made of, and makes lists of single names.

    Raises:
        InputError: With the name of the setting.
    """
    for key in ('train_batches', 'test_batches', 'init_from'):
        if isinstance(config.get(key), str):
            config[key] = [config[key]]
        refuse_repeated(key, config.get(key) if key != 'init_from' else None)
    least = {'batch_size': 1, 'max_epochs': 1, 'val_interval': 1, 'nominal_batch_size': 1, 'num_workers': 0}
    for key, smallest in least.items():
        value = config.get(key, smallest)
        if not isinstance(value, int) or value < smallest:
            raise InputError(f'{key} is {value!r}. Give a whole number from {smallest} on.')
    size = config.get('network_size_px', NETWORK_STRIDE_PX)
    if not isinstance(size, int) or size < NETWORK_STRIDE_PX or size % NETWORK_STRIDE_PX:
        raise InputError(f'network_size_px is {size!r}. Give a multiple of {NETWORK_STRIDE_PX}, such as 416.')


def _resolve_size(config: Config) -> None:
    if config.model_size not in SIZES:
        raise InputError(f'model_size is {config.model_size!r}. Choose one of {", ".join(SIZES)}.')
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
    if 'model' in config:
        config.model.bbox_head.head_module.num_classes = len(classes)
        config.model.train_cfg.assigner.num_classes = len(classes)
    for dataset in _datasets(config):
        dataset.metainfo = {**dataset.get('metainfo', {}), 'classes': classes}


def _resolve_data(config: Config) -> None:
    """Batches, folder, split and pipelines of the datasets; sizes of batches and of images."""
    for loader in LOADERS:
        dataset = _dataset(config, loader)
        if dataset is None:
            continue
        batches = config.get('test_batches' if loader == 'test_dataloader' else 'train_batches')
        if batches is not None:
            dataset.batches = list(batches)
        pipeline = config.get('train_pipeline' if loader == 'train_dataloader' else 'test_pipeline')
        if pipeline is not None:
            dataset.pipeline = copy.deepcopy(pipeline)
        dataset.update({key: config[key] for key in DATASET_SETTINGS if key in config and key in dataset})
        if 'held_out' in dataset:
            dataset.held_out = list(config.get('test_batches') or ())
        config[loader].update({key: config[key] for key in ('batch_size', 'num_workers') if key in config})
        config[loader].persistent_workers = config[loader].get('num_workers', 0) > 0
    for key in {'network_size_px', 'stain_augmentation'} & set(config):
        for name in (*LOADERS, *PIPELINES):
            _set_everywhere(config.get(name), key, config[key])


def _set_everywhere(node: Any, key: str, value: Any) -> None:
    """Sets `key` in every dictionary below `node` that has it."""
    if isinstance(node, dict):
        if key in node:
            node[key] = value
        for child in node.values():
            _set_everywhere(child, key, value)
    elif isinstance(node, list | tuple):
        for child in node:
            _set_everywhere(child, key, value)


def _resolve_run(config: Config) -> None:
    """Length of the run, the metric that decides, and the list of hooks."""
    if config.get('train_cfg'):
        config.train_cfg.update({key: config[key] for key in ('max_epochs', 'val_interval') if key in config})
    hooks = config.get('hooks') or {}
    if 'best_metric' in config and 'default_hooks' in config:
        config.default_hooks.checkpoint.save_best = config.best_metric
        if hooks.get('early_stopping'):
            hooks.early_stopping.monitor = config.best_metric
    if hooks.get('pseudo_labels'):
        hooks.pseudo_labels.update(
            batches=list(config.train_batches), data_root=config.data_root, pseudo_dir=config.pseudo_dir
        )
    if hooks.get('close_mosaic') and 'train_pipeline_no_mosaic' in config:
        hooks.close_mosaic.switch_pipeline = config.train_pipeline_no_mosaic
    if hooks:
        # Sorted, because a saved config lists them so.
        listed = [hooks[name] for name in sorted(hooks) if hooks[name]]
        if config.get('custom_hooks', listed) != listed and not config.get('hooks_are_listed'):
            raise InputError(
                'custom_hooks: is made from the dictionary hooks. Add yours as hooks = dict(name=dict(...)).'
            )
        config.custom_hooks, config.hooks_are_listed = listed, True


def _dataset(config: Config, loader: str) -> ConfigDict | None:
    """The dataset of a loader; None where the config has no such loader."""
    return config[loader].dataset if config.get(loader) else None


def _datasets(config: Config) -> Iterator[ConfigDict]:
    return (dataset for dataset in (_dataset(config, loader) for loader in LOADERS) if dataset is not None)
