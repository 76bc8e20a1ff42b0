"""The large run over all parsers; `python -m tests.soak.fuzz --help` says how to run and repeat it by hand."""

import os

import pytest

from tests.soak.fuzz import run

CASES = int(os.environ.get('NOISE_MM_FUZZ_CASES', '200000'))


@pytest.mark.slow
def test_damaged_files_are_read_or_refused_in_one_line(tmp_path):
    counts, failures = run(CASES, seed=0, keep=tmp_path / 'failed')
    assert failures == []
    assert counts['read'] > 0 and counts['refused'] > 0
