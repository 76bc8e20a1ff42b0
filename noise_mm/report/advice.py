"""Advice where a model does not seem to fit an image: nothing found, low scores, unusual colours. Pure."""

from collections.abc import Sequence

import numpy as np

from noise_mm.measure.cells import CellMeasures
from noise_mm.measure.image_quality import LEAST_STAINED_PERCENT
from noise_mm.slides.chunked import Rgb

MOST_TINT = 60
"""Levels between the channels of the background; at most 54 in drawn bone chips and 35 in all other images."""

DARK_LEVEL = 60
"""Of the background, as in fluorescence; bright-field images are lighter."""

LOW_MEDIAN = 0.45
FEWEST_CELLS = 3
REMEDY = 'check --mpp and the white balance, or train on outlines of your own (docs/new_domain.md)'


def advice(thumbnail: Rgb, cells: Sequence[CellMeasures], stained_percent: float) -> list[str]:
    """Return what may be wrong with a well and what to do about it, a sentence each.

    Args:
        thumbnail: The reduced image.
        cells: What was found.
        stained_percent: Of `noise_mm.measure.image_quality.stained_percent`.
    """
    notes = []
    background = np.median(thumbnail.reshape(-1, 3), axis=0)
    stain = f'{stained_percent:.1g} % of the image is red or purple as TRAP stains'
    scores = [cell.score for cell in cells if cell.score is not None]
    if not cells:
        if stained_percent < LEAST_STAINED_PERCENT:
            notes.append(f'no cells were found, and hardly any stain: {stain}; check the image, else {REMEDY}')
        else:
            notes.append(f'no cells were found, although {stain}; lower --score-thr, {REMEDY}')
    elif len(scores) >= FEWEST_CELLS and np.median(scores) < LOW_MEDIAN:
        notes.append(
            f'the median score is below {LOW_MEDIAN}, so the model is unsure here: check the outlines, then {REMEDY}'
        )
    if cells and stained_percent < LEAST_STAINED_PERCENT:
        notes.append(
            f'{stain}, unlike training images: check stain and white balance, and do not trust the counts before you '
            'have looked at the outlines'
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
