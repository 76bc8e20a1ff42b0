from pathlib import Path

import mmdet
import pytest
from mmengine.config import Config

from noise_mm.configuration import fill, load_config, refuse_references
from noise_mm.errors import InputError
from noise_mm.seen_batches import datasets_in

SEG = 'configs/baseline/yolov8-seg.py'
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


@pytest.fixture
def child(tmp_path, repo_dir):
    """`child(text)` -> a config file that inherits from the baseline and adds `text`."""

    def make(text, base=SEG):
        path = tmp_path / 'child.py'
        path.write_text(f"_base_ = '{repo_dir / base}'\n{text}\n")
        return path

    return make


def loaders(config):
    return [config[name] for name in LOADERS]


# --- references


def test_references_are_replaced_at_any_depth_and_by_the_final_value():
    config = Config(dict(a=1, b=['${a}', {'c': '${a}'}], d=dict(e='${b}'), f=('${a}',), note='costs ${a}'))
    config.a = 2
    fill(config)
    assert (config.b, config.d.e, config.f, config.note) == ([2, {'c': 2}], [2, {'c': 2}], (2,), 'costs ${a}')


@pytest.mark.parametrize('content', [dict(a='${missing}'), dict(a='${b}', b='${a}'), dict(a=['${a}'])])
def test_references_that_lead_nowhere_are_refused(content):
    with pytest.raises(InputError, match=r'\$\{'):
        fill(Config(content))


def test_what_was_filled_in_follows_its_setting_again():
    config = Config(dict(a=1, b=dict(c='${a}', d='${a}')))
    fill(config)
    config.a, config.b.d = 2, 7  # d was changed by somebody, c was not
    fill(config)
    assert (config.b.c, config.b.d) == (2, 7)


def test_filling_in_twice_changes_nothing(child):
    config = load_config(child(''))
    before = config.to_dict()
    fill(config)
    assert config.to_dict() == before


def test_unfilled_arguments_are_refused_with_what_to_do():
    with pytest.raises(InputError, match=r"Some: b='\$\{max_epochs\}'.*load_config"):
        refuse_references('Some', {'a': 1, 'b': '${max_epochs}'})


# --- settings of the top level reach all places


@pytest.mark.parametrize('way', ['child', 'option'])
def test_size_and_classes_reach_the_model(child, way):
    names = ('osteoclast', 'nucleus', 'debris')
    text, options = f"model_size = 'n'\nclasses = {names}", None
    if way == 'option':
        text, options = '', {'model_size': 'n', 'classes': list(names)}
    config = load_config(child(text), options)
    assert (config.model.size, config.model.num_classes) == ('n', 3)
    assert all(loader.dataset.metainfo['classes'] == names for loader in loaders(config))


def test_size_of_an_option_beats_that_of_the_file(child):
    config = load_config(child("model = dict(size='s')"), {'model_size': 'n'})
    assert config.model.size == 'n'


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
        assert (loader.batch_size, loader.num_workers) == (3, 0)
        assert (loader.dataset.data_root, loader.dataset.cache) == ('elsewhere', 'ram')
    assert config.train_dataloader.dataset.split_seed == 7
    assert 'network_size_px=416' not in config.pretty_text
    assert config.default_hooks.close_mosaic.switch_pipeline == config.train_pipeline_no_mosaic


@pytest.mark.parametrize('way', ['child', 'option'])
def test_length_of_the_run_follows(child, way):
    text, options = ('max_epochs = 7', None) if way == 'child' else ('', {'max_epochs': 7})
    assert load_config(child(text), options).train_cfg.max_epochs == 7


def test_metric_and_pipelines_follow(child):
    config = load_config(child("best_metric = 'some/metric'\ntest_pipeline = [dict(type='LoadPatch')]"))
    hooks = config.default_hooks
    assert hooks.checkpoint.save_best == hooks.early_stopping.monitor == 'some/metric'
    assert [step.type for step in config.test_dataloader.dataset.pipeline] == ['LoadPatch']
    assert [step.type for step in config.val_dataloader.dataset.pipeline] == ['LoadPatch']


@pytest.mark.parametrize('name', ['hooks', 'default_hooks'])
def test_changing_one_hook_keeps_the_others(child, name):
    plain = load_config(child('')).default_hooks
    changed = load_config(child(f'{name} = dict(early_stopping=dict(patience=3), ema=None)')).default_hooks
    assert set(changed) == set(plain)
    assert changed.early_stopping == {**plain.early_stopping, 'patience': 3}
    assert changed.ema is None


def test_hook_removed_by_one_name_stays_away_under_the_other(child):
    text = 'hooks = dict(ema=dict(momentum=0.5), close_mosaic=None)\ndefault_hooks = dict(ema=None)'
    hooks = load_config(child(text)).default_hooks
    assert (hooks.ema, hooks.close_mosaic) == (None, None)


def test_own_list_of_hooks_comes_on_top(child):
    config = load_config(child("custom_hooks = [dict(type='MyHook')]"))
    assert config.custom_hooks == [{'type': 'MyHook'}]
    assert config.default_hooks.ema.type == 'StepEMAHook'


def test_single_names_become_lists(child):
    config = load_config(child("init_from = 'mine.pth'"), {'train_batches': 'M1'})
    assert (config.init_from, config.train_batches) == (['mine.pth'], ['M1'])


# --- what an author writes at a place wins


@pytest.mark.parametrize(
    ('text', 'place', 'value'),
    [
        ('train_dataloader = dict(batch_size=3)', 'train_dataloader.batch_size', 3),
        ('val_dataloader = dict(num_workers=0)', 'val_dataloader.num_workers', 0),
        ('train_cfg = dict(max_epochs=7)', 'train_cfg.max_epochs', 7),
        ('model = dict(backbone=dict(widen_factor=0.5))', 'model.backbone.widen_factor', 0.5),
        ("test_dataloader = dict(dataset=dict(batches=['H1']))", 'test_dataloader.dataset.batches', ['H1']),
        ('train_dataloader = dict(dataset=dict(batches=[]))', 'train_dataloader.dataset.batches', []),
        ('val_dataloader = dict(dataset=dict(pipeline=[{}]))', 'val_dataloader.dataset.pipeline', [{}]),
        ('test_dataloader = dict(dataset=dict(pipeline=[]))', 'test_dataloader.dataset.pipeline', []),
        ("default_hooks = dict(checkpoint=dict(save_best='a/b'))", 'default_hooks.checkpoint.save_best', 'a/b'),
        ('default_hooks = dict(checkpoint=dict(save_best=None))', 'default_hooks.checkpoint.save_best', None),
        ('network_size_px = 64\ntest_pipeline = [dict(network_size_px=416)]', 'test_pipeline.0.network_size_px', 416),
    ],
)  # fmt: skip
@pytest.mark.parametrize('deep', [False, True])
def test_value_at_a_place_is_kept(child, tmp_path, text, place, value, deep):
    path = child(text)
    if deep:
        path = path.rename(tmp_path / 'middle.py')
        (tmp_path / 'grandchild.py').write_text("_base_ = 'middle.py'\nmax_epochs = 3\nbatch_size = 5\n")
        path = tmp_path / 'grandchild.py'
    node = load_config(path)
    for part in place.split('.'):
        node = node[int(part)] if isinstance(node, list) else node[part]
    assert node == value


@pytest.mark.parametrize('key', ['train_dataloader.dataset.pipeline', 'train_pipeline'])
def test_option_inside_a_pipeline(child, key):
    config = load_config(child(''), {f'{key}.5.prob': 0.1})
    assert config.train_dataloader.dataset.pipeline[5].prob == 0.1


def test_option_at_a_place(child):
    config = load_config(child(''), {'train_cfg.max_epochs': 3, 'val_dataloader.batch_size': 1, 'batch_size': 5})
    assert config.train_cfg.max_epochs == 3
    assert [loader.batch_size for loader in loaders(config)] == [5, 1, 5]


def test_settings_reach_datasets_inside_wrappers(child):
    text = (
        '_d = _base_.train_dataloader.dataset\n'
        "train_batches = ['M2']\n"
        "_inner = dict(type='ConcatDataset', datasets=[_d, _d])\n"
        "train_dataloader = dict(dataset=dict(_delete_=True, type='RepeatDataset', times=3, dataset=_inner))\n"
    )
    config = load_config(child(text))
    outer, (first, second) = config.train_dataloader.dataset, datasets_in(config.train_dataloader.dataset)
    assert set(outer) == {'type', 'times', 'dataset'}
    assert first == second
    assert (first.batches, first.metainfo['classes']) == (['M2'], ('osteoclast',))
    assert first.pipeline == config.train_pipeline


# --- folds


def test_fold_holds_one_batch_out(child):
    config = load_config(child(''), fold='M3')
    assert config.train_batches == config.train_dataloader.dataset.batches == ['M1', 'M2', 'M4', 'M5']
    assert config.val_dataloader.dataset.batches == config.train_batches
    assert config.test_dataloader.dataset.batches == ['M3']
    assert config.fold == 'M3'


def test_fold_goes_with_batches_given_as_option(child):
    config = load_config(child(''), {'train_batches': ['A', 'B', 'C']}, fold='A')
    assert (config.train_batches, config.test_batches) == (['B', 'C'], ['A'])
    single = load_config(child("test_batches = 'H1'"), fold='M2')
    assert single.train_batches == ['H1', 'M1', 'M3', 'M4']


@pytest.mark.parametrize(
    'text',
    [
        "train_dataloader = dict(dataset=dict(batches=['M1', 'M3']))",
        'train_dataloader = dict(dataset=dict(batches=None))',
        "test_dataloader = dict(dataset=dict(batches=['M1']))",
    ],
)
def test_fold_against_batches_of_a_dataset_is_refused(child, text):
    with pytest.raises(InputError, match='--fold M3: the dataset of t'):
        load_config(child(text), fold='M3')


# --- saved configs


def test_saved_config_gives_the_same_run_and_still_follows(child, tmp_path):
    config = load_config(child("model_size = 's'\ntrain_dataloader = dict(batch_size=3)"), fold='M2')
    config.dump(str(tmp_path / 'saved.py'))
    again = load_config(tmp_path / 'saved.py')
    for key in ('model', 'train_dataloader', 'test_dataloader', 'default_hooks', 'train_cfg'):
        assert again[key] == config[key], key
    options = {'data_root': 'elsewhere', 'batch_size': 9, 'network_size_px': 64}
    changed = load_config(tmp_path / 'saved.py', options)
    assert changed.train_dataloader.dataset.data_root == 'elsewhere'
    assert [loader.batch_size for loader in loaders(changed)] == [3, 9, 9]
    assert 'network_size_px=416' not in changed.pretty_text
    assert load_config(tmp_path / 'saved.py', fold='M3').test_dataloader.dataset.batches == ['M3']


# --- configs of others


def test_plain_mmengine_configs_pass_through(tmp_path):
    path = tmp_path / 'plain.py'
    path.write_text('model = dict(type="RTMDet", bbox_head=dict(num_classes=1))\nmax_epoch = 3\n')
    assert load_config(path).to_dict() == Config.fromfile(path).to_dict()


@pytest.mark.parametrize(
    'name', ['rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py', 'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py']
)
def test_foreign_base_with_our_dataset_keeps_its_meaning(tmp_path, name):
    base = Path(mmdet.__file__).parent / '.mim/configs' / name
    path = tmp_path / 'mine.py'
    path.write_text(
        f"_base_ = '{base}'\ncustom_imports = dict(imports=['noise_mm.register'])\n"
        "_mine = dict(_delete_=True, type='mmyolo.OsteoclastDataset', data_root='d', batches=['A'], pipeline=[])\n"
        'train_dataloader = dict(dataset=_mine)\nmax_epochs = 3\n'
    )
    plain = Config.fromfile(path)
    settings = {'classes': ['cell'], 'batch_size': 2, 'train_batches': ['a']}
    config = load_config(path, settings)
    for key in ('model', 'train_dataloader', 'val_dataloader', 'train_cfg'):
        assert config[key] == plain[key]


# --- what cannot be meant


@pytest.mark.parametrize(
    ('options', 'fold', 'words'),
    [
        ({'model_size': 'h'}, None, 'model_size'),
        ({'classes': ['a', 'a']}, None, 'classes'),
        ({'classes': []}, None, 'classes'),
        (None, 'Z9', '--fold Z9'),
        ({'train_batches': ['M1'], 'test_batches': ['M1']}, 'M1', 'no other batch'),
        ({'test_pipeline.99.type': 'X'}, None, '--cfg-options'),
        ({'max_epoch': 5}, None, 'Did you mean max_epochs'),
        ({'network_size_px': 400}, None, 'network_size_px'),
        ({'batch_size': 0}, None, 'batch_size'),
        ({'max_epochs': 1.5}, None, 'max_epochs'),
        ({'later_validation': 'kept'}, None, 'later_validation: would do nothing'),
    ],
)
def test_contradictions_are_refused(child, options, fold, words):
    with pytest.raises(InputError, match=words):
        load_config(child(''), options, fold)


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('max_epoch = 5', r'child\.py: max_epoch: .* Did you mean max_epochs'),
        ("train_batchs = ['M1']", 'Did you mean train_batches'),
        ("model_size = 's'\nmodel = dict(size='m')", "model_size is 's', but model.size is 'm'"),
        ("classes = ('a', 'b')\nmodel = dict(num_classes=3)", 'model.num_classes is 3'),
    ],
)
def test_names_and_values_of_a_file_that_cannot_be_meant_are_refused(child, text, words):
    with pytest.raises(InputError, match=words):
        load_config(child(text))


@pytest.mark.parametrize('text', ['_max_epoch = 5', 'norm = 3\nnum_levels = 3\nval_pipeline = []'])
def test_names_of_an_authors_own_pass(child, text):
    load_config(child(text))


def test_option_for_what_the_file_writes_everywhere_itself_is_refused(child):
    with pytest.raises(InputError, match='max_epochs: would do nothing'):
        load_config(child('train_cfg = dict(max_epochs=7)'), {'max_epochs': 5})


def test_missing_and_broken_configs_are_refused(tmp_path):
    with pytest.raises(InputError, match='no such config'):
        load_config(tmp_path / 'none.py')
    broken = tmp_path / 'broken.py'
    for text in ('model = dict(', 'model = undefined_name', "_base_ = 'missing.py'", 'x = 1 / 0'):
        broken.write_text(text)
        with pytest.raises(InputError, match='broken.py'):
            load_config(broken)
