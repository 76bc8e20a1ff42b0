import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noise_mm.geometry.tiles import Window, tile_starts, window_grid

LENGTHS = st.integers(1, 5000)


@st.composite
def tilings(draw):
    tile_px = draw(st.integers(1, 900))
    return draw(LENGTHS), tile_px, draw(st.integers(1, tile_px))


@given(tilings())
def test_tiles_cover_the_axis_without_gaps_and_end_at_its_border(tiling):
    length_px, tile_px, stride_px = tiling
    starts = tile_starts(length_px, tile_px, stride_px)
    assert starts[0] == 0
    assert starts[-1] == max(length_px - tile_px, 0)
    gaps = [after - before for before, after in itertools.pairwise(starts)]
    assert all(gap == stride_px for gap in gaps[:-1])
    assert all(0 < gap <= stride_px for gap in gaps)


@given(tilings())
def test_no_tile_is_needed_twice(tiling):
    length_px, tile_px, stride_px = tiling
    starts = tile_starts(length_px, tile_px, stride_px)
    assert len(starts) == 1 or starts[-2] + tile_px < length_px


@pytest.mark.parametrize(
    ('length_px', 'expected'), [(1, [0]), (832, [0]), (833, [0, 1]), (1248, [0, 416]), (1249, [0, 416, 417])]
)
def test_tile_starts_by_hand(length_px, expected):
    assert tile_starts(length_px, 832, 416) == expected


@pytest.mark.parametrize('arguments', [(0, 832, 416), (100, 0, 1), (100, 10, 0), (100, 10, 11)])
def test_impossible_tilings_are_refused(arguments):
    with pytest.raises(ValueError, match='_px'):
        tile_starts(*arguments)


def test_grid_runs_row_by_row():
    assert window_grid(5, 9, tile_px=4, stride_px=3) == [
        Window(0, 0, 0, 0, 4, 4), Window(0, 1, 1, 0, 4, 4),
        Window(1, 0, 0, 3, 4, 4), Window(1, 1, 1, 3, 4, 4),
        Window(2, 0, 0, 5, 4, 4), Window(2, 1, 1, 5, 4, 4),
    ]  # fmt: skip
