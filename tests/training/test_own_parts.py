"""Runs whose parts an author has replaced by those of MMEngine, as MMDetection's users do."""

import json

import pytest
from mmengine.config import Config
from mmengine.registry import RUNNERS

from noise_mm.configuration import load_config
from noise_mm.errors import InputError


@pytest.fixture
def runner(tiny_config, tmp_path):
    """`runner(text)` -> a runner of the tiny config with `text` in a child, built as MMDetection's tools build it."""

    def make(text, **options):
        path = tmp_path / 'child.py'
        path.write_text(f"_base_ = '{tiny_config}'\ninit_from = []\nmax_epochs = 1\n{text}\n")
        config = Config.fromfile(path)
        config.merge_from_dict({'work_dir': str(tmp_path / 'run'), 'launcher': 'none', **options})
        return RUNNERS.build(config)

    return make


def rates(runner):
    """Train and return the learning rates of all iterations."""
    from mmengine.hooks import Hook

    seen = []

    class Watch(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            seen.append(runner.optim_wrapper.optimizer.param_groups[0]['lr'])

    runner.register_hook(Watch(), priority='LOWEST')
    runner.train()
    return seen


OWN = "dict(_delete_=True, type='{}', optimizer=dict(type='AdamW', lr=1e-4))"


@pytest.mark.parametrize(
    'text',
    [
        f'optim_wrapper = {OWN.format("OptimWrapper")}',
        "optim_wrapper = dict(type='OptimWrapper', accumulative_counts=2)",
        f"optim_wrapper = {OWN.format('OptimWrapper')}\nparam_scheduler = [dict(type='LinearLR', by_epoch=False)]",
    ],
)
def test_own_optimizer_wrapper_trains(runner, text):
    built = runner(text)
    before = {name: value.clone() for name, value in built.model.state_dict().items()}
    rates(built)
    changed = [name for name, value in built.model.state_dict().items() if not (value == before[name]).all()]
    assert 'backbone.stem.conv.weight' in changed


def test_mixed_precision_does_not_replace_an_own_wrapper(tiny_config):
    from noise_mm.training.run import set_mixed_precision

    with pytest.raises(InputError, match='AmpOptimWrapper'):
        set_mixed_precision(load_config(tiny_config, {'optim_wrapper.type': 'OptimWrapper'}))


def test_steps_of_another_size_are_named(runner, tmp_path):
    runner(f'optim_wrapper = {OWN.format("OptimWrapper")}\nnominal_batch_size = 64').train()
    log = next((tmp_path / 'run').glob('*/*.log')).read_text()
    assert 'OptimWrapper steps after 2 images, not after nominal_batch_size=64' in log


def test_own_schedule_is_followed(runner):
    text = "param_scheduler = [dict(type='MultiStepLR', milestones=[1], gamma=0.5, by_epoch=False)]\n"
    first, second = rates(runner(text, **{'optim_wrapper.optimizer': dict(type='SGD', lr=0.5)}))
    assert (first, second) == (0.5, 0.25)


def test_loss_gains_without_types(runner):
    head = runner('model = dict(bbox_head=dict(loss_bbox=dict(loss_weight=5.0), mask_loss_weight=3.0))').model.bbox_head
    assert (head.loss_bbox.loss_weight, head.loss_bbox.iou_mode, head.mask_loss_weight) == (5.0, 'ciou', 3.0)
    assert head.loss_cls.loss_weight == 0.5


def test_start_from_a_checkpoint_behind_a_url(runner, tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'hub'))
    first = runner('')
    first.train()
    first.save_checkpoint(str(tmp_path), 'start.pth')
    runner('', load_from=(tmp_path / 'start.pth').as_uri()).train()
    report = json.loads((tmp_path / 'run' / 'initial_weights.json').read_text())
    assert report['checkpoints'][0]['origin'] == 'load_from'
    assert not report['random']
    with pytest.raises(InputError, match=r'missing\.pth: cannot be downloaded'):
        runner('', load_from=(tmp_path / 'missing.pth').as_uri())


def test_pretrained_parts_are_named(runner, tmp_path):
    first = runner('')
    first.train()
    first.save_checkpoint(str(tmp_path), 'start.pth')
    start = f"dict(type='Pretrained', checkpoint='{tmp_path / 'start.pth'}', prefix='backbone.')"
    runner(f'model = dict(backbone=dict(init_cfg={start}))').train()
    logs = ''.join(path.read_text() for path in (tmp_path / 'run').glob('*/*.log'))
    assert 'init_cfg of backbone loads' in logs


def test_finished_run_goes_on_for_more_epochs(runner):
    runner('').train()
    longer = runner('max_epochs = 2', resume=True)
    longer.train()
    assert longer.epoch == 2


def test_accumulation_by_another_name_is_refused(runner):
    with pytest.raises(InputError, match='nominal_batch_size'):
        runner('optim_wrapper = dict(accumulative_counts=4)').train()


def test_dataset_in_a_wrapper_trains(runner):
    wrapped = "dict(_delete_=True, type='RepeatDataset', times=2, dataset=_base_.train_dataloader.dataset)"
    assert len(rates(runner(f'train_dataloader = dict(dataset={wrapped})'))) == 4


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ("best_metric = 'osteoclast/segm_mAP55'", 'save_best is .*segm_mAP50'),
        ("val_evaluator = dict(metric=['bbox'])", 'segm_mAP50.*bbox_mAP50'),
        ("val_evaluator = dict(prefix='mine')", 'mine/segm_mAP50'),
        ("val_evaluator = dict(_delete_=True, type='mmdet.CocoMetric', metric=['segm'])", r'best_metric.*coco/'),
        ("default_hooks = dict(checkpoint=dict(save_best=None))\nbest_metric = 'x/y'", 'monitor is'),
    ],
)
def test_number_that_is_not_produced_is_refused_before_the_first_epoch(runner, text, words):
    built = runner(text)
    with pytest.raises(InputError, match=words):
        built.train()
    assert built.iter == 0


def test_coco_metric_alone(runner):
    evaluator = "dict(_delete_=True, type='mmdet.CocoMetric', metric=['bbox', 'segm'])"
    built = runner(f"val_evaluator = {evaluator}\nbest_metric = 'coco/segm_mAP_50'")
    built.train()
    assert built.message_hub.get_scalar('val/coco/segm_mAP_50')


@pytest.mark.parametrize('saved', [False, True])
def test_plain_runner_gives_the_same_run(runner, tmp_path, saved):
    from mmengine.runner import Runner

    config = runner('').cfg
    if not saved:
        config = Config.fromfile(tmp_path / 'child.py')
        config.work_dir = str(tmp_path / 'run')
    built = Runner.from_cfg(config)
    built.train()
    assert built.epoch == 1
    assert built.train_dataloader.batch_size == 2
    assert (tmp_path / 'run' / 'best.pth').is_file()


def test_runner_of_mmengine_by_name_is_refused_in_one_line(runner):
    with pytest.raises(InputError, match='RUNNERS.build'):
        runner("runner_type = 'Runner'")


def test_rates_of_parts_by_a_constructor_that_knows_none_are_refused(runner):
    parts = "paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.1)})"
    with pytest.raises(InputError, match='custom_keys.*DefaultOptimWrapperConstructor'):
        runner(f'optim_wrapper = dict({parts})').train()
    built = runner(f"optim_wrapper = dict(constructor='DefaultOptimWrapperConstructor', {parts})")
    built.train()
    rates = {group['initial_lr'] for group in built.optim_wrapper.optimizer.param_groups}
    assert max(rates) == pytest.approx(10 * min(rates))


@pytest.mark.slow  # loader processes import torch again
def test_loader_processes_are_spawned_where_forking_is_not_safe(runner, monkeypatch):
    import multiprocessing
    import sys

    before = multiprocessing.get_start_method()
    monkeypatch.setattr(sys, 'platform', 'darwin')
    try:
        built = runner('train_dataloader = dict(num_workers=1)')
        assert multiprocessing.get_start_method() == 'spawn'
        monkeypatch.undo()
        built.train()
        assert built.epoch == 1
    finally:
        multiprocessing.set_start_method(before, force=True)


def test_hooks_of_an_authors_own_come_on_top(runner):
    text = "custom_hooks = [dict(type='EmptyCacheHook')]\ndefault_hooks = dict(early_stopping=None)"
    kinds = {type(hook).__name__ for hook in runner(text).hooks}
    assert {'EmptyCacheHook', 'StepEMAHook', 'CloseMosaicHook'} <= kinds
    assert 'ResumableEarlyStoppingHook' not in kinds


def test_training_by_iterations(runner):
    loop = """train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=4, val_interval=2)
train_dataloader = dict(sampler=dict(type='InfiniteSampler'))
log_processor = dict(by_epoch=False)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=2){more})
"""
    rates = "\nparam_scheduler = [dict(type='LinearLR', by_epoch=False, end=4)]"
    with pytest.raises(InputError, match='param_scheduler'):
        runner(loop.format(more='')).train()
    with pytest.raises(InputError, match='close_mosaic=None'):
        runner(loop.format(more='') + rates).train()
    built = runner(loop.format(more=', close_mosaic=None') + rates)
    built.train()
    assert built.iter == 4


def test_two_averages_of_the_weights_are_refused(runner):
    own = "custom_hooks = [dict(type='EMAHook', momentum=0.001)]"
    with pytest.raises(InputError, match=r'EMAHook both average.*ema=None'):
        runner(own)
    hooks = [type(hook).__name__ for hook in runner(f'{own}\ndefault_hooks = dict(ema=None)').hooks]
    assert 'EMAHook' in hooks
    assert 'StepEMAHook' not in hooks


def test_saved_config_of_a_run_means_the_same(runner, tmp_path):
    built = runner('model = dict(backbone=dict(frozen_stages=1))\nval_dataloader = dict(batch_size=1)')
    saved = load_config(next((tmp_path / 'run').glob('*.py')))
    assert saved.model == built.cfg.model
    assert (saved.val_dataloader.batch_size, saved.train_dataloader.batch_size) == (1, 2)
