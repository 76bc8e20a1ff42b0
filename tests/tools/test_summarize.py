import json
import subprocess
import sys

import pytest

from noise_mm.evaluation import paper_tables
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
