"""What the benchmark of training hands to the program it compares with, and its own side."""

import json
import subprocess
import sys

import numpy as np
import pytest


@pytest.fixture
def training(repo_dir, monkeypatch):
    monkeypatch.syspath_prepend(str(repo_dir / 'benchmarks'))
    import training

    return training


def test_both_sides_train_on_the_same_objects(training, tiny_data, tmp_path):
    path = training.write_peer_dataset(tiny_data, ['M1', 'M2'], tmp_path / 'patches')
    data = json.loads(path.read_text())
    labels = sorted((tmp_path / 'patches' / 'labels').iterdir())
    images = sorted((tmp_path / 'patches' / 'images').iterdir())
    assert data['train'] == 'images'
    assert [label.stem for label in labels] == [image.stem for image in images]
    truth = json.loads((tiny_data / 'M1' / 'annotations.json').read_text())
    expected = {tuple(np.round(np.array(each['segmentation'][0]) / 128, 6)) for each in truth['annotations']}
    found = set()
    for label in labels:
        for line in label.read_text().splitlines():
            kind, *ring = line.split()
            assert kind == '0'
            found.add(tuple(map(float, ring)))
    assert found & expected
    assert all(0 <= value <= 1 for ring in found for value in ring)


@pytest.mark.slow
def test_this_project_is_timed_phase_by_phase(repo_dir, tiny_data, tmp_path):
    options = '--cache ram --network-size 64 --batch-size 2 --threads 1 --warm-up 1 --iterations 1 --rounds 1'
    command = [sys.executable, str(repo_dir / 'benchmarks' / 'training.py'), str(tiny_data), '--batches', 'M1']
    done = subprocess.run([*command, *options.split()], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    phases = [line.split('|')[1].strip() for line in done.stdout.splitlines() if line.startswith('|')]
    assert phases[2:8] == ['data', 'forward', 'loss', 'backward', 'optimizer and EMA', 'all, with loaders']


def test_a_peer_that_fails_is_reported_in_one_error(training, tmp_path):
    from noise_mm.errors import InputError

    settings = {'folder': str(tmp_path), 'threads': 1, 'device': 'cpu'}
    with pytest.raises(InputError, match=r'training_peer\.py: failed'):
        training.run(sys.executable, 'training_peer.py', settings)
