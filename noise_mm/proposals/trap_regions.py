"""TRAP-positive regions of a bright-field image, found by colour. Pure: arrays in, outlines out.

How it works: the ground of the image is estimated on a coarse grid from its brighter pixels, so uneven light and a
tinted plate cancel out. What is darker, redder or bluer than this ground in CIELAB is stained. One threshold for a
whole batch, chosen by minimum cross entropy (Li & Tam, Pattern Recognition Letters 1998), separates stain from ground;
thin processes are opened away, and regions that narrow between two bodies are split by a watershed of the distance to
their border. The annotation of the paper began likewise, from regions of at least 2,000 px^2 (paper, section 3).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_li
from skimage.morphology import local_maxima, reconstruction
from skimage.segmentation import watershed

from noise_mm.errors import InputError
from noise_mm.geometry.outline import Outline, polygonal_parts, repaired
from noise_mm.geometry.pixels import trace
from noise_mm.geometry.windows import scaled

Strength = NDArray[np.float32]
"""How far each pixel (height, width) is stained, in units of CIELAB; 0 on the ground."""

GRID_PX = 64  # side of the cells of the grid on which the ground is estimated
GROUND_PERCENTILE = 60  # of lightness: the ground is the median of what is at least so light
LIGHTNESS_WEIGHT = 0.5  # dark things that are neither red nor blue count half: debris, dead cells
LEAST_THRESHOLD = 4.0  # below, colour differences are noise of the camera
EDGE_SHARE = 0.35  # of a region's median strength: where its edge is drawn, if that is above the threshold
LEVELS_PER_UNIT = 50  # steps of the logarithm of a width
SAMPLES_PER_IMAGE = 200_000  # pixels of each image that the threshold is chosen from


@dataclass(frozen=True)
class ProposalSettings:
    """What counts as a cell. Lengths are pixels of the reference magnification (0.7784 um).

    Attributes:
        min_area_px2: Smallest area of a proposed region.
        process_px: Processes thinner than this are left out of the outlines.
        neck: Two bodies are split where the neck between them is thinner than this share of the thinner body.

    Raises:
        InputError: If a value is not positive.
    """

    min_area_px2: float = 2000.0
    process_px: float = 17.0
    neck: float = 0.4

    def __post_init__(self) -> None:
        """Check the values."""
        for name, option in (('min_area_px2', '--min-area'), ('process_px', '--process'), ('neck', '--neck')):
            if not getattr(self, name) > 0:
                raise InputError(f'{option} must be more than 0 (got {getattr(self, name):g}).')
        if self.neck >= 1:
            raise InputError(f'--neck must be less than 1 (got {self.neck:g}); 0.4 is the default.')


def stain_strength(rgb: NDArray[np.uint8]) -> Strength:
    """Return how far each pixel of an image (height, width, 3), RGB, is stained."""
    lab = cv2.cvtColor(np.ascontiguousarray(rgb).astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    lab -= _ground(lab)
    lightness, a, b = np.moveaxis(lab, 2, 0)
    strength = LIGHTNESS_WEIGHT * np.maximum(-lightness, 0) + np.maximum(a, 0) + np.maximum(-b, 0)
    return cv2.GaussianBlur(strength, (0, 0), 1.0)


def _ground(lab: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the colour of the empty plate or bone under each pixel, (height, width, 3)."""
    height, width = lab.shape[:2]
    rows, columns = -(-height // GRID_PX), -(-width // GRID_PX)
    ground = np.empty((rows, columns, 3), np.float32)
    for row in range(rows):
        for column in range(columns):
            around = lab[
                max(row - 1, 0) * GRID_PX : (row + 2) * GRID_PX, max(column - 1, 0) * GRID_PX : (column + 2) * GRID_PX
            ]
            pixels = around[::2, ::2].reshape(-1, 3)
            light = pixels[:, 0] >= np.percentile(pixels[:, 0], GROUND_PERCENTILE)
            ground[row, column] = np.median(pixels[light], axis=0)
    return cv2.resize(ground, (width, height), interpolation=cv2.INTER_LINEAR)


def choose_threshold(strengths: Sequence[Strength]) -> float:
    """Return the strength above which pixels are stained, one for all images of a batch.

    Raises:
        InputError: If there is no image.
    """
    if not strengths:
        raise InputError('no image to choose a threshold from. Name a folder with wells.')
    samples = [strength.ravel()[:: max(1, strength.size // SAMPLES_PER_IMAGE)] for strength in strengths]
    return max(LEAST_THRESHOLD, float(threshold_li(np.concatenate(samples))))


def propose(strength: Strength, threshold: float, settings: ProposalSettings, px_per_reference: float) -> list[Outline]:
    """Return the outlines of stained regions in pixels of `strength`, row by row, named `P0001`, `P0002`, ...

    Args:
        strength: From `stain_strength`.
        threshold: From `choose_threshold`.
        settings: What counts as a cell.
        px_per_reference: Pixels of `strength` per pixel of the reference magnification.
    """
    stained = ndimage.binary_fill_holes(strength > threshold)
    radius = max(1, round(settings.process_px / 2 * px_per_reference))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    opened = cv2.morphologyEx(stained.astype(np.uint8), cv2.MORPH_OPEN, disc)
    labels = _split(opened, settings.neck)
    min_area = settings.min_area_px2 * px_per_reference**2
    outlines = []
    for number, box in enumerate(ndimage.find_objects(labels), 1):
        if box is None:
            continue
        mask = labels[box] == number
        # The threshold of the batch is low for a strongly stained cell: its blurred edge would count as cell.
        mask &= strength[box] > EDGE_SHARE * np.median(strength[box][mask])
        if mask.sum() < min_area:
            continue
        geometry = trace(mask, box[1].start, box[0].start)
        smooth = polygonal_parts(repaired(geometry.simplify(0.75)))
        outlines.append(Outline(max(getattr(smooth, 'geoms', [smooth]), key=lambda part: part.area)))
    return [Outline(outline.geometry, name=f'P{number:04d}') for number, outline in enumerate(outlines, 1)]


def _split(mask: NDArray[np.uint8], neck: float) -> NDArray[np.int32]:
    """Return labels (height, width) of the bodies in a mask, touching ones apart; 0 is the ground."""
    distance = cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_5)
    # On logarithms a ratio of widths is a height, the same for small and large cells.
    levels = np.rint(LEVELS_PER_UNIT * np.log1p(distance)).astype(np.int32)
    lowered = levels - min(levels.max(), max(1, round(-LEVELS_PER_UNIT * np.log(neck))))
    peaks = local_maxima(reconstruction(lowered, levels)) & (mask > 0)
    markers, _ = ndimage.label(peaks, structure=np.ones((3, 3)))
    bodies, count = ndimage.label(mask)
    # A body thinner than a neck has no such peak; it gets a marker of its own.
    without = np.isin(bodies, np.setdiff1d(np.arange(1, count + 1), np.unique(bodies[markers > 0])))
    markers[without] = bodies[without] + markers.max()
    return watershed(-distance, markers, mask=mask > 0).astype(np.int32)


def to_well(outlines: Sequence[Outline], scale: float) -> list[Outline]:
    """Return outlines enlarged by `scale`, with their names."""
    return [Outline(scaled(outline.geometry, scale), name=outline.name) for outline in outlines]
