"""Marks the results of a test on batches that were seen in training."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.evaluator import BaseMetric
from mmyolo.registry import METRICS

from noise_mm.evaluation.evaluators import evaluators_of, is_ours
from noise_mm.seen_batches import MARK


@METRICS.register_module()
class SeenInTraining(BaseMetric):
    """Puts the mark among the metrics, so that MMEngine's log line and JSON file of the test have it."""

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count the samples; MMEngine warns of a metric without results."""
        self.results += [None] * len(data_samples)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Return the mark with the value 1."""
        return {MARK: 1.0}


def marked(evaluators: Mapping | Sequence[Mapping] | None, batches: Sequence[str]) -> list[Mapping]:
    """Return evaluators that mark their results.

    Args:
        evaluators: The configs of the test's evaluators, one or several.
        batches: The test batches that were seen in training; without any the evaluators stay as they are.
    """
    listed = evaluators_of({'test_evaluator': evaluators})
    if not batches or any(each.get('type') == SeenInTraining.__name__ for each in listed):
        return listed
    changed = [
        {**each, 'seen_in_training': list(batches)}
        if is_ours(each) or each.get('type') == 'CocoResultsWriter'
        else each
        for each in listed
    ]
    return [*changed, {'type': SeenInTraining.__name__}]
