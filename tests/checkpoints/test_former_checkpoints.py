"""Checkpoints that commit 060a068 wrote after one epoch of the tiny config are understood by today's code.

To keep the files small, their tensors are numbers repeated to the shape that they had; names and all else are genuine.
"""

import gzip
from pathlib import Path

import pytest
from mmengine.registry import DefaultScope
from torch import nn

import noise_mm.register  # noqa: F401
from noise_mm.checkpoints.loading import check_resumable, load_initial, load_weights
from noise_mm.checkpoints.provenance import training_of
from noise_mm.checkpoints.safe_loading import load_checkpoint_file
from noise_mm.configuration import load_config
from noise_mm.seen_batches import seen_by_checkpoint

FOLDER = Path(__file__).with_name('former_060a068')


def unpacked(kind: str, tmp_path: Path) -> Path:
    path = tmp_path / f'{kind}.pth'
    path.write_bytes(gzip.decompress((FOLDER / f'{kind}.pth.gz').read_bytes()))
    return path


def network(checkpoint: Path) -> nn.Module:
    """The network of the config that the checkpoint holds."""
    from mmyolo.registry import MODELS

    config = checkpoint.with_suffix('.py')
    config.write_text(load_checkpoint_file(checkpoint)['meta']['cfg'])
    with DefaultScope.overwrite_default_scope('mmyolo'):
        return MODELS.build(load_config(config).model)


@pytest.mark.parametrize('kind', ['seg', 'det'])
def test_weights_and_facts_are_read(kind, tmp_path):
    checkpoint = unpacked(kind, tmp_path)
    model = network(checkpoint)
    nn.init.constant_(model.backbone.stem.conv.weight, 7.0)
    meta = load_weights(model, checkpoint)
    assert not model.backbone.stem.conv.weight.any()
    assert meta['dataset_meta']['classes'] == ('osteoclast',)
    assert set(seen_by_checkpoint(meta, checkpoint)) == {'M1'}
    training = training_of(meta, checkpoint)
    assert (training['model_size'], training['epochs'], training['batches']) == ('n', 1, ['M1'])


def test_a_run_is_resumed(tmp_path):
    checkpoint = unpacked('seg', tmp_path)
    assert check_resumable(network(checkpoint), checkpoint)['epoch'] == 1


def test_a_segmentor_starts_from_a_detector(tmp_path):
    model = network(unpacked('seg', tmp_path))
    report = load_initial(model, unpacked('det', tmp_path), ('osteoclast',))
    assert report['class_rows'] == ['osteoclast']
    assert not report['reshaped'] + report['not_in_network']
    assert all('coef_preds' in name or 'proto' in name for name in report['not_in_checkpoint'])
