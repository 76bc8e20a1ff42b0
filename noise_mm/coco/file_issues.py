"""Issues of one annotation file, collected so that a single error names them all, and notes on what was not used."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import shapely
from numpy.typing import ArrayLike
from shapely import MultiPolygon, Polygon

from noise_mm.coco.batch_folder import canonical_label
from noise_mm.errors import InputError
from noise_mm.geometry.outline import Outline, polygonal_parts, repaired, ring_vertices
from noise_mm.geometry.rings import crosses_itself

logger = logging.getLogger(__name__)

ISSUES_NAMED = 3  # in one line; more would not be read


def first_of(issues: Sequence[str]) -> str:
    """Return the first issues, and how many more there are."""
    more = f'; ... and {len(issues) - ISSUES_NAMED} more' if len(issues) > ISSUES_NAMED else ''
    return '; '.join(issues[:ISSUES_NAMED]) + more


@dataclass
class FileIssues:
    """Collects the issues of one file.

    Attributes:
        path: The file; every message begins with it.
        remedy: What to do about the issues, a sentence; every error ends with it.
        issues: What was found so far.
        notes: What was left out, assumed or changed, one sentence each, without the path. Each is logged, too.
    """

    path: str | Path
    remedy: str
    issues: list[str] = field(default_factory=list, init=False)
    notes: list[str] = field(default_factory=list, kw_only=True)

    def add(self, where: str, what: str) -> None:
        """Record that the object or row called `where` has the issue `what`."""
        self.issues.append(f'{where}: {what}')

    def note(self, text: str) -> None:
        """Log and record that something was left out, assumed or changed."""
        logger.warning('%s: %s', self.path, text)
        self.notes.append(text)

    def error(self, what: str) -> InputError:
        """Return an error about the file as a whole, for the caller to raise."""
        return InputError(f'{self.path}: {what}. {self.remedy}')

    def raise_if_any(self) -> None:
        """End reading if there are issues.

        Raises:
            InputError: One line with the file, the first issues, the number of further ones and the remedy.
        """
        if self.issues:
            raise self.error(first_of(self.issues))


@dataclass
class OutlineCollector(FileIssues):
    """Collects the outlines and the issues of one file, with the checks that are the same for all formats.

    An outline that crosses itself is repaired by the even-odd rule, with a note; with `repair=False` it is an issue. An
    outline without area is an issue.

    Where the image's size is known, an outline of which less than half lies in the image is an issue: it was drawn on
    another image, or its coordinates are not pixels. What else sticks out (rectangles and ovals may) is cut off, with a
    note if it was more than a pixel.

    Labels that differ from a known class in capitals only become that class.

    Attributes:
        size_px: Width and height of the image that the outlines belong to, if known.
        repair: Whether self-crossing outlines are repaired.
        outlines: What was read so far.
    """

    size_px: tuple[int, int] | None = None
    repair: bool = True
    outlines: list[Outline] = field(default_factory=list, init=False)

    def add_ring(self, where: str, points: ArrayLike, **fields: Any) -> None:
        """Add the outline with the vertices `points`, (n, 2) in the pixel convention; bridges to holes are undone.

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
        """Add an outline, valid or not; the arguments are those of `add_ring`."""
        try:
            valid = repaired(geometry)
        except ValueError as error:
            self.add(where, str(error))
            return
        if crosses_itself(geometry, valid):
            if not self.repair:
                self.add(where, 'the outline crosses itself')
                return
            self.note_crossing(where, valid)
        if self.size_px is not None:
            valid = self._inside_image(where, valid)
        if valid is not None:
            label = canonical_label(fields.pop('label', Outline.label))
            self.outlines.append(Outline(valid, label=label, **fields))

    def note_crossing(self, where: str, valid: Polygon | MultiPolygon) -> None:
        """Note that an outline crossed itself and was repaired to `valid`; an issue if that is not wanted."""
        if self.repair:
            self.note(f'{where}: the outline crosses itself; repaired, area {valid.area:.1f} px^2')
        else:
            self.add(where, 'the outline crosses itself')

    def finish(self) -> list[Outline]:
        """Return the outlines in the order of the file.

        Raises:
            InputError: If there are issues.
        """
        self.raise_if_any()
        return self.outlines

    def _inside_image(self, where: str, geometry: Polygon | MultiPolygon) -> Polygon | MultiPolygon | None:
        """Return the part of `geometry` in the image; None, and an issue, if that is less than half."""
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
            size = f'{width} x {height} px'
            self.note(f'{where}: reaches {beyond_px:.1f} px beyond the image of {size}; cut off there')
        return polygonal_parts(clipped)
