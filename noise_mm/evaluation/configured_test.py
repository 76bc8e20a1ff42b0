"""The test that a config describes: its batches, its metric, and what is written beside the numbers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmyolo.registry import DATASETS

from noise_mm.datasets.patch_datasets import PatchDataset
from noise_mm.errors import InputError
from noise_mm.evaluation.coco_results import score_results_files
from noise_mm.evaluation.evaluate import IOU_THRS, Evaluation
from noise_mm.evaluation.evaluators import evaluators_of, is_ours


def score_results(config: Config, results: Sequence[str | Path], allow_seen: bool = False) -> Evaluation:
    """Score any tool's COCO results on the test batches of a config, by the settings of its metric.

    Args:
        config: From `noise_mm.configuration.load_config`.
        results: A file for each test batch or one for all, see `results_of_batches`.
        allow_seen: See `score_results_files`.

    Raises:
        InputError: If the config does not test whole batches by masks of the size of the patch, or as
            `score_results_files`.
    """
    metric = metric_settings(config)
    if metric.get('mask_resolution', 'native') != 'native':
        raise InputError(
            f'{config.filename}: scores masks at {metric["mask_resolution"]} resolution, COCO results are compared at '
            'that of the patch. Set --cfg-options test_evaluator.mask_resolution=native.'
        )
    dataset = dataset_of_test(config)
    if dataset.split != 'all':
        raise InputError(
            f'{config.filename}: tests on split {dataset.split!r} of its batches, --results on the whole of them. '
            'Set --cfg-options test_dataloader.dataset.split=all.'
        )
    sources = dataset.sources()
    kinds = metric.get('metric', ('segm', 'bbox'))
    return score_results_files(
        [source.annotation_file for source in sources],
        results_of_batches(results, [source.batch for source in sources]),
        (kinds,) if isinstance(kinds, str) else tuple(kinds),
        metric.get('iou_thrs', IOU_THRS),
        metric.get('mode', 'coco'),
        dataset.metainfo['classes'],
        allow_seen,
    )


def results_of_batches(results: Sequence[str | Path], batches: Sequence[str]) -> list[Path]:
    """Return the results files in the order of the batches: `<batch>.json` by name, others as they are given.

    Raises:
        InputError: If only some are called after the batches, or there is neither one for each nor one for all.
    """
    paths = [Path(path) for path in results]
    by_name = {path.stem: path for path in paths if path.stem in batches}
    if len(paths) not in (1, len(batches)):
        raise InputError(
            f'--results: {len(paths)} files for the batches {", ".join(batches)}. Give one for each, or one for all.'
        )
    if by_name and len(by_name) < len(batches):
        raise InputError(
            f'--results: {next(iter(by_name.values()))} is called after a batch, but not every batch '
            f'({", ".join(batches)}) has a file of its name. Name all of them so, or none.'
        )
    return [by_name[batch] for batch in batches] if by_name else paths


def add_outputs(config: Config, curves_dir: Path, results_dir: Path | None = None) -> None:
    """Make the test write curves and, if wanted, COCO results. A `curves_dir` in the config itself is kept.

    Args:
        config: Changed in place. Another metric than `OsteoclastMetric` draws no curves.
        curves_dir: Folder of the curves.
        results_dir: Folder of the results; None for no results.

    Raises:
        InputError: If results are wanted, but masks are scored smaller than the patch.
    """
    evaluators = evaluators_of(config)
    for evaluator in filter(is_ours, evaluators):
        evaluator.setdefault('curves_dir', str(curves_dir))
        if results_dir is not None and evaluator.get('mask_resolution', 'native') != 'native':
            raise InputError(
                f'--save-results: masks are scored at {evaluator["mask_resolution"]} resolution and are not those of '
                'the patch. Leave it out, or set mask_resolution to native.'
            )
    if results_dir is not None:
        dataset = dataset_of_test(config)
        sources = [
            {'batch': each.batch, 'annotation_file': str(each.annotation_file), 'image_dir': str(each.image_dir)}
            for each in dataset.sources()
        ]
        classes = list(dataset.metainfo['classes'])
        writer = {'type': 'CocoResultsWriter', 'folder': str(results_dir), 'sources': sources, 'classes': classes}
        config.test_evaluator = [*evaluators, writer]


def metric_settings(config: Config) -> Mapping[str, Any]:
    """Return the settings of the config's `OsteoclastMetric` for tests.

    Raises:
        InputError: If it has none.
    """
    ours = [evaluator for evaluator in evaluators_of(config) if is_ours(evaluator)]
    if not ours:
        raise InputError(
            f'{config.filename}: its test_evaluator is no OsteoclastMetric. Set test_evaluator='
            "dict(type='OsteoclastMetric'), or choose another config."
        )
    return ours[0]


def dataset_of_test(config: Config) -> PatchDataset:
    """Return the dataset that the config tests on; nothing is read yet.

    Raises:
        InputError: If the config has no test batches of this project.
    """
    settings = (config.get('test_dataloader') or {}).get('dataset')
    if not settings:
        raise InputError(f'{config.filename}: has no test data (no test_dataloader). Choose another config.')
    with DefaultScope.overwrite_default_scope(config.get('default_scope') or 'mmyolo'):
        dataset = DATASETS.build({**settings, 'lazy_init': True})
    if not isinstance(dataset, PatchDataset):
        raise InputError(
            f'{config.filename}: tests on a {type(dataset).__name__}, not on batches. Choose a config of this project.'
        )
    return dataset
