"""How a well is measured. Imports nothing heavy."""

from dataclasses import dataclass


@dataclass(frozen=True)
class WellOptions:
    """Choices of the user that are the same for all wells.

    Attributes:
        min_nuclei: Cells with fewer nuclei are classed as pre-osteoclasts and counted apart; None to leave classes as
            they are. Needs nuclei.
        well_area_px2: Area of the well that shares and densities refer to, in pixels of the well image.
        find_well: Whether the disc of the well is looked for in the image instead.
    """

    min_nuclei: int | None = None
    well_area_px2: float | None = None
    find_well: bool = False

    def __post_init__(self) -> None:
        """Raises a ValueError if values can't be meant."""
        if self.min_nuclei is not None and self.min_nuclei < 1:
            raise ValueError(f'min_nuclei must be at least 1, got {self.min_nuclei}.')
        if self.well_area_px2 is not None and not self.well_area_px2 > 0:
            raise ValueError(f'well_area_px2 must be positive, got {self.well_area_px2}.')
        if self.well_area_px2 is not None and self.find_well:
            raise ValueError('the area of the well is either given or found, not both.')
