"""Marks the results of a test on batches that were seen in training."""

from collections.abc import Sequence
from typing import Any

from mmengine.config import Config
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


def mark_seen(config: Config, batches: Sequence[str]) -> None:
    """Make the test of a config mark its results.

    Args:
        config: Changed in place.
        batches: The test batches that were seen in training; nothing is changed if there are none.
    """
    if not batches:
        return
    marked = [
        {**evaluator, 'seen_in_training': list(batches)} if is_ours(evaluator) else evaluator
        for evaluator in evaluators_of(config)
    ]
    config.test_evaluator = [*marked, {'type': 'SeenInTraining'}]
