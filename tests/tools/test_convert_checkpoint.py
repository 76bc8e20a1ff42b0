import subprocess
import sys

import pytest
import torch


@pytest.fixture
def run(repo_dir, tmp_path):
    """`run(*arguments)` -> the finished command, called from another folder than the repository's."""

    def command(*arguments):
        script = [sys.executable, repo_dir / 'tools/convert_checkpoint.py']
        return subprocess.run([*script, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)

    return command


def test_help_shows_an_example(run):
    done = run('--help')
    assert done.returncode == 0 and 'python tools/convert_checkpoint.py' in done.stdout


def test_converts_there_and_back_and_says_what(run, shared_dir, tmp_path):
    done = run(shared_dir / 'parity/ultralytics_yolov8n-det_nc2.pt', 'folder/x.pth')
    assert (done.returncode, done.stderr) == (0, '')
    assert 'YOLOv8n, task detect, 354 tensors\n2 classes: osteoclast, nucleus\n' in done.stdout
    assert 'state_dict' in torch.load(tmp_path / 'folder/x.pth', weights_only=True)
    done = run('folder/x.pth', 'back.pt')
    assert (done.returncode, done.stderr) == (0, '')
    assert 'YOLOv8n, task detect, 354 tensors' in done.stdout


def test_malicious_file_is_refused_in_one_line_and_leaves_nothing(run, shared_dir, tmp_path):
    done = run(shared_dir / 'parity/malicious.pt', 'x.pth')
    assert (done.returncode, done.stdout, done.stderr.count('\n')) == (2, '', 1)
    assert 'malicious.pt' in done.stderr and 'posix.system' in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_bad_file_is_reported_in_one_line(run, tmp_path):
    (tmp_path / 'text.pt').write_text('epoch,loss\n')
    done = run('text.pt', 'x.pth')
    assert (done.returncode, done.stdout) == (2, '')
    assert done.stderr == 'error: text.pt: not a PyTorch checkpoint. Check that it is the right file.\n'
    assert [path.name for path in tmp_path.iterdir()] == ['text.pt']
