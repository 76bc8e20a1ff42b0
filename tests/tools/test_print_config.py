import subprocess
import sys

from mmengine.config import Config

from noise_mm.configuration import load_config

TOOL = 'tools/print_config.py'


def run(repo_dir, *words):
    command = [sys.executable, str(repo_dir / TOOL), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_written_config_is_complete(repo_dir, tiny_config, tmp_path):
    done = run(repo_dir, tiny_config, '--fold', 'M2', '--cfg-options', 'batch_size=3', '--out', tmp_path / 'full.py')
    assert done.returncode == 0, done.stderr
    expected = load_config(tiny_config, {'batch_size': 3}, 'M2')
    assert Config.fromfile(tmp_path / 'full.py').to_dict() == expected.to_dict()


def test_other_files_are_refused(repo_dir, tiny_config, tmp_path):
    done = run(repo_dir, tiny_config, '--out', tmp_path / 'full.yaml')
    assert (done.returncode, done.stdout) == (2, '')
    assert '.py' in done.stderr
