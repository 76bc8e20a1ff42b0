import os
import subprocess
import sys
import threading
import time

import pytest

VERSION = '{}.{}'.format(*sys.version_info)


@pytest.fixture
def environment(load_tool, tmp_path, monkeypatch):
    """tools/environment.py for a repository in a temporary folder, with nothing in it but small requirements."""
    load_tool('setup_problems')
    module = load_tool('environment')
    root = tmp_path / 'a repository'
    (root / 'packaging' / 'local').mkdir(parents=True)
    (root / 'packaging' / 'local' / 'pyproject.toml').write_text('[build-system]\n')
    (root / 'requirements.txt').write_text('torch\n')
    monkeypatch.setattr(module, 'ROOT', root)
    monkeypatch.delenv('NOISE_MM_VENV', raising=False)
    return module


@pytest.fixture
def steps(environment, monkeypatch):
    """The list of what was done, with the two slow steps, creating and installing, replaced by quick ones."""
    done = []

    def create(folder):
        done.append('create')
        python = environment.environment_python(folder)
        python.parent.mkdir()
        (folder / 'pyvenv.cfg').touch()
        python.symlink_to(sys.executable)

    monkeypatch.setattr(environment, 'create', create)
    monkeypatch.setattr(environment, 'install', lambda folder: done.append('install'))
    return done


def make_by_hand(environment):
    """An environment that somebody made with `python -m venv .venv`."""
    folder = environment.environment_folder()
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', str(folder)], check=True)
    return folder


def test_environment_is_made_once(environment, steps):
    python = environment.ensure_environment()
    assert python == environment.ROOT / '.venv' / 'bin' / 'python' or os.name == 'nt'
    assert environment.ensure_environment() == python
    assert steps == ['create', 'install']


@pytest.mark.parametrize('changed', ['requirements.txt', 'packaging/local/pyproject.toml'])
def test_changed_requirements_are_installed_into_it(environment, steps, changed):
    environment.ensure_environment()
    with open(environment.ROOT / changed, 'a') as file:
        file.write('# changed\n')
    environment.ensure_environment()
    environment.ensure_environment()
    assert steps == ['create', 'install', 'install']


def test_half_made_environment_is_made_anew(environment, steps, monkeypatch):
    def killed(folder):
        (folder / 'half a package').touch()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(environment, 'install', killed)
        with pytest.raises(KeyboardInterrupt):
            environment.ensure_environment()
    environment.ensure_environment()
    assert steps == ['create', 'create', 'install']
    assert not (environment.environment_folder() / 'half a package').exists()


def test_environment_whose_clearing_was_cut_short_is_still_ours(environment, steps, monkeypatch):
    environment.ensure_environment()
    environment.environment_python(environment.environment_folder()).unlink()

    def killed(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(environment.shutil, 'rmtree', killed)
        with pytest.raises(KeyboardInterrupt):
            environment.ensure_environment()
    environment.ensure_environment()
    assert steps == ['create', 'install', 'create', 'install']


@pytest.mark.parametrize('version', [None, '3.99'])
def test_environment_whose_python_is_gone_or_another_is_made_anew(environment, steps, monkeypatch, version):
    environment.ensure_environment()
    answers = [version, version, version]
    real = environment.python_version
    monkeypatch.setattr(environment, 'python_version', lambda folder: answers.pop() if answers else real(folder))
    environment.ensure_environment()
    assert steps == ['create', 'install', 'create', 'install']


def test_failed_update_leaves_the_environment_as_it_was(environment, steps, monkeypatch):
    environment.ensure_environment()
    (environment.ROOT / 'requirements.txt').write_text('something new\n')

    def fail(folder):
        raise environment.SetupError('no network')

    with monkeypatch.context() as patch:
        patch.setattr(environment, 'install', fail)
        with pytest.raises(environment.SetupError):
            environment.ensure_environment()
    (environment.ROOT / 'requirements.txt').write_text('torch\n')
    environment.ensure_environment()
    assert steps == ['create', 'install']


def test_environment_made_by_hand_is_filled_and_never_deleted(environment, steps):
    folder = make_by_hand(environment)
    (folder / 'notes').touch()
    environment.ensure_environment()
    (environment.ROOT / 'requirements.txt').write_text('something new\n')
    environment.ensure_environment()
    assert steps == ['install', 'install']
    assert (folder / 'notes').exists()


def test_folder_that_is_no_environment_is_refused_and_left_alone(environment, steps, tmp_path, monkeypatch):
    (tmp_path / 'thesis').mkdir()
    (tmp_path / 'thesis' / 'chapter').touch()
    for place in ('thesis', 'thesis/chapter'):
        monkeypatch.setenv('NOISE_MM_VENV', str(tmp_path / place))
        with pytest.raises(environment.SetupError, match='not made by this program'):
            environment.ensure_environment()
    assert os.listdir(tmp_path / 'thesis') == ['chapter']
    assert steps == []


def test_environment_by_hand_with_an_old_python_is_refused(environment, steps, monkeypatch):
    make_by_hand(environment)
    monkeypatch.setattr(environment, 'python_version', lambda folder: '3.9')
    with pytest.raises(environment.SetupError, match=r'no environment with Python 3\.10'):
        environment.ensure_environment()


def test_folder_that_cannot_be_made_is_told_in_one_line(environment, steps, tmp_path, monkeypatch):
    (tmp_path / 'file').touch()
    monkeypatch.setenv('NOISE_MM_VENV', str(tmp_path / 'file' / 'venv'))
    with pytest.raises(environment.SetupError, match='NOISE_MM_VENV'):
        environment.ensure_environment()


def test_place_follows_the_variable(environment, tmp_path, monkeypatch):
    assert environment.environment_folder() == environment.ROOT / '.venv'
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('NOISE_MM_VENV', 'elsewhere')
    assert environment.environment_folder() == tmp_path / 'elsewhere'


@pytest.mark.parametrize('text', ['', '{"made_here": true', '[]', '{"other": 1}'])
def test_unreadable_note_counts_as_none(environment, tmp_path, text):
    (tmp_path / environment.STATE_FILE).write_text(text)
    assert environment.read_state(tmp_path) is None


def test_hash_follows_content_and_place(environment):
    before = environment.requirements_hash()
    (environment.ROOT / 'README.md').touch()
    assert environment.requirements_hash() == before
    (environment.ROOT / 'packaging' / 'local').rename(environment.ROOT / 'packaging' / 'other')
    assert environment.requirements_hash() != before


@pytest.mark.skipif(os.name == 'nt', reason='file locks of Windows belong to the process')
def test_second_start_waits_for_the_first_and_does_nothing(environment, steps, monkeypatch, capsys):
    installing = threading.Event()

    def slow_install(folder):
        installing.set()
        time.sleep(1)
        steps.append('install')

    monkeypatch.setattr(environment, 'install', slow_install)
    first = threading.Thread(target=environment.ensure_environment)
    first.start()
    assert installing.wait(timeout=30)
    environment.ensure_environment()
    first.join()
    assert steps == ['create', 'install']
    assert 'waiting for it' in capsys.readouterr().out


@pytest.mark.skipif(os.name == 'nt', reason='Windows hands no locks on')
def test_lock_outlives_its_process_as_long_as_pip_runs(environment, tmp_path):
    with environment.locked(tmp_path / 'env'):
        child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE, close_fds=False)
    with open(tmp_path / 'env' / environment.LOCK_FILE, 'a+') as file:
        assert not environment.try_lock(file)
        child.communicate(b'\n')
        assert environment.try_lock(file)


@pytest.mark.skipif(os.name == 'nt', reason='fcntl is not for Windows')
def test_disk_without_locks_is_used_with_a_note(environment, tmp_path, monkeypatch, capsys):
    import fcntl

    def unsupported(file, operation):
        raise OSError(95, 'Operation not supported')

    monkeypatch.setattr(fcntl, 'flock', unsupported)
    with open(tmp_path / 'lock', 'a+') as file:
        assert environment.try_lock(file)
    assert 'start one command at a time' in capsys.readouterr().out


def test_failed_step_is_explained_and_logged(environment, tmp_path):
    code = 'import sys; print("Collecting x"); sys.exit("ERROR: it broke")'
    with pytest.raises(environment.SetupError, match=r'installing failed: ERROR: it broke .*noise_mm\.log'):
        environment.run_step([sys.executable, '-c', code], tmp_path, 'installing')
    assert 'Collecting x' in (tmp_path / environment.LOG_FILE).read_text()


@pytest.mark.skipif(os.name == 'nt', reason='Windows has no signals')
def test_killed_step_is_explained(environment, tmp_path):
    code = 'import os, signal; os.kill(os.getpid(), signal.SIGKILL)'
    with pytest.raises(environment.SetupError, match='ended by signal 9'):
        environment.run_step([sys.executable, '-c', code], tmp_path, 'installing')


def test_log_that_cannot_be_written_is_not_mentioned(environment, tmp_path):
    assert environment.write_log(tmp_path / 'missing', ['line\n']) == ''


def test_terminal_shows_the_newest_line_within_its_width(environment, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, 'isatty', lambda: True, raising=False)
    code = 'import time; print("Collecting x" * 50, flush=True); time.sleep(1.2)'
    environment.run_step([sys.executable, '-c', code], tmp_path, 'installing')
    shown = capsys.readouterr().out.split('\r')
    assert any('installing: Collecting x' in text for text in shown)
    width = environment.shutil.get_terminal_size().columns
    assert all(len(text) < width for text in shown)


def test_children_see_the_environment_and_no_foreign_packages(environment, tmp_path, monkeypatch):
    monkeypatch.setenv('PYTHONPATH', '/other')
    monkeypatch.setenv('PYTHONHOME', '/other')
    variables = environment.child_variables(tmp_path)
    assert 'PYTHONPATH' not in variables and 'PYTHONHOME' not in variables
    assert variables['VIRTUAL_ENV'] == str(tmp_path)
    assert variables['PATH'].startswith(str(environment.environment_python(tmp_path).parent) + os.pathsep)


def test_environment_is_made_from_the_python_outside_all_environments(environment, monkeypatch, tmp_path):
    assert environment.python_version(make_by_hand(environment)) == VERSION
    python = environment.base_python()
    code = 'import sys; assert sys.prefix == sys.base_prefix'
    assert environment.answers([python, '-c', code])
    # A base whose Python has another name: better the running one than none.
    monkeypatch.setattr(sys, 'prefix', str(tmp_path))
    monkeypatch.setattr(sys, 'base_prefix', str(tmp_path / 'base'))
    assert environment.base_python() == sys.executable


@pytest.mark.parametrize('module', ['venv', 'virtualenv'])
def test_whatever_makes_environments_is_used(environment, tmp_path, monkeypatch, module):
    commands = []
    monkeypatch.setattr(environment, 'answers', lambda command: f' {module}' in ' '.join(command))
    monkeypatch.setattr(environment, 'run_step', lambda command, folder, name: commands.append(command))
    environment.create(tmp_path)
    assert commands[0][-3:] == ['-m', module, str(tmp_path)]


def test_missing_venv_module_is_told_with_the_package_to_install(environment, tmp_path, monkeypatch):
    monkeypatch.setattr(environment, 'answers', lambda command: False)
    with pytest.raises(environment.SetupError, match=f'apt install python{VERSION}-venv'):
        environment.create(tmp_path)


def test_installing_is_followed_by_checks(environment, tmp_path, monkeypatch):
    commands = []
    monkeypatch.setattr(environment, 'run_step', lambda command, folder, name: commands.append(command))
    environment.install(tmp_path)
    assert [command[3] if command[2] == '-m' else command[2] for command in commands] == ['pip', 'pip', '-c']
    assert commands[0][-2:] == ['-r', 'requirements.txt']
    assert all(command[:2] == [str(environment.environment_python(tmp_path)), '-I'] for command in commands)


def test_exit_status(environment, capsys):
    def fail():
        raise environment.SetupError('no network')

    def interrupt():
        raise KeyboardInterrupt

    for main, status in [(lambda: 0, 0), (lambda: 1, 1), (fail, 2), (interrupt, 130)]:
        with pytest.raises(SystemExit) as exit_info:
            environment.run(main)
        assert exit_info.value.code == status
    assert capsys.readouterr().err == 'error: no network\ninterrupted\n'


def test_command_prints_the_python(environment, steps, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['environment.py'])
    assert environment.main() == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(environment.environment_python(environment.ROOT / '.venv'))
