"""The magnification and sizes that networks of this project are trained at. Pure."""

REFERENCE_UM_PER_PX = 0.7784
"""Pixel size of the published data (README of the released code), at which cells have the size that networks know."""

SAME_MAGNIFICATION = 1e-3
"""Relative difference to the reference below which nothing is resampled: less than one pixel over a patch."""


def scale_to_reference(um_per_px: float) -> float:
    """Return reference pixels per pixel of a well; exactly 1 where the magnification is the same but for rounding."""
    scale = um_per_px / REFERENCE_UM_PER_PX
    return 1.0 if abs(scale - 1) < SAME_MAGNIFICATION else scale
