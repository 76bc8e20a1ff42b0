"""tools/predict.py without a config: weights by file or name, the released tool's parameter file, zoom and backend."""

import csv
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch
from mmdet.registry import MODELS
from mmengine.registry import DefaultScope

from noise_mm.checkpoints.conversion import convert
from noise_mm.configuration import load_config
from noise_mm.errors import InputError

CONFIG = 'configs/baseline/yolov8-seg.py'
NUCLEI_CONFIG = 'configs/noise/nuclei_detector_yolov8-l.py'


def random_weights(config, name):
    """Content of a checkpoint: random weights of a network with one class."""
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmyolo'):
        model = MODELS.build(load_config(config, {'model_size': 'n'}).model)
    state = {name: value.half().float() for name, value in model.state_dict().items() if value.is_floating_point()}
    return {'state_dict': {**model.state_dict(), **state}, 'meta': {'dataset_meta': {'classes': (name,)}}}


@pytest.fixture(scope='module')
def weights(repo_dir, tmp_path_factory):
    """A nano segmentor with random weights, as `.pth` of this project and as `.pt` of Ultralytics; one of nuclei."""
    folder = tmp_path_factory.mktemp('weights')
    torch.save(random_weights(repo_dir / CONFIG, 'osteoclast'), folder / 'nano.pth')
    torch.save(random_weights(repo_dir / NUCLEI_CONFIG, 'nucleus'), folder / 'nuclei.pth')
    convert(folder / 'nano.pth', folder / 'nano.pt')
    return folder


@pytest.fixture(scope='module')
def wells(tmp_path_factory):
    folder = tmp_path_factory.mktemp('wells')
    picture = np.full((900, 1000, 3), 215, np.uint8)
    for x, y in ((200, 200), (600, 300), (450, 700)):
        cv2.circle(picture, (x, y), 60, (120, 70, 140), -1)
    tifffile.imwrite(folder / 'A1.tif', picture, resolution=(1e4 / 0.7784,) * 2, resolutionunit='CENTIMETER')
    return folder


@pytest.fixture
def predict(load_tool, tmp_path, monkeypatch):
    def run(*options, out='out'):
        out = ('--out', tmp_path / out) if out else ()
        fast = ('--formats', 'csv', '--score-thr', '0.0101', '--device', 'cpu')
        monkeypatch.setattr(sys, 'argv', [str(word) for word in ('predict.py', *options, *out, *fast)])
        load_tool('predict').main()

    return run


def cells(folder):
    with open(folder / 'A1_cells.csv', encoding='utf-8-sig') as file:
        return list(csv.DictReader(file))


def test_weights_of_either_kind_find_what_config_and_checkpoint_find(predict, weights, wells, tmp_path, repo_dir):
    predict(repo_dir / CONFIG, weights / 'nano.pth', wells, '--cfg-options', 'model_size=n', out='config')
    predict('--weights', weights / 'nano.pth', wells, out='pth')
    predict('--weights', weights / 'nano.pt', wells, out='pt')
    found = cells(tmp_path / 'config')
    assert found
    assert cells(tmp_path / 'pth') == cells(tmp_path / 'pt') == found


def test_nuclei_weights_need_no_config(predict, weights, wells, tmp_path, repo_dir):
    config = tmp_path / 'nuclei.py'
    config.write_text(f"_base_ = '{repo_dir / NUCLEI_CONFIG}'\nmodel_size = 'n'\n")
    counted = ('--nuclei-score-thr', '0.001', '--min-nuclei', '3')
    predict(
        '--weights', weights / 'nano.pth', wells, '--nuclei', config, weights / 'nuclei.pth', *counted, out='config'
    )
    predict('--weights', weights / 'nano.pth', wells, '--nuclei-weights', weights / 'nuclei.pth', *counted, out='pth')
    found = cells(tmp_path / 'pth')
    assert found == cells(tmp_path / 'config')
    assert sum(int(row['nuclei']) for row in found)


def test_the_released_tools_parameter_file_is_followed(predict, weights, wells, tmp_path):
    params = {
        'model_path': str(weights / 'nano.pt'),
        'img_foldername': str(wells),
        'out_foldername': str(tmp_path / 'released'),
        'ratio': 0.7784,
        'device': 'cpu',
        'total_well_area_in_pixels': 500000,
    }
    (tmp_path / 'params.json').write_text(json.dumps(params))
    predict('--params', tmp_path / 'params.json', out=None)
    with open(tmp_path / 'released' / 'wells.csv', encoding='utf-8-sig') as file:
        [row] = csv.DictReader(file)
    assert float(row['well_area_px2']) == 500000 and float(row['um_per_px']) == pytest.approx(0.7784)
    assert cells(tmp_path / 'released')


def test_zoom_changes_the_tiles_and_not_the_units(predict, weights, wells, tmp_path, capfd):
    predict('--weights', weights / 'nano.pth', wells, '--zoom', '0.5', out='half')
    assert '1/1 tiles' in capfd.readouterr().err  # at full magnification there are four
    for row in cells(tmp_path / 'half'):
        assert float(row['area_um2']) == pytest.approx(float(row['area_px2']) * 0.7784**2, rel=1e-3)


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (('--weights', 'no-such', 'WELLS'), 'neither a file nor a name'),
        (('WELLS',), 'give CONFIG CHECKPOINT WELLS'),
        (('--weights', 'PTH'), 'no wells'),
        (('--weights', 'PTH', 'config.py', 'WELLS'), 'no such file'),
        (('--weights', 'PTH', 'WELLS', '--cfg-options', 'model_size=n'), '--cfg-options changes a config'),
        (('--weights', 'PTH', 'WELLS', '--zoom', '0'), '--zoom must lie between'),
        (('--weights', 'PTH', 'WELLS', '--nuclei-weights', 'no-such'), 'neither a file nor a name'),
        (('--weights', 'PTH', 'WELLS', '--nuclei-weights', 'PTH'), "but no 'nucleus'"),
    ],
)
def test_contradictions_are_refused_in_one_line(predict, weights, wells, options, words):
    names = {'WELLS': wells, 'PTH': weights / 'nano.pth'}
    with pytest.raises(InputError, match=words):
        predict(*(names.get(word, word) for word in options))


def test_results_need_a_folder(predict, weights, wells):
    with pytest.raises(InputError, match='--out is missing'):
        predict('--weights', weights / 'nano.pth', wells, out=None)


def test_onnx_runtime_finds_the_same_cells_and_says_so(predict, weights, wells, tmp_path, monkeypatch, capsys):
    pytest.importorskip('onnxruntime', reason='the extra cpu is not installed')
    monkeypatch.setenv('NOISE_MM_CACHE', str(tmp_path / 'cache'))
    predict('--weights', weights / 'nano.pth', wells, '--backend', 'onnxruntime', out='onnx')
    assert 'ONNX Runtime runs the network' in capsys.readouterr().out
    predict('--weights', weights / 'nano.pth', wells, '--backend', 'pytorch', out='torch')
    fast, plain = cells(tmp_path / 'onnx'), cells(tmp_path / 'torch')
    assert len(fast) == len(plain)
    assert [row['area_px2'] for row in fast] == [row['area_px2'] for row in plain]
    assert json.loads((tmp_path / 'onnx' / 'run.json').read_text())['settings']['backend'] == 'onnxruntime'


def test_a_cache_that_cannot_be_written_leaves_pytorch(predict, weights, wells, tmp_path, monkeypatch, capsys):
    pytest.importorskip('onnxruntime', reason='the extra cpu is not installed')
    (tmp_path / 'file').touch()
    monkeypatch.setenv('NOISE_MM_CACHE', str(tmp_path / 'file'))
    predict('--weights', weights / 'nano.pth', wells)
    assert 'ONNX Runtime is not used' in capsys.readouterr().out
    assert cells(tmp_path / 'out')


def rows_of(folder):
    with open(folder / 'wells.csv', encoding='utf-8-sig') as file:
        return list(csv.DictReader(file))


def test_an_scn_file_is_predicted_at_its_scan_and_not_at_its_macro_image(predict, weights, shared_dir, tmp_path):
    predict('--weights', weights / 'nano.pth', shared_dir / 'cases/scn_macro/wells/A1.scn')
    (row,) = rows_of(tmp_path / 'out')
    assert (row['well'], float(row['um_per_px']), row['um_per_px_from']) == ('A1', 0.5, 'file')
    assert int(row['image_area_px2']) == 320 * 240


def test_masks_beside_wells_are_named_and_not_predicted(predict, weights, wells, tmp_path, capsys):
    folder = tmp_path / 'wells'
    folder.mkdir()
    picture = tifffile.imread(wells / 'A1.tif')
    tifffile.imwrite(folder / 'A1.tif', picture)
    masks = ('A1_labels.tif', 'A1_cp_masks.tif', 'A1_cp_masks.png')
    for name in masks:
        cv2.imwrite(str(folder / name), (picture[..., 1] < 100).astype(np.uint16) * 300)
    predict('--weights', weights / 'nano.pth', folder)
    assert [row['well'] for row in rows_of(tmp_path / 'out')] == ['A1']
    printed = capsys.readouterr().out
    assert all(name in printed for name in masks)
    not_used = json.loads((tmp_path / 'out' / 'run.json').read_text())['arguments']['not_used']
    assert sorted(Path(file).name for file in not_used) == sorted(masks)
