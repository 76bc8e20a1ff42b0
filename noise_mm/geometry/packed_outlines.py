"""Outlines of a whole slide in little memory: packed, and each unpacked whenever it is asked for.

A slide of 100,000 px a side has 300,000 cells. As geometries their outlines take 1.3 GB, packed 0.2 GB.
"""

import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import shapely

from noise_mm.geometry.outline import Outline


class PackedOutline(NamedTuple):
    """An outline in less than a kilobyte.

    Attributes:
        wkb: Its geometry as compressed well-known binary, which keeps every bit.
        label: Its class.
        score: Its confidence.
        marks: What is in doubt about it.
    """

    wkb: bytes
    label: str
    score: float
    marks: frozenset[str] = frozenset()

    @classmethod
    def of(cls, outline: Outline) -> 'PackedOutline':
        """Packs an outline; its name is left out."""
        wkb = zlib.compress(shapely.to_wkb(outline.geometry), level=1)
        return cls(wkb, outline.label, outline.score, outline.marks)

    def outline(self, name: str = '') -> Outline:
        """Unpacks it."""
        geometry = shapely.from_wkb(zlib.decompress(self.wkb))
        return Outline(geometry, name, self.label, self.score, marks=self.marks)


class LazyOutlines(Sequence[Outline]):
    """A sequence of outlines that are made when they are asked for, and not kept.

    Args:
        count: How many there are.
        make: Makes the one at a place, from 0.
    """

    def __init__(self, count: int, make: Callable[[int], Outline]) -> None:
        self._count, self._make = count, make

    def __len__(self) -> int:
        """How many there are."""
        return self._count

    def __getitem__(self, index: int | slice) -> Outline | list[Outline]:
        """Return one outline, or a list of some; raises an IndexError where there is none."""
        places = range(self._count)[index]
        return [self._make(place) for place in places] if isinstance(places, range) else self._make(places)

    def __eq__(self, other: object) -> bool:
        """Whether the other sequence has equal outlines in the same order."""
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(one == another for one, another in zip(self, other, strict=True))

    __hash__ = None  # as of lists
