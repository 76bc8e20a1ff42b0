"""Advice where a model does not seem to fit an image: nothing found, low scores, unusual colours. Pure."""

from collections.abc import Sequence

import numpy as np

from noise_mm.measure.cells import CellMeasures
from noise_mm.slides.chunked import Rgb

PURPLE_LEVELS = 12
"""TRAP-stained pixels have red and blue this much above green, relative to the background; of 256 levels."""

LEAST_PURPLE_PERCENT = 0.1
"""In seven synthetic batches and one real image at least 5.5 % of the pixels are so purple."""

MOST_TINT = 45
"""Levels between the channels of the background; at most 28 in those images."""

DARK_LEVEL = 60
"""Of the background, as in fluorescence; bright-field images are lighter."""

LOW_MEDIAN = 0.45
FEWEST_CELLS = 3
REMEDY = 'check --mpp and the white balance, or train on outlines of your own (docs/new_domain.md)'


def advice(thumbnail: Rgb, cells: Sequence[CellMeasures]) -> list[str]:
    """Return what may be wrong with a well and what to do about it, a sentence each.

    Args:
        thumbnail: The reduced image.
        cells: What was found.
    """
    notes = []
    pixels = thumbnail.reshape(-1, 3).astype(np.int16)
    background = np.median(pixels, axis=0)
    purple = purple_percent(pixels, background)
    scores = [cell.score for cell in cells if cell.score is not None]
    if not cells:
        stain = f'{purple:.1g} % of the image is purple as TRAP stains'
        if purple < LEAST_PURPLE_PERCENT:
            notes.append(f'no cells were found, and hardly any stain: {stain}; check the image, else {REMEDY}')
        else:
            notes.append(f'no cells were found, although {stain}; lower --score-thr, {REMEDY}')
    elif len(scores) >= FEWEST_CELLS and np.median(scores) < LOW_MEDIAN:
        notes.append(
            f'the median score is below {LOW_MEDIAN}, so the model is unsure here: check the outlines, then {REMEDY}'
        )
    if cells and purple < LEAST_PURPLE_PERCENT:
        notes.append(
            f'hardly anything here is purple as TRAP stains ({purple:.1g} % of the image), unlike training images: '
            'check stain and white balance, and do not trust the counts before you have looked at the outlines'
        )
    if background.max() < DARK_LEVEL:
        notes.append(
            'the background is dark, unlike training images, which are bright-field: choose another image, or invert it'
        )
    elif np.ptp(background) > MOST_TINT:
        levels = ', '.join(f'{level:.0f}' for level in background)
        notes.append(
            f'the background is tinted (red, green, blue = {levels}), unlike training images; correct the white balance'
        )
    return notes


def purple_percent(pixels: np.ndarray, background: np.ndarray) -> float:
    """Return the percentage of pixels (n, 3) that are purple relative to the background (3,)."""
    red, green, blue = (pixels - background).T
    return 100 * float(np.mean(np.minimum(red, blue) - green > PURPLE_LEVELS))
