import subprocess
import sys

import pytest


@pytest.fixture
def benchmark(repo_dir, tmp_path):
    def call(*arguments):
        command = [sys.executable, str(repo_dir / 'benchmarks' / 'metric.py'), *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

    return call


def test_both_evaluators_are_timed_and_agree(benchmark):
    done = benchmark('--patches', '6', '--objects', '5', '--detections', '12', '--repeats', '1')
    assert done.returncode == 0, done.stderr
    first, *rows = done.stdout.splitlines()
    assert first == '6 patches, 30 objects, 72 detections'
    cells = [[cell.strip() for cell in row.strip('| ').split('|')] for row in rows]
    assert [row[0] for row in cells] == [
        name for kind in ('segm', 'bbox') for name in (kind, cells[1][0], 'this project', 'pycocotools')
    ]
    assert all(float(row[-1]) < 1e-9 for row in cells if row[0] == 'pycocotools')


def test_wrong_options_are_named(benchmark):
    done = benchmark('--patches', '0')
    assert done.returncode == 2
    assert 'must be at least 1' in done.stderr


@pytest.fixture
def tool(repo_dir, monkeypatch):
    monkeypatch.syspath_prepend(str(repo_dir / 'benchmarks'))
    import metric

    return metric


def test_a_peer_that_is_not_installed_is_named(tool, monkeypatch):
    from noise_mm.errors import InputError

    monkeypatch.setitem(tool.PEERS, 'other', ('no_such_evaluator', 'COCO', 'COCOeval'))
    with pytest.raises(InputError, match='--against other: is not installed'):
        tool.score_by_peer('other')


def test_times_of_evaluators_that_disagree_are_refused(tool):
    from timing import Took

    from noise_mm.errors import InputError

    runs = {name: [tool.Run(Took(1.0, 1.0), [ap])] for name, ap in (('this project', 0.5), ('pycocotools', 0.6))}
    with pytest.raises(InputError, match='do not agree'):
        tool.report('segm', runs)
