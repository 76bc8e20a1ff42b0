"""What was found in one well, whatever found it."""

from collections.abc import Sequence
from dataclasses import dataclass

from noise_mm.geometry.outline import Outline
from noise_mm.measure.nuclei import Nuclei


@dataclass(frozen=True)
class Found:
    """The cells and nuclei of one well.

    Attributes:
        outlines: One for each cell, in pixels of the well image. The number in the name of each is its place, from 1.
        nuclei: The nuclei, or None if none were looked for.
    """

    outlines: Sequence[Outline]
    nuclei: Nuclei | None = None
