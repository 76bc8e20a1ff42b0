import json
import subprocess
import sys

import numpy as np
import pytest

from noise_mm.evaluation import paper_tables
from noise_mm.evaluation.evaluate import evaluate
from noise_mm.evaluation.matches_file import write_matches
from noise_mm.evaluation.matching import ImageOverlaps, Pairs
from noise_mm.evaluation.tables import KEYS


def write_metrics(folder, row, **run):
    mean = [
        {'iou_thr': thr, **dict(zip(KEYS, map(float, values), strict=True))}
        for thr, values in paper_tables.values_of(row).items()
    ]
    content = {'schema': 1, 'mode': 'coco', 'mask_resolution': 'native', 'iou_thrs': list(paper_tables.IOU_THRS)}
    folder.mkdir(parents=True)
    (folder / 'metrics.json').write_text(json.dumps({**content, 'run': run, 'segm': {'mean': mean}}))


@pytest.fixture
def study(tmp_path):
    for batch, row in paper_tables.TABLE_2_FOLDS.items():
        write_metrics(tmp_path / 'work' / 'm2m' / batch, row, fold=batch, method='yolov8', protocol='m2m')
    write_metrics(tmp_path / 'work' / 'cellpose', paper_tables.TABLE_3['yolov8', 'm2h'])
    return tmp_path / 'work'


@pytest.fixture
def summarize(repo_dir, tmp_path):
    def call(*arguments):
        command = [sys.executable, str(repo_dir / 'tools' / 'summarize.py'), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, encoding='utf-8', cwd=tmp_path)

    return call


def test_prints_both_tables(summarize, study):
    done = summarize(study, '--with-paper')
    assert (done.returncode, done.stderr) == (0, '')
    assert f'| Average |  | {" | ".join(paper_tables.TABLE_2_AVERAGE.split())} |' in done.stdout
    assert f'| Standard Deviation |  | {" | ".join(paper_tables.TABLE_2_DEVIATION.split())} |' in done.stdout
    assert '| cellpose | 0.839 |' in done.stdout


def test_writes_a_file_and_counts_each_run_once(summarize, study, tmp_path):
    done = summarize(
        study, study / 'cellpose' / 'metrics.json', '--format', 'csv', '--out', tmp_path / 'out' / 'table.csv'
    )
    assert done.returncode == 0, done.stderr
    assert 'tables of 6 runs' in done.stdout
    assert len((tmp_path / 'out' / 'table.csv').read_text(encoding='utf-8').splitlines()) == 1 + 7 + 2


def test_runs_without_masks_are_left_out_unless_they_are_named(summarize, study):
    folder = study / 'nuclei_detector'
    write_metrics(folder, paper_tables.TABLE_2_AVERAGE, method=None)
    content = json.loads((folder / 'metrics.json').read_text())
    content['bbox'] = content.pop('segm')
    (folder / 'metrics.json').write_text(json.dumps(content))
    done = summarize(study)
    assert done.returncode == 0
    assert done.stderr == f'note: {folder / "metrics.json"}: has no segm scores and is left out.\n'
    assert 'nuclei_detector' not in done.stdout
    assert 'nuclei_detector' in summarize(folder, '--kind', 'bbox').stdout
    for path in (folder, folder / 'metrics.json'):
        assert summarize(path).returncode == 2
    assert summarize(study / 'cellpose', folder / 'metrics.json').returncode == 2


def write_arm(folder, n_found, wells, **run):
    """Metrics and matches of a run that finds some of 5 cells in each well."""
    write_metrics(folder, paper_tables.TABLE_2_AVERAGE, protocol='m2h', **run)
    found, objects = np.arange(n_found), np.zeros(5, int)
    pairs = {'segm': Pairs(found, found, np.ones(n_found))}
    images = [
        ImageOverlaps(
            k, 'H1', well, np.linspace(1, 0.5, n_found), objects[:n_found], None, objects, objects > 0, None, pairs
        )
        for k, well in enumerate(wells)
    ]
    (folder / 'metrics_curves').mkdir()
    evaluation = evaluate(images, ('osteoclast',), ('segm',), paper_tables.IOU_THRS)
    write_matches(folder / 'metrics_curves' / 'segm_matches.npz', evaluation, 'segm')


def test_differences_and_curves_of_arms(summarize, tmp_path):
    for method, n_found in {'yolov8': 1, 'noise': 3, 'oracle': 5}.items():
        write_arm(tmp_path / 'work' / method, n_found, 'ab', method=method)
    done = summarize('work', '--difference', 'yolov8_m2h', 'noise_m2h', 'oracle_m2h', '--draws', 20, '--seed', 4)
    assert done.returncode == 0, done.stderr
    assert 'note: ' not in done.stderr
    ap = [round(recalls / 101, 3) for recalls in (21, 61, 101)]
    assert (
        f'| AP at IoU 0.50 | {ap[0]:.3f} | {ap[1]:.3f} | 0.396 | 0.396 to 0.396 | {ap[2]:.3f} | 0.500 |' in done.stdout
    )
    assert '20 draws of 2 wells within H1, percentile interval, seed 4' in done.stdout
    assert 'YOLOv8 M→H, NOISe M→H' in summarize('work', '--curves', 'curves.png').stdout
    assert (tmp_path / 'curves.png').read_bytes().startswith(b'\x89PNG')


@pytest.mark.parametrize(
    ('arms', 'message'),
    [
        (['yolov8_m2h'], 'name two arms'),
        (['yolov8_m2h', 'other'], 'no run of this arm here; there are noise_m2h, yolov8_m2h'),
        (['yolov8_m2h', 'noise_m2h'], 'there are NOISe M→H, seed 0, NOISe M→H, seed 1'),
    ],
)
def test_arms_that_cannot_be_compared_are_named(summarize, tmp_path, arms, message):
    write_arm(tmp_path / 'work' / 'yolov8', 1, 'a', method='yolov8')
    for seed in (0, 1):
        write_arm(tmp_path / 'work' / f'noise{seed}', 2, 'a', method='noise', training={'seed': seed})
    done = summarize('work', '--difference', *arms)
    assert done.returncode == 2
    assert message in done.stderr


def test_needs_no_torch(repo_dir):
    """Printing a table must not take the seconds that importing torch does."""
    code = "import sys; import noise_mm.evaluation.tables; print('torch' in sys.modules, 'mmengine' in sys.modules)"
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=repo_dir)
    assert done.stdout.split() == ['False', 'False'], done.stderr


@pytest.mark.parametrize('fault', ['missing', 'empty', 'damaged', 'other'])
def test_errors_are_one_line(summarize, study, fault):
    folder = study / fault
    if fault != 'missing':
        folder.mkdir()
    if fault in ('damaged', 'other'):
        (folder / 'metrics.json').write_text('{' if fault == 'damaged' else '{"epoch": 1}')
    done = summarize(folder)
    assert done.returncode == 2
    assert done.stdout == ''
    (line,) = done.stderr.splitlines()
    assert line.startswith('error: ')
    assert fault in line
