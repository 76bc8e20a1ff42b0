"""The way from a config to results, typed as a user would; and bad input at each tool."""

import csv
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch
from pycocotools.coco import COCO

from noise_mm.errors import run_command


@pytest.fixture
def run(load_tool, monkeypatch, capsys):
    """`run(tool, *arguments)` -> exit status, standard output and standard error."""

    # MMEngine's loggers of earlier runs hold the standard output of earlier tests, which is closed.
    monkeypatch.setattr(logging, 'raiseExceptions', False)

    def start(tool, *arguments):
        monkeypatch.setattr(sys, 'argv', [f'{tool}.py', *map(str, arguments)])
        try:
            run_command(load_tool(tool).main)
            status = 0
        except SystemExit as exit_:
            status = exit_.code or 0
        output = capsys.readouterr()
        return status, output.out, output.err

    return start


@pytest.fixture(scope='module')
def checkpoint(tiny_config, tmp_path_factory):
    """Weights of the network of `tiny_config`, not trained."""
    from mmyolo.registry import MODELS
    from mmyolo.utils import register_all_modules

    from noise_mm.configuration import load_config

    register_all_modules()
    torch.manual_seed(0)
    model = MODELS.build(load_config(tiny_config).model)
    model.init_weights()
    # Confident everywhere, so that predictions are not empty.
    for branch in model.bbox_head.head_module.cls_preds:
        branch[-1].bias.data += 6
    path = tmp_path_factory.mktemp('weights') / 'tiny.pth'
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, path)
    return path


@pytest.fixture
def well(tmp_path):
    """A well of 1,200 x 900 px with some discs."""
    picture = np.full((900, 1200, 3), 220, np.uint8)
    for x, y in ((100, 100), (600, 450), (1100, 800), (840, 300)):
        cv2.circle(picture, (x, y), 40, (130, 70, 140), -1)
    path = tmp_path / 'plate' / 'A1.tif'
    path.parent.mkdir()
    tifffile.imwrite(path, picture, photometric='rgb')
    return path


def assert_refused(result, *words):
    status, _, err = result
    lines = [line for line in err.splitlines() if line.startswith(('error:', 'failed:'))]
    assert status == 2, err
    assert 'Traceback' not in err
    assert lines
    for word in words:
        assert word in lines[-1]


@pytest.mark.slow
def test_train_then_test(run, tiny_config, tmp_path):
    work = tmp_path / 'work'
    status, out, _ = run('train', tiny_config, '--work-dir', work)
    assert status == 0
    assert (work / 'best.pth').exists()
    lines = out.splitlines()
    assert len(lines) < 30, out  # a screen
    assert max(map(len, lines)) < 250, out
    assert [line.partition(':')[0] for line in lines if line.startswith('epoch')] == ['epoch 1/2', 'epoch 2/2']
    assert 'after 2 epochs this network finds next to nothing. Train longer' in out
    [log] = work.glob('*/*.log')
    text = log.read_text()
    assert all(part in text for part in ('System environment:', 'Config:', 'Epoch(train)', 'Epoch(val)'))
    status, out, _ = run('test', tiny_config, work / 'best.pth', '--work-dir', work, '--out', tmp_path / 'M2.json')
    assert status == 0
    assert 'mAP' in out
    report = json.loads((tmp_path / 'M2.json').read_text())
    assert report['n_images'] == 2
    assert report['n_objects'] == 8
    assert report['run']['config'] == str(tiny_config)


def test_predict_writes_all_formats(run, tiny_config, checkpoint, well, tmp_path):
    out = tmp_path / 'out'
    status, printed, err = run(
        'predict', tiny_config, checkpoint, well.parent, '--out', out, '--mpp', '0.7784', '--device', 'cpu'
    )
    assert status == 0, err
    assert 'A1:' in printed
    assert sorted(path.name for path in out.iterdir()) == [
        'A1.json',
        'A1_cells.csv',
        'A1_overlay.png',
        'cells.csv',
        'index.html',
        'records',
        'results.xlsx',
        'run.json',
        'wells.csv',
    ]
    cells = list(csv.DictReader((out / 'A1_cells.csv').open()))
    (row,) = csv.DictReader((out / 'wells.csv').open())
    annotations = COCO(out / 'A1.json').anns.values()
    assert len(cells) == len(annotations) == int(row['count']) > 0
    assert sum(float(cell['area_px2']) for cell in cells) == pytest.approx(float(row['total_area_px2']), abs=len(cells))
    assert sum(a['area'] for a in annotations) == pytest.approx(float(row['total_area_px2']), abs=1)
    assert float(row['total_area_um2']) == pytest.approx(float(row['total_area_px2']) * 0.7784**2, rel=1e-3)
    assert cv2.imread(str(out / 'A1_overlay.png')).shape == (900, 1200, 3)


def test_predict_again_replaces_the_tables(run, tiny_config, checkpoint, well, tmp_path):
    arguments = ['predict', tiny_config, checkpoint, well, '--out', tmp_path / 'out', '--formats', 'csv', '--mpp', '1']
    assert run(*arguments)[0] == 0
    before = (tmp_path / 'out' / 'wells.csv').read_text()
    assert run(*arguments)[0] == 0
    assert (tmp_path / 'out' / 'wells.csv').read_text() == before
    assert not (tmp_path / 'out' / 'A1.json').exists()


def test_predict_goes_on_where_it_was(run, tiny_config, checkpoint, well, tmp_path):
    tifffile.imwrite(well.parent / 'A2.tif', tifffile.imread(well), photometric='rgb')
    arguments = ['predict', tiny_config, checkpoint, well.parent, '--out', tmp_path / 'out', '--mpp', '1']
    arguments += ['--formats', 'csv']
    assert run(*arguments)[0] == 0
    before = (tmp_path / 'out' / 'A1_cells.csv').stat().st_mtime_ns
    (tmp_path / 'out' / 'records' / 'A2.json').unlink()
    status, out, err = run(*arguments, '--resume')
    assert status == 0, err
    assert '1 of 2 wells are finished' in out
    assert (tmp_path / 'out' / 'A1_cells.csv').stat().st_mtime_ns == before
    assert [row['well'] for row in csv.DictReader((tmp_path / 'out' / 'wells.csv').open())] == ['A1', 'A2']
    assert_refused(run(*arguments, '--resume', '--score-thr', '0.5'), 'out', 'score_thr: 0.25 before, 0.5 now')
    assert_refused(run(*arguments, '--resume', '--cfg-options', 'patch_size_px=416'), 'tile_px: 832 before, 416 now')


def test_background_is_skipped_unless_it_is_to_be_kept(run, tiny_config, checkpoint, tmp_path):
    cv2.imwrite(str(tmp_path / 'A1.png'), np.full((900, 1200, 3), 220, np.uint8))
    for options, skipped, stride_px in (
        ((), 4, 416),
        (('--keep-background',), 0, 416),
        (('--stride', '832'), 4, 832),
        (('--stride', '200'), 6, 200),
        (('--fast',), 4, 624),
    ):
        out = tmp_path / f'out{len(options)}{skipped}'
        arguments = (tiny_config, checkpoint, tmp_path / 'A1.png', '--out', out, '--mpp', '0.7784', '--formats', 'csv')
        status, printed, err = run('predict', *arguments, *options)
        assert status == 0, err
        run_record = json.loads((out / 'run.json').read_text())
        assert run_record['background_tiles'] == {'A1': skipped}
        assert run_record['settings']['stride_px'] == stride_px
        assert ('are background' in printed) == bool(skipped)


@pytest.mark.slow
@pytest.mark.parametrize('launcher', ['pytorch', 'slurm'])
def test_two_processes_give_what_one_gives(repo_dir, tiny_config, checkpoint, well, tmp_path, launcher):
    """With one thread each: more of them may add in another order."""
    cv2.imwrite(str(well.parent / 'A2.png'), np.full((64, 64, 3), 200, np.uint8))
    environment = os.environ | {'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}
    command = [repo_dir / 'tools/predict.py', tiny_config, checkpoint, well.parent, '--mpp', '0.5', '--stride', '200']
    one = [sys.executable, *command, '--out', tmp_path / 'one']
    subprocess.run(one, env=environment, check=True, capture_output=True)
    two = [*command, '--out', tmp_path / 'two', '--launcher', launcher]
    if launcher == 'pytorch':
        torchrun = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2']
        subprocess.run([*torchrun, *two], env=environment, check=True, capture_output=True)
    else:
        slurm = {'SLURM_NTASKS': '2', 'SLURM_JOB_ID': '7', 'SLURM_STEP_ID': '0'}
        ranks = [
            subprocess.Popen([sys.executable, *two], env=environment | slurm | {'SLURM_PROCID': str(rank)})
            for rank in range(2)
        ]
        assert [rank.wait() for rank in ranks] == [0, 0]
    files, others = (
        {path.relative_to(out) for path in out.rglob('*') if path.is_file()}
        for out in (tmp_path / 'one', tmp_path / 'two')
    )
    assert others - {Path('.summary.lock')} == files
    assert json.loads((tmp_path / 'two' / 'run.json').read_text())['processes'] == 2
    for file in files - {Path('run.json')}:
        assert (tmp_path / 'one' / file).read_bytes() == (tmp_path / 'two' / file).read_bytes(), file


@pytest.mark.slow
def test_processes_of_one_machine_tell_bad_images_as_one_does(tiny_config, checkpoint, well, tmp_path, repo_dir):
    """Without the launcher's own traceback, and with the status that a single process has."""
    (well.parent / 'B1.tif').write_text('text')
    variables = os.environ | {'PATH': f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'}
    options = ['--mpp', '0.7784', '--device', 'cpu', '--formats', 'csv,coco', '--keep-background']
    together = [repo_dir / 'tools' / 'dist_predict.sh', tiny_config, checkpoint, '2', well.parent]
    alone = [sys.executable, repo_dir / 'tools' / 'predict.py', tiny_config, checkpoint, well.parent]
    for command, out in ((together, tmp_path / 'two'), (alone, tmp_path / 'one')):
        done = subprocess.run([*command, '--out', out, *options], env=variables, capture_output=True, text=True)
        assert done.returncode == 2, done.stderr
        assert done.stderr.count('B1.tif') == 1 and 'Traceback' not in done.stderr
    for name in ('A1.json', 'A1_cells.csv', 'wells.csv'):
        assert (tmp_path / 'two' / name).read_bytes() == (tmp_path / 'one' / name).read_bytes()
    assert json.loads((tmp_path / 'two' / 'run.json').read_text())['processes'] == 2


def test_one_bad_image_does_not_keep_the_others(run, tiny_config, checkpoint, well, tmp_path):
    (well.parent / 'B1.tif').write_text('this is text')
    cv2.imwrite(str(well.parent / 'C1.png'), np.full((64, 64, 3), 200, np.uint8))
    whole = (well.parent / 'C1.png').read_bytes()
    (well.parent / 'C1.png').write_bytes(whole[: len(whole) // 2])
    result = run('predict', tiny_config, checkpoint, well.parent, '--out', tmp_path / 'out', '--mpp', '1')
    assert_refused(result, '2 of 3 images failed')
    assert 'B1.tif' in result[2]
    assert 'C1.png' in result[2]
    assert [row['well'] for row in csv.DictReader((tmp_path / 'out' / 'wells.csv').open())] == ['A1']


def test_bad_input_of_predict(run, tiny_config, checkpoint, well, tmp_path):
    out = ['--out', tmp_path / 'out', '--mpp', '1']
    text = tmp_path / 'text.tif'
    text.write_text('this is text')
    empty = tmp_path / 'empty'
    empty.mkdir()
    result = run('predict', tiny_config, checkpoint, text, *out)
    assert_refused(result, 'text.tif')
    assert result[2].count('text.tif') == 1
    assert_refused(run('predict', tiny_config, checkpoint, empty, *out), 'no images')
    assert_refused(run('predict', tiny_config, checkpoint, tmp_path / 'none', *out), 'no such file')
    assert_refused(run('predict', tmp_path / 'none.py', checkpoint, well, *out), 'no such config')
    assert_refused(run('predict', tiny_config, tmp_path / 'none.pth', well, *out), 'none.pth')
    assert_refused(run('predict', tiny_config, text, well, *out), 'text.tif')
    assert_refused(run('predict', tiny_config, checkpoint, well, *out, '--device', 'cuda:77'), '--device cuda:77')
    assert_refused(run('predict', tiny_config, checkpoint, well, *out, '--formats', 'csv, pdf'), 'unknown pdf.')
    assert_refused(run('predict', tiny_config, checkpoint, well, *out, '--formats', ','), '--formats', 'names none')
    assert_refused(run('predict', tiny_config, checkpoint, well, *out, '--score-thr', '7'), '--score-thr')
    assert_refused(
        run('predict', tiny_config, checkpoint, well, '--out', well, '--mpp', '1'), 'A1.tif: cannot write here'
    )
    assert_refused(run('predict', tiny_config, checkpoint, well.parent, '--out', well.parent), '--out', 'of its own')
    for um_per_px in ('-1', '0', '0.0001', '353', 'nan'):
        assert_refused(
            run('predict', tiny_config, checkpoint, well, '--out', tmp_path / 'out', '--mpp', um_per_px),
            '--mpp',
            '0.7784',
        )
    assert_refused(run('predict', tiny_config, checkpoint, well, *out, '--batch-size', '0'), '--batch-size')
    missing = tmp_path / 'none.csv'
    for options, words in (
        (('--stride', '0'), ('--stride', 'got 0', '832')),
        (('--stride', '833'), ('--stride', 'got 833', '832')),
        (('--min-nuclei', '3'), ('--nuclei CONFIG CHECKPOINT',)),
        (('--nuclei', tiny_config, checkpoint, '--min-nuclei', '0'), ('--min-nuclei', 'got 0')),
        (('--nuclei', tiny_config, checkpoint), ('tiny.pth', 'nucleus')),
        (('--nuclei', tmp_path / 'none.py', checkpoint), ('none.py',)),
        (('--nuclei-score-thr', '-1'), ('--nuclei-score-thr',)),
        (('--well-area', '0'), ('--well-area',)),
        (('--well-area', 'nan'), ('--well-area',)),
        (('--plate-map', missing), ('none.csv',)),
        (('--launcher', 'pytorch'), ('--launcher pytorch',)),
    ):
        assert_refused(run('predict', tiny_config, checkpoint, well, *out, *options), *words)
    result = run('predict', tiny_config, checkpoint, well, *out, '--well-area', '7', '--well-mask')
    assert result[0] == 2
    assert '--well-mask: not allowed with argument --well-area' in result[2]
    assert not list((tmp_path / 'out').iterdir())
    assert [path.name for path in well.parent.iterdir()] == ['A1.tif']


@pytest.mark.parametrize(
    ('option', 'words'),
    [('model_size=s', ('YOLOv8-n segmentor', 'YOLOv8-s')), ('classes=[osteoclast,nucleus]', ('1 class', '2 classes'))],
)
def test_checkpoint_of_another_network(run, tiny_config, checkpoint, well, tmp_path, option, words):
    for arguments in (
        ('predict', tiny_config, checkpoint, well, '--out', tmp_path / 'out', '--mpp', '1', '--cfg-options', option),
        ('test', tiny_config, checkpoint, '--work-dir', tmp_path / 'work', '--cfg-options', option),
    ):
        assert_refused(run(*arguments), 'tiny.pth', *words)


def test_bad_input_of_train_and_test(run, tiny_config, tmp_path):
    work = ['--work-dir', tmp_path / 'work']
    assert_refused(run('train', tmp_path / 'none.py', *work), 'no such config')
    assert_refused(run('train', tiny_config, *work, '--fold', 'Z'), '--fold Z')
    assert_refused(run('train', tiny_config, *work, '--cfg-options', 'train_batches=[Z]'), "no batch 'Z'")
    assert_refused(run('train', tiny_config, *work, '--cfg-options', f'data_root={tmp_path}'), str(tmp_path))
    assert_refused(run('train', tiny_config, *work, '--resume', tmp_path / 'none.pth'), 'none.pth')
    assert_refused(run('train', tiny_config, *work, '--launcher', 'pytorch'), '--launcher')
    assert_refused(run('test', tiny_config, tmp_path / 'none.pth', *work), 'none.pth')


@pytest.mark.parametrize('tool', ['train', 'test', 'predict', 'convert_checkpoint', 'summarize', 'apply_review'])
def test_help_shows_an_example(run, tool):
    status, out, _ = run(tool, '--help')
    assert status == 0
    assert 'example' in out
