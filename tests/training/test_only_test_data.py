"""A test reads the test batches only."""

import shutil

import pytest
import torch

from noise_mm.configuration import load_config


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


def test_hooks_that_ask_for_the_length_of_the_training(tiny_config, only_m2, weights, tmp_path):
    hooks = {
        'default_hooks.early_stopping': {
            '_delete_': True,
            'type': 'EarlyStoppingHook',
            'monitor': 'osteoclast/segm_mAP50',
        },
        'default_hooks.ema.begin_epoch': 1,
    }
    assert score(tiny_config, only_m2, weights, tmp_path / 'run', **hooks)['n_images'] == 2


def test_the_same_runner_still_trains_after_a_test(tiny_config, tmp_path):
    """A test must not leave a stand-in behind for the training that follows."""
    from mmyolo.registry import RUNNERS

    config = load_config(tiny_config, {'max_epochs': 1})
    config.work_dir, config.launcher = str(tmp_path / 'run'), 'none'
    runner = RUNNERS.get('YOLOv8Runner').from_cfg(config)
    runner.test()
    runner.train()
    assert runner.iter == 2  # four of M1's six patches are for training, in batches of two
    assert len(runner.train_dataloader.dataset) == 4
