import numpy as np
import pytest
import shapely

from noise_mm.geometry.outline import Outline
from noise_mm.geometry.packed_outlines import LazyOutlines, PackedOutline


@pytest.fixture
def outlines():
    rng = np.random.default_rng(0)
    ring = shapely.Point(50, 50).buffer(30).difference(shapely.Point(50, 50).buffer(7))
    parts = shapely.MultiPolygon([shapely.box(*rng.random(2), 3, 4), shapely.box(10.1, 10.2, 20.3, 20.7)])
    return [Outline(ring, 'a_1', 'a', 0.1 + 0.2), Outline(parts, 'b_2', 'b', 1.0), Outline(shapely.box(0, 0, 1, 1))]


def test_packing_keeps_every_bit(outlines):
    for outline in outlines:
        again = PackedOutline.of(outline).outline(outline.name)
        assert again == outline
        assert again.geometry.wkb == outline.geometry.wkb


def test_a_sequence_like_a_list(outlines):
    lazy = LazyOutlines(3, outlines.__getitem__)
    assert len(lazy) == 3 and list(lazy) == outlines and lazy == outlines and lazy != outlines[:2]
    assert (lazy[0], lazy[-1], lazy[1:], lazy[::-2]) == (outlines[0], outlines[-1], outlines[1:], outlines[::-2])
    with pytest.raises(IndexError):
        lazy[3]


def test_members_are_made_when_asked_for_and_not_kept():
    made = []
    lazy = LazyOutlines(1000, lambda i: made.append(i) or Outline(shapely.box(i, 0, i + 1, 1)))
    assert not made
    assert [outline.geometry.bounds[0] for outline in (lazy[7], lazy[7])] == [7, 7]
    assert made == [7, 7]
