import json
import subprocess
import sys

import cv2
import numpy as np
import pytest


@pytest.fixture
def compare(repo_dir, tmp_path):
    """Runs the tool on two plates of three wells, whose true cells have scores above 0.5."""
    results = tmp_path / 'results'
    results.mkdir()
    rng, lines = np.random.default_rng(0), ['well,count,plate']
    for number in range(6):
        scores = [*rng.uniform(0.55, 1, 10 + number), *rng.uniform(0.1, 0.45, 5)]
        rows = ''.join(f'{i},osteoclast,{score:.4f}\n' for i, score in enumerate(scores))
        (results / f'W{number}_cells.csv').write_text('name,class,score\n' + rows)
        lines.append(f'W{number},{10 + number},plate{number // 3}')
    (tmp_path / 'counts.csv').write_text('\n'.join(lines))

    def run(*options, counts='counts.csv'):
        command = [sys.executable, repo_dir / 'tools' / 'compare_counts.py', results, tmp_path / counts, *options]
        return subprocess.run(command, capture_output=True, text=True)

    return run


def test_bias_and_threshold_of_each_plate_are_printed_and_written(compare, tmp_path):
    done = compare()
    assert done.returncode == 0, done.stderr
    assert 'plate0: 3 wells counted' in done.stdout and 'plate1' in done.stdout
    report = json.loads((tmp_path / 'results' / 'counts_compared.json').read_text())
    for plate in report['plates'].values():
        assert plate['suggestion']['error'] == 0 and 0.45 < plate['suggestion']['threshold'] < 0.6
    assert cv2.imread(str(tmp_path / 'results' / 'counts_compared.png')) is not None
    threshold = report['plates']['plate0']['suggestion']['threshold']
    assert 'bias +0.0' in compare('--score-thr', f'{threshold:.3f}').stdout


@pytest.mark.parametrize(('options', 'words'), [((), 'no such file'), (('--score-thr', '2'), '--score-thr must lie')])
def test_bad_input_ends_in_one_line(compare, options, words):
    done = compare(*options, counts='absent.csv')
    assert done.returncode == 2 and words in done.stderr and done.stderr.count('\n') == 1
