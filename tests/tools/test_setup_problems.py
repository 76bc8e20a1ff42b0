import ast
import errno
import subprocess
import sys
from pathlib import Path

import pytest

ENOUGH = {Path('/env'): 10**11, Path('/tmp'): 10**11}
TORCH_MISSING = [
    'ERROR: Could not find a version that satisfies the requirement torch==2.13.0 (from versions: none)\n',
    'ERROR: No matching distribution found for torch==2.13.0\n',
]


def retrying(cause: str) -> list[str]:
    """pip's words when it can't reach its index: first the cause, and at last only that it found nothing."""
    return [
        f"WARNING: Retrying (Retry(total=0)) after connection broken by '{cause}': /simple/torch/\n",
        *TORCH_MISSING,
    ]


@pytest.fixture
def problems(load_tool):
    return load_tool('setup_problems')


@pytest.mark.parametrize('version', [(2, 7), (3, 6), (3, 9)])
def test_old_python_is_refused(problems, version):
    message = problems.python_problem(version)
    assert f'Python {version[0]}.{version[1]} is too old' in message and '3.10' in message


@pytest.mark.parametrize('version', [(3, 10), (3, 13), (4, 0)])
def test_new_python_is_accepted(problems, version):
    assert problems.python_problem(version) == ''


@pytest.mark.parametrize('name', ['setup_problems', 'environment', 'run_tests', 'quickstart'])
def test_files_that_greet_an_old_python_are_readable_to_it(repo_dir, name):
    ast.parse((repo_dir / 'tools' / f'{name}.py').read_text(encoding='utf-8'), feature_version=(3, 6))


@pytest.mark.parametrize('name', ['environment', 'run_tests', 'quickstart'])
def test_commands_tell_an_old_python_before_anything_else(repo_dir, name):
    code = (
        f"import runpy, sys; sys.version_info = (3, 9, 0, 'final', 0); sys.path.insert(0, 'tools');"
        f"runpy.run_path('tools/{name}.py', run_name='__main__')"
    )
    run = subprocess.run([sys.executable, '-c', code], cwd=repo_dir, capture_output=True, text=True)
    assert run.returncode == 2
    assert run.stderr == 'error: Python 3.9 is too old: install Python 3.10 or newer and start this command with it.\n'


@pytest.mark.parametrize(
    ('lines', 'expected'),
    [
        (retrying('NewConnectionError: [Errno 111] Connection refused'), 'connection is refused'),
        (retrying('NewConnectionError: [Errno -2] Name or service not known'), 'name is not found'),
        (retrying('NewConnectionError: [Errno 11001] getaddrinfo failed'), 'name is not found'),
        (retrying('ConnectTimeoutError(connect timeout=15)'), 'does not answer'),
        (retrying('SSLError(SSLCertVerificationError(1, [SSL: CERTIFICATE_VERIFY_FAILED]))'), 'certificate'),
        (retrying("ProxyError('Cannot connect to proxy.')"), 'proxy does not answer'),
        (TORCH_MISSING, 'no ready-made torch==2.13.0 for Python'),
        (['ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n'], 'disk is full'),
        (['[WinError 112] There is not enough space on the disk\n'], 'disk is full'),
        (['Collecting torch\n', 'ERROR: one\n', 'ERROR: two  words\n', 'hint\n'], 'ERROR: two words'),
        (['Traceback\n', "ModuleNotFoundError: No module named 'pip'\n", '\n'], "No module named 'pip'"),
        ([], 'without a word'),
    ],
)
def test_failure_is_told_in_one_line(problems, lines, expected):
    reason = problems.failure_reason(lines, ENOUGH)
    assert expected in reason
    assert '\n' not in reason


def test_full_disk_is_noticed_when_the_output_does_not_tell(problems):
    reason = problems.failure_reason(['ensurepip returned 1\n'], {Path('/env'): 3 * 2**20, Path('/tmp'): 10**11})
    assert 'a disk is full' in reason and '/env: 3 MiB free' in reason


def test_free_space_covers_both_disks(problems, tmp_path):
    free = problems.free_space(tmp_path)
    assert tmp_path in free and len(free) == 2 and all(size > 0 for size in free.values())


def test_os_errors_name_the_file_and_the_remedy(problems):
    denied = PermissionError(errno.EACCES, 'Permission denied', '/env/bin')
    assert problems.os_error_reason(denied, Path('/env')).startswith('/env/bin: Permission denied. ')
    full = OSError(errno.ENOSPC, 'No space left on device')
    assert problems.os_error_reason(full, Path('/env')).startswith('/env: the disk is full. ')
