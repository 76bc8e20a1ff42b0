"""Networks whose values are not numbers never look like wells without cells."""

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from mmyolo.registry import MODELS

from noise_mm.configuration import load_config
from noise_mm.errors import InputError
from noise_mm.inference.detector import TileDetector
from noise_mm.inference.precision import resolve_precision
from noise_mm.inference.tile_pipeline import NetworkError

CPU = torch.device('cpu')
TILE = np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)


@pytest.fixture
def make(repo_dir, tmp_path):
    """Makes a nano detector with random weights, which `change` may change before they are saved."""

    def make(precision='auto', change=None):
        config = load_config(repo_dir / 'configs' / 'quickstart' / 'yolov8-n-seg.py')
        torch.manual_seed(0)
        with DefaultScope.overwrite_default_scope('mmyolo'):
            model = MODELS.build(config.model)
        if change:
            change(model)
        torch.save({'state_dict': model.state_dict()}, tmp_path / 'random.pth')
        return TileDetector(config, tmp_path / 'random.pth', CPU, 0.0, precision)

    return make


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
@pytest.mark.parametrize('place', ['backbone', 'bbox_head'])
def test_outputs_that_are_not_finite_stop_the_run(make, value, place):
    detector = make()
    assert detector([TILE])[0]
    weights = next(parameter for name, parameter in detector.model.named_parameters() if name.startswith(place))
    weights.data[0, 0, 0, 0] = value
    with pytest.raises(NetworkError, match='not numbers in fp32. The checkpoint is damaged'):
        detector([TILE])


def test_weights_that_are_not_finite_are_refused(make):
    def damage(model):
        next(model.neck.parameters()).data[0, 0, 0, 0] = float('nan')

    with pytest.raises(InputError, match=r'random.pth: damaged, neck\..* not numbers'):
        make(change=damage)


def test_precisions(make):
    assert resolve_precision('auto', CPU) == 'fp32'
    assert resolve_precision('auto', torch.device('cuda')) == 'fp16'
    with pytest.raises(InputError, match='--precision fp16 needs a GPU'):
        resolve_precision('fp16', CPU)


def test_bfloat16_finds_about_the_same(make):
    single, brain = make('fp32'), make('bf16')
    assert (single.metadata['precision'], brain.metadata['precision']) == ('fp32', 'bf16')
    scores = [sorted((cell.score for cell in detector([TILE])[0]), reverse=True)[:5] for detector in (single, brain)]
    assert scores[0] == pytest.approx(scores[1], abs=0.02)
