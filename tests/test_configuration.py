from pathlib import Path

import mmdet
import pytest
from mmengine.config import Config

from noise_mm.configuration import load_config
from noise_mm.errors import InputError

SEG = 'configs/baseline/yolov8-seg.py'


@pytest.fixture
def child(tmp_path, repo_dir):
    """`child(text)` -> a config file that inherits from the baseline and adds `text`."""

    def make(text):
        path = tmp_path / 'child.py'
        path.write_text(f"_base_ = '{repo_dir / SEG}'\n{text}\n")
        return path

    return make


def loaders(config):
    return [config[name] for name in ('train_dataloader', 'val_dataloader', 'test_dataloader')]


@pytest.mark.parametrize('way', ['child', 'option'])
def test_size_follows(child, way):
    text, options = ("model_size = 'n'", None) if way == 'child' else ('', {'model_size': 'n'})
    model = load_config(child(text), options).model
    assert model.backbone.widen_factor == model.neck.widen_factor == model.bbox_head.head_module.widen_factor == 0.25
    assert model.backbone.deepen_factor == model.neck.deepen_factor == pytest.approx(0.33)
    assert model.backbone.last_stage_out_channels == 1024
    assert model.neck.in_channels == model.neck.out_channels == model.bbox_head.head_module.in_channels
    assert model.neck.in_channels == [256, 512, 1024]


@pytest.mark.parametrize('way', ['child', 'option'])
def test_classes_follow(child, way):
    names = ('osteoclast', 'nucleus', 'debris')
    text, options = (f'classes = {names}', None) if way == 'child' else ('', {'classes': list(names)})
    config = load_config(child(text), options)
    assert config.model.bbox_head.head_module.num_classes == 3
    assert config.model.train_cfg.assigner.num_classes == 3
    assert all(loader.dataset.metainfo['classes'] == names for loader in loaders(config))


@pytest.mark.parametrize('way', ['child', 'option'])
def test_data_settings_follow(child, way):
    values = {'data_root': 'elsewhere', 'batch_size': 3, 'num_workers': 0, 'split_seed': 7, 'split_unit': 'patch'}
    values |= {'train_batches': ['A', 'B'], 'test_batches': ['C'], 'network_size_px': 640, 'cache': 'ram'}
    text, options = '\n'.join(f'{k} = {v!r}' for k, v in values.items()), None
    if way == 'option':
        text, options = '', values
    config = load_config(child(text), options)
    assert [loader.dataset.batches for loader in loaders(config)] == [['A', 'B'], ['A', 'B'], ['C']]
    for loader in loaders(config):
        assert (loader.batch_size, loader.num_workers, loader.persistent_workers) == (3, 0, False)
        assert (loader.dataset.data_root, loader.dataset.cache) == ('elsewhere', 'ram')
    assert config.train_dataloader.dataset.split_seed == 7
    assert 'network_size_px=416' not in config.pretty_text
    assert config.hooks.close_mosaic.switch_pipeline == config.train_pipeline_no_mosaic


@pytest.mark.parametrize('way', ['child', 'option'])
def test_length_of_the_run_follows(child, way):
    text, options = ('max_epochs = 7', None) if way == 'child' else ('', {'max_epochs': 7})
    config = load_config(child(text), options)
    assert config.train_cfg.max_epochs == 7


def test_changing_one_hook_keeps_the_others(child):
    config = load_config(child('hooks = dict(early_stopping=dict(patience=3))'))
    kinds = {hook.type: hook for hook in config.custom_hooks}
    assert set(kinds) == {'StepEMAHook', 'CloseMosaicHook', 'ResumableEarlyStoppingHook'}
    assert kinds['ResumableEarlyStoppingHook'].patience == 3
    off = load_config(child('hooks = dict(early_stopping=None)'))
    assert {hook.type for hook in off.custom_hooks} == {'StepEMAHook', 'CloseMosaicHook'}


def test_best_metric_reaches_both_hooks(child):
    config = load_config(child("best_metric = 'some/metric'"))
    assert config.default_hooks.checkpoint.save_best == 'some/metric'
    assert config.hooks.early_stopping.monitor == 'some/metric'


def test_pipelines_follow(child):
    config = load_config(child('test_pipeline = [dict(type="LoadPatch")]'))
    assert [step.type for step in config.test_dataloader.dataset.pipeline] == ['LoadPatch']
    assert [step.type for step in config.val_dataloader.dataset.pipeline] == ['LoadPatch']


def test_fold_holds_one_batch_out(child):
    config = load_config(child(''), fold='M3')
    assert config.train_batches == config.train_dataloader.dataset.batches == ['M1', 'M2', 'M4', 'M5']
    assert config.val_dataloader.dataset.batches == config.train_batches
    assert config.test_dataloader.dataset.batches == ['M3']
    assert config.fold == 'M3'


def test_saved_config_gives_the_same_run(child, tmp_path):
    config = load_config(child("model_size = 's'"), fold='M2')
    config.dump(str(tmp_path / 'saved.py'))
    again = load_config(tmp_path / 'saved.py')
    for key in ('model', 'train_dataloader', 'test_dataloader', 'custom_hooks', 'train_cfg'):
        assert again[key] == config[key], key
    changed = load_config(tmp_path / 'saved.py', {'data_root': 'elsewhere'})
    assert changed.train_dataloader.dataset.data_root == 'elsewhere'


def test_plain_mmengine_configs_pass_through(tmp_path):
    path = tmp_path / 'plain.py'
    path.write_text('model = dict(type="RTMDet", bbox_head=dict(num_classes=1))\n')
    assert load_config(path).model == Config.fromfile(path).model


@pytest.mark.parametrize(
    'name', ['rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py', 'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py']
)
def test_mmdetections_own_configs_pass_through(name):
    path = Path(mmdet.__file__).parent / '.mim/configs' / name
    plain = Config.fromfile(path)
    settings = {'classes': ['cell'], 'batch_size': 2, 'train_batches': ['a']}
    assert load_config(path, settings).model == plain.model


def test_fold_goes_with_batches_given_as_option(child):
    config = load_config(child(''), {'train_batches': ['A', 'B', 'C']}, fold='A')
    assert (config.train_batches, config.test_batches) == (['B', 'C'], ['A'])
    single = load_config(child("test_batches = 'H1'"), fold='M2')
    assert single.train_batches == ['H1', 'M1', 'M3', 'M4']


def test_list_of_hooks_beside_the_dictionary_is_refused(child, tmp_path):
    with pytest.raises(InputError, match='custom_hooks'):
        load_config(child("custom_hooks = [dict(type='MyHook')]"))
    config = load_config(child("hooks = dict(mine=dict(type='MyHook'))"))
    config.dump(str(tmp_path / 'saved.py'))
    assert load_config(tmp_path / 'saved.py').custom_hooks == config.custom_hooks


@pytest.mark.parametrize(
    ('options', 'fold', 'words'),
    [
        ({'model_size': 'h'}, None, 'model_size'),
        ({'classes': ['a', 'a']}, None, 'classes'),
        ({'classes': []}, None, 'classes'),
        (None, 'Z9', '--fold Z9'),
        ({'train_batches': ['M1'], 'test_batches': ['M1']}, 'M1', 'no other batch'),
        ({'train_cfg.max_epochs': 3}, None, 'train_cfg.max_epochs'),
        ({'model.backbone.widen_factor': 0.5}, None, 'model.backbone.widen_factor'),
        ({'test_pipeline.99.type': 'X'}, None, '--cfg-options'),
        ({'max_epoch': 5}, None, 'Did you mean max_epochs'),
        ({'network_size_px': 400}, None, 'network_size_px'),
        ({'batch_size': 0}, None, 'batch_size'),
        ({'max_epochs': 1.5}, None, 'max_epochs'),
    ],
)
def test_contradictions_are_refused(child, options, fold, words):
    with pytest.raises(InputError, match=words):
        load_config(child(''), options, fold)


@pytest.mark.parametrize(
    ('text', 'place', 'setting'),
    [
        ('train_dataloader = dict(batch_size=3)', 'train_dataloader.batch_size', 'batch_size'),
        ('val_dataloader = dict(num_workers=0)', 'val_dataloader.num_workers', 'num_workers'),
        ('train_cfg = dict(max_epochs=7)', 'train_cfg.max_epochs', 'max_epochs'),
        ('model = dict(backbone=dict(widen_factor=0.5))', 'model.backbone.widen_factor', 'model_size'),
        ('model = dict(bbox_head=dict(head_module=dict(num_classes=2)))', 'head_module.num_classes', 'classes'),
        ("test_dataloader = dict(dataset=dict(batches=['H1']))", 'dataset.batches', 'train_batches or test_batches'),
        ("test_dataloader = dict(dataset=dict(pipeline=[dict(type='A')]))", 'pipeline.0.type', 'test_pipeline'),
        ("default_hooks = dict(checkpoint=dict(save_best='a/b'))", 'checkpoint.save_best', 'best_metric'),
    ],
)
def test_child_that_sets_a_derived_place_is_refused(child, text, place, setting):
    with pytest.raises(InputError, match=rf'child\.py: .*{place} .* would do nothing.* Set .*{setting} instead'):
        load_config(child(text))


def test_base_of_a_child_that_sets_a_derived_place_is_refused(child, tmp_path):
    child('train_dataloader = dict(batch_size=3)').rename(tmp_path / 'middle.py')
    grandchild = tmp_path / 'grandchild.py'
    grandchild.write_text("_base_ = 'middle.py'\nmax_epochs = 3\n")
    with pytest.raises(InputError, match=r'middle\.py: train_dataloader\.batch_size = 3 would do nothing'):
        load_config(grandchild)


def test_base_that_is_not_complete_is_not_compared(child, tmp_path):
    child('model_size = None').rename(tmp_path / 'middle.py')
    grandchild = tmp_path / 'grandchild.py'
    grandchild.write_text("_base_ = 'middle.py'\nmodel_size = 's'\n")
    assert load_config(grandchild).model.backbone.deepen_factor == 0.33


@pytest.mark.parametrize(
    ('text', 'options'),
    [
        ('batch_size = 3\ntrain_dataloader = dict(batch_size=3)', {}),
        ('batch_size = 3\ntrain_dataloader = dict(batch_size=3)', {'batch_size': 5}),
        ('train_dataloader = dict(drop_last=True)', {'batch_size': 5}),
        ("network_size_px = 64\ntest_pipeline = [dict(type='FitPatch', network_size_px=416)]", {}),
    ],
)
def test_child_that_agrees_with_its_settings_passes(child, text, options):
    assert load_config(child(text), options).train_dataloader.batch_size == options.get(
        'batch_size', 3 if '3' in text else 16
    )


def test_single_names_become_lists(child):
    config = load_config(child("init_from = 'mine.pth'"), {'train_batches': 'M1'})
    assert (config.init_from, config.train_batches) == (['mine.pth'], ['M1'])


def test_missing_and_broken_configs_are_refused(tmp_path):
    with pytest.raises(InputError, match='no such config'):
        load_config(tmp_path / 'none.py')
    broken = tmp_path / 'broken.py'
    for text in ('model = dict(', 'model = undefined_name', "_base_ = 'missing.py'", 'x = 1 / 0'):
        broken.write_text(text)
        with pytest.raises(InputError, match='broken.py'):
            load_config(broken)
