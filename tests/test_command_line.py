import argparse

import pytest
import torch

from noise_mm.command_line import add_config_options, load_run_config, parse_cfg_options, pick_device
from noise_mm.errors import InputError


def test_options_follow_mmengines_rules():
    given = ['a.b=1', 'c=[x,y]', 'd=1e-3', 'e=True', 'f=text', 'g="[(1,2),(3,4)]"']
    expected = {'a.b': 1, 'c': ['x', 'y'], 'd': 1e-3, 'e': True, 'f': 'text', 'g': [(1, 2), (3, 4)]}
    assert parse_cfg_options(given) == expected
    assert parse_cfg_options([]) == {}
    with pytest.raises(InputError, match='max_epochs'):
        parse_cfg_options(['max_epochs'])


def test_work_folder_is_named_after_config_and_fold(repo_dir):
    parser = argparse.ArgumentParser()
    parser.add_argument('config')
    add_config_options(parser)
    config = str(repo_dir / 'configs/baseline/yolov8-seg.py')
    assert load_run_config(parser.parse_args([config])).work_dir == 'work_dirs/yolov8-seg'
    assert load_run_config(parser.parse_args([config, '--fold', 'M2'])).work_dir == 'work_dirs/yolov8-seg_M2'
    assert load_run_config(parser.parse_args([config, '--work-dir', 'x/y'])).work_dir == 'x/y'


@pytest.mark.parametrize('name', ['cpu', 'auto'])
def test_device(name):
    assert pick_device(name).type in ('cpu', 'cuda')


@pytest.mark.parametrize('name', ['cuda:99', 'gpu', '', 'mps', 'meta'])
def test_missing_device_is_refused(name):
    with pytest.raises(InputError, match='--device'):
        pick_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_gpu_is_refused_where_there_is_none():
    with pytest.raises(InputError, match='0 usable GPUs'):
        pick_device('cuda:0')
