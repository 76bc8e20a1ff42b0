"""Create the virtual environment of this project and install it there; needs Python and nothing else.

The environment is `.venv` in the root of the repository, or the folder that the variable NOISE_MM_VENV names. A file in
it records which requirements were installed, so a ready environment is recognised at once and changed requirements are
installed again. To start over, delete the folder.
"""

from __future__ import annotations  # read by Pythons too old to run the rest, which get a clear line

import hashlib
import os
import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STAMP_FILE = 'noise_mm_requirements.txt'
# First and last Python for which every pinned package has a ready-made build.
OLDEST_PYTHON, NEWEST_PYTHON = (3, 10), (3, 13)


def ensure_environment() -> Path:
    """Return the Python of an environment with all requirements; create or update the environment if necessary.

    Exits with status 2 and one line that says what to do if this computer is not supported or a step fails; the output
    of pip stands above that line.
    """
    problem = unsupported(sys.version_info[:2], sys.platform, platform.machine())
    if problem:
        fail(problem)
    folder = environment_folder()
    python = folder / ('Scripts/python.exe' if os.name == 'nt' else 'bin/python')
    stamp = folder / STAMP_FILE
    wanted = requirements_stamp()
    if python.exists() and stamp.is_file() and stamp.read_text(encoding='utf-8') == wanted:
        return python
    if folder.is_dir() and any(folder.iterdir()) and not (folder / 'pyvenv.cfg').is_file():
        fail(f'{folder}: not a virtual environment. Remove it, or name another folder in NOISE_MM_VENV.')
    if not python.exists():
        step('creating the virtual environment', [sys.executable, '-m', 'venv', str(folder)])
    stamp.unlink(missing_ok=True)
    pip = [str(python), '-m', 'pip', '--disable-pip-version-check', 'install', '--no-input', '--quiet']
    print('installing the requirements; the first time this takes minutes and, with CUDA, gigabytes', flush=True)
    step('installing', [*pip, '-r', str(ROOT / 'requirements.txt')])
    step('installing noise_mm', [*pip, '--no-deps', '--editable', str(ROOT)])
    # The first import also writes caches (yapf's grammar), which processes that start together would read half-written.
    step('importing noise_mm', [str(python), '-c', 'import noise_mm.register'])
    stamp.write_text(wanted, encoding='utf-8')
    return python


def environment_folder() -> Path:
    """Return the folder of the environment: `.venv` in the root, or the one that NOISE_MM_VENV names."""
    return Path(os.environ.get('NOISE_MM_VENV') or ROOT / '.venv').expanduser().absolute()


def unsupported(python: tuple[int, int], system: str, machine: str) -> str:
    """Return why this Python or computer can't run the project, or an empty string.

    Args:
        python: Major and minor version.
        system: As `sys.platform`.
        machine: As `platform.machine()`.
    """
    if not OLDEST_PYTHON <= python <= NEWEST_PYTHON:
        return 'Python {}.{} is not supported. Start this command with Python 3.10 to 3.13.'.format(*python)
    if system == 'darwin' and machine == 'x86_64':
        return 'Macs with an Intel processor are not supported: PyTorch ended at 2.2 there. Use another computer.'
    return ''


def requirements_stamp() -> str:
    """Return a digest of everything that decides what is installed: requirements, packaging and the Python."""
    digest = hashlib.sha256(sys.version.encode())
    local = (path for path in (ROOT / 'packaging').rglob('*') if path.suffix in ('.py', '.toml'))
    for path in (ROOT / 'requirements.txt', ROOT / 'pyproject.toml', *sorted(local)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def child_variables() -> dict[str, str]:
    """Return the variables for programs in the environment, without those that lead to other packages."""
    return {name: value for name, value in os.environ.items() if name not in ('PYTHONPATH', 'PYTHONHOME')}


def step(name: str, command: list[str]) -> None:
    """Run one command in the root of the repository; exit with status 2 and one line if it fails."""
    try:
        status = subprocess.run(command, cwd=ROOT, env=child_variables()).returncode
    except OSError as error:
        fail(f'{name} failed: {error}')
    if status:
        fail(f'{name} failed; the reason is above. Put it right, then run this command again.')


def fail(message: str) -> None:
    """Print one line and exit with status 2."""
    sys.exit(print(f'error: {message}', file=sys.stderr) or 2)


if __name__ == '__main__':
    print(ensure_environment())
