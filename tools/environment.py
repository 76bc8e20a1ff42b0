"""Makes, mends and finds the virtual environment in which this project's commands run.

It needs Python and nothing else: `python3 tools/environment.py`. The environment lies in `.venv` in the root of the
repository, or in the folder that the variable NOISE_MM_VENV names. A note in it, STATE_FILE, says which requirements
were installed, so that

- a ready environment is found in a moment, and changed requirements are installed into it;
- one whose making was cut short, or whose Python is gone, is made anew;
- one that was made by hand is never deleted: the requirements are installed into it;
- of two commands started at once, the second waits for the first.

Other commands call `ensure_environment` and start what they need with the Python it returns.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TextIO

from setup_problems import (
    OLDEST_PYTHON,
    SetupError,
    failure_reason,
    free_space,
    os_error_reason,
    python_problem,
)

ROOT = Path(__file__).resolve().parents[1]

# The files of our own in an environment; `clear` keeps the first two.
STATE_FILE = 'noise_mm.json'
LOCK_FILE = 'noise_mm.lock'
LOG_FILE = 'noise_mm.log'


class State(NamedTuple):
    """What is known of an environment.

    Attributes:
        made_here: Whether this program created it, and so may delete it.
        python: Version of its Python, such as `3.11`.
        requirements: `requirements_hash` of what it holds; None from the start of its making to the end.
    """

    made_here: bool
    python: str
    requirements: str | None


def ensure_environment() -> Path:
    """Returns the Python of an environment that holds all requirements, and makes or mends it where necessary.

    Raises:
        SetupError: If that is impossible.
    """
    folder = environment_folder()
    try:
        if not is_ready(folder):
            refuse_foreign(folder)
            with locked(folder):
                # Whoever held the lock before may have done the work.
                if not is_ready(folder):
                    prepare(folder)
    except OSError as error:
        raise SetupError(os_error_reason(error, folder)) from error
    return environment_python(folder)


def environment_folder() -> Path:
    """Where the environment lies: `.venv` in the repository's root, or what NOISE_MM_VENV names."""
    override = os.environ.get('NOISE_MM_VENV')
    return Path(override).expanduser().absolute() if override else ROOT / '.venv'


def environment_python(folder: Path) -> Path:
    """The Python of the environment in `folder`, whether it exists or not."""
    return folder / ('Scripts/python.exe' if os.name == 'nt' else 'bin/python')


def child_variables(folder: Path) -> dict[str, str]:
    """Environment variables for a program that is to run in the environment in `folder`, as if it were activated.

    PYTHONPATH and PYTHONHOME go: packages of another Python would come before those of the environment.
    """
    variables = {name: value for name, value in os.environ.items() if name not in ('PYTHONPATH', 'PYTHONHOME')}
    variables['VIRTUAL_ENV'] = str(folder)
    variables['PATH'] = os.pathsep.join([str(environment_python(folder).parent), variables.get('PATH', os.defpath)])
    return variables


def is_ready(folder: Path) -> bool:
    """Whether the environment holds the requirements as they stand now and its Python runs."""
    state = read_state(folder)
    return state is not None and state.requirements == requirements_hash() and state.python == python_version(folder)


def requirements_hash() -> str:
    """Hash of everything that decides what gets installed: requirements.txt and the packages in packaging/."""
    digest = hashlib.sha256()
    local = [path for path in (ROOT / 'packaging').rglob('*') if path.suffix in ('.py', '.toml')]
    for path in [ROOT / 'requirements.txt', *sorted(local)]:
        content = path.read_bytes()
        digest.update(f'{path.relative_to(ROOT).as_posix()} {len(content)}\n'.encode() + content)
    return digest.hexdigest()


def python_version(folder: Path) -> str | None:
    """Version of the environment's Python, such as `3.11`; None if there is none or it doesn't start."""
    code = 'import sys; print("{}.{}".format(*sys.version_info))'
    try:
        answer = subprocess.run([environment_python(folder), '-I', '-c', code], capture_output=True, text=True)
    except OSError:
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def read_state(folder: Path) -> State | None:
    """The note that `write_state` left; None without a readable one."""
    try:
        return State(**json.loads((folder / STATE_FILE).read_text(encoding='utf-8')))
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
        return None


def write_state(folder: Path, state: State) -> None:
    """Writes the note, whole or not at all."""
    temporary = folder / (STATE_FILE + '.new')
    temporary.write_text(json.dumps(state._asdict()), encoding='utf-8')
    os.replace(temporary, folder / STATE_FILE)


def refuse_foreign(folder: Path) -> None:
    """Stops before a folder is touched that is neither new nor an environment.

    Raises:
        SetupError: If it holds something else, or an environment made by hand whose Python can't be used.
    """
    state = read_state(folder)
    if (state is not None and state.made_here) or not os.path.lexists(folder):
        return
    if folder.is_dir() and all(path.name.startswith('noise_mm.') for path in folder.iterdir()):
        return
    version = python_version(folder) if (folder / 'pyvenv.cfg').is_file() else None
    if version is None or python_problem(tuple(int(part) for part in version.split('.'))):
        raise SetupError(
            f'{folder}: not made by this program, and no environment with Python {OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]} '
            'or newer. Remove it, or name another folder in NOISE_MM_VENV.'
        )


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the environment in `folder`, which is created, for this process and the programs it starts.

    They inherit the lock on purpose: if only this process is killed, the next one waits until pip has ended too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK_FILE, 'a+', encoding='utf-8') as file:
        if not try_lock(file):
            print(f'another command is setting up {folder}: waiting for it', flush=True)
            while not try_lock(file):
                time.sleep(0.5)
        os.set_inheritable(file.fileno(), True)
        yield


def try_lock(file: TextIO) -> bool:
    """Whether `file` is locked now; it stays so until it is closed everywhere. True too where files have no locks."""
    if os.name == 'nt':
        import msvcrt

        file.seek(0)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        # Some network disks have no locks; refusing to work there would hurt more than two starts at once.
        print(f'note: {file.name} cannot be locked ({error.strerror}); start one command at a time', flush=True)
    return True


def prepare(folder: Path) -> None:
    """Makes the environment in the locked `folder`, or brings the one that is there up to date.

    Raises:
        SetupError: If Python or pip can't.
    """
    started = time.monotonic()
    state, version = read_state(folder), python_version(folder)
    if state is None:
        # An empty folder or an environment made by hand: `refuse_foreign` lets nothing else pass.
        state = State(made_here=version is None, python='', requirements=None)
    if state.made_here and (state.requirements is None or state.python != version):
        print(f'making the virtual environment {folder}', flush=True)
        state = State(made_here=True, python='', requirements=None)
        write_state(folder, state)
        clear(folder)
        create(folder)
        version = python_version(folder)
    wanted = requirements_hash()
    write_state(folder, State(state.made_here, version, requirements=None))
    try:
        install(folder)
    except SetupError:
        # When pip gives up, it leaves an environment as it was; only one that was cut short can't be trusted.
        write_state(folder, state._replace(python=version))
        raise
    write_state(folder, State(state.made_here, version, requirements=wanted))
    print(f'the virtual environment is ready after {time.monotonic() - started:.0f} s', flush=True)


def clear(folder: Path) -> None:
    """Removes what `folder` holds, except the lock and the note that it is ours."""
    for path in folder.iterdir():
        if path.name in (LOCK_FILE, STATE_FILE):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def create(folder: Path) -> None:
    """Creates a virtual environment with pip, by Python's own means or else by virtualenv.

    Raises:
        SetupError: If Python has neither, or they fail.
    """
    python = base_python()
    if answers([python, '-I', '-c', 'import venv, ensurepip']):
        command = [python, '-I', '-m', 'venv']
    elif answers([sys.executable, '-m', 'virtualenv', '--version']):
        command = [sys.executable, '-m', 'virtualenv']
    else:
        raise SetupError(
            f'{python} lacks its modules venv and ensurepip, which make virtual environments. Install them '
            f'(Debian, Ubuntu: apt install python{sys.version_info[0]}.{sys.version_info[1]}-venv) or virtualenv.'
        )
    run_step([*command, str(folder)], folder, 'making the environment')


def base_python() -> str:
    """The Python outside all virtual environments: one made from another would stop working with it."""
    if sys.prefix == sys.base_prefix:
        return sys.executable
    name = 'python.exe' if os.name == 'nt' else f'bin/python{sys.version_info[0]}.{sys.version_info[1]}'
    python = Path(sys.base_prefix, name)
    return str(python) if python.is_file() else sys.executable


def answers(command: list[str]) -> bool:
    """Whether the command ends well."""
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def install(folder: Path) -> None:
    """Installs the requirements into the environment and makes sure that they agree and that the largest two load.

    Raises:
        SetupError: If pip fails or they don't.
    """
    python = [str(environment_python(folder)), '-I']
    pip = [*python, '-m', 'pip', '--disable-pip-version-check']
    print('installing requirements.txt, which takes minutes the first time', flush=True)
    # Ready-made builds only: without one, pip would try to compile, and fail a minute later with a page of errors.
    options = ['--only-binary', ':all:', '--progress-bar', 'off', '--no-input']
    run_step([*pip, 'install', *options, '-r', 'requirements.txt'], folder, 'installing')
    run_step([*pip, 'check'], folder, 'checking that the packages agree')
    run_step([*python, '-c', 'import cv2, torch'], folder, 'checking that the packages load')


def run_step(command: list[str], folder: Path, name: str) -> None:
    """Runs one command in the repository's root; a terminal shows its newest line of output.

    Raises:
        SetupError: If it fails. What it printed is then kept in LOG_FILE in `folder`.
    """
    lines: list[str] = []
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**child_variables(folder), 'PIP_USER': '0'},  # pip refuses to install "for the user" here
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding='utf-8',
        errors='replace',
        close_fds=False,  # hands the lock on
    ) as process:
        reader = threading.Thread(target=collect, args=[process.stdout, lines], daemon=True)
        reader.start()
        show_progress(reader, lines, name)
    if process.returncode != 0:
        if process.returncode < 0:
            lines.append(f'it was ended by signal {-process.returncode}; memory may have run out.\n')
        log = write_log(folder, [' '.join(command) + '\n', *lines])
        raise SetupError(f'{name} failed: {failure_reason(lines, free_space(folder))}{log}')


def collect(stream: TextIO, lines: list[str]) -> None:
    """Appends the lines of `stream` to `lines` as they come."""
    for line in stream:
        lines.append(line)


def show_progress(reader: threading.Thread, lines: list[str], name: str) -> None:
    """Waits for `reader`, which fills `lines`; on a terminal one line tells the time and what goes on."""
    started = time.monotonic()
    width = shutil.get_terminal_size().columns - 1
    while reader.is_alive():
        reader.join(timeout=0.5)
        if sys.stdout.isatty():
            newest = lines[-1].strip() if lines else ''
            text = f'  {time.monotonic() - started:4.0f} s  {name}: {newest}' if reader.is_alive() else ''
            print('\r' + text[:width].ljust(width), end='\r', flush=True)


def write_log(folder: Path, lines: list[str]) -> str:
    """Keeps `lines` in LOG_FILE; returns a sentence that says so, or nothing where a full disk prevents it."""
    log = folder / LOG_FILE
    try:
        log.write_text(''.join(lines), encoding='utf-8')
    except OSError:
        return ''
    return f' All that was printed is in {log}.'


def run(main: Callable[[], int]) -> None:
    """Runs the `main` of a command and exits with what it returns, or with 2 if there can be no environment."""
    try:
        sys.exit(main())
    except SetupError as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        sys.exit(130)


def main() -> int:
    """Makes the environment and prints the path of its Python."""
    parser = argparse.ArgumentParser(
        description='Makes the virtual environment of this project in .venv, or finds in a moment that it is ready. '
        'The variable NOISE_MM_VENV names another folder. To start anew, delete the folder.',
        epilog='example: python3 tools/environment.py',
    )
    parser.parse_args()
    print(ensure_environment())
    return 0


if __name__ == '__main__':
    run(main)
