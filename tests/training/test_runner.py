"""Real runs of the nano network on a few drawn patches."""

import pytest
import torch
from mmengine.hooks import Hook
from mmyolo.registry import HOOKS

from noise_mm.compat.checkpoint_loading import load_checkpoint_file
from noise_mm.configuration import load_config
from noise_mm.errors import InputError

DETERMINISTIC = {'randomness': {'seed': 0, 'deterministic': True}}


class Killed(Exception):
    """Stands for a power cut."""


@HOOKS.register_module()
class KillBeforeEpoch(Hook):
    def __init__(self, epoch):
        self.epoch = epoch

    def before_train_epoch(self, runner):
        if runner.epoch == self.epoch:
            raise Killed


@pytest.fixture
def train(tiny_config):
    from noise_mm.training.run import train as start

    def make(work_dir, resume=None, **options):
        config = load_config(tiny_config, DETERMINISTIC | options)
        config.work_dir, config.launcher = str(work_dir), 'none'
        start(config, resume=resume)
        return work_dir

    return make


def weights(path):
    return load_checkpoint_file(path)['state_dict']


@pytest.mark.slow
def test_resumed_run_ends_where_the_whole_one_does(train, tmp_path):
    whole = train(tmp_path / 'whole', max_epochs=3)
    with pytest.raises(Killed):
        train(tmp_path / 'cut', max_epochs=3, **{'default_hooks.kill': {'type': 'KillBeforeEpoch', 'epoch': 2}})
    resumed = train(tmp_path / 'cut', resume='auto', max_epochs=3)
    expected, found = weights(whole / 'epoch_3.pth'), weights(resumed / 'epoch_3.pth')
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0, msg=name)


def test_run_leaves_what_the_next_stage_needs(train, tmp_path):
    folder = train(tmp_path / 'run', max_epochs=1)
    best = load_checkpoint_file(folder / 'best.pth')
    assert best['meta']['dataset_meta']['classes'] == ('osteoclast',)
    assert load_checkpoint_file(folder / 'epoch_1.pth')['early_stopping']['wait_count'] == 0
    assert not list(folder.glob('unfinished_*'))
    saved = load_config(folder / 'tiny.py')
    assert saved.model_size == 'n'


def test_run_without_training_part_is_refused(repo_dir, tmp_path):
    from noise_mm.training.run import evaluate
    from noise_mm.training.run import train as start

    config = load_config(repo_dir / 'configs/_base_/model_yolov8_seg.py')
    config.work_dir = str(tmp_path)
    with pytest.raises(InputError, match='train_dataloader'):
        start(config)
    with pytest.raises(InputError, match='test_dataloader'):
        evaluate(config, tmp_path / 'x.pth')


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_amp_without_gpu_is_refused(tiny_config, tmp_path):
    from noise_mm.training.run import train as start

    config = load_config(tiny_config)
    config.work_dir = str(tmp_path)
    with pytest.raises(InputError, match='--amp'):
        start(config, amp=True)
