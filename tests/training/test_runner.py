"""Real runs of the nano network on a few drawn patches."""

import json
import shutil
from typing import ClassVar

import pytest
import torch
from mmengine.hooks import EMAHook, Hook
from mmyolo.registry import HOOKS

from noise_mm.checkpoints.safe_loading import load_checkpoint_file
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


@HOOKS.register_module()
class KillBeforeValidation(KillBeforeEpoch):
    def before_train_epoch(self, runner):
        pass

    def before_val_epoch(self, runner):
        if runner.epoch == self.epoch:
            raise Killed


@HOOKS.register_module()
class KeepStart(Hook):
    """Keeps the weights that a training begins with, and the averaged ones, and ends it there."""

    seen: ClassVar = {}

    def before_train_epoch(self, runner):
        (ema,) = (hook for hook in runner.hooks if isinstance(hook, EMAHook))
        for name, model in (('weights', runner.model), ('average', ema.ema_model.module)):
            self.seen[name] = {key: value.clone() for key, value in model.state_dict().items()}
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
@pytest.mark.parametrize('kill', ['KillBeforeEpoch', 'KillBeforeValidation'])
def test_resumed_run_ends_where_the_whole_one_does(train, tmp_path, kill):
    whole = train(tmp_path / 'whole', max_epochs=3)
    with pytest.raises(Killed):
        train(tmp_path / 'cut', max_epochs=3, **{'default_hooks.kill': {'type': kill, 'epoch': 2}})
    resumed = train(tmp_path / 'cut', resume='auto', max_epochs=3)
    for name in ('epoch_3.pth', 'best.pth'):
        expected, found = weights(whole / name), weights(resumed / name)
        assert expected.keys() == found.keys()
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, rtol=0, atol=0, msg=f'{name} {key}')
    stops = [load_checkpoint_file(folder / 'epoch_3.pth')['early_stopping'] for folder in (whole, resumed)]
    assert stops[0] == stops[1]


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
def test_amp_without_gpu_needs_a_processor_with_bfloat16(tiny_config, tmp_path, monkeypatch):
    from noise_mm.training.run import train as start

    monkeypatch.setattr('noise_mm.training.run.cpu_multiplies_bfloat16', lambda: False)

    config = load_config(tiny_config)
    config.work_dir = str(tmp_path)
    with pytest.raises(InputError, match='--amp'):
        start(config, amp=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_amp_on_a_cpu_trains_in_bfloat16(tiny_config, tmp_path, monkeypatch):
    from noise_mm.training.run import train as start

    dtypes = []

    @HOOKS.register_module(force=True)
    class WatchDtype(Hook):
        def before_train(self, runner):
            runner.model.backbone.stem.conv.register_forward_hook(lambda _, __, output: dtypes.append(output.dtype))

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            assert all(torch.isfinite(value) for value in outputs.values())

    monkeypatch.setattr('noise_mm.training.run.cpu_multiplies_bfloat16', lambda: True)
    config = load_config(tiny_config, {'max_epochs': 1, 'default_hooks.watch': {'type': 'WatchDtype'}})
    config.work_dir, config.launcher = str(tmp_path), 'none'
    start(config, amp=True)
    assert torch.bfloat16 in dtypes  # in training
    assert dtypes[-1] == torch.float32  # in validation
    assert {value.dtype for name, value in weights(tmp_path / 'best.pth').items() if 'weight' in name} == {
        torch.float32
    }


def test_only_weights_decay(tiny_config, tmp_path):
    from mmyolo.registry import RUNNERS

    config = load_config(tiny_config)
    config.work_dir, config.launcher = str(tmp_path), 'none'
    runner = RUNNERS.get('YOLOv8Runner').from_cfg(config)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    assert type(wrapper.optimizer).__name__ == 'AdamW'
    assert [group['weight_decay'] for group in wrapper.optimizer.param_groups] == [0.0005, 0.0, 0.0]


def test_networks_keep_the_memory_format_that_trains_fastest(tiny_config, tmp_path):
    from mmyolo.registry import RUNNERS

    config = load_config(tiny_config)
    config.work_dir, config.launcher = str(tmp_path), 'none'
    model = RUNNERS.get('YOLOv8Runner').from_cfg(config).model
    formats = []
    for module in model.modules():
        if isinstance(module, torch.nn.SiLU):
            module.register_forward_hook(
                lambda _, __, output: formats.append(output.is_contiguous(memory_format=torch.channels_last))
            )
    model.train()(torch.rand(2, 3, 64, 64))
    assert len(formats) > 50
    assert all(formats)


def test_run_starts_from_given_weights(train, build_weights, tmp_path):
    start = build_weights(
        lambda name, value: torch.full_like(value, 0.25) if name.endswith('coef_preds.0.2.bias') else value
    )
    folder = train(
        tmp_path / 'run',
        max_epochs=1,
        load_from=str(start),
        **{'optim_wrapper.optimizer.lr': 0.0, 'optim_wrapper.optimizer.type': 'SGD'},
    )
    bias = weights(folder / 'epoch_1.pth')['bbox_head.head_module.coef_preds.0.2.bias']
    torch.testing.assert_close(bias, torch.full_like(bias, 0.25))


@pytest.fixture
def build_weights(tiny_config, tmp_path):
    """`build_weights(change)` -> a checkpoint of the tiny network, each tensor as `change(name, value)` gives it."""
    from mmyolo.registry import MODELS
    from mmyolo.utils import register_all_modules

    register_all_modules()

    def make(change, **options):
        model = MODELS.build(load_config(tiny_config, options).model)
        path = tmp_path / 'start.pth'
        torch.save({'state_dict': {name: change(name, value) for name, value in model.state_dict().items()}}, path)
        return path

    return make


@pytest.fixture
def initial(build_weights, repo_dir, tmp_path):
    """Two checkpoints to start from: a segmentor of one other class, and over it stage 2's detector."""
    from mmyolo.registry import MODELS

    first = build_weights(lambda name, value: torch.ones_like(value))
    config = load_config(repo_dir / 'configs/noise/pretrain_osteoclast-nuclei_yolov8-l.py', {'model_size': 'n'})
    torch.manual_seed(5)
    detector = MODELS.build(config.model)
    path = tmp_path / 'detector.pth'
    meta = {'dataset_meta': {'classes': ('osteoclast', 'nucleus')}}
    torch.save({'state_dict': detector.state_dict(), 'meta': meta}, path)
    return [dict(file=str(first), origin='coco'), dict(file=str(path), origin='noise/stage2.py')]


def start_of(train, work_dir, **options):
    with pytest.raises(Killed):
        train(work_dir, **{'default_hooks.keep': {'type': 'KeepStart'}}, **options)
    return KeepStart.seen['weights'], KeepStart.seen['average']


def assert_started_from(found, initial):
    first, second = (weights(each['file']) for each in initial)
    for name, value in found.items():
        expected = second.get(name, first[name])
        has_rows = 'cls_preds' in name and name.endswith(('.2.weight', '.2.bias'))
        assert torch.equal(value, expected[:1] if has_rows else expected), name


def test_training_starts_from_checkpoints_in_order(train, initial, tmp_path):
    found, average = start_of(train, tmp_path / 'run', init_checkpoints=initial)
    assert_started_from(found, initial)
    assert all(torch.equal(average[name], value) for name, value in found.items())

    report = json.loads((tmp_path / 'run/initial_weights.json').read_text())
    assert [each['origin'] for each in report['checkpoints']] == ['coco', 'noise/stage2.py']
    assert all(len(each['sha256']) == 64 for each in report['checkpoints'])
    assert len(report['checkpoints'][1]['remapped']) == 6
    assert report['checkpoints'][1]['class_rows'] == ['osteoclast']
    assert (report['random'], report['random_class_rows']) == ([], [])


@pytest.fixture
def data_with_nuclei(tiny_data, tmp_path):
    """A copy of the drawn batches in which every other object is a nucleus."""
    root = shutil.copytree(tiny_data, tmp_path / 'data')
    for path in root.glob('M*/annotations.json'):
        content = json.loads(path.read_text())
        for each in content['annotations'][::2]:
            each['category_id'] = 2
        path.write_text(json.dumps(content))
    return root


def test_report_lists_what_stayed_random(train, initial, data_with_nuclei, tmp_path):
    content = load_checkpoint_file(initial[1]['file'])
    content['meta']['dataset_meta']['classes'] = ('osteoclast', 'debris')
    torch.save(content, initial[1]['file'])
    options = {'classes': ['osteoclast', 'nucleus'], 'data_root': str(data_with_nuclei)}
    found, _ = start_of(train, tmp_path / 'run', init_checkpoints=initial[1:], **options)
    report = json.loads((tmp_path / 'run/initial_weights.json').read_text())
    assert set(report['random']) == found.keys() - weights(initial[1]['file']).keys()
    assert all('coef_preds' in name or 'proto' in name for name in report['random'])
    assert report['random_class_rows'] == ['nucleus']


def test_missing_coco_weights_are_on_record(train, tmp_path):
    start_of(train, tmp_path / 'run')
    (log,) = tmp_path.glob('run/*/*.log')
    assert 'no COCO weights were found' in log.read_text()
    report = json.loads((tmp_path / 'run/initial_weights.json').read_text())
    assert report['checkpoints'] == []
    assert report['random']


def test_run_that_was_cut_before_its_first_checkpoint_starts_anew(train, initial, tmp_path):
    with pytest.raises(Killed):
        train(
            tmp_path / 'run',
            init_checkpoints=initial,
            **{'default_hooks.kill': {'type': 'KillBeforeEpoch', 'epoch': 0}},
        )
    found, _ = start_of(train, tmp_path / 'run', resume='auto', init_checkpoints=initial)
    assert_started_from(found, initial)


def test_evaluation_does_not_start_from_initial_checkpoints(tiny_config, build_weights, tmp_path):
    from noise_mm.training.run import evaluate

    config = load_config(tiny_config, {'init_checkpoints': [dict(file='not/there.pth', origin='coco')]})
    config.work_dir, config.launcher = str(tmp_path / 'run'), 'none'
    evaluate(config, build_weights(lambda name, value: value))
    assert not (tmp_path / 'run/initial_weights.json').exists()


def test_weights_that_do_not_fit_at_all_are_refused(train, tmp_path):
    path = tmp_path / 'other.pth'
    torch.save({'state_dict': {'fc.weight': torch.zeros(3)}}, path)
    with pytest.raises(InputError, match='nothing in it fits'):
        train(tmp_path / 'run', load_from=str(path))


def test_resuming_what_is_no_run_is_refused(train, build_weights, tmp_path):
    bare = build_weights(lambda name, value: value)
    with pytest.raises(InputError, match='holds weights but no state of a run'):
        train(tmp_path / 'run', resume=str(bare))


@pytest.mark.slow
def test_resuming_another_network_is_refused(train, tmp_path):
    train(tmp_path / 'run', max_epochs=1)
    with pytest.raises(InputError, match='YOLOv8-s'):
        train(tmp_path / 'run', resume='auto', model_size='s')


def test_work_folder_that_is_a_file_is_refused(train, tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(InputError, match='--work-dir'):
        train(tmp_path / 'file')


@HOOKS.register_module()
class KeepRates(Hook):
    """Keeps the rate that the optimizer steps with, and the one that is logged, of each iteration."""

    priority = 'LOWEST'
    used: ClassVar = []
    logged: ClassVar = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.used.append(runner.optim_wrapper.optimizer.param_groups[0]['lr'])
        self.logged.append(runner.message_hub.get_scalar('train/lr').current())


def test_logged_rates_are_those_of_the_iteration(train, tmp_path):
    """Warm-up begins at 0, and the first line of the log says so."""
    KeepRates.used.clear()
    KeepRates.logged.clear()
    train(
        tmp_path / 'run',
        max_epochs=1,
        **{'default_hooks.rates': {'type': 'KeepRates'}, 'default_hooks.logger.interval': 1},
    )
    assert KeepRates.logged == KeepRates.used
    assert (KeepRates.used[0], len(KeepRates.used)) == (0.0, 2)
    assert KeepRates.used[1] > 0
    (log,) = tmp_path.glob('run/*/*.log')
    first = next(line for line in log.read_text().splitlines() if 'Epoch(train)' in line)
    assert ' lr: 0.0000e+00 ' in first
