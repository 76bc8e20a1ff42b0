"""Finds the round well in a small picture of it, or says that there is none. Pure.

The border of a well is a step of brightness that runs along a circle: the bright bottom ends at the dark wall, or the
picture was cut out and pasted on white. How it works: for every candidate circle the picture is compared just inside
and just outside, along as much of the circle as lies in the picture (after Daugman's operator, High confidence visual
recognition of persons, 1993). The step must be there nearly all along the circle, all in one sense, and sharp. Uneven
light also darkens towards the corners, but slowly; cells and dirt make steps, but not along a circle. A field of view
that lies wholly inside the well therefore has no disc, and none is made up.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray

SEARCH_SIDES_PX = (64, 256)
"""Longest side of the picture in which circles are looked for, and of the one in which the best is refined."""

LEAST_RADIUS = 0.3
"""Share of the picture's shorter side. A well image shows little else; smaller circles are bubbles and cells."""

LARGEST_RADIUS = 0.75
"""Share of the longer side: a larger circle around the middle leaves the picture altogether."""

ANGLES = 180
STEP_SHARE = 0.025
"""Half width of the step, as a share of the radius."""

RAMP_SHARE = 0.1
"""The same for the slope that a step is compared with. Even a slope would have a quarter of it in the step."""

LEAST_STEP = 12.0
"""Grey levels of 256; noise is averaged over a patch of the picture, so this is far above it."""

LEAST_SHARPNESS = 0.5
LEAST_AGREEMENT = 0.8
"""Share of the visible circle along which there has to be a step in the common sense."""

LEAST_VISIBLE = 0.2
"""Share of the circle that has to lie in the picture: where it touches all four sides, only corners are left of it."""

LARGEST_GAP = 0.55
"""Share of the circle that may leave the picture in one piece; from less than half a circle its size is a guess."""


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
        """The part of its area that lies in an image of width and height `size_px`: what of the well could be seen."""
        circle = shapely.Point(self.x, self.y).buffer(self.radius, quad_segs=256)
        return circle.intersection(shapely.box(0, 0, *size_px)).area

    def scaled(self, factor_x: float, factor_y: float) -> 'Disc':
        """The disc in a picture that is larger by these factors, which differ by rounding only."""
        return Disc(self.x * factor_x, self.y * factor_y, self.radius * (factor_x + factor_y) / 2)


def find_disc(picture: NDArray[np.uint8]) -> Disc | None:
    """The disc of a well, in pixels of the picture, or None if the picture shows no border of one.

    Args:
        picture: The whole well image reduced to some hundred pixels, (height, width, 3) RGB.
    """
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    coarse, fine = (_reduced(grey, side) for side in SEARCH_SIDES_PX)
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


def _reduced(grey: NDArray[np.uint8], side_px: int) -> NDArray[np.float32]:
    """The picture with a longest side of at most `side_px`, a little blurred."""
    scale = min(1.0, side_px / max(grey.shape))
    size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
    return cv2.GaussianBlur(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), (0, 0), 0.7).astype(np.float32)


def _best(grey: NDArray[np.float32], xs: NDArray, ys: NDArray, radii: NDArray) -> Disc | None:
    """The circle with the clearest step of those with these centres and radii, or None if none has a clear one."""
    x, y, radius = (grid.ravel() for grid in np.meshgrid(xs, ys, radii, indexing='ij'))
    score = np.concatenate(
        [_clearness(grey, *part) for part in zip(*(_parts(values) for values in (x, y, radius)), strict=True)]
    )
    if not score.any():
        return None
    # Where the wall shows as a dark ring, its inner border is the well's.
    score = np.abs(score) if score.max() <= 0 else np.maximum(score, 0)
    # Neighbouring candidates see the same step; their mean is nearer to it than the grid is fine.
    best = score >= 0.98 * score.max()
    return Disc(*(float(np.average(values[best], weights=score[best])) for values in (x, y, radius)))


def _parts(values: NDArray) -> list[NDArray]:
    """Candidates a few thousand at a time, so that memory stays small."""
    return np.array_split(values, len(values) // 4096 + 1)


def _clearness(grey: NDArray[np.float32], x: NDArray, y: NDArray, radius: NDArray) -> NDArray[np.float64]:
    """How clear a step each circle has, (n,): its mean height in grey levels, positive where it is darker outside.

    It is 0 for circles that are no border of a well.
    """
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
    """Grey inside minus outside along each circle, (n, ANGLES), and where both lie in the picture."""
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
    """Longest run of unseen angles of each circle, (n,)."""
    longest = np.zeros(len(is_seen), dtype=np.int64)
    run = np.zeros(len(is_seen), dtype=np.int64)
    for angle in range(2 * is_seen.shape[1]):  # twice around: a run may pass the first angle
        run = np.where(is_seen[:, angle % is_seen.shape[1]], 0, run + 1)
        longest = np.maximum(longest, run)
    return np.minimum(longest, is_seen.shape[1])
