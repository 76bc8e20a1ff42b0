import json
import subprocess
import sys

import pytest


@pytest.fixture
def benchmark(repo_dir, tmp_path):
    def call(*arguments):
        command = [sys.executable, str(repo_dir / 'tools' / 'benchmark_metric.py'), *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

    return call


def test_both_evaluators_are_timed_and_agree(benchmark):
    done = benchmark('--patches', '6', '--objects', '5', '--detections', '12', '--repeats', '1')
    assert done.returncode == 0, done.stderr
    first, *rows = done.stdout.splitlines()
    assert first == '6 patches, 30 objects, 72 detections'
    rows = [json.loads(row) for row in rows]
    assert [(row['kind'], row['evaluator']) for row in rows] == [
        (kind, name) for kind in ('segm', 'bbox') for name in ('noise_mm', 'pycocotools')
    ]
    assert all(row['median_s'] >= 0 and row['largest_difference_of_ap'] < 1e-9 for row in rows)


def test_wrong_options_are_named(benchmark):
    done = benchmark('--patches', '0')
    assert done.returncode == 2
    assert 'must be at least 1' in done.stderr


@pytest.fixture
def tool(repo_dir, monkeypatch):
    monkeypatch.syspath_prepend(str(repo_dir / 'tools'))
    import benchmark_metric

    return benchmark_metric


def test_a_peer_that_is_not_installed_is_named(tool, monkeypatch):
    from noise_mm.errors import InputError

    monkeypatch.setitem(tool.PEERS, 'other', ('no_such_evaluator', 'COCO', 'COCOeval'))
    with pytest.raises(InputError, match='--against other: is not installed'):
        tool.score_by_peer('other')


def test_times_of_evaluators_that_disagree_are_refused(tool):
    from noise_mm.errors import InputError

    values = {'noise_mm': [0.5], 'pycocotools': [0.6]}
    with pytest.raises(InputError, match='do not agree'):
        tool.report('segm', {'noise_mm': [1.0], 'pycocotools': [2.0]}, values)
