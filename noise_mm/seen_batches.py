"""Which batches a network has seen in training, so that none of them is taken for test data. Pure; no torch.

Batches are told apart by name. A network has seen the batches that it was trained or validated on, those that its
initial checkpoints have seen, and those that the detector behind its weak nuclei labels has seen. Every checkpoint
stores them in its `meta` under `seen_batches`: {batch: how it was seen}.
"""

import ast
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from noise_mm.errors import InputError

MARK = 'test data seen in training'  # stands in every table, JSON file and log line about such data
META_KEY = 'seen_batches'
RESULT_KEY = 'seen_in_training'  # of each COCO result on such data: a list of results has no other place for the mark
TRAINED_ON = 'trained on'
NUCLEI_FOLDER = 'nuclei'

Seen = dict[str, str]  # batch -> how it was seen, such as 'trained on'


def refuse_repeated(name: str, batches: Sequence[str] | None) -> None:
    """Refuse a list that names a batch twice: its patches would count twice.

    Raises:
        InputError: With the name of the list.
    """
    twice = [batch for batch, count in Counter(batches or ()).items() if count > 1]
    if twice:
        raise InputError(f'{name}: batch {twice[0]} is named twice. Name each batch once.')


def batches_of(config: Mapping[str, Any], loader: str) -> list[str]:
    """Return the batches that a loader of a config reads; of a single annotation file its absolute path.

    Args:
        config: A resolved config.
        loader: 'train_dataloader', 'val_dataloader' or 'test_dataloader'.
    """
    datasets = datasets_in((config.get(loader) or {}).get('dataset'))
    return list(dict.fromkeys(batch for dataset in datasets for batch in batches_in(dataset)))


def batches_in(dataset: Mapping[str, Any]) -> list[str]:
    """Return the batches that a dataset reads, by its config; see `batches_of`."""
    root = Path(dataset.get('data_root') or '')
    if dataset.get('ann_file'):
        return [str((root / dataset['ann_file']).resolve())]
    if dataset.get('batches') is not None:
        return list(map(str, dataset['batches']))
    if 'data_root' not in dataset:
        return []
    names = sorted(path.parent.name for path in root.glob('*/annotations.json'))  # all that are there
    return [name for name in names if name != NUCLEI_FOLDER]


def seen_by_config(config: Mapping[str, Any]) -> Seen:
    """Return the batches that a training by this config sees, those of its validation included."""
    loaders = ('train_dataloader', 'val_dataloader')
    return {batch: TRAINED_ON for loader in loaders for batch in batches_of(config, loader)}


def seen_by_checkpoint(meta: Mapping[str, Any], file: str | Path) -> Seen | None:
    """Return the batches that the network of a checkpoint has seen.

    Args:
        meta: The checkpoint's `meta`. Where it has no `seen_batches`, the config stored in it is asked.
        file: The checkpoint, for the text on how a batch was seen.

    Returns:
        None if the checkpoint does not say.
    """
    stored = meta.get(META_KEY)
    if isinstance(stored, Mapping):
        return {str(batch): str(how) for batch, how in stored.items()}
    trained = trained_batches(meta)
    return None if trained is None else dict.fromkeys(trained, TRAINED_ON)


def through(seen: Mapping[str, str] | None, source: str) -> Seen:
    """Return what was seen by something that a training starts from, with its name.

    >>> through({'M5': 'trained on'}, 'stage2/best.pth')
    {'M5': 'trained on by stage2/best.pth'}
    """
    return {batch: how if ' by ' in how else f'{how} by {source}' for batch, how in (seen or {}).items()}


def trained_batches(meta: Mapping[str, Any]) -> list[str] | None:
    """Return the `train_batches` of the run that wrote a checkpoint, from the config in it, which is not executed.

    Returns:
        None if the checkpoint has no config, or that has no such setting.
    """
    try:
        statements = ast.parse(meta.get('cfg') or '').body
    except (SyntaxError, ValueError, TypeError):
        return None
    for statement in statements:
        if isinstance(statement, ast.Assign) and getattr(statement.targets[0], 'id', None) == 'train_batches':
            try:
                return [str(each) for each in ast.literal_eval(statement.value)]
            except (ValueError, TypeError):
                return None
    return None


def seen_in_test(tested: Iterable[str], seen: Mapping[str, str], what: str, allow_seen: bool) -> list[str]:
    """Return the batches that are tested and were seen in training.

    Args:
        tested: The test batches.
        seen: What has been seen.
        what: The config or checkpoint, for the message.
        allow_seen: Whether this is allowed; the caller then marks all results with `MARK`.

    Raises:
        InputError: If there are some and this is not allowed.
    """
    both = [batch for batch in tested if batch in seen]
    if both and not allow_seen:
        raise InputError(
            f'{what}: {MARK}: batch {both[0]} ({seen[both[0]]}). Test on another batch (--fold holds one out); '
            'or add --allow-seen, which marks all results.'
        )
    return both


def refuse_marked(results: Any, source: str | Path, allow_seen: bool) -> bool:
    """Return whether COCO results are marked.

    Raises:
        InputError: If they are, and this is not allowed.
    """
    marked = isinstance(results, list) and any(isinstance(each, dict) and each.get(RESULT_KEY) for each in results)
    if marked and not allow_seen:
        raise InputError(f'{source}: {MARK}. Take another batch; or add --allow-seen, which marks all results.')
    return marked


def datasets_in(settings: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    """Yield the configs of the datasets that the config of a wrapped or joined dataset holds; of a plain one itself."""
    if not settings:
        return
    inner = [settings['dataset']] if 'dataset' in settings else settings.get('datasets')
    if inner is None:
        yield settings
    for each in inner or ():
        yield from datasets_in(each)
