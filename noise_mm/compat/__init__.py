"""What MMCV-lite, MMEngine, MMDetection and MMYOLO need to work together with current torch and Python.

Importing this package costs little: no module here imports torch or an OpenMMLab package before one of them is used.
`noise_mm/__init__.py` puts the pieces in place.
"""
