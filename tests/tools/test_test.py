"""tools/test.py as a user would type it: a checkpoint, and files of other tools beside it."""

import json
import logging
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from noise_mm.errors import run_command
from noise_mm.evaluation.matches_file import read_matches


@pytest.fixture
def run_test(load_tool, monkeypatch, capsys) -> Callable:
    """`run_test(*arguments)` -> exit status, standard output, lines of standard error that tell of errors."""
    # MMEngine's loggers of earlier runs hold the standard output of earlier tests, which is closed.
    monkeypatch.setattr(logging, 'raiseExceptions', False)

    def start(*arguments):
        monkeypatch.setattr(sys, 'argv', ['test.py', *map(str, arguments)])
        try:
            run_command(load_tool('test').main)
            status = 0
        except SystemExit as exit_:
            status = exit_.code or 0
        output = capsys.readouterr()
        return status, output.out, [line for line in output.err.splitlines() if line.startswith('error: ')]

    return start


@pytest.fixture(scope='module')
def checkpoint(tiny_config, tmp_path_factory) -> Path:
    """Weights of the network of `tiny_config`, not trained, but confident, so that something is found."""
    from mmyolo.registry import MODELS
    from mmyolo.utils import register_all_modules

    from noise_mm.configuration import load_config

    register_all_modules()
    torch.manual_seed(0)
    model = MODELS.build(load_config(tiny_config).model)
    model.init_weights()
    for branch in model.bbox_head.head_module.cls_preds:
        branch[-1].bias.data += 6
    path = tmp_path_factory.mktemp('weights') / 'tiny.pth'
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, path)
    return path


def perfect_results(tiny_data, batch='M2'):
    truth = json.loads((tiny_data / batch / 'annotations.json').read_text())
    keys = ('image_id', 'category_id', 'segmentation')
    return [{**{key: each[key] for key in keys}, 'score': 1} for each in truth['annotations']]


def test_as_paper_measures_as_ultralytics_does(run_test, tiny_config, checkpoint, tmp_path):
    options = ['--work-dir', tmp_path, '--as-paper']
    assert run_test(tiny_config, checkpoint, *options)[0] == 0
    report = json.loads((tmp_path / 'metrics.json').read_text())
    assert (report['mode'], report['mask_resolution']) == ('ultralytics', 'prototype')
    assert report['run']['test_cfg']['max_per_img'] == 300
    segm, bbox = ([report[kind]['mean'][2]['ap'], report[kind]['ap50_95']] for kind in ('segm', 'bbox'))
    expected = 0.1 * (segm[0] + bbox[0]) + 0.9 * (segm[1] + bbox[1])
    assert report['fitness'] == pytest.approx(expected)


@pytest.mark.parametrize('batches', [['M2'], ['M2', 'M1']])
def test_saved_results_give_the_numbers_of_the_checkpoint(run_test, tiny_config, checkpoint, tmp_path, batches):
    """Also with two batches, whose image ids are the same, given in another order than they are saved in."""
    options = ['--work-dir', tmp_path / 'work', '--allow-seen']  # M1 is a training batch of the config
    options += ['--cfg-options', f'test_batches=[{",".join(batches)}]']
    options.append('model.test_cfg.max_per_img=20')
    saved, out = tmp_path / 'saved', tmp_path / 'numbers' / 'net.json'
    status, printed, _ = run_test(tiny_config, checkpoint, *options, '--save-results', saved, '--out', out)
    assert status == 0
    assert sorted(path.stem for path in saved.iterdir()) == sorted(batches)
    status, printed_again, _ = run_test(
        tiny_config, '--results', *sorted(saved.iterdir()), '--name', 'The same', *options
    )
    assert status == 0
    ours, theirs = json.loads(out.read_text()), json.loads((tmp_path / 'work/The_same/metrics.json').read_text())
    assert ours['n_detections'] > 0
    assert (theirs['run'].pop('method'), theirs['run'].pop('results')) == (
        'The same',
        [str(saved / f'{b}.json') for b in sorted(batches)],
    )
    assert ours['run'].pop('checkpoint') == str(checkpoint)
    del ours['run'], theirs['run']
    assert ours == theirs
    assert printed_again.splitlines()[0] in printed
    for curves in (out.with_name('net_curves'), tmp_path / 'work/The_same/metrics_curves'):
        assert len(list(curves.glob('*.png'))) == 4
        for kind in ('segm', 'bbox'):
            scores = read_matches(curves / f'{kind}_matches.npz').mean_scores()
            assert [score.ap for score in scores] == [row['ap'] for row in ours[kind]['mean']]


def test_testing_needs_the_test_batches_only(run_test, repo_dir, tiny_data, checkpoint, tmp_path):
    """Neither the training batches of the config, nor the stages that it starts from."""
    for batch in ('H1', 'H2'):
        shutil.copytree(tiny_data / 'M2', tmp_path / 'data' / batch)
        path = tmp_path / 'data' / batch / 'annotations.json'
        path.write_text(path.read_text().replace('"M2"', f'"{batch}"'))
    options = ['--cfg-options', f'data_root={tmp_path / "data"}', 'model_size=n', 'network_size_px=64', 'cache=ram']
    config, work = repo_dir / 'configs' / 'noise' / 'noise_m2h.py', ['--work-dir', tmp_path / 'work']
    assert run_test(config, checkpoint, *work, *options)[::2] == (0, [])
    report = json.loads((tmp_path / 'work' / 'metrics.json').read_text())
    assert [row['batch'] for row in report['batches']] == ['H1', 'H2']


def test_another_tool_s_results_stand_in_the_same_tables(
    run_test, load_tool, tiny_config, tiny_data, tmp_path, capsys, monkeypatch
):
    (tmp_path / 'cells.json').write_text(json.dumps(perfect_results(tiny_data)))
    options = ['--results', tmp_path / 'cells.json', '--name', 'Cellpose', '--work-dir', tmp_path]
    status, printed, _ = run_test(tiny_config, *options, '--cfg-options', 'protocol=m2h')
    assert status == 0
    assert '8 objects, 0 ignored regions, 8 detections' in printed
    report = json.loads((tmp_path / 'Cellpose' / 'metrics.json').read_text())
    assert [row['ap'] for row in report['segm']['mean']] == [1.0] * 5
    assert all(row['n_error'] == row['area_px2_error'] == 0 for row in report['counts']['wells'])
    assert {row['well'] for row in report['counts']['wells']} == {'w0', 'w1'}
    monkeypatch.setattr(sys, 'argv', ['summarize.py', str(tmp_path)])
    run_command(load_tool('summarize').main)
    assert '| Cellpose M→H | 1.000 |' in capsys.readouterr().out


def test_modes_and_boxes_are_those_of_the_config(run_test, tiny_config, tiny_data, tmp_path):
    truth = json.loads((tiny_data / 'M2' / 'annotations.json').read_text())['annotations']
    results = [{**{key: each[key] for key in ('image_id', 'category_id', 'bbox')}, 'score': 1} for each in truth]
    (tmp_path / 'boxes.json').write_text(json.dumps(results))
    options = ['--results', tmp_path / 'boxes.json', '--name', 'x', '--out', tmp_path / 'x.json']
    changes = ['test_evaluator.metric=bbox', 'test_evaluator.mode=ultralytics']
    assert run_test(tiny_config, *options, '--cfg-options', *changes)[0] == 0
    report = json.loads((tmp_path / 'x.json').read_text())
    assert (report['mode'], 'segm' in report) == ('ultralytics', False)


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        ([], 'either a checkpoint or --results'),
        (['{file}', '--results', '{file}'], 'either a checkpoint or --results'),
        (['--results', '{file}'], '--name Cellpose'),
        (['--results', '{file}', '--name', 'x', '--save-results', 'y'], '--save-results: is of no use'),
        (['--results', '{file}', '--name', 'x', '--launcher', 'pytorch'], '--launcher: is of no use'),
        (['--results', '{file}', '{file}', '--name', 'x'], '2 files for the batches M2'),
        (['--results', '{file}.none', '--name', 'x'], 'no such file'),
        (['--results', '{file}', '--name', 'x', '--cfg-options', 'test_batches=[Z]'], "no batch 'Z'"),
        (['--results', '{other}', '--name', 'x'], 'image_id 99'),
        (['--results', '{file}', '--name', 'x', '--cfg-options', 'test_batches=[]'], 'is cross-validated'),
    ],
)
def test_errors_are_one_line(run_test, tiny_config, tmp_path, arguments, words):
    names = {'file': tmp_path / 'results.json', 'other': tmp_path / 'other.json'}
    names['file'].write_text('[]')
    names['other'].write_text('[{"image_id": 99, "category_id": 1, "score": 1}]')
    filled = [argument.format(**names) for argument in arguments]
    status, printed, errors = run_test(tiny_config, *filled, '--work-dir', tmp_path / 'work')
    assert (status, printed, len(errors)) == (2, '', 1)
    assert words in errors[0]
    assert not list((tmp_path / 'work').rglob('*.json'))
