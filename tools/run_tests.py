"""Passes the tests: makes the environment if it is missing, then runs ruff and pytest in it."""

import argparse
import os
import subprocess

import environment

# More workers than this cost more memory (each loads torch) than they save time.
MOST_WORKERS = 4


def main() -> int:
    """Runs every check, so that one run shows all that is wrong; returns 0 if all passed."""
    arguments = pytest_arguments()
    python = str(environment.ensure_environment())
    variables = environment.child_variables(environment.environment_folder())
    # One thread a worker: several workers with a thread for each core would slow each other down.
    variables.setdefault('OMP_NUM_THREADS', '1')
    checks = [
        ['ruff', 'check'],
        ['ruff', 'format', '--check'],
        ['pytest', '-n', str(worker_count()), '-m', 'not slow', *arguments],
    ]
    results = []
    for check in checks:
        print('+ ' + ' '.join(check), flush=True)
        results.append(subprocess.run([python, '-m', *check], cwd=environment.ROOT, env=variables).returncode)
    # pytest comes last; its exit status tells more than ruff's.
    return results[-1] or max(results)


def pytest_arguments() -> list[str]:
    """What the user typed, all of it for pytest."""
    parser = argparse.ArgumentParser(
        usage='run_tests.py [-h] [arguments of pytest ...]',
        description='Makes the virtual environment if it is missing, checks style with ruff and runs the tests.',
        epilog='Tests that take more than ten seconds are left out; '
        'example with these alone: python3 tools/run_tests.py -m slow   '
        'and with all: python3 tools/run_tests.py -m ""',
        allow_abbrev=False,
    )
    return parser.parse_known_args()[1]


def worker_count() -> int:
    """How many processes share the tests."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    return min(cores, MOST_WORKERS)


if __name__ == '__main__':
    environment.run(main)
