"""Which numbers the evaluators of a run produce: so that one that is waited for in vain is refused beforehand."""

from collections.abc import Sequence

from mmengine.evaluator import BaseMetric, Evaluator

from noise_mm.errors import InputError
from noise_mm.evaluation.osteoclast_metric import OsteoclastMetric

SHOWN = 8


def require_produced(name: str | None, setting: str, evaluator: Evaluator, classes: Sequence[str]) -> None:
    """Check that an evaluator of the validation produces a number. Metrics of others are known by their prefix only.

    Args:
        name: Of the number, such as 'osteoclast/segm_mAP50'; None and 'auto' pass.
        setting: Where it was asked for, for the message.
        evaluator: Of the validation.
        classes: Names of the classes.

    Raises:
        InputError: With names to choose from.
    """
    if name in (None, 'auto'):
        return
    choices = []
    for metric in evaluator.metrics:
        names = metric_names(metric, classes)
        prefix = f'{metric.prefix}/' if metric.prefix else ''
        if name in names or (not names and name.startswith(prefix)):
            return
        choices += names or [f'{prefix}...']
    more = ' ...' if len(choices) > SHOWN else ''
    raise InputError(
        f'{setting} is {name!r}, which val_evaluator does not produce. Set best_metric to one of '
        f'{", ".join(choices[:SHOWN])}{more}'
    )


def metric_names(metric: BaseMetric, classes: Sequence[str]) -> list[str]:
    """Return the names of a metric's numbers as in `report.flat_metrics`, those at IoU 0.5 first; of others none."""
    if not isinstance(metric, OsteoclastMetric):
        return []
    prefix = f'{metric.prefix}/' if metric.prefix else ''
    suffixes = ['', *(f'_{name}' for name in classes)] if len(classes) > 1 else ['']
    means = [f'{prefix}{kind}_mAP50_95' for kind in metric.kinds]
    at_thresholds = [
        f'{prefix}{kind}_{letters}{100 * iou_thr:g}{suffix}'
        for kind in metric.kinds
        for suffix in suffixes
        for iou_thr in sorted(metric.iou_thrs, key=lambda each: each != 0.5)
        for letters in ('mAP', 'P', 'R')
    ]
    return [*at_thresholds, *means, f'{prefix}fitness']
