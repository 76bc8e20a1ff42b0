import sys
from pathlib import Path
from types import SimpleNamespace

import pytest


@pytest.fixture
def run_tests(load_tool, monkeypatch):
    """tools/run_tests.py with an environment that is there already."""
    load_tool('setup_problems')
    environment = load_tool('environment')
    monkeypatch.setattr(environment, 'ensure_environment', lambda: Path('python'))
    return load_tool('run_tests')


def run_with(run_tests, monkeypatch, arguments=(), status=lambda command: 0):
    """Runs main; returns its exit status and the commands that it ran, each with its environment variables."""
    runs = []

    def run(command, cwd, env):
        runs.append((command, env))
        return SimpleNamespace(returncode=status(command))

    monkeypatch.setattr(run_tests.subprocess, 'run', run)
    monkeypatch.setattr(sys, 'argv', ['run_tests.py', *arguments])
    return run_tests.main(), runs


def test_arguments_reach_pytest_after_the_defaults(run_tests, monkeypatch):
    arguments = ['-m', 'slow', 'tests/tools', '-k', 'a or b', '--no-header']
    status, runs = run_with(run_tests, monkeypatch, arguments)
    assert status == 0
    command = runs[-1][0]
    assert command[:4] == ['python', '-m', 'pytest', '-n']
    assert command[5:] == ['-m', 'not slow', *arguments]


def test_workers_have_one_thread_each(run_tests, monkeypatch):
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    assert run_with(run_tests, monkeypatch)[1][-1][1]['OMP_NUM_THREADS'] == '1'
    monkeypatch.setenv('OMP_NUM_THREADS', '3')
    assert run_with(run_tests, monkeypatch)[1][-1][1]['OMP_NUM_THREADS'] == '3'
    assert 1 <= run_tests.worker_count() <= run_tests.MOST_WORKERS


@pytest.mark.parametrize(('failing', 'expected'), [('check', 1), ('format', 1), ('pytest', 1), (None, 0)])
def test_every_check_runs_and_every_failure_counts(run_tests, monkeypatch, failing, expected):
    status, runs = run_with(run_tests, monkeypatch, status=lambda command: int(failing in command))
    assert status == expected
    assert [command[2:4] for command, _ in runs[:2]] == [['ruff', 'check'], ['ruff', 'format']]
    assert len(runs) == 3


def test_exit_status_of_pytest_is_kept(run_tests, monkeypatch):
    assert run_with(run_tests, monkeypatch, status=lambda command: 4 if 'pytest' in command else 1)[0] == 4
