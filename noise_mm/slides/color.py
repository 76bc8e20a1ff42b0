"""From whatever samples an image file holds to 8-bit RGB on white. Pure."""

import numpy as np
import numpy.typing as npt

from noise_mm.slides.chunked import Rgb


def eight_bit(samples: npt.NDArray[np.generic], bits: int) -> npt.NDArray[np.uint8]:
    """Return samples of `bits` bits each (1 to 16) as 8 bits: stretched where there are fewer, the upper 8 where more.

    >>> eight_bit(np.array([0, 1, 3], np.uint8), bits=2)
    array([  0,  85, 255], dtype=uint8)
    """
    if bits == 8:
        return samples.astype(np.uint8, copy=False)
    if bits > 8:
        return np.minimum(samples >> (bits - 8), 255).astype(np.uint8)  # some files hold more bits than they state
    return samples.astype(np.uint8) * np.uint8(255 // (2**bits - 1))


def rgb_on_white(samples: npt.NDArray[np.uint8], has_alpha: bool, premultiplied: bool = False) -> Rgb:
    """Grey or RGB samples as RGB; transparent pixels are laid on white.

    Args:
        samples: Shape (height, width, n). The first sample is grey where n is 1 or 2, else the first three are RGB.
        has_alpha: Whether the sample after the colours is opacity (0 = transparent). Further samples are left out.
        premultiplied: Whether colours are already multiplied by the opacity.

    Returns:
        Shape (height, width, 3).
    """
    colors = 1 if samples.shape[2] < 3 else 3
    rgb = np.ascontiguousarray(np.broadcast_to(samples[..., :colors], (*samples.shape[:2], 3)))
    if not has_alpha or samples.shape[2] <= colors:
        return rgb
    opacity = samples[..., colors : colors + 1].astype(np.uint16)
    if opacity.min(initial=255) == 255:
        return rgb
    white = 255 - opacity
    covered = rgb.astype(np.uint16) if premultiplied else (rgb * opacity + 127) // 255
    return np.minimum(covered + white, 255).astype(np.uint8)


def rgb_from_ycbcr(samples: npt.NDArray[np.uint8]) -> Rgb:
    """Full-range YCbCr with the coefficients of ITU-R BT.601 (as in JPEG; TIFF 6.0 section 21) as RGB.

    Args:
        samples: Shape (height, width, 3).

    Returns:
        Shape (height, width, 3).
    """
    luma, blue, red = (samples[..., index].astype(np.float32) for index in range(3))
    blue, red = blue - 128, red - 128
    rgb = np.stack([luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue], axis=-1)
    return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)
