import os
import subprocess
import sys

import pytest


@pytest.fixture
def environment(load_tool, tmp_path, monkeypatch):
    """tools/environment.py for a repository in a temporary folder."""
    module = load_tool('environment')
    root = tmp_path / 'a repository'
    (root / 'packaging' / 'local').mkdir(parents=True)
    (root / 'packaging' / 'local' / 'pyproject.toml').write_text('[build-system]\n')
    for name in ('requirements.txt', 'pyproject.toml'):
        (root / name).write_text('torch\n')
    monkeypatch.setattr(module, 'ROOT', root)
    monkeypatch.delenv('NOISE_MM_VENV', raising=False)
    return module


@pytest.fixture
def steps(environment, monkeypatch):
    """The names of the steps that ran; creating leaves the folders of an environment, installing does nothing."""
    done = []

    def step(name, command):
        done.append(name.split()[0])
        if done[-1] == 'creating':
            folder = environment.environment_folder()
            python = folder / ('Scripts/python.exe' if os.name == 'nt' else 'bin/python')
            python.parent.mkdir(parents=True)
            (folder / 'pyvenv.cfg').touch()
            python.touch()

    monkeypatch.setattr(environment, 'step', step)
    return done


def test_it_is_made_once(environment, steps):
    python = environment.ensure_environment()
    assert python.is_relative_to(environment.ROOT / '.venv')
    assert steps == ['creating', 'installing', 'installing', 'importing']
    assert environment.ensure_environment() == python
    assert len(steps) == 4


@pytest.mark.parametrize('changed', ['requirements.txt', 'pyproject.toml', 'packaging/local/pyproject.toml'])
def test_changed_requirements_are_installed_into_it(environment, steps, changed):
    environment.ensure_environment()
    (environment.ROOT / changed).write_text('torch\nnumpy\n')
    environment.ensure_environment()
    assert steps.count('creating') == 1 and steps.count('installing') == 4


def test_an_installation_that_failed_is_repeated(environment, steps, monkeypatch):
    whole = environment.step

    def failing(name, command):
        whole(name, command)
        if name == 'installing':
            environment.fail('no network')

    monkeypatch.setattr(environment, 'step', failing)
    with pytest.raises(SystemExit):
        environment.ensure_environment()
    monkeypatch.setattr(environment, 'step', whole)
    environment.ensure_environment()
    assert steps == ['creating', 'installing', 'installing', 'installing', 'importing']


def test_another_folder_is_refused_and_left_alone(environment, steps, tmp_path, monkeypatch, capsys):
    (tmp_path / 'letters').mkdir()
    (tmp_path / 'letters' / 'dear.txt').write_text('x')
    monkeypatch.setenv('NOISE_MM_VENV', str(tmp_path / 'letters'))
    with pytest.raises(SystemExit) as stop:
        environment.ensure_environment()
    assert stop.value.code == 2 and steps == []
    assert 'NOISE_MM_VENV' in capsys.readouterr().err
    assert [path.name for path in (tmp_path / 'letters').iterdir()] == ['dear.txt']


@pytest.mark.parametrize(
    ('python', 'system', 'machine', 'part'),
    [
        ((3, 9), 'linux', 'x86_64', 'Python 3.9'),
        ((3, 14), 'win32', 'AMD64', 'Python 3.14'),
        ((3, 12), 'darwin', 'x86_64', 'Intel'),
        ((3, 10), 'darwin', 'arm64', ''),
        ((3, 13), 'win32', 'AMD64', ''),
    ],
)
def test_what_is_not_supported_is_said(environment, python, system, machine, part):
    problem = environment.unsupported(python, system, machine)
    assert part in problem and bool(problem) == bool(part)


def test_a_failed_step_ends_with_one_line(environment, capfd):
    with pytest.raises(SystemExit) as stop:
        environment.step('installing', [sys.executable, '-c', 'import sys; sys.exit("no such package")'])
    assert stop.value.code == 2
    assert capfd.readouterr().err.splitlines() == [
        'no such package',
        'error: installing failed; the reason is above. Put it right, then run this command again.',
    ]


def test_foreign_packages_do_not_reach_the_programs(environment, monkeypatch):
    monkeypatch.setenv('PYTHONPATH', 'elsewhere')
    assert 'PYTHONPATH' not in environment.child_variables()


def test_run_tests_runs_every_check_and_hands_on_the_arguments(load_tool, monkeypatch, tmp_path):
    environment = load_tool('environment')
    monkeypatch.setattr(environment, 'ensure_environment', lambda: tmp_path / 'python')
    run_tests = load_tool('run_tests')
    commands, status = [], {'ruff': 1, 'pytest': 0}

    def run(command, cwd, env):
        commands.append(command)
        assert env['OMP_NUM_THREADS']
        return subprocess.CompletedProcess(command, status[command[2]])

    monkeypatch.setattr(run_tests.subprocess, 'run', run)
    monkeypatch.setattr(sys, 'argv', ['run_tests.py', 'tests/models', '-x'])
    assert run_tests.main() == 1
    assert [command[2] for command in commands] == ['ruff', 'ruff', 'pytest']
    assert commands[-1][-2:] == ['tests/models', '-x']
    status['pytest'] = 5
    assert run_tests.main() == 5
