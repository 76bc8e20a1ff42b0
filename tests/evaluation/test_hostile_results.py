"""Damaged files of results and ground truth: each is refused in one line or scored, and never ends the process.

pycocotools writes and reads beyond its memory for some of them, so they are scored in a process of their own.
"""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

SCRIPT = Path(__file__).with_name('hostile_results.py')
MEMORY_MIB = 3000
SECONDS = 120


def test_hostile_results_are_refused_or_scored():
    code = f"""
import runpy, sys
try:
    import resource
    resource.setrlimit(resource.RLIMIT_DATA, ({MEMORY_MIB} << 20,) * 2)
except ImportError:
    pass
sys.path.insert(0, {str(SCRIPT.parents[2])!r})
runpy.run_path({str(SCRIPT)!r}, run_name='__main__')
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    wrong = [outcome for outcome in outcomes if outcome[2] not in ('refused', 'scored')]
    assert not wrong, wrong[:5]
    counts = Counter(outcome[2] for outcome in outcomes)
    assert counts['refused'] > 1500 and counts['scored'] > 100
    bombs = {name: outcome for name, kinds, outcome in outcomes if kinds == ['segm'] and name[0] in 'atm'}
    assert bombs['a zigzag across a large image'] == bombs['thousands of full masks of a large image'] == 'refused'
    assert bombs['many vertices'] == bombs['many parts'] == 'scored'
