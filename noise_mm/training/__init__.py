"""How YOLOv8 is trained: choice of optimizer, gradient accumulation, and the runner. Importing this registers them."""

import warnings

from noise_mm.training.optimizer import YOLOv8AmpOptimWrapper, YOLOv8OptimWrapper
from noise_mm.training.runner import YOLOv8Runner

# The configs pin memory for GPUs; without one torch says at every loader that it doesn't.
warnings.filterwarnings(
    'ignore', message="'pin_memory' argument is set as true but no accelerator", category=UserWarning
)
