"""Why the virtual environment can't be made, in one line each: the Python, a disk, the network, pip.

Standard library only. This file refuses a Python that is too old as soon as it is imported, so it keeps, like the files
that import it, to syntax that Python 3.6 can read.
"""

import re
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path

OLDEST_PYTHON = (3, 10)


def python_problem(version: tuple) -> str:
    """What is wrong with a Python of this `(major, minor)` version; empty if nothing is."""
    if version >= OLDEST_PYTHON:
        return ''
    numbers = version + OLDEST_PYTHON
    return 'Python {}.{} is too old: install Python {}.{} or newer and start this command with it.'.format(*numbers)


# Here and not in a `main`: the annotations below are more than an old Python understands.
if python_problem(sys.version_info[:2]):
    sys.stderr.write('error: ' + python_problem(sys.version_info[:2]) + '\n')
    sys.exit(2)

# With less than this left, a disk was full when a step failed: the smallest step, setting up pip, writes more.
FULL_DISK_BYTES = 15 * 2**20

DISK_SIGNS = ('No space left on device', 'Disk quota exceeded', 'not enough space on the disk')

# What pip prints when it cannot reach the package index, and how we say it.
NETWORK_SIGNS = {
    'CERTIFICATE_VERIFY_FAILED': 'its certificate is not trusted',
    'is not a trusted or secure host': 'it is neither HTTPS nor trusted',
    'ProxyError': 'the proxy does not answer',
    'Name or service not known': 'its name is not found',
    'Temporary failure in name resolution': 'its name is not found',
    'nodename nor servname provided': 'its name is not found',
    'getaddrinfo failed': 'its name is not found',
    'Network is unreachable': 'there is no network',
    'Connection refused': 'the connection is refused',
    'actively refused it': 'the connection is refused',
    'ConnectTimeoutError': 'it does not answer',
    'ReadTimeoutError': 'it does not answer',
    'NewConnectionError': 'there is no connection',
    'Connection broken': 'the connection broke',
    'Connection aborted': 'the connection broke',
}


class SetupError(Exception):
    """The environment can't be made. The message is one line that says why and what to do."""


def free_space(folder: Path) -> dict[Path, int]:
    """Free bytes on the disks that setting up fills: of `folder`, the environment's, and of temporary files."""
    return {place: shutil.disk_usage(place).free for place in (folder, Path(tempfile.gettempdir()))}


def failure_reason(lines: list[str], free_bytes: dict[Path, int]) -> str:
    """What was wrong and what to do, in one line, from the output of a failed step.

    Args:
        lines: What Python or pip printed.
        free_bytes: What `free_space` found after the failure.
    """
    output = ''.join(lines)
    if min(free_bytes.values()) < FULL_DISK_BYTES or any(sign in output for sign in DISK_SIGNS):
        free = ', '.join(f'{place}: {size // 2**20} MiB free' for place, size in free_bytes.items())
        return f'a disk is full ({free}). Make room, or set NOISE_MM_VENV or TMPDIR to a folder on another disk.'
    # Before missing packages: without a network, pip ends with saying that it finds no package.
    for sign, meaning in NETWORK_SIGNS.items():
        if sign in output:
            return f'the package index cannot be reached: {meaning}. Check network, proxy and pip config list.'
    missing = re.search(r'Could not find a version that satisfies the requirement (\S+)', output)
    if missing:
        python = f'Python {sys.version_info[0]}.{sys.version_info[1]} on {sysconfig.get_platform()}'
        return (
            f'no ready-made {missing[1]} for {python} was found. Use a 64-bit Python 3.10 to 3.13, and make sure that '
            'pip reaches its package index.'
        )
    errors = [line for line in lines if line.startswith('ERROR:')] or [line for line in lines if line.strip()]
    return ' '.join(errors[-1].split()) if errors else 'it ended without a word.'


def os_error_reason(error: OSError, folder: Path) -> str:
    """An error of the operating system, met while the environment in `folder` was made, in one line."""
    reason = error.strerror or str(error)
    if any(sign in reason for sign in DISK_SIGNS):
        return f'{folder}: the disk is full. Make room, or set NOISE_MM_VENV to a folder on another disk.'
    return f'{error.filename or folder}: {reason}. Put that right or set NOISE_MM_VENV to a folder you may write to.'
