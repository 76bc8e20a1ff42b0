"""The notebook of docs/ runs from its first cell to its last."""

import json

import pytest
import torch
from mmengine.registry import DefaultScope

from noise_mm.configuration import load_config


@pytest.fixture
def weights(repo_dir, tmp_path):
    """A nano segmentor that finds something anywhere."""
    from mmyolo.registry import MODELS

    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmyolo'):
        model = MODELS.build(load_config(repo_dir / 'configs/baseline/yolov8-seg.py', {'model_size': 'n'}).model)
    for branch in model.bbox_head.head_module.cls_preds:
        torch.nn.init.constant_(branch[-1].bias, -0.5)
    path = tmp_path / 'weights.pth'
    torch.save({'state_dict': model.state_dict(), 'meta': {'dataset_meta': {'classes': ('osteoclast',)}}}, path)
    return path


@pytest.mark.slow
def test_from_well_to_table(repo_dir, weights, tmp_path, monkeypatch, capsys):
    import matplotlib

    matplotlib.use('agg')
    monkeypatch.chdir(repo_dir / 'docs')
    notebook = json.loads((repo_dir / 'docs/from_well_to_table.ipynb').read_text(encoding='utf-8'))
    cells = [''.join(cell['source']) for cell in notebook['cells'] if cell['cell_type'] == 'code']
    assert not any(cell.get('outputs') for cell in notebook['cells'])
    space = {'__name__': 'notebook'}
    exec(cells[0], space)
    space |= {'folder': tmp_path / 'notebook', 'weights': weights}
    # A small well is enough here, and the random network must not flood it.
    draw = cells[1].replace("'--seed', 7", "'--seed', 7, '--size', 1200")
    find = cells[2].replace("'csv,overlay'", "'csv,overlay', '--score-thr', 0.3, '--device', 'cpu'")
    for cell in (draw, find, *cells[3:]):
        exec(cell, space)
    assert f'{len(space["cells"])} osteoclasts' in capsys.readouterr().out
