import platform
import subprocess
import sys

import pytest

PAGE_FAULTS = """
import resource, sys
import numpy as np
from noise_mm.training.freed_memory import keep_freed_memory

if sys.argv[1] == 'keep':
    assert keep_freed_memory()
np.ones(2**24)  # 128 MiB
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    np.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='needs glibc')
def test_freed_memory_is_used_again():
    faults = {}
    for choice in ('give back', 'keep'):
        done = subprocess.run([sys.executable, '-c', PAGE_FAULTS, choice], capture_output=True, text=True, check=True)
        faults[choice] = int(done.stdout)
    assert faults['keep'] < 100
    assert faults['give back'] > faults['keep']


def test_other_c_libraries_are_left_alone(monkeypatch):
    from noise_mm.training.freed_memory import keep_freed_memory

    monkeypatch.setattr(platform, 'libc_ver', lambda: ('', ''))
    assert not keep_freed_memory()
