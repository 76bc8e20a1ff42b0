"""The settings by which the numbers of the NOISe paper were measured: what `--as-paper` sets.

The paper (section 5.1) leaves all parameters but size, patches and epochs at the defaults of Ultralytics' YOLOv8, and
its numbers come from the validation of that code (version 8.1): its matching and interpolation, masks compared on the
grid of the prototypes, at most 300 detections an image, and the epoch of largest `fitness`.
"""

from collections.abc import Mapping
from typing import Any

from noise_mm.errors import InputError

MODE = 'ultralytics'
MASK_RESOLUTION = 'prototype'
MAX_DETECTIONS = 300
BEST_METRIC = 'osteoclast/fitness'


def paper_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that make a config measure as the paper does, as `--cfg-options` would give them.

    Args:
        config: A config of this project, as read from its file.

    Raises:
        InputError: If it is not evaluated by one `OsteoclastMetric`, or its network has other settings for the test.
    """
    evaluators = [config.get(f'{part}_evaluator') for part in ('val', 'test')]
    if not all(isinstance(each, Mapping) and each.get('type') == 'OsteoclastMetric' for each in evaluators) or not (
        config.get('model') or {}
    ).get('test_cfg'):
        raise InputError('--as-paper: is for configs of this project that are evaluated by OsteoclastMetric alone.')
    settings = {f'{part}_evaluator.mode': MODE for part in ('val', 'test')}
    settings['best_metric'] = BEST_METRIC
    if 'segm' in evaluators[1].get('metric', ('segm', 'bbox')):
        # Not for detectors: those of nuclei label patches with more than 300 of them.
        settings['model.test_cfg.max_per_img'] = MAX_DETECTIONS
        settings |= {f'{part}_evaluator.mask_resolution': MASK_RESOLUTION for part in ('val', 'test')}
        settings['model.test_cfg.mask_resolution'] = MASK_RESOLUTION
    return settings


def with_paper_settings(settings: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the preset and those that were given.

    Raises:
        InputError: If a given one contradicts the preset.
    """
    for key, value in given.items():
        if key in settings and settings[key] != value:
            raise InputError(f'--cfg-options {key}={value}: --as-paper sets {settings[key]}. Leave out one of the two.')
    return {**settings, **given}
