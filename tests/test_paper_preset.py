import pytest

from noise_mm.configuration import load_config
from noise_mm.errors import InputError
from noise_mm.evaluation.paper_differences import differences_from_paper
from noise_mm.paper_preset import paper_settings, with_paper_settings


def test_segmentors_are_measured_as_by_ultralytics(repo_dir):
    path = repo_dir / 'configs/baseline/yolov8_m2h.py'
    config = load_config(path, paper_settings(load_config(path)))
    for evaluator in (config.val_evaluator, config.test_evaluator):
        assert (evaluator.mode, evaluator.mask_resolution) == ('ultralytics', 'prototype')
    assert (config.model.test_cfg.mask_resolution, config.model.test_cfg.max_per_img) == ('prototype', 300)
    assert (
        config.default_hooks.checkpoint.save_best == config.default_hooks.early_stopping.monitor == 'osteoclast/fitness'
    )
    measured = {'mode': 'ultralytics', 'mask_resolution': 'prototype', 'segm': {}}
    run = {'test_cfg': config.model.test_cfg, 'training': None}
    assert differences_from_paper({**measured, 'run': run}) == ['how it was trained is not known']


def test_detectors_have_no_masks(repo_dir):
    path = repo_dir / 'configs/noise/nuclei_detector_yolov8-l.py'
    settings = paper_settings(load_config(path))
    assert not any('mask' in name for name in settings)
    assert 'model.test_cfg.max_per_img' not in settings  # a patch may hold more nuclei than that
    assert load_config(path, settings).default_hooks.checkpoint.save_best == 'osteoclast/fitness'


def test_another_evaluator_is_refused():
    with pytest.raises(InputError, match='--as-paper: is for configs of this project'):
        paper_settings({'val_evaluator': {'type': 'CocoMetric'}, 'test_evaluator': {'type': 'CocoMetric'}})


def test_options_that_contradict_it_are_refused():
    settings = {'test_evaluator.mode': 'ultralytics'}
    assert with_paper_settings(settings, {'max_epochs': 1, 'test_evaluator.mode': 'ultralytics'}) == {
        'test_evaluator.mode': 'ultralytics',
        'max_epochs': 1,
    }
    with pytest.raises(InputError, match='test_evaluator.mode=coco: --as-paper sets ultralytics'):
        with_paper_settings(settings, {'test_evaluator.mode': 'coco'})
