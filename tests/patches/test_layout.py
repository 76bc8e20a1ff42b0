import dataclasses

import numpy as np
import pytest
import shapely

from noise_mm.errors import InputError
from noise_mm.geometry.outline import Outline
from noise_mm.geometry.pixels import fill_pixels
from noise_mm.geometry.tiles import tile_starts, window_grid
from noise_mm.patches.layout import PatchSettings, plan_patches
from noise_mm.scale import REFERENCE_UM_PER_PX, scale_to_reference

SIZE_PX = (700, 500)
SMALL = PatchSettings(patch_px=160, stride_px=80)


def star(x, y, radius, rng, corners=12):
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
    radii = radius * rng.uniform(0.4, 1, corners)
    return shapely.Polygon(np.stack([x + radii * np.cos(angles), y + radii * np.sin(angles)], axis=1))


def cells(seed, count=40, size_px=SIZE_PX):
    """Cells of all sizes, some with holes, some in two parts, some cut by the border of the well."""
    rng = np.random.default_rng(seed)
    well, outlines = shapely.box(0, 0, *size_px), []
    while len(outlines) < count:
        x, y, radius = rng.uniform(0, size_px[0]), rng.uniform(0, size_px[1]), np.exp(rng.uniform(1, 5.3))
        cell = star(x, y, radius, rng)
        if rng.random() < 0.3:
            cell = cell.difference(shapely.Point(x, y).buffer(radius / 4))
        if rng.random() < 0.2:
            cell = cell.union(star(x + 3 * radius, y, radius, rng))
        cell = cell.buffer(0).intersection(well)
        if cell.area > 1 and cell.geom_type in ('Polygon', 'MultiPolygon'):
            outlines.append(Outline(cell, name=f'cell {len(outlines)}'))
    return outlines


def placed(patch, piece):
    """A piece back at its place in the well."""
    return shapely.affinity.translate(piece.geometry, patch.window.x, patch.window.y)


@pytest.mark.parametrize('settings', [SMALL, PatchSettings(patch_px=200, stride_px=130)])
@pytest.mark.parametrize('seed', [0, 1, 2])
def test_masks_of_pieces_are_crops_of_the_cells_masks(settings, seed):
    """Brute force: every cell drawn in the whole well, and every patch cropped from it."""
    outlines = cells(seed)
    whole = [fill_pixels(outline.geometry, 0, 0, 900, 900) for outline in outlines]
    patches = {patch.window: patch.pieces for patch in plan_patches(outlines, SIZE_PX, 1.0, settings, 'w')}
    side = settings.patch_px
    for window in window_grid(*SIZE_PX, side, settings.stride_px):
        pieces = {piece.cell: piece for piece in patches.get(window, [])}
        for cell, mask in enumerate(whole):
            crop = mask[window.y : window.y + side, window.x : window.x + side]
            if cell in pieces:
                np.testing.assert_array_equal(fill_pixels(pieces[cell].geometry, 0, 0, side, side), crop)
            else:
                assert not crop.any()  # nothing is dropped, however small


@pytest.mark.parametrize('seed', [3, 4])
def test_no_area_is_lost_at_seams(seed):
    """The pieces of a cell, put back and united, are the cell; each share is as stated."""
    outlines = cells(seed)
    found = {}
    for patch in plan_patches(outlines, SIZE_PX, 1.0, SMALL, 'w'):
        for piece in patch.pieces:
            assert piece.geometry.is_valid
            whole = outlines[piece.cell].geometry
            assert piece.visible_fraction == pytest.approx(piece.geometry.area / whole.area, rel=1e-9)
            assert piece.ignored == (piece.visible_fraction < SMALL.sliver_fraction)
            left, top, right, bottom = piece.geometry.bounds
            assert 0 <= left < right <= 160 and 0 <= top < bottom <= 160
            found.setdefault(piece.cell, []).append(placed(patch, piece))
    assert sorted(found) == list(range(len(outlines)))
    for cell, parts in found.items():
        united = shapely.union_all(parts)
        assert united.area == pytest.approx(outlines[cell].geometry.area, rel=1e-6)
        assert united.symmetric_difference(outlines[cell].geometry).area < 1e-6 * outlines[cell].geometry.area + 1e-3


def test_without_overlap_areas_add_up():
    outlines = cells(5)
    settings = PatchSettings(patch_px=100, stride_px=100)  # divides the well
    areas = np.zeros(len(outlines))
    for patch in plan_patches(outlines, SIZE_PX, 1.0, settings, 'w'):
        for piece in patch.pieces:
            areas[piece.cell] += piece.geometry.area
    np.testing.assert_allclose(areas, [outline.geometry.area for outline in outlines], rtol=1e-9, atol=1e-4)


def test_slivers_are_ignored_never_dropped():
    cell = Outline(shapely.box(150, 10, 250, 30))  # 10 of 100 columns in the first patch of 160
    at_limit, below = (dataclasses.replace(SMALL, sliver_fraction=share) for share in (0.1, 0.11))
    for settings, ignored in ((at_limit, False), (below, True)):
        patches = plan_patches([cell], SIZE_PX, 1.0, settings, 'w')
        first = next(patch for patch in patches if patch.window.column == 0)
        assert [(piece.ignored, piece.geometry.area) for piece in first.pieces] == [(ignored, 200)]


def test_a_cell_cut_by_the_border_of_the_well_is_no_sliver():
    patches = plan_patches([Outline(shapely.box(0, 0, 3, 400))], (160, 400), 1.0, SMALL, 'w')
    assert [round(piece.visible_fraction, 3) for patch in patches for piece in patch.pieces] == [0.4] * 4


def test_regions_to_ignore_stay_so():
    patches = plan_patches([Outline(shapely.box(5, 5, 50, 50), ignored=True)], SIZE_PX, 1.0, SMALL, 'w')
    assert [piece.ignored for patch in patches for piece in patch.pieces] == [True]


def test_a_touching_cell_is_not_in_the_patch():
    patches = plan_patches([Outline(shapely.box(160, 0, 170, 10))], SIZE_PX, 1.0, SMALL, 'w')
    assert [patch.window.column for patch in patches] == [1, 2]


def test_a_well_smaller_than_a_patch():
    patches = plan_patches([Outline(shapely.box(80, 80, 90, 100))], (90, 100), 1.0, SMALL, 'w')
    assert [(patch.window.x, patch.window.y, patch.window.width) for patch in patches] == [(0, 0, 160)]


def test_other_magnifications_scale_outlines_with_the_well():
    outlines = cells(6, count=10)
    scale = 0.6423
    size_px = (450, 322)
    pieces = [piece for patch in plan_patches(outlines, size_px, scale, SMALL, 'w') for piece in patch.pieces]
    for piece in pieces:
        whole = outlines[piece.cell].geometry.area * scale**2
        assert piece.geometry.area == pytest.approx(piece.visible_fraction * whole, rel=1e-9)


def test_network_size_shrinks_annotations_and_nothing_else():
    outlines = cells(7, count=10)
    full = plan_patches(outlines, SIZE_PX, 1.0, SMALL, 'w')
    half = plan_patches(outlines, SIZE_PX, 1.0, dataclasses.replace(SMALL, network_px=80), 'w')
    assert [patch.window for patch in half] == [patch.window for patch in full]
    for whole, small in zip((p for t in full for p in t.pieces), (p for t in half for p in t.pieces), strict=True):
        assert small.geometry.area == pytest.approx(whole.geometry.area / 4)
        assert (small.ignored, small.visible_fraction) == (whole.ignored, whole.visible_fraction)


@pytest.mark.parametrize('share', [0, 0.25, 0.5, 1])
def test_a_share_of_empty_patches_is_kept(share):
    outlines = [Outline(shapely.box(10, 10, 40, 40))]
    settings = dataclasses.replace(SMALL, keep_empty=share)
    patches = plan_patches(outlines, SIZE_PX, 1.0, settings, 'w')
    empty = len(tile_starts(700, 160, 80)) * len(tile_starts(500, 160, 80)) - 1
    assert sum(not patch.pieces for patch in patches) == round(share * empty)
    assert patches == sorted(patches, key=lambda patch: patch.window)


def test_which_empty_patches_depends_on_seed_and_well_alone():
    def kept(seed, well):
        settings = dataclasses.replace(SMALL, keep_empty=0.3, seed=seed)
        return {patch.window for patch in plan_patches([], SIZE_PX, 1.0, settings, well)}

    assert kept(0, 'a') == kept(0, 'a')
    assert kept(0, 'a') != kept(1, 'a')
    assert kept(0, 'a') != kept(0, 'b')


@pytest.mark.parametrize(
    ('um_per_px', 'scale'), [(REFERENCE_UM_PER_PX, 1), (0.778, 1), (0.7784002, 1), (0.3892, 0.5), (0.78, 0.78 / 0.7784)]
)
def test_scale_to_reference(um_per_px, scale):
    assert scale_to_reference(um_per_px) == pytest.approx(scale, rel=1e-12)


@pytest.mark.parametrize(
    ('options', 'named'),
    [
        ({'patch_px': 0}, '--patch-size'),
        ({'stride_px': 0}, '--stride'),
        ({'stride_px': 833}, '--stride'),
        ({'sliver_fraction': 1.1}, '--sliver-fraction'),
        ({'keep_empty': -0.1}, '--keep-empty'),
        ({'network_px': 833}, '--network-size'),
        ({'network_px': 0}, '--network-size'),
    ],
)
def test_impossible_settings_name_the_option(options, named):
    with pytest.raises(InputError, match=named):
        PatchSettings(**options)
