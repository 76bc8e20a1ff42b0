"""Scores, and the tables made of them.

The metric, and the writer of results beside it, are registered with MMYOLO once its registries are imported.
Scoring files and making tables needs neither it nor torch, so the command lines for that start fast.
"""

import importlib
from types import ModuleType

from noise_mm.compat.on_import import on_import


def _register_metrics(_registries: ModuleType) -> None:
    importlib.import_module('noise_mm.evaluation.osteoclast_metric')
    importlib.import_module('noise_mm.evaluation.seen_mark')
    importlib.import_module('noise_mm.coco.results_writer')


on_import('mmyolo.registry', _register_metrics)
