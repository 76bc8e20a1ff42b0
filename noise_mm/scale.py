"""The magnification and sizes that networks of this project are trained at. Pure."""

from typing import NamedTuple

from noise_mm.errors import InputError

REFERENCE_UM_PER_PX = 0.7784
"""Pixel size of the published data (README of the released code), at which cells have the size that networks know."""

SAME_MAGNIFICATION = 1e-3
"""Relative difference to the reference below which nothing is resampled: less than one pixel over a patch."""


PLAUSIBLE_UM_PER_PX = (0.01, 20.0)
"""Pixel sizes taken for a microscope's. Others are print resolutions: 72 dots per inch would be 353 um."""


def plausible_um_per_px(um_per_px: float | None) -> float | None:
    """Return the same value, or None where no microscope has such pixels (see `PLAUSIBLE_UM_PER_PX`)."""
    low, high = PLAUSIBLE_UM_PER_PX
    return um_per_px if um_per_px is not None and low <= um_per_px <= high else None


def check_um_per_px(um_per_px: float | None, option: str = '--mpp') -> None:
    """Refuse a pixel size that no microscope has; None is none.

    Raises:
        InputError: With the name of the option.
    """
    low, high = PLAUSIBLE_UM_PER_PX
    if um_per_px is not None and plausible_um_per_px(um_per_px) is None:
        raise InputError(
            f'{option} must be positive and the pixel size of a microscope ({low:g} to {high:g} um), got {um_per_px}. '
            f'Give micrometres per pixel; the published wells have {REFERENCE_UM_PER_PX}.'
        )


def scale_to_reference(um_per_px: float) -> float:
    """Return reference pixels per pixel of a well; exactly 1 where the magnification is the same but for rounding."""
    scale = um_per_px / REFERENCE_UM_PER_PX
    return 1.0 if abs(scale - 1) < SAME_MAGNIFICATION else scale


class PixelSize(NamedTuple):
    """The pixel size of an image and where it is from.

    Attributes:
        um: Side of a pixel in um.
        source: `option`, stated by the `file`, `assumed` because neither says it, or `accepted`: assumed
            and confirmed by --assume-mpp.
    """

    um: float
    source: str = 'option'

    @property
    def known_um(self) -> float | None:
        """Return the size for lengths and areas; None if it is only assumed."""
        return None if self.source == 'assumed' else self.um
