"""Stand-ins for the training and validation data of a run that only tests.

MMEngine builds the training loop, and with it reads all training data, as soon as a hook asks the runner for
`max_iters`, `train_loop` or `train_dataloader`. Hooks such as EMA and early stopping do so in `before_run`, which is
called before a test too. A test must run where there are no training data.
"""

from collections.abc import Mapping
from typing import Any

from mmyolo.registry import DATASETS
from torch.utils.data import DataLoader, Dataset

from noise_mm.errors import InputError


class UnreadDataset(Dataset):
    """A dataset of one sample that is never read.

    Attributes that it does not have, such as `metainfo`, are those of the configured dataset, which is built without
    reading a file.

    Args:
        settings: The config of the dataset.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        self._unread = None

    def __len__(self) -> int:
        """Return 1: zero would make hooks divide by it."""
        return 1

    def __getitem__(self, index: int) -> dict:
        """Refuse to read.

        Raises:
            InputError: Always.
        """
        raise InputError('a hook reads training or validation data in a test. Have it do so in before_train.')

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the configured dataset.

        Raises:
            AttributeError: If it has no such attribute, or can't be built without reading.
        """
        if name.startswith('_'):
            raise AttributeError(name)
        if self._unread is None:
            try:
                self._unread = DATASETS.build(_lazy(self._settings))
            except TypeError as error:
                raise AttributeError(name) from error
        return getattr(self._unread, name)


def unread_loader(settings: Mapping[str, Any]) -> DataLoader:
    """Return a loader of an `UnreadDataset`, one batch long, for the config of a loader."""
    return DataLoader(UnreadDataset(settings['dataset']), batch_size=settings.get('batch_size', 1))


def _lazy(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of a dataset, and of those that it wraps, with `lazy_init`."""
    lazy = {**settings, 'lazy_init': True}
    if isinstance(lazy.get('dataset'), Mapping):
        lazy['dataset'] = _lazy(lazy['dataset'])
    if isinstance(lazy.get('datasets'), list | tuple):
        lazy['datasets'] = [_lazy(each) for each in lazy['datasets']]
    return lazy
