"""The evaluators that a config tests with."""

from collections.abc import Mapping
from typing import Any


def evaluators_of(config: Mapping[str, Any]) -> list[dict]:
    """Return the evaluators of the test; a config may have one or a list."""
    evaluators = config.get('test_evaluator') or []
    return [evaluators] if isinstance(evaluators, dict) else list(evaluators)


def is_ours(evaluator: Mapping) -> bool:
    """Return whether an evaluator is an `OsteoclastMetric`."""
    kind = evaluator.get('type', '')
    return (kind if isinstance(kind, str) else kind.__name__).rpartition('.')[2] == 'OsteoclastMetric'
