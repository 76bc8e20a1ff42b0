"""Nuclei-aware osteoclast instance segmentation (NOISe) on MMDetection and MMYOLO.

`import noise_mm` makes MMDetection and MMYOLO importable beside mmcv-lite, so it comes before them. It imports neither
torch nor any of them, so that `noise_mm.formats` and the tools for data preparation start fast and run without them.
`import noise_mm.register`, which every config does by its `custom_imports`, registers the classes of this project.
"""

import logging

from noise_mm.compat.mmcv_ext import provide_mmcv_ext

__version__ = '0.1.0'

provide_mmcv_ext()
# What is wrong with an image is said in this project's own errors and notes.
logging.getLogger('tifffile').setLevel(logging.CRITICAL)
