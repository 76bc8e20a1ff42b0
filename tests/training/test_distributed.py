"""Two processes, as on two GPUs, but on the CPU."""

import json
import os
import subprocess
import sys

import pytest

from noise_mm.checkpoints.safe_loading import load_checkpoint_file


@pytest.mark.slow
def test_two_ranks_train_and_score(repo_dir, tiny_config, tmp_path):
    def launch(tool, *arguments):
        command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2']
        script = [str(repo_dir / 'tools' / f'{tool}.py'), str(tiny_config), *arguments]
        options = ['--launcher', 'pytorch', '--work-dir', str(tmp_path), '--cfg-options', 'max_epochs=1']
        environment = os.environ | {'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}
        subprocess.run([*command, *script, *options], check=True, cwd=tmp_path, env=environment)

    launch('train')
    assert load_checkpoint_file(tmp_path / 'best.pth')['state_dict']
    launch('test', str(tmp_path / 'best.pth'), '--out', str(tmp_path / 'metrics.json'))
    report = json.loads((tmp_path / 'metrics.json').read_text())
    assert (report['n_images'], report['n_objects']) == (2, 8)
