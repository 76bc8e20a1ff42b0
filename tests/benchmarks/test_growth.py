import subprocess
import sys


def test_both_tables_are_printed(repo_dir):
    command = [sys.executable, str(repo_dir / 'benchmarks' / 'growth.py'), '--annotations', '40']
    done = subprocess.run(command, capture_output=True, text=True, encoding='utf-8')
    assert done.returncode == 0, done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines() if 'annotations' in line] == ['scoring:', 'loading:']
    assert sum(line.startswith('| 40 ') for line in done.stdout.splitlines()) == 2
