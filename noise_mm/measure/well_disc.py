"""Finds the round border of the well in a small picture, if there is one. Pure.

The border is a step of brightness along a circle: the bright bottom ends at the dark wall, or the picture was pasted on
white. Candidate circles are scored by the difference of brightness just inside and just outside (after Daugman's
operator, High confidence visual recognition of persons, 1993). The step must be present nearly all along the visible
circle, of one sign, and sharp. Uneven light changes slowly, and cells make no circle, so a field of view inside the
well has no disc.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray

from noise_mm.slides.resample import reduced

SEARCH_SIDES_PX = (64, 256)
"""Longest side of the pictures for the search and for the refinement."""

LEAST_RADIUS = 0.3
"""Share of the picture's shorter side; smaller circles are bubbles and cells."""

LARGEST_RADIUS = 0.75
"""Share of the longer side; a larger circle around the middle lies outside of the picture."""

ANGLES = 180
CANDIDATES_AT_A_TIME = 4096  # so that memory stays small
STEP_SHARE = 0.025
"""Half width of the step, as a share of the radius."""

RAMP_SHARE = 0.1
"""The same for the slope that a step is compared with; an even slope has a quarter of its height in the step."""

LEAST_STEP = 12.0
"""Grey levels of 256, far above noise, which is averaged."""

LEAST_SHARPNESS = 0.5
LEAST_AGREEMENT = 0.8
"""Share of the visible circle with a step of the common sign."""

LEAST_VISIBLE = 0.2
"""Share of the circle that has to lie in the picture; a circle that leaves all four sides shows only corners."""

LARGEST_GAP = 0.55
"""Share of the circle that may leave the picture in one piece; less than half a circle does not fix the size."""


@dataclass(frozen=True)
class Disc:
    """The disc of a well, in pixels of the well image with corners at whole numbers.

    Attributes:
        x: Centre.
        y: Centre.
        radius: Radius.
    """

    x: float
    y: float
    radius: float

    def area_px2(self, size_px: tuple[int, int]) -> float:
        """Return the area of the disc that lies in an image of width and height `size_px`."""
        circle = shapely.Point(self.x, self.y).buffer(self.radius, quad_segs=256)
        return circle.intersection(shapely.box(0, 0, *size_px)).area

    def scaled(self, factor_x: float, factor_y: float) -> 'Disc':
        """Return the disc in a picture that is larger by these factors, which differ by rounding only."""
        return Disc(self.x * factor_x, self.y * factor_y, self.radius * (factor_x + factor_y) / 2)


def find_disc(picture: NDArray[np.uint8]) -> Disc | None:
    """Return the disc of a well, in pixels of the picture, or None if the picture shows no border of one.

    Args:
        picture: The whole well image reduced to some hundred pixels, (height, width, 3) RGB.
    """
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    coarse, fine = (cv2.GaussianBlur(reduced(grey, side), (0, 0), 0.7).astype(np.float32) for side in SEARCH_SIDES_PX)
    height, width = coarse.shape
    steps = np.arange(1.0, max(coarse.shape), 1.0)
    radii = steps[(steps >= LEAST_RADIUS * min(width, height)) & (steps <= LARGEST_RADIUS * max(width, height))]
    x, y = (np.arange(length * 0.1, length * 0.9, 1.5) for length in (width, height))
    found = _best(coarse, x, y, radii)
    if found is None:
        return None
    factor = fine.shape[1] / width, fine.shape[0] / height
    for reach, spacing in ((4.0, 1.0), (1.0, 0.25)):
        disc = found.scaled(*factor)
        factor = (1.0, 1.0)
        around = np.arange(-reach, reach + spacing / 2, spacing)
        found = _best(fine, disc.x + around, disc.y + around, disc.radius + around)
        if found is None:
            return None
    return found.scaled(grey.shape[1] / fine.shape[1], grey.shape[0] / fine.shape[0])


def _best(grey: NDArray[np.float32], xs: NDArray, ys: NDArray, radii: NDArray) -> Disc | None:
    """Return the circle with the clearest step among these centres and radii, or None."""
    x, y, radius = (grid.ravel() for grid in np.meshgrid(xs, ys, radii, indexing='ij'))
    parts = np.array_split(np.stack([x, y, radius], axis=1), len(x) // CANDIDATES_AT_A_TIME + 1)
    score = np.concatenate([_clearness(grey, *part.T) for part in parts])
    if not score.any():
        return None
    # Where the wall shows as a dark ring, its inner border is the well's.
    score = np.abs(score) if score.max() <= 0 else np.maximum(score, 0)
    # Neighbouring candidates see the same step; their mean is nearer to it than the grid is fine.
    best = score >= 0.98 * score.max()
    return Disc(*(float(np.average(values[best], weights=score[best])) for values in (x, y, radius)))


def _clearness(grey: NDArray[np.float32], x: NDArray, y: NDArray, radius: NDArray) -> NDArray[np.float64]:
    """Return the mean step of each circle in grey levels, (n,): positive if darker outside, 0 if it is no border."""
    step, is_seen = _steps(grey, x, y, radius, STEP_SHARE)
    slope, _ = _steps(grey, x, y, radius, RAMP_SHARE)
    seen = is_seen.sum(axis=1)
    mean = np.where(is_seen, step, 0).sum(axis=1) / np.maximum(seen, 1)
    mean_slope = np.where(is_seen, slope, 0).sum(axis=1) / np.maximum(seen, 1)
    agrees = is_seen & (step * np.sign(mean)[:, None] >= LEAST_STEP / 2)
    is_clear = (
        (np.abs(mean) >= LEAST_STEP)
        & (np.abs(mean) >= LEAST_SHARPNESS * np.abs(mean_slope))
        & (agrees.sum(axis=1) >= LEAST_AGREEMENT * seen)
        & (seen >= LEAST_VISIBLE * ANGLES)
        & (_largest_gap(is_seen) <= LARGEST_GAP * ANGLES)
    )
    return np.where(is_clear, mean, 0.0)


def _steps(
    grey: NDArray[np.float32], x: NDArray, y: NDArray, radius: NDArray, share: float
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return grey inside minus outside along each circle, (n, ANGLES), and where both lie in the picture."""
    angles = np.arange(ANGLES) * (2 * np.pi / ANGLES)
    half = np.maximum(share * radius, 1.0)  # less than a pixel shows nothing
    values, seen = [], np.ones((len(x), ANGLES), dtype=bool)
    for side in (-1, 1):
        reach = (radius + side * half)[:, None]
        # Centres of pixels are at halves here and at whole numbers for cv2.
        at_x = (x[:, None] + reach * np.cos(angles) - 0.5).astype(np.float32)
        at_y = (y[:, None] + reach * np.sin(angles) - 0.5).astype(np.float32)
        seen &= (at_x >= 0) & (at_y >= 0) & (at_x <= grey.shape[1] - 1) & (at_y <= grey.shape[0] - 1)
        values.append(cv2.remap(grey, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
    return values[0] - values[1], seen


def _largest_gap(is_seen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the longest run of unseen angles of each circle, (n,); it may pass the first angle."""
    places = np.arange(2 * is_seen.shape[1])
    last_seen = np.maximum.accumulate(np.where(np.tile(is_seen, 2), places, -1), axis=1)
    return np.minimum((places - last_seen).max(axis=1), is_seen.shape[1])
