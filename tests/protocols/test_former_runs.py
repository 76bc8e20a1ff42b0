"""Runs that an earlier version recorded are read, and not done again."""

import shutil
from pathlib import Path

import pytest

from noise_mm.protocols.execution import run
from noise_mm.protocols.launch import Launcher
from noise_mm.protocols.plan import data_of, plan
from noise_mm.training.run_record import read_record

FORMER = Path(__file__).with_name('runs_060a068')  # records that commit 060a068 wrote; the other files are made below
STAGES = ('nuclei_detector_yolov8-l', 'pretrain_osteoclast-nuclei_yolov8-l', 'noise_m2h')


@pytest.fixture
def start(tools, make_study):
    def make(**changes):
        options = {'epochs': (60, 50, 50), 'cfg_options': ('batch_size=8',), 'amp': True} | changes
        study = make_study('m2h', 'noise', **options)
        run(plan(study, data_of(study)), Launcher(), resume=True)
        return list(tools.ran)

    return make


@pytest.fixture
def runs(data_root):
    shutil.copytree(FORMER, 'runs')
    for stage in STAGES:
        Path('runs', stage, 'best.pth').write_text(stage)
    for batch in ('M1', 'M2', 'M3'):
        path = Path('runs', 'pseudo', f'{batch}.json')
        path.parent.mkdir(exist_ok=True)
        path.write_text(batch)
    return Path('runs')


def test_finished_runs_of_an_earlier_version_are_not_done_again(runs, start):
    assert [read_record(runs / stage).epochs for stage in STAGES] == [60, 50, 50]
    assert start() == []


def test_unfinished_ones_go_on(runs, start):
    folder = runs / 'noise_m2h'
    (folder / 'finished.json').rename(folder / 'started.json')
    (folder / 'metrics.json').unlink()
    (folder / 'last_checkpoint').write_text('epoch_1.pth')
    assert start() == [('train', 'noise_m2h', True), ('test', 'noise_m2h', False)]
