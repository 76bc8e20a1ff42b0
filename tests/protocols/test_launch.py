import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from noise_mm.errors import InputError
from noise_mm.protocols import launch
from noise_mm.protocols.launch import Launcher, at_work, run, shown

ARGUMENTS = ['CONFIG', '--cfg-options', 'a=1']


def test_alone(repo_dir, monkeypatch):
    monkeypatch.chdir(repo_dir)
    assert Launcher().command('train', ARGUMENTS) == [sys.executable, 'tools/train.py', *ARGUMENTS]


def test_torchrun_as_the_shell_script_does_it(repo_dir, monkeypatch):
    monkeypatch.chdir(repo_dir)
    command = Launcher('pytorch', 4).command('train', ARGUMENTS)
    torchrun = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '4']
    assert command == [sys.executable, *torchrun, 'tools/train.py', *ARGUMENTS, '--launcher', 'pytorch']
    assert ' '.join(torchrun[:3]) in (repo_dir / 'tools' / 'dist_train.sh').read_text()


def test_srun_as_the_shell_script_does_it(repo_dir, tmp_path, monkeypatch):
    command = Launcher('slurm', 16, 'gpu', ('--time=1',)).command('train', ARGUMENTS)
    fake = tmp_path / 'srun'
    fake.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@"\n')
    fake.chmod(0o755)
    variables = {'PATH': f'{tmp_path}:{os.environ["PATH"]}', 'PARTITION': 'gpu', 'GPUS': '16', 'SRUN_ARGS': '--time=1'}
    script = ['bash', str(repo_dir / 'tools' / 'slurm_train.sh'), *ARGUMENTS]
    words = subprocess.run(script, env=variables, capture_output=True, text=True, check=True).stdout.split()

    def settings(given):
        return {word for word in given if word.startswith('--') and not word.startswith('--job-name')}

    assert command[0] == 'srun'
    assert settings(command) == settings(words)
    assert command[1:3] == words[:2] == ['-p', 'gpu']
    assert '-p' not in Launcher('slurm', 1).command('train', ARGUMENTS)


def test_labelling_takes_one_process():
    assert Launcher('pytorch', 4).command('pseudo_label', ARGUMENTS) == Launcher().command('pseudo_label', ARGUMENTS)
    command = Launcher('slurm', 4).command('pseudo_label', ARGUMENTS)
    assert '--ntasks=1' in command and '--launcher' not in command


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ({'gpus': 0}, '--gpus 0'),
        ({'gpus': 2}, '--gpus 2: several need --launcher'),
        ({'partition': 'gpu'}, 'are for SLURM'),
        ({'kind': 'pytorch', 'gpus': 2, 'srun_args': ('--time=1',)}, 'are for SLURM'),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        Launcher(**options)


def test_cluster_without_srun_is_refused(monkeypatch):
    monkeypatch.setattr(launch.shutil, 'which', lambda name: None)
    with pytest.raises(InputError, match='there is no srun here'):
        Launcher('slurm', 2).check()
    Launcher().check()
    Launcher('pytorch', 2).check()


def test_paths_are_shown_as_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shown(tmp_path / 'a' / 'b') == 'a/b'
    assert shown(Path('/elsewhere')) == '/elsewhere'


def python(code):
    return [sys.executable, '-c', code]


def test_failure_is_named(capfd):
    run(python('print("hello")'), 'stage 1, runs/a')
    assert 'hello' in capfd.readouterr().out
    with pytest.raises(InputError, match=r'stage 1, runs/a: stopped with exit status 2'):
        run(python('import sys; sys.exit("error: bad" and 2)'), 'stage 1, runs/a')
    with pytest.raises(InputError, match=r'stage 1, runs/a: was ended by SIGKILL'):
        run(python('import os; os.kill(os.getpid(), 9)'), 'stage 1, runs/a')


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='only Linux ends a process with its parent')
def test_command_ends_when_this_process_is_killed(repo_dir, tmp_path):
    note = tmp_path / 'pid'
    child = f'import os, time; open({str(note)!r}, "w").write(str(os.getpid())); time.sleep(60)'
    parent = f'from noise_mm.protocols.launch import run; run({python(child)!r}, "x")'
    process = subprocess.Popen(python(parent), cwd=repo_dir)
    deadline = time.monotonic() + 60
    while not (note.exists() and note.read_text()) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.kill()
    process.wait()
    pid = int(note.read_text())
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_running(pid)


def is_running(pid):
    try:
        state = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
    except FileNotFoundError:
        return False
    return state != 'Z'


def test_lock_is_given_back(tmp_path):
    with at_work(tmp_path / 'run'), pytest.raises(InputError, match='at work there'), at_work(tmp_path / 'run'):
        pass
    with at_work(tmp_path / 'run'):
        pass


def test_killed_process_leaves_no_lock(repo_dir, tmp_path):
    code = (
        'import os, signal\nfrom pathlib import Path\nfrom noise_mm.protocols.launch import at_work\n'
        f'with at_work(Path({str(tmp_path)!r})):\n    os.kill(os.getpid(), signal.SIGKILL)'
    )
    assert subprocess.run(python(code), cwd=repo_dir).returncode == -signal.SIGKILL
    with at_work(tmp_path):
        pass


def test_folders_without_locks(tmp_path, monkeypatch):
    def refuse(number):
        def acquire(self, timeout):
            raise OSError(number, 'no locks')

        monkeypatch.setattr(launch.FileLock, 'acquire', acquire)

    refuse(launch.errno.ENOLCK)
    with at_work(tmp_path):
        pass
    refuse(launch.errno.EIO)
    with pytest.raises(OSError, match='no locks'), at_work(tmp_path):
        pass
