import numpy as np
import pytest

from noise_mm.cultures.stamps import STOCK_SIZES, make_stock, texture_window


@pytest.fixture(scope='module')
def stock():
    return make_stock(4)


def test_every_kind_is_in_stock_with_odd_square_planes(stock):
    assert {kind: len(stamps) for kind, stamps in stock.small.items()} == STOCK_SIZES
    for stamps in stock.small.values():
        for stamp in stamps:
            side = stamp.red.shape[0]
            assert side % 2 == 1  # so that it has a middle pixel
            assert stamp.red.shape == stamp.blue.shape == stamp.cover.shape == (side, side)
            assert stamp.cover.min() >= 0 and stamp.cover.max() <= 1


def test_cells_fade_out_before_their_stamp_ends(stock):
    for kind in ('monocyte', 'pale monocyte', 'stellate', 'spindle', 'fibre', 'scratch'):
        for stamp in stock.small[kind]:
            border = np.concatenate([stamp.red[0], stamp.red[-1], stamp.red[:, 0], stamp.red[:, -1]])
            assert np.abs(border).max() < 0.02, kind


def test_nuclei_are_about_12_to_16_px_wide(stock):
    widths = [2 * np.sqrt((nucleus.light > 0.5).sum() / np.pi) for nucleus in stock.nuclei]
    assert min(widths) > 9 and max(widths) < 17
    assert 11 < np.median(widths) < 15


def test_the_same_seed_gives_the_same_stock(stock):
    again = make_stock(4)
    np.testing.assert_array_equal(again.grain, stock.grain)
    np.testing.assert_array_equal(again.small['spindle'][5].red, stock.small['spindle'][5].red)


def test_texture_window_has_the_shape_asked_for(stock):
    assert texture_window(stock.cloud, np.random.default_rng(0), (500, 37)).shape == (500, 37)
