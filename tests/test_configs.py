"""Every config builds, agrees with itself, and means the same to every tool."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from noise_mm.configuration import load_config
from noise_mm.errors import InputError
from noise_mm.stages import stage_config

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
ALL = sorted(path for path in CONFIGS.glob('*/*.py') if path.parent.name != '_base_')
DATA = sorted((CONFIGS / '_base_').glob('data_*.py'))
MOUSE, HUMAN = ['M1', 'M2', 'M3', 'M4', 'M5'], ['H1', 'H2']
PROTOCOLS = {'m2m': (MOUSE, []), 'm2h': (MOUSE, HUMAN), 'h2h': (HUMAN, [])}
METHODS = {
    'yolov8': ('baseline', ['coco']),
    'random-init': ('baseline', []),
    'noise': ('noise', ['coco', 'noise/pretrain_osteoclast-nuclei_yolov8-l.py']),
    'nuclei-free': ('noise', ['coco', 'noise/pretrain_osteoclast_yolov8-l.py']),
}
YOLOV8 = [path for path in ALL if not path.stem.startswith('rtmdet')]


def name_of(path):
    return path.stem


@pytest.fixture(params=ALL, ids=name_of, scope='module')
def path(request):
    return request.param


def folds(path):
    config = load_config(path)
    return [None, *(config.train_batches if not config.test_batches else [])]


def shapes(model):
    """The shapes of the parameters of a model, which is built without memory for them."""
    from mmyolo.registry import MODELS

    with DefaultScope.overwrite_default_scope('mmyolo'), torch.device('meta'):
        return {name: tuple(value.shape) for name, value in MODELS.build(model).state_dict().items()}


@pytest.mark.parametrize('path', YOLOV8, ids=name_of, indirect=True)
def test_builds(path):
    config = load_config(path, {'model_size': 'n'})
    found = shapes(config.model)
    assert found['bbox_head.head_module.cls_preds.0.2.weight'][0] == config.model.num_classes == len(config.classes)
    assert found['backbone.stem.conv.weight'][0] == 16
    assert config.train_cfg.max_epochs == config.max_epochs
    assert config.default_hooks.checkpoint.save_best == config.best_metric


@pytest.mark.parametrize('path', YOLOV8, ids=name_of, indirect=True)
def test_file_means_the_same_to_tools_that_know_nothing_of_references(path):
    """The network is the same; data are refused; MMDetection's inference fills in what `load_config` does."""
    from mmyolo.registry import DATASETS, MODELS

    config, plain = load_config(path), Config.fromfile(path)
    assert shapes(plain.model) == shapes(config.model)
    with DefaultScope.overwrite_default_scope('mmyolo'):
        for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
            with pytest.raises(InputError, match='load_config'):
                DATASETS.build(plain[loader].dataset)
        with torch.device('meta'):
            model = MODELS.build(plain.model)
    model.cfg = plain
    assert plain.to_dict() == config.to_dict()


@pytest.fixture(scope='module')
def stages_data(tiny_data, tmp_path_factory):
    """The tiny dataset with its cells once more as nuclei, and as pseudo-labels."""
    root = tmp_path_factory.mktemp('stages_data')
    shutil.copytree(tiny_data, root, dirs_exist_ok=True)
    shutil.copytree(root / 'M1', root / 'nuclei')
    content = json.loads((root / 'M1' / 'annotations.json').read_text())
    (root / 'pseudo').mkdir()
    (root / 'pseudo' / 'M1.json').write_text(json.dumps(content))
    for annotation in content['annotations']:
        annotation['category_id'] = 2
    (root / 'nuclei' / 'annotations.json').write_text(json.dumps(content))
    return root


def test_makes_a_step(path, stages_data):
    from mmengine.dataset import COLLATE_FUNCTIONS
    from mmyolo.registry import DATASETS, MODELS

    options = {'data_root': str(stages_data), 'train_batches': ['M1'], 'network_size_px': 64}
    options |= {'model_size': 'n'} if path in YOLOV8 else {}
    config = load_config(path, options)
    with DefaultScope.overwrite_default_scope('mmyolo'):
        dataset = DATASETS.build(config.train_dataloader.dataset)
        collate = COLLATE_FUNCTIONS.get(config.train_dataloader.collate_fn.type)
        model = MODELS.build(config.model).train()
        batch = model.data_preprocessor(collate([dataset[i] for i in range(2)]), training=True)
        loss, _ = model.parse_losses(model(**batch, mode='loss'))
    assert batch['inputs'].shape == (2, 3, 64, 64)
    assert torch.isfinite(loss)


@pytest.mark.parametrize('path', DATA, ids=name_of)
def test_data_config_names_its_settings_once(path):
    config = load_config(path)
    for loader in (config.train_dataloader, config.val_dataloader, config.test_dataloader):
        assert loader.dataset.data_root == config.data_root
        assert loader.batch_size == config.batch_size
    assert config.train_dataloader.dataset.pipeline == config.train_pipeline
    assert config.test_dataloader.dataset.pipeline == config.test_pipeline


def test_agrees_with_itself(path):
    for fold in folds(path):
        config = load_config(path, fold=fold)
        train, val, test = (config[f'{name}_dataloader'].dataset for name in ('train', 'val', 'test'))
        assert train.batches == val.batches == config.train_batches
        assert test.batches == config.test_batches
        assert not {*config.train_batches} & {*config.test_batches}
        assert (train.split, val.split) == ('train', 'val')
        assert all(train[key] == val[key] for key in ('val_fraction', 'split_seed', 'split_unit', 'data_root'))
        assert {tuple(dataset.metainfo['classes']) for dataset in (train, val, test)} == {config.classes}
        if 'held_out' in train:
            assert train.held_out == val.held_out == config.test_batches


def test_starts_from_what_exists(path):
    for entry in load_config(path).get('init_from') or ():
        assert entry == 'coco' or entry.startswith('weights/') or stage_config(entry).is_file()


def test_saved_config_gives_the_same(path, tmp_path):
    every = folds(path)
    for fold in {every[0], every[-1]}:
        config = load_config(path, fold=fold)
        saved = tmp_path / f'{path.stem}_{fold}.py'
        config.dump(saved)
        again = load_config(saved)
        assert again.to_dict() == config.to_dict()
        if fold:
            assert load_config(saved, fold=fold).to_dict() == config.to_dict()


@pytest.mark.parametrize('protocol', PROTOCOLS)
@pytest.mark.parametrize('method', METHODS)
def test_protocols(method, protocol):
    folder, init_from = METHODS[method]
    config = load_config(CONFIGS / folder / f'{method}_{protocol}.py')
    assert (config.method, config.protocol) == (method, protocol)
    assert (config.train_batches, config.test_batches) == PROTOCOLS[protocol]
    assert config.init_from == init_from
    assert config.model.size == 'l'


def test_stages_share_split_and_labels():
    first, second, third = (
        load_config(CONFIGS / 'noise' / f'{name}.py', fold='M5')
        for name in ('nuclei_detector_yolov8-l', 'pretrain_osteoclast-nuclei_yolov8-l', 'noise_m2m')
    )
    for key in ('val_fraction', 'split_seed', 'split_unit', 'data_root', 'train_batches'):
        assert first[key] == second[key] == third[key]
    hook = first.default_hooks.pseudo_labels
    assert hook.pseudo_dir == second.train_dataloader.dataset.pseudo_dir == 'pseudo/without_M5'
    assert hook.batches == second.train_batches == ['M1', 'M2', 'M3', 'M4']
    assert first.train_dataloader.dataset.later_validation == 'left_out'
    assert (first.classes, second.classes, third.classes) == (
        ('nucleus',),
        ('osteoclast', 'nucleus'),
        ('osteoclast',),
    )
    assert first.best_metric == 'osteoclast/bbox_mAP50'
    assert second.model.bbox_head.spare_ignored  # what the hook's uncertain_from leaves open
