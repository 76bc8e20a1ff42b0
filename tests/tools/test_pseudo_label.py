"""tools/pseudo_label.py, typed as a user would."""

import json
import logging
import os
import shutil
import subprocess
import sys

import pytest
import torch

from noise_mm.errors import run_command


@pytest.fixture
def root(tiny_data, tmp_path):
    """A copy of the drawn batches that may be written to."""
    shutil.copytree(tiny_data, tmp_path / 'data')
    return tmp_path / 'data'


@pytest.fixture
def config(repo_dir, root, tmp_path):
    """Stage 1 of the nano network."""
    path = tmp_path / 'stage1.py'
    path.write_text(
        f"_base_ = '{repo_dir / 'configs/noise/nuclei_detector_yolov8-l.py'}'\n"
        f"model_size = 'n'\ndata_root = '/nowhere'\ntrain_batches = ['M1', 'M2']\ntest_batches = []\n"
        'network_size_px = 64\nnum_workers = 0\nhooks = dict(pseudo_labels=dict(score_thr=0.9, box_px=20))\n'
    )
    return path


@pytest.fixture
def checkpoint(config, tmp_path):
    """Weights that are confident everywhere."""
    from mmyolo.registry import MODELS
    from mmyolo.utils import register_all_modules

    from noise_mm.configuration import load_config

    register_all_modules()
    torch.manual_seed(0)
    model = MODELS.build(load_config(config).model)
    model.init_weights()
    for branch in model.bbox_head.head_module.cls_preds:
        branch[-1].bias.data += 12
    path = tmp_path / 'best.pth'
    torch.save({'state_dict': model.state_dict(), 'meta': {'cfg': "train_batches = ['M1', 'M2']"}}, path)
    return path


@pytest.fixture
def run(load_tool, monkeypatch, capsys, config, checkpoint, root):
    """`run(*options)` -> exit status, standard output and standard error."""
    monkeypatch.setattr(logging, 'raiseExceptions', False)  # MMEngine's loggers hold the output of earlier tests

    def start(*options, data_root=root):
        command = ['pseudo_label.py', config, checkpoint, '--data-root', data_root, '--device', 'cpu', *options]
        monkeypatch.setattr(sys, 'argv', [str(each) for each in command])
        capsys.readouterr()  # what the fixtures printed
        try:
            run_command(load_tool('pseudo_label').main)
            status = 0
        except SystemExit as exit_:
            status = exit_.code or 0
        output = capsys.readouterr()
        return status, output.out, output.err

    return start


def nuclei_of(root, batch='M1', pseudo_dir='pseudo'):
    content = json.loads((root / pseudo_dir / f'{batch}.json').read_text())
    return content, [each for each in content['annotations'] if each['category_id'] == 2]


def test_the_configs_settings_hold_until_an_option_changes_them(run, root):
    status, out, _ = run('--batches', 'M1')
    assert status == 0
    assert '1 files written, 0 up to date' in out
    content, nuclei = nuclei_of(root)
    assert nuclei
    assert content['info']['pseudo_labels']['made_from']['box_px'] == 20
    assert content['info']['pseudo_labels']['threshold']['score_thr'] == 0.9
    assert not (root / 'pseudo' / 'M2.json').exists()

    assert '0 files written, 1 up to date' in run('--batches', 'M1')[1]
    assert '1 files written' in run('--batches', 'M1', '--force')[1]
    options = ('--box-px', 'predicted', '--score-thr', '0.999', '--uncertain-from', '0.95', '--batch-size', '3')
    assert '2 files written' in run(*options)[1]
    made_from = nuclei_of(root, 'M2')[0]['info']['pseudo_labels']['made_from']
    assert (made_from['box_px'], made_from['score_thr'], made_from['uncertain_from']) == ('predicted', 0.999, 0.95)


def test_a_fold_is_labelled_by_the_detector_that_has_not_seen_it(run, root, checkpoint):
    status, _, err = run('--batches', 'M1', '--fold', 'M2')
    assert status == 2
    assert 'was trained on M1, M2, but the config says M1' in err
    content = torch.load(checkpoint)
    torch.save(content | {'meta': {'cfg': "train_batches = ['M1']"}}, checkpoint)
    assert run('--fold', 'M2')[0] == 0
    detector = nuclei_of(root, pseudo_dir='pseudo/without_M2')[0]['info']['pseudo_labels']['detector']
    assert (detector['fold'], detector['train_batches']) == ('M2', ['M1'])


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (('--batches', 'M7'), 'no batch M7'),
        (('--batch-size', '0'), '--batch-size 0'),
        (('--score-thr', '3'), 'score_thr is 3'),
        (('--box-px', 'wide'), "box_px is 'wide'"),
        (('--uncertain-from', '0.95'), 'uncertain_from=0.95 is not below score_thr=0.9'),
        (('--device', 'tpu'), '--device tpu'),
        (('--cfg-options', 'model_size=s'), 'is of a YOLOv8-n detector'),
        (('--cfg-options', 'hooks.pseudo_labels.score_thr=None'), 'nuclei'),  # no marked nuclei to choose it on
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(run, root, options, words):
    status, _, err = run(*options)
    assert status == 2
    assert 'Traceback' not in err
    assert words in err.splitlines()[-1]
    assert not list(root.glob('pseudo/*'))


def test_a_missing_folder_is_named(run, tmp_path):
    status, _, err = run(data_root=tmp_path / 'none')
    assert status == 2
    assert 'no batch M1' in err


@pytest.mark.slow
def test_two_processes_write_the_same_files(repo_dir, config, checkpoint, root, tmp_path):
    environment = os.environ | {'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}
    torchrun = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2']
    common = [repo_dir / 'tools' / 'pseudo_label.py', config, checkpoint, '--data-root', root, '--batch-size', '1']
    for start, options in (([], ['--device', 'cpu']), (torchrun, ['--launcher', 'pytorch'])):
        name = f'pseudo_{len(start)}'
        words = [sys.executable, *start, *common, *options, '--cfg-options', f'pseudo_dir={name}']
        done = subprocess.run(list(map(str, words)), cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.count('2 files written, 0 up to date') == 1
    for batch in ('M1', 'M2'):
        one, two = ((root / name / f'{batch}.json').read_text() for name in ('pseudo_0', f'pseudo_{len(torchrun)}'))
        assert one == two
        assert nuclei_of(root, batch, 'pseudo_0')[1]


def test_processes_that_nothing_started_are_refused(run, monkeypatch):
    monkeypatch.delenv('LOCAL_RANK', raising=False)
    status, _, err = run('--launcher', 'pytorch', '--device', 'auto')
    assert status == 2
    assert 'not started by torchrun' in err
    status, _, err = run('--launcher', 'pytorch')
    assert status == 2
    assert '--device cpu' in err
