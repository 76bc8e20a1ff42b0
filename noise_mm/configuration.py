"""Read a config, and fill in what its values refer to.

MMEngine computes nothing again when a child config or `--cfg-options` changes a value that others were made from. So
the configs of this project state such a value once, at the top level, and other places refer to it:

    max_epochs = 100
    train_cfg = dict(type='EpochBasedTrainLoop', max_epochs='${max_epochs}')

`fill` replaces every such reference by the setting it names, when a runner is built (`YOLOv8Runner.from_cfg`), when
MMDetection's inference sets up a detector, and in `load_config`. It replaces nothing else: what an author writes at a
place instead of the reference is kept, and a config without references is left as it is. docs/configs.md lists what
can be written where.
"""

import copy
import difflib
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from noise_mm.checkpoints.yolov8_size import SIZES
from noise_mm.errors import InputError
from noise_mm.seen_batches import datasets_in, refuse_repeated

REFERENCE = re.compile(r'\$\{([a-z][a-z0-9_]*)\}')
FILLED_IN = 'filled_in'  # in a filled config: what was a reference, so that settings can be changed later
DETECTOR = 'YOLOv8Detector'
DEFAULT_SIZE = 'l'
NETWORK_STRIDE_PX = 32  # of the coarsest level: the network's input is a multiple of it
FOLD_FOLDER = '/without_'  # between the folder of pseudo-labels and the batch whose nuclei were not trained on

# Settings that places refer to; all settings of this project; names that MMEngine and MMDetection read.
REFERRED_TO = {
    *('data_root', 'train_batches', 'test_batches', 'batch_size', 'num_workers', 'classes', 'network_size_px'),
    *('split_unit', 'val_fraction', 'split_seed', 'cache', 'later_validation', 'pseudo_dir', 'best_metric'),
    *('train_pipeline', 'train_pipeline_no_mosaic', 'test_pipeline', 'stain_augmentation'),
    *('max_epochs', 'val_interval'),
}
SETTINGS = REFERRED_TO | {
    *('patch_size_px', 'nominal_batch_size', 'model_size', 'hooks', 'init_from', 'init_checkpoints'),
    *('coco_checkpoint', 'protocol', 'method', 'fold', 'allow_seen', 'noise_mm_version', FILLED_IN),
}
MMENGINE_NAMES = {
    *('model', 'work_dir', 'train_dataloader', 'val_dataloader', 'test_dataloader', 'train_cfg', 'val_cfg'),
    *('test_cfg', 'auto_scale_lr', 'optim_wrapper', 'param_scheduler', 'val_evaluator', 'test_evaluator'),
    *('default_hooks', 'custom_hooks', 'data_preprocessor', 'load_from', 'resume', 'launcher', 'env_cfg'),
    *('log_processor', 'log_level', 'visualizer', 'vis_backends', 'default_scope', 'randomness', 'experiment_name'),
    *('custom_imports', 'runner_type', 'tta_model', 'tta_pipeline', 'backend_args', 'hooks_are_listed'),
}


def load_config(path: str | Path, overrides: Mapping[str, Any] | None = None, fold: str | None = None) -> Config:
    """Read a config with everything filled in.

    Args:
        path: A config file, or the config that a run has saved.
        overrides: What `--cfg-options` gave: dotted keys and values. They win over the file.
        fold: The batch to hold out: it becomes `test_batches`, and the others of `train_batches` and
            `test_batches` together become `train_batches`; if `overrides` give only `train_batches`, the others of
            these. The saved config of a run records it.

    Raises:
        InputError: If the file is missing or not a config, an option can't be applied, or values contradict each other.
    """
    path, overrides = Path(path), dict(overrides or {})
    config = _read(path)
    try:
        _restore(config)
        _refuse_misspelled(config)
    except InputError as error:
        raise InputError(f'{path}: {error}') from error
    later = {key: overrides.pop(key) for key in list(overrides) if _crosses_reference(config, key)}
    _apply(config, _for_model(config, overrides), path)
    if fold is not None:
        if 'train_batches' in overrides and 'test_batches' not in overrides:
            config.test_batches = []
        hold_out(config, fold)
    fill(config)
    _refuse_unused(config, overrides)
    _apply(config, later, path)
    if fold is not None:
        _check_fold(config, fold)
    return config


def fill(config: Config | ConfigDict) -> None:
    """Replace references by the settings they name, in place; doing it twice changes nothing more.

    What was filled in before follows its setting again, unless somebody has changed it since.

    Raises:
        InputError: If a reference names no setting, or settings are impossible or contradict each other.
    """
    _restore(config)
    if not _is_ours(config):
        return
    _refuse_misspelled(config)
    _merge_hooks(config)
    _check_values(config)
    _fill_model(config)
    filled: dict[str, str] = {}
    for name in list(config):
        config[name] = _filled(config[name], name, config, filled, (name,))
    if filled:
        config[FILLED_IN] = filled


def refuse_references(owner: str, values: Mapping[str, Any]) -> None:
    """Refuse arguments that still are references: what a class is built from has not been filled in.

    Args:
        owner: Name of the class.
        values: Its arguments.

    Raises:
        InputError: With what to do.
    """
    for name, value in references_in(values).items():
        raise InputError(
            f'{owner}: {name}={value!r} refers to a setting of the config that was not filled in. Build the runner '
            'with RUNNERS.build(config), or read the config with noise_mm.configuration.load_config; for other '
            'tools write a complete config with tools/print_config.py.'
        )


def references_in(values: Mapping[str, Any]) -> dict[str, str]:
    """Return those values that are references."""
    return {name: value for name, value in values.items() if isinstance(value, str) and REFERENCE.fullmatch(value)}


def hold_out(config: Config, fold: str) -> None:
    """Make batch `fold` the test data and all the other batches of the config the training data.

    Raises:
        InputError: If the config names no such batch, or no other one.
    """
    batches = sorted({*_names(config.get('train_batches')), *_names(config.get('test_batches'))})
    if fold not in batches:
        raise InputError(f'--fold {fold}: not a batch of this config. Choose one of {", ".join(batches)}.')
    config.train_batches = [batch for batch in batches if batch != fold]
    config.test_batches = [fold]
    config.fold = fold
    if config.get('pseudo_dir'):
        config.pseudo_dir = re.sub(rf'{FOLD_FOLDER}[^/]*$', '', config.pseudo_dir) + FOLD_FOLDER + fold
    if not config.train_batches:
        raise InputError(f'--fold {fold}: no other batch is left to train on. Add some to train_batches.')


# --- reading


def _read(path: Path) -> Config:
    if not path.is_file():
        raise InputError(f'{path}: no such config. Look in configs/ for those that exist.')
    try:
        return Config.fromfile(str(path))
    # A config is a program, and may fail in any of these ways.
    except (
        *(SyntaxError, NameError, LookupError, AttributeError, OSError, TypeError, ValueError, ImportError),
        *(ArithmeticError, RuntimeError, AssertionError),
    ) as error:
        raise InputError(f'{path}: not a readable config ({type(error).__name__}: {error}). Correct it.') from error


def _apply(config: Config, overrides: Mapping[str, Any], path: Path) -> None:
    """Apply the options, after a check for names that are nearly right and would do nothing."""
    for key in overrides:
        near = difflib.get_close_matches(key, list(config), n=1, cutoff=0.8) if '.' not in key else []
        if near and key not in config and key not in SETTINGS | MMENGINE_NAMES:
            raise InputError(f'--cfg-options {key}: {path} has no such setting. Did you mean {near[0]}?')
    try:
        config.merge_from_dict(dict(overrides))
    except (KeyError, TypeError, AssertionError, IndexError) as error:
        raise InputError(f'--cfg-options: cannot be applied to {path} ({error}). Check the names.') from error


def _crosses_reference(config: Config, key: str) -> bool:
    """Whether a dotted name leads into a value that is still a reference."""
    node: Any = config
    for part in key.split('.'):
        if isinstance(node, str):
            return REFERENCE.fullmatch(node) is not None
        try:
            node = node[int(part)] if isinstance(node, list | tuple) else node[part]
        except (LookupError, ValueError, TypeError):
            return False
    return False


def _for_model(config: Config, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with those that the model follows written to the model too: there an option beats the file."""
    options = dict(overrides)
    if _is_detector(config.get('model')):
        if 'model_size' in options:
            options.setdefault('model.size', options['model_size'])
        if 'classes' in options:
            options.setdefault('model.num_classes', len(_names(options['classes'])))
    return options


def _refuse_unused(config: Config, overrides: Mapping[str, Any]) -> None:
    """Refuse options that no place refers to: they would do nothing without a word."""
    if not _is_ours(config) and FILLED_IN not in config:
        return
    used = {note.partition(' ')[0] for note in (config.get(FILLED_IN) or {}).values()}
    used |= {'classes'} if _is_detector(config.get('model')) else set()
    for key in overrides:
        name = key.partition('.')[0]
        if name in REFERRED_TO - used:
            raise InputError(
                f'--cfg-options {key}: would do nothing, because nothing in this config refers to {name} (the file '
                f"writes its own values where the bases have '${{{name}}}'). Set those instead."
            )


def _check_fold(config: Config, fold: str) -> None:
    """Refuse a fold that batches written in the datasets themselves contradict: training could see the test data."""
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        for dataset in datasets_in((config.get(loader) or {}).get('dataset')):
            batches = dataset.get('batches', config.train_batches)
            is_test = loader == 'test_dataloader'
            if (list(batches or ()) != [fold]) if is_test else (batches is None or fold in batches):
                raise InputError(
                    f'--fold {fold}: the dataset of {loader} names its own batches, {batches}. '
                    f"Leave them out, or write batches='${{{'test' if is_test else 'train'}_batches}}'."
                )


# --- filling


def _restore(config: Config | ConfigDict) -> None:
    """Put back the references of a filled config where the value is still the one that was filled in."""
    for place, note in (config.get(FILLED_IN) or {}).items():
        *parents, last = place.split('.')
        node: Any = config
        for part in parents:
            node = _child(node, part)
        name, _, digest = note.partition(' ')
        if _digest(_child(node, last)) == digest:
            node[int(last) if isinstance(node, list) else last] = f'${{{name}}}'
    config.pop(FILLED_IN, None)


def _child(node: Any, part: str) -> Any:
    """Return what a part of a dotted name leads to; None where it leads nowhere."""
    if isinstance(node, list | tuple):
        return node[int(part)] if part.isdigit() and int(part) < len(node) else None
    return node.get(part) if isinstance(node, Mapping | Config) else None


def _filled(
    node: Any, place: str, settings: Config | ConfigDict, filled: dict[str, str] | None, pending: tuple[str, ...]
) -> Any:
    """Return a value without references; `filled` notes each place, `pending` are the settings it is part of."""
    if isinstance(node, Mapping):
        # A new dictionary: steps that several pipelines share are one object in a config file.
        return type(node)({key: _filled(node[key], f'{place}.{key}', settings, filled, pending) for key in node})
    if isinstance(node, list | tuple):
        items = [_filled(item, f'{place}.{i}', settings, filled, pending) for i, item in enumerate(node)]
        return items if isinstance(node, list) else tuple(items)
    if isinstance(node, str) and (match := REFERENCE.fullmatch(node)):
        name = match[1]
        if name not in settings:
            raise InputError(f'{place} = {node!r}: there is no setting {name}. Set it at the top level, or correct it.')
        if name in pending:
            raise InputError(f'{place} = {node!r}: {name} refers to itself. Correct it.')
        value = _filled(copy.deepcopy(settings[name]), place, settings, None, (*pending, name))
        if filled is not None:
            filled[place] = f'{name} {_digest(value)}'
        return value
    return node


def _digest(value: Any) -> str:
    """Return a short name for a value, the same for lists and tuples, which a saved config may exchange."""
    return f'{zlib.crc32(repr(_plain(value)).encode()):08x}'


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(value[key]) for key in sorted(value)}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _is_ours(config: Config | ConfigDict) -> bool:
    """Whether a config asks to be filled in: it has references, or this project's detector."""
    return _is_detector(config.get('model')) or any(_has_reference(config[name]) for name in config)


def _has_reference(node: Any) -> bool:
    if isinstance(node, Mapping):
        return any(_has_reference(child) for child in node.values())
    if isinstance(node, list | tuple):
        return any(_has_reference(child) for child in node)
    return isinstance(node, str) and REFERENCE.fullmatch(node) is not None


def _is_detector(model: Any) -> bool:
    kind = model.get('type') if isinstance(model, Mapping) else None
    return (kind.rpartition('.')[2] if isinstance(kind, str) else getattr(kind, '__name__', '')) == DETECTOR


def _merge_hooks(config: Config | ConfigDict) -> None:
    """Add `hooks`, the older name of the project's part of `default_hooks`, to those; None on either side removes."""
    if config.get('hooks') and 'default_hooks' in config and 'hooks_are_listed' not in config:
        merged = Config({'default_hooks': config.default_hooks})
        hooks = {
            name: hook for name, hook in config.pop('hooks').items() if merged.default_hooks.get(name, {}) is not None
        }
        merged.merge_from_dict({'default_hooks': hooks})
        config.default_hooks = merged.default_hooks


def _fill_model(config: Config | ConfigDict) -> None:
    """Give this project's detector the size and the number of classes of the top level; refuse contradictions."""
    model = config.get('model') or {}
    model = model.get('module', model)  # what test-time augmentation wraps
    if not _is_detector(model):
        return
    classes = config.get('classes')
    for setting, key, value in (
        ('model_size', 'size', config.get('model_size')),
        ('classes', 'num_classes', None if classes is None else len(classes)),
    ):
        if value is None:
            continue
        if model.get(key, value) != value:
            raise InputError(
                f'{setting} is {config[setting]!r}, but model.{key} is {model[key]!r}. Change one of them.'
            )
        model[key] = value
    model.setdefault('size', DEFAULT_SIZE)
    model.setdefault('num_classes', 1)


def _check_values(config: Config | ConfigDict) -> None:
    """Refuse sizes and counts that nothing could be made of, and make lists of single names."""
    for key in ('train_batches', 'test_batches', 'init_from'):
        if isinstance(config.get(key), str):
            config[key] = [config[key]]
        refuse_repeated(key, config.get(key) if key != 'init_from' else None)
    if 'classes' in config:
        config.classes = tuple(_names(config.classes))
        if not config.classes or len(set(config.classes)) < len(config.classes):
            raise InputError(f'classes is {config.classes!r}. Give at least one name, each once.')
    least = {'batch_size': 1, 'max_epochs': 1, 'val_interval': 1, 'nominal_batch_size': 1, 'num_workers': 0}
    for key, smallest in least.items():
        value = config.get(key, smallest)
        if not isinstance(value, int) or value < smallest:
            raise InputError(f'{key} is {value!r}. Give a whole number from {smallest} on.')
    if config.get('model_size', DEFAULT_SIZE) not in SIZES:
        raise InputError(f'model_size is {config.model_size!r}. Choose one of {", ".join(SIZES)}.')
    size = config.get('network_size_px', NETWORK_STRIDE_PX)
    if not isinstance(size, int) or size < NETWORK_STRIDE_PX or size % NETWORK_STRIDE_PX:
        raise InputError(f'network_size_px is {size!r}. Give a multiple of {NETWORK_STRIDE_PX}, such as 416.')


def _refuse_misspelled(config: Config | ConfigDict) -> None:
    """Refuse names of the top level that are nearly those of settings, and would do nothing."""
    if not _is_ours(config):
        return
    known = SETTINGS | MMENGINE_NAMES
    for name in config:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.85) if name not in known else []
        if near and not name.startswith('_'):
            raise InputError(f'{name}: there is no such setting, it would do nothing. Did you mean {near[0]}?')


def _names(value: Any) -> list[str]:
    """Return one name or several as a list."""
    return [] if value is None else [value] if isinstance(value, str) else list(value)
