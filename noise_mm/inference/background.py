"""Recognise tiles that show only empty plate or bone, on which the network need not run. Pure.

In doubt the network runs: in bright field the background is bright, even and of no stain, and a cell, even
one that is hardly stained, is at most one of these.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from noise_mm.slides.chunked import BACKGROUND, Rgb


@dataclass(frozen=True)
class BackgroundRule:
    """What counts as background.

    Attributes:
        least_level: The median of each channel has to be at least so bright, of 255.
        block_px: Side of the squares whose means are compared: averaging takes the noise of the camera away, and a
            cell is larger.
        most_stain: The median of green may be below those of both red and blue by no more than this. TRAP stains
            purple, so the inside of a giant cell that fills the tile is not taken for background. Light may be
            yellowish or bluish: green then lies between the two.
        most_deviation: No square's mean may differ from the tile's median by more than this, in grey levels and any
            channel.
    """

    least_level: int = 128
    block_px: int = 8
    most_stain: int = 8
    most_deviation: int = 5


def is_background(tile: Rgb, rule: BackgroundRule | None = None) -> bool:
    """Return whether a tile shows only background, beyond doubt.

    White all over is background, which is what lies outside a well. Anything dark, textured or unevenly lit is not.

    Args:
        tile: (height, width, 3).
        rule: What counts.
    """
    rule = rule or BackgroundRule()
    if tile[0, 0].min() == BACKGROUND and tile.min() == BACKGROUND:
        return True
    height, width = (max(length // rule.block_px, 1) for length in tile.shape[:2])
    means = cv2.resize(tile, (width, height), interpolation=cv2.INTER_AREA).reshape(-1, 3)
    if np.ptp(means, axis=0).max() > 2 * rule.most_deviation:  # which most tiles with cells are; saves the median
        return False
    red, green, blue = median = np.median(means, axis=0)
    is_bright, is_stained = median.min() >= rule.least_level, min(red, blue) - green > rule.most_stain
    return bool(is_bright and not is_stained and np.abs(means - median).max() <= rule.most_deviation)
