"""A test reads the test batches only."""

import shutil

import pytest
import torch
from mmengine.hooks import Hook
from mmyolo.registry import HOOKS

from noise_mm.configuration import load_config
from noise_mm.errors import InputError
from noise_mm.training.unread_data import UnreadDataset


@HOOKS.register_module()
class AsksForTrainingData(Hook):
    """A user's hook that looks at everything before a run, and at the samples if told to."""

    seen: list = []  # noqa: RUF012

    def __init__(self, read=False):
        self.read = read

    def before_run(self, runner):
        loaders = runner.train_dataloader, runner.val_dataloader
        self.seen[:] = [
            runner.max_epochs,
            runner.max_iters // len(runner.train_dataloader),
            runner.train_dataloader.dataset.metainfo['classes'],
            runner.val_dataloader.dataset.batches,
            [loader.batch_size * len(loader.dataset) > 0 for loader in loaders],
            hasattr(runner.train_dataloader.dataset, 'no_such_thing'),
        ]
        if self.read:
            next(iter(runner.train_dataloader))


@pytest.fixture
def only_m2(tiny_data, tmp_path):
    """A data root with the test batch of `tiny_config` alone."""
    shutil.copytree(tiny_data / 'M2', tmp_path / 'data' / 'M2')
    return tmp_path / 'data'


@pytest.fixture
def weights(tiny_config, tmp_path):
    from mmyolo.registry import MODELS
    from mmyolo.utils import register_all_modules

    register_all_modules()
    model = MODELS.build(load_config(tiny_config).model)
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'tiny.pth')
    return tmp_path / 'tiny.pth'


def score(config_path, root, weights, work_dir, **options):
    from noise_mm.training.run import evaluate

    config = load_config(config_path, {'data_root': str(root), **options})
    config.work_dir, config.launcher = str(work_dir), 'none'
    return evaluate(config, weights)[1]


@pytest.mark.parametrize('cache', ['none', 'ram'])
def test_only_the_test_batch_is_on_disk(tiny_config, only_m2, weights, tmp_path, cache):
    report = score(tiny_config, only_m2, weights, tmp_path / cache, cache=cache)
    assert (report['n_images'], [row['batch'] for row in report['batches']]) == (2, ['M2'])


def test_any_hook_may_ask_for_training_data(tiny_config, only_m2, weights, tmp_path):
    hook = {'hooks.mine': {'type': 'AsksForTrainingData'}, 'hooks.close_mosaic': None}
    score(tiny_config, only_m2, weights, tmp_path / 'run', **hook)
    assert AsksForTrainingData.seen == [2, 2, ('osteoclast',), ['M1'], [True, True], False]


def test_wrapped_datasets_stay_unread(tiny_config, only_m2, weights, tmp_path):
    inner = load_config(tiny_config, {'data_root': str(only_m2)}).train_dataloader.dataset
    dataset = UnreadDataset({'type': 'RepeatDataset', 'times': 3, 'dataset': inner})
    assert dataset.metainfo['classes'] == ('osteoclast',)
    assert dataset.dataset.batches == ['M1']
    joined = UnreadDataset({'type': 'ConcatDataset', 'datasets': [inner, inner]})
    assert joined.metainfo['classes'] == ('osteoclast',)


def test_a_hook_that_reads_samples_is_told_where_to_do_so(tiny_config, only_m2, weights, tmp_path):
    with pytest.raises(InputError, match='before_train'):
        score(
            tiny_config,
            only_m2,
            weights,
            tmp_path / 'run',
            **{'hooks.mine': dict(type='AsksForTrainingData', read=True)},
        )


def test_the_same_runner_still_trains_after_a_test(tiny_config, tmp_path):
    """A test must not leave a stand-in behind for the training that follows."""
    from mmyolo.registry import RUNNERS

    config = load_config(tiny_config, {'max_epochs': 1})
    config.work_dir, config.launcher = str(tmp_path / 'run'), 'none'
    runner = RUNNERS.get('YOLOv8Runner').from_cfg(config)
    runner.test()
    runner.train()
    assert runner.iter == 2  # four of M1's six patches are for training, in batches of two
    assert isinstance(runner.train_dataloader.dataset, UnreadDataset) is False
