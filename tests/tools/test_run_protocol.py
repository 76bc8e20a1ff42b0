"""The experiment of a small study by one command, against the same typed stage by stage. And bad input."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from noise_mm.checkpoints.safe_loading import load_checkpoint_file
from noise_mm.errors import run_command
from noise_mm.splits import draw_validation_units

DETECTOR, PRETRAIN, FINETUNE = 'nuclei_detector_yolov8-l', 'pretrain_osteoclast-nuclei_yolov8-l', 'noise_m2h'
SETTINGS = [
    *('model_size=n', 'network_size_px=96', 'max_epochs=3', 'batch_size=2', 'nominal_batch_size=2', 'num_workers=0'),
    *('randomness.deterministic=True', 'hooks.close_mosaic.num_last_epochs=1', 'coco_checkpoint=start.pth'),
]
ENVIRONMENT = os.environ | {'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}
PROTOCOL = ['m2h', '--method', 'noise', '--data-root', 'data', '--mouse-batches', 'M1', 'M2', '--human-batches', 'H1']


def command(repo_dir, script, *words):
    return [sys.executable, str(repo_dir / script), *map(str, words)]


def call(repo_dir, folder, script, *words):
    """Runs a script of the repository in a folder and returns what it prints."""
    done = subprocess.run(
        command(repo_dir, script, *words), cwd=folder, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope='module')
def study(repo_dir, tmp_path_factory):
    """A folder with `data` (M1, M2, H1 of 3 small wells, and nuclei) and `start.pth`, a detector that finds a lot."""
    folder = tmp_path_factory.mktemp('study')
    wells = 'cultures --batches M1 M2 H1 --wells 3 --preset tiny --size 512 --workers 2'
    call(repo_dir, folder, 'data_prep/synthesize.py', *wells.split())
    for batch in ('M1', 'M2', 'H1'):
        wells = f'--wells cultures/{batch}/wells --rois cultures/{batch}/rois --batch {batch} --out data'
        call(repo_dir, folder, 'data_prep/extract_patches.py', *wells.split())
    points = sorted((folder / 'cultures').glob('M*/nuclei/*.csv'))
    call(repo_dir, folder, 'data_prep/import_nuclei.py', '--images', 'cultures', '--via', *points, '--out', 'data')
    shutil.rmtree(folder / 'cultures')
    torch.save({'state_dict': confident_detector(repo_dir)}, folder / 'start.pth')
    return folder


def confident_detector(repo_dir):
    from mmyolo.registry import MODELS
    from mmyolo.utils import register_all_modules

    from noise_mm.configuration import load_config

    register_all_modules()
    torch.manual_seed(0)
    model = MODELS.build(load_config(repo_dir / f'configs/noise/{DETECTOR}.py', {'model_size': 'n'}).model)
    model.init_weights()
    for branch in model.bbox_head.head_module.cls_preds:
        branch[-1].bias.data += 8
    return model.state_dict()


def copy_of(study, folder):
    shutil.copytree(study, folder, dirs_exist_ok=True)
    return folder


def train(repo_dir, folder, config, *words, batches='M1,M2', settings=SETTINGS):
    options = ['--cfg-options', 'data_root=data', f'train_batches=[{batches}]', *settings]
    call(repo_dir, folder, 'tools/train.py', repo_dir / 'configs' / 'noise' / f'{config}.py', *words, *options)


@pytest.fixture(scope='module')
def by_hand(repo_dir, study, tmp_path_factory):
    """The folder of the study after all stages were typed one by one."""
    folder = copy_of(study, tmp_path_factory.mktemp('by_hand'))
    for config in (DETECTOR, PRETRAIN):
        train(repo_dir, folder, config)
    settings = [*SETTINGS, 'test_batches=[H1]']
    train(repo_dir, folder, FINETUNE, settings=settings)
    config = repo_dir / 'configs' / 'noise' / f'{FINETUNE}.py'
    options = ['--cfg-options', 'data_root=data', 'train_batches=[M1,M2]', *settings]
    call(repo_dir, folder, 'tools/test.py', config, f'work_dirs/{FINETUNE}/best.pth', *options)
    return folder


def weights(folder, name, checkpoint='best.pth'):
    return load_checkpoint_file(folder / 'work_dirs' / name / checkpoint)['state_dict']


def assert_same(expected, found):
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=0, atol=0, msg=key)


def assert_same_end(by_hand, folder):
    for name in (DETECTOR, PRETRAIN, FINETUNE):
        assert_same(weights(by_hand, name), weights(folder, name))
    reports = [json.loads((each / 'work_dirs' / FINETUNE / 'metrics.json').read_text()) for each in (by_hand, folder)]
    assert reports[0]['run']['data'] == reports[1]['run']['data']
    for report in reports:
        del report['run']
    assert reports[0] == reports[1]


@pytest.mark.slow
def test_one_command_ends_where_the_stages_by_hand_do(repo_dir, study, by_hand, tmp_path):
    folder = copy_of(study, tmp_path / 'study')
    out = call(repo_dir, folder, 'tools/run_protocol.py', *PROTOCOL, '--cfg-options', *SETTINGS)
    assert_same_end(by_hand, folder)
    assert out.count('begins') == 5
    table = (folder / 'work_dirs' / 'noise_m2h.md').read_text()
    assert '| NOISe M→H |' in table
    assert re.search(rf'{FINETUNE}: \d+ image passes \({DETECTOR}.py \d+, {PRETRAIN}.py \d+, this one \d+\)', table)
    assert table in out
    run = json.loads((folder / 'work_dirs' / FINETUNE / 'metrics.json').read_text())['run']
    assert [each['origin'] for each in run['initialised_from']] == ['coco', f'noise/{PRETRAIN}.py']
    assert run['coco_weights'] is True

    before = {path: path.stat().st_mtime_ns for path in sorted(folder.rglob('*')) if path.suffix != '.md'}
    again = call(repo_dir, folder, 'tools/run_protocol.py', *PROTOCOL, '--cfg-options', *SETTINGS)
    assert again.count('done before') == 5
    assert 'begins' not in again
    assert table in again
    after = {path: path.stat().st_mtime_ns for path in sorted(folder.rglob('*')) if path.suffix != '.md'}
    assert {path for path in after if before.get(path) != after[path]} <= {
        *(folder / 'work_dirs').glob('*/.lock'),
        folder / 'work_dirs',  # the table
    }

    # And what was typed by hand needs nothing more than the table.
    taken_over = call(repo_dir, by_hand, 'tools/run_protocol.py', *PROTOCOL, '--cfg-options', *SETTINGS)
    assert taken_over.count('done before') == 5


@pytest.mark.slow
def test_killed_in_each_stage_it_ends_the_same(repo_dir, study, by_hand, tmp_path):
    folder = copy_of(study, tmp_path / 'study')
    words = [*PROTOCOL, '--cfg-options', *SETTINGS]
    runs, log = folder / 'work_dirs', folder / 'log.txt'

    def kill_when(is_time, with_children):
        with log.open('w') as file:
            process = subprocess.Popen(
                command(repo_dir, 'tools/run_protocol.py', *words),
                cwd=folder,
                env=ENVIRONMENT,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        while not is_time() and process.poll() is None:
            time.sleep(0.02)
        assert process.poll() is None, log.read_text()[-3000:]
        os.killpg(process.pid, signal.SIGKILL) if with_children else process.kill()
        process.wait()

    def has_begun(name):
        return (runs / name / 'last_checkpoint').exists

    kill_when(has_begun(DETECTOR), with_children=True)
    assert not (runs / DETECTOR / 'finished.json').exists()
    labelled = (runs / 'pseudo' / 'M1.json').exists
    kill_when(labelled, with_children=False)  # stage 1 labels when it ends
    kill_when(has_begun(PRETRAIN), with_children=False)
    assert not (runs / PRETRAIN / 'finished.json').exists()
    shutil.rmtree(runs / 'pseudo')  # now the tool has to label
    kill_when(labelled, with_children=True)
    kill_when(has_begun(FINETUNE), with_children=False)
    assert not (runs / FINETUNE / 'finished.json').exists()
    kill_when(lambda: 'mmengine' in log.read_text().partition('[5/5]')[2], with_children=True)
    assert not (runs / FINETUNE / 'metrics.json').exists()
    call(repo_dir, folder, 'tools/run_protocol.py', *words)
    assert_same_end(by_hand, folder)


# --- fold hygiene, in real trainings


@pytest.mark.slow
def test_no_training_of_a_fold_opens_a_file_of_the_test_batch(repo_dir, study, tmp_path):
    whole, without = (copy_of(study, tmp_path / name) for name in ('whole', 'without'))
    shutil.rmtree(without / 'data' / 'H1')
    shutil.rmtree(without / 'data' / 'M1')
    for image in (without / 'data' / 'nuclei' / 'images').glob('M1*'):
        image.unlink()
    one_epoch = [*SETTINGS, 'max_epochs=1']
    some = ['hooks.pseudo_labels.score_thr=0.001']  # trained on one patch, it finds no nucleus to choose by
    for config, settings in ((DETECTOR, [*one_epoch, *some]), (PRETRAIN, one_epoch), ('noise_m2m', one_epoch)):
        for folder in (whole, without):
            train(repo_dir, folder, config, '--fold', 'M1', settings=settings)
        assert_same(*(weights(folder, f'{config}_M1') for folder in (whole, without)))
    labels = [(folder / 'data/pseudo/without_M1/M2.json').read_text() for folder in (whole, without)]
    assert labels[0] == labels[1]
    assert json.loads(labels[0])['info']['pseudo_labels']['n_nuclei'] > 0
    assert not (whole / 'data/pseudo/without_M1/M1.json').exists()


@pytest.mark.slow
def test_no_validation_well_reaches_a_gradient_or_the_threshold(repo_dir, study, by_hand, tmp_path):
    folder = copy_of(study, tmp_path / 'study')
    spoil_validation_wells(folder / 'data')
    train(repo_dir, folder, DETECTOR)
    assert_same(weights(by_hand, DETECTOR), weights(folder, DETECTOR))
    thresholds = [
        json.loads((each / 'data/pseudo/M1.json').read_text())['info']['pseudo_labels']['threshold']
        for each in (by_hand, folder)
    ]
    assert thresholds[0] == thresholds[1]
    assert thresholds[0]['n_nuclei'] > 0
    # Which epoch of stage 2 is the best one is for the validation wells to say; what it was trained to is not.
    train(repo_dir, folder, PRETRAIN)
    assert_same(weights(by_hand, PRETRAIN, 'epoch_3.pth'), weights(folder, PRETRAIN, 'epoch_3.pth'))


def spoil_validation_wells(data):
    """Replaces the pixels of the wells that stages 2 and 3 validate on by noise, wherever there are patches of them."""
    rng = np.random.default_rng(0)
    images = [
        {**image, 'batch': batch}
        for batch in ('M1', 'M2')
        for image in json.loads((data / batch / 'annotations.json').read_text())['images']
    ]
    drawn = draw_validation_units([(image['batch'], image['well']) for image in images], 0.2, 0)
    assert drawn
    paths = [data / image['batch'] / image['file_name'] for image in images if (image['batch'], image['well']) in drawn]
    names = {well for _, well in drawn}
    nuclei = json.loads((data / 'nuclei' / 'annotations.json').read_text())['images']
    spoilt = [data / 'nuclei' / image['file_name'] for image in nuclei if any(name in image['well'] for name in names)]
    assert spoilt
    for path in (*paths, *spoilt):
        picture = cv2.imread(str(path))
        cv2.imwrite(str(path), rng.integers(0, 256, picture.shape, dtype=np.uint8))


# --- options and bad input


@pytest.fixture
def run(load_tool, monkeypatch, capfd, tmp_path):
    """`run(*arguments)` -> exit status, standard output and standard error, in an empty folder with empty batches."""
    monkeypatch.chdir(tmp_path)
    for name in ('M1', 'M2', 'M3', 'M4', 'M5', 'H1', 'nuclei'):
        path = Path('data/osteoclast') / name / 'annotations.json'
        path.parent.mkdir(parents=True)
        path.write_text('{}')

    def start(*arguments):
        monkeypatch.setattr(sys, 'argv', ['run_protocol.py', *arguments])
        try:
            run_command(load_tool('run_protocol').main)
            status = 0
        except SystemExit as exit_:
            status = exit_.code or 0
        return status, *capfd.readouterr()

    return start


def test_dry_run_prints_what_a_user_would_type(run, repo_dir, monkeypatch, tmp_path):
    monkeypatch.chdir(repo_dir)
    data = ['--data-root', str(tmp_path / 'data/osteoclast')]
    status, out, err = run('m2m', '--method', 'nuclei-free', '--folds', 'M5', '--preset', 'n', '--dry-run', *data)
    assert status == 0, err
    run_name = 'pretrain_osteoclast_yolov8-l'
    settings = f'--cfg-options data_root={data[1]} model_size=n'
    assert [line.partition(' ')[2] for line in out.splitlines()] == [
        f'tools/train.py configs/noise/{run_name}.py --fold M5 --work-dir work_dirs/{run_name}_M5 {settings}',
        f'tools/train.py configs/noise/nuclei-free_m2m.py --fold M5 --work-dir work_dirs/nuclei-free_m2m_M5 {settings}',
        'tools/test.py configs/noise/nuclei-free_m2m.py work_dirs/nuclei-free_m2m_M5/best.pth --fold M5 '
        f'--work-dir work_dirs/nuclei-free_m2m_M5 {settings}',
    ]


def test_dry_run_needs_no_data(run):
    shutil.rmtree('data')
    arguments = [
        'm2h',
        '--method',
        'noise',
        '--epochs',
        '4',
        '5',
        '6',
        '--seed',
        '1',
        '--work-dir',
        'runs/a',
        '--as-paper',
    ]
    status, out, err = run(*arguments, '--name', 'NOISe, seed 1', '--dry-run')
    lines = out.splitlines()
    assert (status, len(lines)) == (0, 5)
    assert err.startswith('note: data/osteoclast/M1/annotations.json: no such file (and 7 more)')
    assert [line.partition('max_epochs=')[2][0] for line in lines] == ['4', '4', '5', '6', '6']
    assert all('randomness.seed=1' in line and 'best_metric=osteoclast/fitness' in line for line in lines)
    assert "--name 'NOISe, seed 1'" in lines[-1]
    assert not Path('runs').exists()


def test_the_designs_command_is_taken(run):
    status, out, err = run('m2h', '--method', 'yolov8', '--human-batches', 'H1', '--resume', '--dry-run')
    assert (status, len(out.splitlines()), err) == (0, 2, '')


def test_several_gpus_and_clusters(run):
    common = ['m2h', '--method', 'yolov8', '--human-batches', 'H1', '--dry-run', '--gpus', '2']
    assert all('torch.distributed.run' in line for line in run(*common)[1].splitlines())
    cluster = ['--launcher', 'slurm', '--partition', 'gpu', '--srun-args=--time=1 --mem=2G']
    assert all(
        line.startswith('srun -p gpu') and '--time=1 --mem=2G' in line
        for line in run(*common, *cluster)[1].splitlines()
    )


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['m2h', '--method', 'noise'], ('data/osteoclast/H2/annotations.json', 'no such file', '--data-root')),
        (['m2h', '--method', 'noise', '--data-root', 'none'], ('none/M1/annotations.json', 'and 7 more')),
        (['m2m', '--method', 'noise', '--mouse-batches', 'M1', 'Z'], ('Z/annotations.json',)),
        (['m2m', '--method', 'noise', '--folds', 'H1'], ('--folds H1',)),
        (['m2m', '--method', 'noise', '--cfg-options', 'train_batches=[M1]'], ('train_batches', '--mouse-batches')),
        (['m2m', '--method', 'noise', '--preset', 'n', '--cfg-options', 'model_size=s'], ('--preset',)),
        (['m2m', '--method', 'noise', '--cfg-options', 'max_epochs'], ('max_epochs', 'KEY=VALUE')),
        (['m2m', '--method', 'noise', '--cfg-options', 'init_from=[]'], ('init_from', '--method')),
        (['m2m', '--method', 'noise', '--gpus', '0'], ('--gpus 0',)),
        (['m2m', '--method', 'noise', '--epochs', '1', '2'], ('--epochs 1 2', '3 trainings')),
        (['m2m', '--method', 'noise', '--epochs', '1', '--cfg-options', 'max_epochs=2'], ('max_epochs', '--epochs')),
        (['m2m', '--method', 'yolov8', '--mouse-batches', 'M1', 'M1'], ('--mouse-batches', 'M1 is named twice')),
        (
            ['m2m', '--method', 'yolov8', '--as-paper', '--cfg-options', 'test_evaluator.mode=coco'],
            ('test_evaluator.mode', '--as-paper'),
        ),
        (['m2m', '--method', 'noise', '--partition', 'x'], ('SLURM',)),
        (['m2m', '--method', 'noise', '--work-dir', 'data/osteoclast/M1/annotations.json'], ('cannot write here',)),
    ],
)
def test_bad_input_is_one_line_before_anything_runs(run, arguments, words):
    status, out, err = run(*arguments)
    assert status == 2
    assert out.count('\n') == out.count('tools/') == 0
    (line,) = err.splitlines()
    assert line.startswith('error: ')
    for word in words:
        assert word in line
    assert not Path('work_dirs').exists()


@pytest.mark.slow
def test_failing_stage_is_named_and_its_own_line_is_passed_on(run):
    status, out, err = run('m2h', '--method', 'random-init', '--human-batches', 'H1', '--preset', 'n')
    assert status == 2
    assert '[1/2] training, work_dirs/random-init_m2h: begins' in out
    own, last = [line for line in err.splitlines() if line.startswith('error: ')]
    assert 'data/osteoclast/M1/annotations.json' in own
    assert last.startswith('error: training, work_dirs/random-init_m2h: stopped with exit status 2')


def test_help_shows_an_example(run):
    status, out, _ = run('--help')
    assert status == 0
    assert 'example' in out
