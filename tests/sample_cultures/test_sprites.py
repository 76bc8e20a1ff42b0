import numpy as np
import pytest

from sample_cultures.sprites import SPRITE_COUNTS, make_sprites, texture_window


@pytest.fixture(scope='module')
def sprites():
    return make_sprites(4)


def test_every_kind_is_present_with_odd_square_planes(sprites):
    assert {kind: len(of_kind) for kind, of_kind in sprites.small.items()} == SPRITE_COUNTS
    for of_kind in sprites.small.values():
        for sprite in of_kind:
            side = sprite.red.shape[0]
            assert side % 2 == 1  # so that it has a middle pixel
            assert sprite.red.shape == sprite.blue.shape == sprite.cover.shape == (side, side)
            assert sprite.cover.min() >= 0 and sprite.cover.max() <= 1


def test_cells_fade_out_before_their_sprite_ends(sprites):
    for kind in ('monocyte', 'pale monocyte', 'stellate', 'spindle', 'fibre', 'scratch'):
        for sprite in sprites.small[kind]:
            border = np.concatenate([sprite.red[0], sprite.red[-1], sprite.red[:, 0], sprite.red[:, -1]])
            assert np.abs(border).max() < 0.02, kind


def test_nuclei_are_about_10_to_14_px_wide(sprites):
    widths = [2 * np.sqrt((nucleus.light > 0.5).sum() / np.pi) for nucleus in sprites.nuclei]
    assert min(widths) > 8 and max(widths) < 15
    assert 10 < np.median(widths) < 13


def test_the_same_seed_gives_the_same_sprites(sprites):
    again = make_sprites(4)
    np.testing.assert_array_equal(again.grain, sprites.grain)
    np.testing.assert_array_equal(again.small['spindle'][5].red, sprites.small['spindle'][5].red)


def test_texture_window_has_the_shape_asked_for(sprites):
    assert texture_window(sprites.cloud, np.random.default_rng(0), (500, 37)).shape == (500, 37)
