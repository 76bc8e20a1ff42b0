import os
from types import SimpleNamespace

import psutil
import pytest

from noise_mm.patches.planning import STREAMING_BYTES, PlannedWell, default_workers

GIB = 2**30


def planned(working_bytes, is_streamed=True):
    return PlannedWell(None, {}, 1.0, [], [], [], working_bytes, is_streamed)


@pytest.fixture
def computer(monkeypatch):
    """64 cores and 64 GiB."""
    monkeypatch.setattr(os, 'cpu_count', lambda: 64)
    monkeypatch.setattr(psutil, 'virtual_memory', lambda: SimpleNamespace(total=64 * GIB))


@pytest.mark.parametrize('working_bytes', [10**7, 10**8, 3 * 10**8, 10**9])
def test_streamed_wells_stay_within_two_gibibytes(computer, working_bytes):
    workers = default_workers([planned(10**6), planned(working_bytes)])
    assert workers >= 1
    assert workers == 1 or workers * working_bytes < STREAMING_BYTES < 2 * GIB


def test_wells_decoded_whole_may_take_half_the_memory(computer):
    assert 10 <= default_workers([planned(2 * GIB, is_streamed=False)]) <= 16
    assert default_workers([planned(100 * GIB, is_streamed=False)]) == 1


def test_no_more_workers_than_cores(monkeypatch):
    monkeypatch.setattr(os, 'cpu_count', lambda: 2)
    assert default_workers([planned(10**6)]) == 2
    assert default_workers([]) == 2
