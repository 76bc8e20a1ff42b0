"""Every attack is refused in one line or loaded as plain data, quickly and in little memory."""

import json
import os
import subprocess
import sys

import pytest
import torch

from tests.checkpoints.hostile_containers import legacy, write_all, zipped
from tests.checkpoints.hostile_pickles import pickles


def test_no_attack_runs_crashes_or_fills_the_memory(tmp_path, repo_dir):
    folder, marker = tmp_path / 'files', tmp_path / 'marker'
    folder.mkdir()
    names = write_all(folder, marker)
    assert len(names) > 600
    command = [sys.executable, '-m', 'tests.checkpoints.load_hostile_files', str(folder), str(marker)]
    run = subprocess.run(command, cwd=repo_dir, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr
    results = [json.loads(line) for line in run.stdout.splitlines()]
    assert [name for name, *_ in results] == list(names)
    odd = {names[name]: outcome for name, outcome, _ in results if set(outcome.split(' / ')) - {'refused', 'loaded'}}
    assert odd == {}
    loaded = {names[name] for name, outcome, _ in results if 'loaded' in outcome}
    assert {'good', 'good, old'} < loaded
    assert len(loaded) < 50  # unusual but plain values


@pytest.mark.skipif(os.name != 'posix', reason='the attack names a function of POSIX systems')
def test_attacks_are_armed(tmp_path):
    """A reader without protection would run them, from both containers."""
    marker = tmp_path / 'marker'
    attack = dict(pickles(str(marker)))['call posix.system']
    for contain in (zipped, legacy):
        path = tmp_path / 'x.pt'
        path.write_bytes(contain(attack))
        torch.load(path, weights_only=False)
        assert marker.exists()
        marker.unlink()
