"""The large run over all parsers; `python -m tests.soak.fuzz --help` says how to run and repeat it by hand."""

import os

import pytest

from tests.soak.fuzz import cases, run, run_case
from tests.soak.parsers import all_parsers

CASES = int(os.environ.get('NOISE_MM_FUZZ_CASES', '200000'))


@pytest.mark.slow
def test_damaged_files_are_read_or_refused_in_one_line(tmp_path):
    counts, failures = run(CASES, seed=0, keep=tmp_path / 'failed')
    assert failures == []
    assert counts['read'] > 0 and counts['refused'] > 0


@pytest.mark.parametrize('parser', all_parsers(), ids=lambda parser: parser.name)
def test_a_few_damaged_files_of_each_kind(tmp_path, parser):
    """What the whole run does, in a second for all."""
    parser.parse(_written(tmp_path, parser))
    for _, _, data in cases([parser], 0, 12, seed=7):
        assert run_case(parser, data, tmp_path) in ('read', 'refused')


def _written(folder, parser):
    (folder / parser.file_name).write_bytes(parser.data)
    return folder / parser.file_name
