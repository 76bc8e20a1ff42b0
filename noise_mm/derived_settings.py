"""Finds what a config file sets at a place that follows from another setting: there it would do nothing.

A base of this project's configs has both a setting and the values made of it, so a value that stands at such a place
says nothing by itself. It is the author's own only if the file's bases have another one there, or none.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from noise_mm.errors import InputError

# Last part of a derived setting's name -> the setting of the top level it is made of; others have the same name.
SETTING_BEHIND = {
    **dict.fromkeys(('widen_factor', 'deepen_factor', 'last_stage_out_channels'), 'model_size'),
    **dict.fromkeys(('in_channels', 'out_channels'), 'model_size'),
    'num_classes': 'classes',
    'batches': 'train_batches or test_batches',
    'held_out': 'test_batches',
    'pipeline': 'train_pipeline or test_pipeline',
    'switch_pipeline': 'train_pipeline_no_mosaic',
    'persistent_workers': 'num_workers',
    **dict.fromkeys(('save_best', 'monitor'), 'best_metric'),
}
PLACEHOLDERS = (None, [], {})


def setting_behind(name: str) -> str:
    """The setting that a derived one follows from: 'train_dataloader.dataset.pipeline.0' -> 'train_pipeline or ...'."""
    parts = name.split('.')
    return next((SETTING_BEHIND[part] for part in reversed(parts) if part in SETTING_BEHIND), parts[-1])


def refuse_overwritten(path: Path, given: Mapping, resolved: Mapping) -> None:
    """Checks that nothing a file sets itself is lost when what derives from other settings is written.

    Values of `PLACEHOLDERS` are overwritten, and `network_size_px` may be repeated in the steps of a pipeline.

    Args:
        path: The config file.
        given: Its content with that of its bases, as MMEngine reads it.
        resolved: The same with all consequences.

    Raises:
        InputError: With the setting to use instead.
    """
    made = dict(_leaves(resolved))
    lost = {
        name: value
        for name, value in _leaves(given)
        if '.' in name and not name.endswith('.network_size_px') and value not in PLACEHOLDERS
        if made.get(name, value) != value
    }
    if not lost:
        return
    bases = base_paths(path)
    if bases is None:
        return
    inherited = {name: value for base in bases for name, value in _leaves(Config.fromfile(str(base)).to_dict())}
    for name, value in lost.items():
        if name not in inherited or inherited[name] != value:
            raise InputError(
                f'{path}: {name} = {value!r} would do nothing, because a setting of the top level makes it '
                f'{made[name]!r}. Set {setting_behind(name)} instead.'
            )


def _leaves(node: Any, name: str = '') -> Iterator[tuple[str, Any]]:
    """Dotted names and values of everything below a dictionary or a list of dictionaries, with tuples as lists."""
    if isinstance(node, Mapping):
        children = node.items()
    elif isinstance(node, list | tuple) and any(isinstance(child, Mapping) for child in node):
        children = enumerate(node)
    else:
        yield name, list(node) if isinstance(node, tuple) else node
        return
    for key, child in children:
        yield from _leaves(child, f'{name}.{key}' if name else str(key))


def base_paths(path: Path) -> list[Path] | None:
    """The files that a config names in `_base_`; None where that is no list of plain paths."""
    if path.suffix != '.py':
        return None
    for node in ast.parse(path.read_text(encoding='utf-8')).body:
        if isinstance(node, ast.Assign) and [getattr(target, 'id', None) for target in node.targets] == ['_base_']:
            try:
                value = ast.literal_eval(node.value)
            except (ValueError, TypeError):  # a name or a placeholder of MMEngine's
                return None
            names = [value] if isinstance(value, str) else list(value)
            return None if any('::' in name for name in names) else [path.parent / name for name in names]
    return []
