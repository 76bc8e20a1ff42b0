"""Trainings that start from earlier stages, typed as a user would; and bad input to them."""

import json
import logging
import sys

import pytest
import torch

from noise_mm.checkpoints.safe_loading import load_checkpoint_file
from noise_mm.errors import run_command

DETECTOR = 'nuclei_detector_yolov8-l'
PRETRAIN = 'pretrain_osteoclast-nuclei_yolov8-l'
NUCLEI_FREE = 'pretrain_osteoclast_yolov8-l'
TINY = ('model_size=n', 'network_size_px=64', 'batch_size=2', 'nominal_batch_size=2', 'num_workers=0', 'max_epochs=1')


@pytest.fixture
def train(load_tool, monkeypatch, capsys, repo_dir, tmp_path):
    """`train(config, *options)` -> exit status and the last line of standard error, in an empty folder."""
    # MMEngine's loggers of earlier runs hold the standard output of earlier tests, which is closed.
    monkeypatch.setattr(logging, 'raiseExceptions', False)
    monkeypatch.chdir(tmp_path)

    def start(config, *options):
        path = repo_dir / 'configs' / f'{config}.py'
        monkeypatch.setattr(sys, 'argv', ['train.py', str(path), *map(str, options)])
        try:
            run_command(load_tool('train').main)
            status = 0
        except SystemExit as exit_:
            status = exit_.code or 0
        lines = capsys.readouterr().err.splitlines() or ['']
        assert not any('Traceback' in line for line in lines)
        return status, lines[-1]

    return start


def assert_refused(result, *words):
    status, line = result
    assert status == 2
    assert line.startswith('error: ')
    for word in words:
        assert word in line


@pytest.mark.parametrize('config', ['noise/noise_m2m', 'noise/noise_m2h'])
@pytest.mark.parametrize('more', [(), ('--resume',)])
def test_missing_stage_is_named_with_the_command_before_data_are_read(train, config, more, tmp_path):
    fold = ['--fold', 'M5'] if config.endswith('m2m') else []
    suffix = '_M5' if fold else ''
    result = train(config, *fold, *more, '--cfg-options', 'data_root=there/are/no/data')
    command = f'configs/noise/{PRETRAIN}.py' + (' --fold M5' if fold else '')
    assert_refused(result, f'work_dirs/{PRETRAIN}{suffix}/best.pth', 'python tools/train.py', command)
    assert 'no/data' not in result[1]
    assert not list(tmp_path.iterdir())


def test_bad_starts_are_refused(train, tmp_path):
    config = 'baseline/yolov8_m2h'
    (tmp_path / 'bare.pth').write_bytes(b'')
    assert_refused(train(config, '--init', 'gone.pth'), 'gone.pth')
    assert_refused(train(config, '--init', 'bare.pth', 'gone.pth'), 'gone.pth')
    assert_refused(train(config, '--init', 'bare.pth'), 'bare.pth: not a PyTorch checkpoint')
    assert not (tmp_path / 'work_dirs').exists()
    assert_refused(train(config, '--init', 'bare.pth', '--resume'), '--init', '--resume')
    assert_refused(train(config, '--init', 'bare.pth', '--cfg-options', 'load_from=x.pth'), '--init', 'load_from=x.pth')
    assert_refused(train(config, '--cfg-options', 'load_from=gone.pth'), 'gone.pth')
    assert_refused(train(config, '--cfg-options', 'init_from=[noise/gone.py]'), 'noise/gone.py')
    assert_refused(train(config, '--cfg-options', 'coco_checkpoint=gone.pth'), 'gone.pth', 'coco_checkpoint')


def settings(data, *more):
    return ['--cfg-options', *TINY, f'data_root={data}', 'train_batches=[M1]', *more]


@pytest.mark.parametrize(
    ('config', 'more', 'words'),
    [
        ('baseline/yolov8_m2h', ['train_batches=[M1,M9]'], ["no batch 'M9'", 'M1, M2']),
        ('baseline/yolov8_m2h', ['classes=[osteoclast,debris]'], ["no category 'debris'", 'M1/annotations.json']),
        ('baseline/yolov8_m2h', ['classes=[osteoclast,nucleus]'], ['no nucleus in the training patches of M1']),
        (f'noise/{PRETRAIN}', [], ['pseudo/M1.json: no such file', 'tools/pseudo_label.py']),
        (f'noise/{NUCLEI_FREE}', ['train_batches=[M9]'], ["no batch 'M9'"]),
    ],
)
def test_data_that_contradict_the_config_are_refused_before_anything_is_written(
    train, tiny_data, config, more, words, tmp_path
):
    assert_refused(train(config, *settings(tiny_data, *more)), *words)
    assert not (tmp_path / 'work_dirs').exists()


def test_stage_1_without_nuclei_is_refused(train, tiny_data, tmp_path):
    assert_refused(train(f'noise/{DETECTOR}', *settings(tiny_data)), 'nuclei/annotations.json')
    assert not (tmp_path / 'work_dirs').exists()


@pytest.mark.slow
def test_stages_find_each_other(train, tiny_data, tmp_path):
    assert train(f'noise/{NUCLEI_FREE}', *settings(tiny_data))[0] == 0
    assert train('noise/nuclei-free_m2h', *settings(tiny_data, 'test_batches=[M2]'))[0] == 0

    best = f'work_dirs/{NUCLEI_FREE}/best.pth'
    report = json.loads((tmp_path / 'work_dirs/nuclei-free_m2h/initial_weights.json').read_text())
    assert [(each['file'], each['origin']) for each in report['checkpoints']] == [(best, f'noise/{NUCLEI_FREE}.py')]

    weights = load_checkpoint_file(tmp_path / best)['state_dict']
    torch.save({'state_dict': weights, 'meta': {}}, tmp_path / 'mine.pth')
    options = ['--init', 'mine.pth', '--work-dir', 'mine']
    assert train('noise/nuclei-free_m2h', *options, *settings(tiny_data, 'test_batches=[M2]'))[0] == 0
    report = json.loads((tmp_path / 'mine/initial_weights.json').read_text())
    assert [each['file'] for each in report['checkpoints']] == ['mine.pth']
