"""Drawn outlines that the tests of all formats share."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from shapely import MultiPolygon, Polygon

from noise_mm.annotations.outline import Outline

# Examples write files, whose time says nothing where other work shares the machine.
settings.register_profile('files', deadline=None)
settings.load_profile('files')

GRID_PX = 100  # parts lie in squares of this side, so that they never touch


def _star(draw: Callable, centre: np.ndarray, radius: float) -> np.ndarray:
    """Vertices (n, 2) of a simple polygon around `centre`, between half of `radius` and `radius` away from it."""
    count = draw(st.integers(3, 12))
    share = draw(st.lists(st.floats(0.5, 1, width=32), min_size=count, max_size=count))
    angle = (np.arange(count) + draw(st.floats(0, 1, width=32))) * (2 * np.pi / count)
    return centre + radius * np.array(share)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)


@st.composite
def _polygons(draw: Callable, square: int) -> Polygon:
    """A polygon with up to two holes in one square of the grid."""
    centre = np.array([square % 4 + 0.5, square // 4 + 0.5]) * GRID_PX
    holes = [
        _star(draw, centre + np.array([side * 0.1, 0.02]) * GRID_PX / 2, 0.08 * GRID_PX / 2)
        for side in draw(st.sampled_from([(), (1,), (-1, 1)]))
    ]
    return Polygon(_star(draw, centre, 0.49 * GRID_PX), holes)


@st.composite
def _geometries(draw: Callable) -> Polygon | MultiPolygon:
    """A polygon, or up to three parts that do not touch, between (0, 0) and (400, 400)."""
    squares = draw(st.lists(st.integers(0, 15), min_size=1, max_size=3, unique=True))
    polygons = [draw(_polygons(square)) for square in squares]
    return polygons[0] if len(polygons) == 1 else MultiPolygon(polygons)


@st.composite
def _outline_lists(draw: Callable) -> list[Outline]:
    """Up to four outlines with names, classes and scores."""
    names = st.text('aB9 ä中/-.', max_size=8)
    return [
        Outline(
            draw(_geometries()),
            name=draw(names),
            label=draw(st.sampled_from(['osteoclast', 'nucleus'])),
            score=draw(st.none() | st.floats(0, 1)),
            ignored=draw(st.booleans()),
        )
        for _ in range(draw(st.integers(0, 4)))
    ]


@pytest.fixture(scope='session')
def geometries() -> st.SearchStrategy:
    """Strategy for valid geometries with holes and parts inside 400 x 400 px; see `_geometries`."""
    return _geometries()


@pytest.fixture(scope='session')
def outline_lists() -> st.SearchStrategy:
    """Strategy for lists of outlines inside 400 x 400 px; see `_outline_lists`."""
    return _outline_lists()


@pytest.fixture(scope='session')
def assert_same_geometry() -> Callable:
    """Asserts that two geometries differ by less than an area in px^2."""

    def check(one: Polygon | MultiPolygon, other: Polygon | MultiPolygon, area_px2: float = 1e-6) -> None:
        assert other.is_valid
        assert one.symmetric_difference(other).area <= area_px2

    return check
