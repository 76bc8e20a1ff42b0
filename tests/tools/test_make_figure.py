"""tools/make_figure.py as a user types it, with a network that was not trained and files of results."""

import json
import sys

import cv2
import pytest
import torch

from noise_mm.errors import run_command


@pytest.fixture
def make_figure(load_tool, monkeypatch, capsys):
    """`make_figure(*arguments)` -> exit status, standard output, lines of standard error that tell of errors."""

    def start(*arguments):
        monkeypatch.setattr(sys, 'argv', ['make_figure.py', *map(str, arguments)])
        try:
            run_command(load_tool('make_figure').main)
            status = 0
        except SystemExit as exit_:
            status = exit_.code or 0
        output = capsys.readouterr()
        return status, output.out, [line for line in output.err.splitlines() if line.startswith('error: ')]

    return start


@pytest.fixture(scope='module')
def checkpoints(tiny_config, tmp_path_factory):
    """`<batch>.pth` for both batches: weights of the network of `tiny_config`, not trained."""
    from mmyolo.registry import MODELS
    from mmyolo.utils import register_all_modules

    from noise_mm.configuration import load_config

    register_all_modules()
    model = MODELS.build(load_config(tiny_config).model)
    folder = tmp_path_factory.mktemp('weights')
    for batch in ('M1', 'M2'):
        torch.save({'state_dict': model.state_dict(), 'meta': {}}, folder / f'{batch}.pth')
    return folder


def write_results(tiny_data, folder, batch):
    truth = json.loads((tiny_data / batch / 'annotations.json').read_text())
    keys = ('image_id', 'category_id', 'segmentation')
    results = [{**{key: each[key] for key in keys}, 'score': 0.5} for each in truth['annotations']]
    (folder / f'{batch}.json').write_text(json.dumps(results))


def test_networks_and_results_side_by_side(make_figure, tiny_config, tiny_data, checkpoints, tmp_path):
    write_results(tiny_data, tmp_path, 'M2')
    out = tmp_path / 'out' / 'figure.png'
    columns = ['--model', 'NOISe', tiny_config, checkpoints / 'M2.pth', '--results', 'Cellpose', tmp_path / 'M2.json']
    status, printed, _ = make_figure(tiny_config, *columns, '--rows', 2, '--out', out)
    assert status == 0
    assert printed.startswith(f'{out}: M2/w0_0_0, M2/w1_1_0;')
    height, width, _ = cv2.imread(str(out)).shape
    assert width > 3 * 800
    assert height > 2 * 800


def test_options_reach_the_networks(make_figure, tiny_config, checkpoints, tmp_path):
    column = ['--model', 'x', tiny_config, checkpoints / 'M2.pth', '--rows', 1, '--out', tmp_path / 'a.png']
    status, _, errors = make_figure(tiny_config, *column, '--cfg-options', 'model_size=s')
    assert status == 2
    assert 'asks for a YOLOv8-s' in errors[0]


def test_each_batch_is_shown_to_the_network_it_was_held_out_from(make_figure, tiny_config, checkpoints, tmp_path):
    everything = ['--cfg-options', 'test_batches=[]', 'train_batches=[M1,M2]', '--out', tmp_path / 'a.png', '--rows', 2]
    status, printed, _ = make_figure(tiny_config, '--model', 'x', tiny_config, checkpoints / '{fold}.pth', *everything)
    assert status == 0
    assert ' M1/' in printed and ', M2/' in printed
    (checkpoints / 'M2.pth').rename(checkpoints / 'moved.pth')
    status, _, errors = make_figure(tiny_config, '--model', 'x', tiny_config, checkpoints / '{fold}.pth', *everything)
    (checkpoints / 'moved.pth').rename(checkpoints / 'M2.pth')
    assert (status, len(errors)) == (2, 1)
    assert 'M2.pth' in errors[0]
    status, _, errors = make_figure(tiny_config, '--model', 'x', tiny_config, checkpoints / 'M1.pth', *everything)
    assert status == 2
    assert 'is cross-validated, so x was trained on all batches but one' in errors[0]


def test_results_of_several_batches_are_named_by_batch(make_figure, tiny_config, tiny_data, tmp_path):
    for batch in ('M1', 'M2'):
        write_results(tiny_data, tmp_path, batch)
    options = ['--cfg-options', 'test_batches=[M1,M2]', '--out', tmp_path / 'a.png', '--rows', 2]
    assert make_figure(tiny_config, '--results', 'x', tmp_path / '{fold}.json', *options)[0] == 0
    status, _, errors = make_figure(tiny_config, '--results', 'x', tmp_path / 'M1.json', *options)
    assert status == 2
    assert 'M1.json: one file for M1, M2' in errors[0]


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        ([], 'nothing to show'),
        (['--results', 'x', '{file}', '--rows', '0'], '--rows 0'),
        (['--results', 'x', '{file}', '--score-thr', '7'], '--score-thr 7.0'),
        (['--results', 'x', '{file}', '--rows', '99'], '--rows 99: only 2 patches'),
        (['--results', 'x', '{file}', '--patches', 'nowhere'], '--patches nowhere'),
        (['--results', 'x', '{file}'], 'results.json: no COCO results'),
        (['--results', 'x', '{file}.none'], 'no such file'),
        (['--model', 'x', '{config}', '{file}'], 'results.json'),
        (['--results', 'x', '{file}', '--fold', 'Z'], '--fold Z'),
    ],
)
def test_errors_are_one_line(make_figure, tiny_config, tmp_path, arguments, words):
    (tmp_path / 'results.json').write_text('[1]')
    filled = [each.format(file=tmp_path / 'results.json', config=tiny_config) for each in arguments]
    status, printed, errors = make_figure(
        tiny_config, *filled, *([] if '--rows' in filled else ['--rows', 2]), '--out', tmp_path / 'a.png'
    )
    assert (status, printed, len(errors)) == (2, '', 1)
    assert words in errors[0]
    assert not (tmp_path / 'a.png').exists()


def test_help_shows_an_example(make_figure):
    status, printed, _ = make_figure('--help')
    assert status == 0
    assert 'example' in printed
