"""How YOLOv8 is trained: choice of optimizer, gradient accumulation, and the runner. Importing this registers them."""

from noise_mm.training.optimizer import YOLOv8AmpOptimWrapper, YOLOv8OptimWrapper
from noise_mm.training.runner import YOLOv8Runner

__all__ = ['YOLOv8AmpOptimWrapper', 'YOLOv8OptimWrapper', 'YOLOv8Runner']
