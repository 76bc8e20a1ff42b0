"""Every config of the repository builds and agrees with itself."""

from pathlib import Path

import pytest
import torch

from noise_mm.configuration import load_config

ROOT = Path(__file__).resolve().parents[1]
RUNNABLE = sorted(path for path in (ROOT / 'configs').rglob('*.py') if path.parent.name != '_base_')
DATA = sorted((ROOT / 'configs/_base_').glob('data_*.py'))


@pytest.mark.parametrize('path', RUNNABLE, ids=lambda path: path.stem)
def test_config_builds_and_agrees_with_itself(path):
    from mmyolo.registry import MODELS
    from mmyolo.utils import register_all_modules

    register_all_modules()
    config = load_config(path, {'model_size': 'n'})
    model = MODELS.build(config.model)
    assert model.bbox_head.num_classes == model.bbox_head.assigner.num_classes == len(config.classes)
    for loader in (config.train_dataloader, config.val_dataloader, config.test_dataloader):
        assert loader.dataset.metainfo['classes'] == config.classes
        assert loader.dataset.data_root == config.data_root
    # Validation is a part of the training batches, and no batch is in both training and test.
    assert config.train_dataloader.dataset.batches == config.val_dataloader.dataset.batches
    assert not set(config.train_batches) & set(config.test_batches)
    assert {config.train_dataloader.dataset.split, config.val_dataloader.dataset.split} == {'train', 'val'}
    assert config.train_cfg.max_epochs == config.max_epochs
    assert config.default_hooks.checkpoint.save_best == config.best_metric


@pytest.mark.parametrize('path', RUNNABLE, ids=lambda path: path.stem)
def test_config_makes_a_step(path, tiny_data):
    from mmengine.dataset import COLLATE_FUNCTIONS
    from mmyolo.registry import DATASETS, MODELS

    options = {'model_size': 'n', 'data_root': str(tiny_data), 'train_batches': ['M1'], 'network_size_px': 64}
    config = load_config(path, options)
    dataset = DATASETS.build(config.train_dataloader.dataset)
    collate = COLLATE_FUNCTIONS.get(config.train_dataloader.collate_fn.type)
    model = MODELS.build(config.model).train()
    batch = model.data_preprocessor(collate([dataset[i] for i in range(2)]), training=True)
    losses = model(**batch, mode='loss')
    assert batch['inputs'].shape == (2, 3, 64, 64)
    assert torch.isfinite(sum(losses.values()))


@pytest.mark.parametrize('path', DATA, ids=lambda path: path.stem)
def test_data_config_names_its_settings_once(path):
    config = load_config(path)
    for loader in (config.train_dataloader, config.val_dataloader, config.test_dataloader):
        assert loader.dataset.data_root == config.data_root
        assert loader.batch_size == config.batch_size
    assert config.train_dataloader.dataset.pipeline == config.train_pipeline
    assert config.test_dataloader.dataset.pipeline == config.test_pipeline
