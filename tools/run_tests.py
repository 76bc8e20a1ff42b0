"""Run the tests: create the environment if it is missing, then run ruff and pytest in it.

example: python3 tools/run_tests.py tests/models        (any arguments of pytest; -m slow for the long tests)
"""

import os
import subprocess
import sys

from environment import ROOT, child_variables, ensure_environment

MOST_WORKERS = 4  # each loads torch: more workers cost more memory than they save time


def main() -> int:
    """Run every check, so that one run shows all that is wrong; return 0 if all passed."""
    arguments = sys.argv[1:]
    if {'-h', '--help'} & {*arguments}:
        print(__doc__)
        return 0
    python = str(ensure_environment())
    workers = str(min(os.cpu_count() or 1, MOST_WORKERS))
    # One thread per worker: workers with a thread for each core would slow each other down.
    variables = {'OMP_NUM_THREADS': '1', **child_variables()}
    results = []
    for check in (
        ['ruff', 'check'],
        ['ruff', 'format', '--check'],
        ['pytest', '-n', workers, '-m', 'not slow', *arguments],
    ):
        print('+ ' + ' '.join(check), flush=True)
        results.append(subprocess.run([python, '-m', *check], cwd=ROOT, env=variables).returncode)
    return results[-1] or max(results)  # pytest's own status tells more than ruff's


if __name__ == '__main__':
    sys.exit(main())
