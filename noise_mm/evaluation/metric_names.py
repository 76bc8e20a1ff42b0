"""Which numbers the evaluators of a run produce: so that one that is waited for in vain is refused beforehand."""

from collections.abc import Sequence

from mmengine.evaluator import BaseMetric, Evaluator

from noise_mm.errors import InputError
from noise_mm.evaluation.evaluate import evaluate
from noise_mm.evaluation.osteoclast_metric import OsteoclastMetric
from noise_mm.evaluation.report import flat_metrics, make_report

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
    """Return the names of a metric's numbers as in `report.flat_metrics`; of metrics of others none."""
    if not isinstance(metric, OsteoclastMetric):
        return []
    nothing = make_report(evaluate([], classes, metric.kinds, metric.iou_thrs, metric.mode))
    return [f'{metric.prefix}/{name}' if metric.prefix else name for name in flat_metrics(nothing)]
