"""What is wrong with one annotation file, collected so that a single error names all of it."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import shapely
from numpy.typing import ArrayLike
from shapely import MultiPolygon, Polygon

from noise_mm.errors import InputError
from noise_mm.geometry.outline import Outline, polygonal_parts, repaired, ring_vertices
from noise_mm.geometry.rings import crosses_itself

logger = logging.getLogger(__name__)

FAULTS_NAMED = 3  # in one line; more would not be read


@dataclass
class FileFaults:
    """Collects the faults of one file.

    Attributes:
        path: The file; every message begins with it.
        remedy: What to do about the faults, a sentence; every error ends with it.
        faults: What was found so far.
    """

    path: str | Path
    remedy: str
    faults: list[str] = field(default_factory=list, init=False)

    def add(self, where: str, what: str) -> None:
        """Notes that the object or row called `where` has the fault `what`."""
        self.faults.append(f'{where}: {what}')

    def error(self, what: str) -> InputError:
        """An error about the file as a whole, for the caller to raise."""
        return InputError(f'{self.path}: {what}. {self.remedy}')

    def raise_if_any(self) -> None:
        """Ends reading if there were faults.

        Raises:
            InputError: One line with the file, the first faults, the number of further ones and the remedy.
        """
        if self.faults:
            named = '; '.join(self.faults[:FAULTS_NAMED])
            more = len(self.faults) - FAULTS_NAMED
            raise self.error(named + (f'; ... and {more} more' if more > 0 else ''))


@dataclass
class OutlineCollector(FileFaults):
    """Collects the outlines and the faults of one file, with the checks that are the same for all formats.

    An outline that crosses itself is repaired by the even-odd rule, and the log says so (level WARNING, naming file
    and object); with `repair=False` it is a fault. An outline without area is a fault.

    Where the image's size is known, an outline of which less than half lies in the image is a fault: it was drawn on
    another image, or its coordinates are not pixels. What else sticks out (rectangles and ovals may) is cut off, and
    the log says so if it was more than a pixel.

    Attributes:
        size_px: Width and height of the image that the outlines belong to, if known.
        repair: Whether self-crossing outlines are repaired.
        outlines: What was read so far.
    """

    size_px: tuple[int, int] | None = None
    repair: bool = True
    outlines: list[Outline] = field(default_factory=list, init=False)

    def add_ring(self, where: str, points: ArrayLike, **fields: Any) -> None:
        """Adds the outline with the vertices `points`, (n, 2) in the pixel convention; bridges to holes are undone.

        Args:
            where: What a message calls the object.
            points: Vertices, with or without the repeated last one.
            **fields: Fields of `Outline` other than the geometry.
        """
        try:
            polygon = Polygon(ring_vertices(points))
        except ValueError as error:
            self.add(where, str(error))
            return
        self.add_geometry(where, polygon, **fields)

    def add_geometry(self, where: str, geometry: Polygon | MultiPolygon, **fields: Any) -> None:
        """Adds an outline, valid or not; the arguments are those of `add_ring`."""
        try:
            valid = repaired(geometry)
        except ValueError as error:
            self.add(where, str(error))
            return
        if crosses_itself(geometry, valid):
            if not self.repair:
                self.add(where, 'the outline crosses itself')
                return
            logger.warning('%s: %s: the outline crosses itself; repaired, area %.1f px^2', self.path, where, valid.area)
        if self.size_px is not None:
            valid = self._inside_image(where, valid)
        if valid is not None:
            self.outlines.append(Outline(valid, **fields))

    def note_crossing(self, where: str, valid: Polygon | MultiPolygon) -> None:
        """Logs that an outline crossed itself and was repaired to `valid`, or notes the fault if that is not wanted."""
        if self.repair:
            logger.warning('%s: %s: the outline crosses itself; repaired, area %.1f px^2', self.path, where, valid.area)
        else:
            self.add(where, 'the outline crosses itself')

    def finish(self) -> list[Outline]:
        """The outlines in the order of the file.

        Raises:
            InputError: If there were faults.
        """
        self.raise_if_any()
        return self.outlines

    def _inside_image(self, where: str, geometry: Polygon | MultiPolygon) -> Polygon | MultiPolygon | None:
        """The part of `geometry` in the image; None, and a fault, if that is less than half."""
        width, height = self.size_px
        left, top, right, bottom = geometry.bounds
        beyond_px = max(-left, -top, right - width, bottom - height)
        if beyond_px <= 0:
            return geometry
        clipped = geometry.intersection(shapely.box(0, 0, width, height))
        if clipped.area < 0.5 * geometry.area:
            self.add(
                where,
                f'lies outside the image of {width} x {height} px '
                f'(x {left:.1f} to {right:.1f}, y {top:.1f} to {bottom:.1f})',
            )
            return None
        if beyond_px > 1:
            logger.warning(
                '%s: %s: reaches %.1f px beyond the image of %d x %d px; cut off there',
                self.path,
                where,
                beyond_px,
                width,
                height,
            )
        return polygonal_parts(clipped)
