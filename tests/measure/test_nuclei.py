"""Nuclei over tiles with a detector that knows them all, and nuclei of cells compared with plain loops."""

import itertools

import numpy as np
import pytest
import shapely
from scipy.spatial import KDTree
from shapely import Point, Polygon, affinity

from noise_mm.formats.imagej import read_imagej
from noise_mm.geometry.outline import Outline
from noise_mm.geometry.tiles import Window, window_grid
from noise_mm.measure.nuclei import Nuclei, NucleiMerger, assign_nuclei, paired
from tests.fixtures.files import read_via_points

# Tile, stride, and a well that they do not divide.
GRIDS = {
    'half overlap': (416, 208, 1501, 1203),
    'last tile shifted by a few pixels': (416, 208, 1253, 839),
    'two thirds overlap': (300, 100, 950, 820),
    'little overlap': (416, 396, 1501, 1203),
    'no overlap': (416, 416, 1501, 1203),
    'one tile': (832, 416, 500, 600),
}
NEAREST_PX = 7.0  # between nuclei, as in the real image


def clustered_points(rng, width_px, height_px):
    """Centres in clusters, as in giant cells; none nearer than `NEAREST_PX` to another."""
    middles = rng.uniform(0, [width_px, height_px], (width_px * height_px // 12_000, 2))
    points = np.repeat(middles, 12, axis=0)
    points = points + rng.normal(0, 16, points.shape)
    points = points[((points >= 0) & (points <= [width_px, height_px])).all(axis=1)]
    too_near = np.zeros(len(points), dtype=bool)
    for i, j in sorted(KDTree(points).query_pairs(NEAREST_PX)):
        too_near[j] |= not too_near[i]
    return points[~too_near]


def seen(points, window, rng, off_px=0.0, missed=0.0):
    """What a tile shows: the points in it, each moved by up to `off_px` in any direction, some missed; in any order."""
    start = np.array([window.x, window.y])
    shown = points[((points >= start) & (points < start + window.width)).all(axis=1)]
    shown = shown[rng.random(len(shown)) >= missed]
    angle, off = rng.uniform(0, 2 * np.pi, len(shown)), off_px * np.sqrt(rng.random(len(shown)))
    moved = shown + (off * [np.cos(angle), np.sin(angle)]).T
    return rng.permutation(np.column_stack([moved - start, rng.uniform(0.3, 1, len(shown))]))


def merged(grid, views, order=None):
    """The nuclei of a well; `views` are those of its windows, added in the order given."""
    tile_px, stride_px, width_px, height_px = grid
    merger = NucleiMerger(width_px, height_px, tile_px, stride_px)
    windows = window_grid(width_px, height_px, tile_px, stride_px)
    for i in order if order is not None else range(len(windows)):
        merger.add_tile(windows[i], views[i])
    return merger.close()


def views_of(grid, points, rng, **faults):
    tile_px, stride_px, width_px, height_px = grid
    return [seen(points, window, rng, **faults) for window in window_grid(width_px, height_px, tile_px, stride_px)]


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('grid', GRIDS.values(), ids=GRIDS)
def test_exact_views_give_every_nucleus_once(grid, seed):
    rng = np.random.default_rng(seed)
    points = clustered_points(rng, *grid[2:])
    found = merged(grid, views_of(grid, points, rng))
    assert len(found) == len(points)
    expected = points[np.lexsort((points[:, 0], points[:, 1]))]
    np.testing.assert_allclose(found[:, :2], expected, atol=1e-9)
    assert ((found[:, 2] >= 0.3) & (found[:, 2] <= 1)).all()


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('grid', GRIDS.values(), ids=GRIDS)
def test_places_that_are_off_neither_double_nor_lose_nuclei(grid, seed):
    rng = np.random.default_rng(seed)
    points = clustered_points(rng, *grid[2:])
    found = merged(grid, views_of(grid, points, rng, off_px=2.0))
    assert len(found) == pytest.approx(len(points), rel=0.04)  # some are then too near to be told apart
    distances = shapely.STRtree(shapely.points(points)).query_nearest(
        shapely.points(found[:, :2]), all_matches=False, return_distance=True
    )[1]
    assert distances.max() <= 2.0


@pytest.mark.parametrize('grid', GRIDS.values(), ids=GRIDS)
def test_nuclei_that_every_tile_detects_twice_count_once(grid):
    rng = np.random.default_rng(0)
    points = clustered_points(rng, *grid[2:])
    views = [
        np.concatenate(pair) for pair in zip(*(views_of(grid, points, rng, off_px=2.0) for _ in range(2)), strict=True)
    ]
    assert len(points) * 0.97 <= len(merged(grid, views)) <= len(points) * 1.01


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('grid', [(416, 208, 2501, 2003), (300, 100, 1250, 1120)], ids=['half', 'two thirds'])
def test_what_one_tile_missed_is_not_lost(grid, seed):
    """What only one tile shows, in the corners of the well, is lost with it; in large wells that is a small share."""
    rng = np.random.default_rng(seed)
    points = clustered_points(rng, *grid[2:])
    found = merged(grid, views_of(grid, points, rng, off_px=2.0, missed=0.05))
    assert len(found) == pytest.approx(len(points), rel=0.03)


def test_the_order_of_tiles_does_not_matter():
    grid = GRIDS['half overlap']
    rng = np.random.default_rng(0)
    views = views_of(grid, clustered_points(rng, *grid[2:]), rng, off_px=3.0, missed=0.05)
    found = merged(grid, views)
    for _ in range(3):
        shuffled = [rng.permutation(view) for view in views]
        np.testing.assert_array_equal(merged(grid, shuffled, rng.permutation(len(views))), found)


def test_made_up_nuclei_of_one_of_four_tiles_do_not_count():
    merger = NucleiMerger(400, 400, 200, 100)
    for window in window_grid(400, 400, 200, 100):
        # (150, 150) is shown by four tiles; the first is wrong, two agree on (250, 150), all on (150, 250).
        places = {(150, 250)} | ({(150, 150)} if window.x == window.y == 0 else set())
        places |= {(250, 150)} if window.y == 0 else set()
        inside = [(x, y) for x, y in places if 0 <= x - window.x < 200 and 0 <= y - window.y < 200]
        merger.add_tile(window, [(x - window.x, y - window.y, 0.9) for x, y in inside])
    assert merger.close()[:, :2].tolist() == [[250, 150], [150, 250]]


def test_skipped_tiles_have_not_seen_nothing():
    merger = NucleiMerger(400, 400, 200, 100)
    merger.add_tile(Window(0, 0, 0, 0, 200, 200), [(150, 150, 0.9)])
    assert len(merger.close()) == 1


def test_a_nucleus_is_where_the_tile_that_shows_it_best_puts_it():
    merger = NucleiMerger(300, 200, 200, 100)
    first, second = window_grid(300, 200, 200, 100)
    merger.add_tile(first, [(171, 60, 0.9), (121, 90, 0.5)])
    merger.add_tile(second, [(72, 60, 0.4), (22, 90, 0.8)])
    assert merger.close().tolist() == [[172, 60, 0.4], [121, 90, 0.5]]


def test_nuclei_cut_by_a_line_between_tiles_count_once():
    """Tiles that do not overlap both report what lies on their border; neighbours across it are 7 px away."""
    merger = NucleiMerger(400, 200, 200, 200)
    left, right = window_grid(400, 200, 200, 200)
    merger.add_tile(left, [(198, 50, 0.9), (197, 100, 0.9)])
    merger.add_tile(right, [(3, 51, 0.8), (4.5, 100, 0.8)])
    assert merger.close()[:, :2].tolist() == [[203, 51], [197, 100], [204.5, 100]]


def test_a_tile_added_again_replaces_itself():
    merger = NucleiMerger(200, 200, 200, 100)
    (window,) = window_grid(200, 200, 200, 100)
    merger.add_tile(window, [(10, 10, 0.9), (50, 50, 0.9)])
    merger.add_tile(window, [(20, 20, 0.9)])
    assert merger.close().tolist() == [[20, 20, 0.9]]


def test_what_lies_in_the_padding_of_a_small_well_is_left_out():
    merger = NucleiMerger(100, 60, 200, 100)
    merger.add_tile(*window_grid(100, 60, 200, 100), [(10, 70, 0.9), (101, 10, 0.9), (100, 60, 0.9)])
    assert merger.close()[:, :2].tolist() == [[100, 60]]


def test_no_nuclei():
    merger = NucleiMerger(1000, 1000, 200, 100)
    assert merger.close().shape == (0, 3)
    for window in window_grid(1000, 1000, 200, 100):
        merger.add_tile(window, [])
    assert merger.close().shape == (0, 3)


def test_windows_of_another_grid_are_refused():
    with pytest.raises(ValueError, match='none of the windows'):
        NucleiMerger(1000, 1000, 200, 100).add_tile(Window(0, 0, 50, 0, 200, 200), [])
    with pytest.raises(ValueError, match='Lower the stride'):
        NucleiMerger(1000, 1000, 200, 300)


def test_pairs_are_one_to_one_and_nearest_first():
    one = np.array([[0.0, 0.0], [7.0, 0.0], [50.0, 50.0]])
    other = np.array([[5.0, 0.0], [6.5, 0.0], [57.0, 50.0]])
    first, second = paired(one, other, np.array([9.0, 9.0, 6.0]))
    assert dict(zip(first.tolist(), second.tolist(), strict=True)) == {1: 1, 0: 0}
    for empty in (paired(one[:0], other, np.empty(0)), paired(one, other[:0], np.full(3, 9.0))):
        assert [len(side) for side in empty] == [0, 0]


def test_nuclei_in_pixels_of_the_well_image():
    nuclei = Nuclei.in_well([[10, 20, 0.5], [50, 30.5, 0.75]], scale=0.5, size_px=(99, 60))
    assert nuclei.xy_px.tolist() == [[20, 40], [99, 60]]
    assert nuclei.scores.tolist() == [0.5, 0.75]
    assert len(nuclei) == 2
    assert len(Nuclei.in_well([], 1.0, (10, 10))) == 0


def loop_over_cells(outlines, xy_px):
    """The rule of `assign_nuclei`, cell by cell."""
    owners = []
    for x, y in xy_px:
        around = [i for i, outline in enumerate(outlines) if outline.geometry.intersects(Point(x, y))]
        owners.append(min(around, key=lambda i: (outlines[i].geometry.area, i), default=-1))
    return owners


@pytest.mark.parametrize('seed', range(3))
def test_nuclei_of_overlapping_cells_as_by_plain_loops(seed):
    rng = np.random.default_rng(seed)
    ring = Polygon(
        [(-9, -9), (9, -9), (9, 9), (-9, 9)],
        [[(-3, -3), (3, -3), (3, 3), (-3, 3)]],
    )
    outlines = []
    for x, y, size, turn in rng.integers([0, 0, 1, 0], [60, 60, 4, 4], (50, 4)):
        turned = affinity.rotate(affinity.scale(ring, size, 1, origin=(0, 0)), 45 * turn, origin=(0, 0))
        outlines.append(Outline(affinity.translate(turned, x, y)))
    xy_px = np.concatenate([rng.uniform(0, 90, (300, 2)), rng.integers(0, 90, (300, 2))])  # also on borders
    owners = assign_nuclei(outlines, xy_px)
    assert owners.dtype.kind == 'i'
    assert owners.tolist() == loop_over_cells(outlines, xy_px)
    assert {-1} < set(owners.tolist())


def test_borders_holes_and_ties():
    square = shapely.box(0, 0, 10, 10)
    cells = [square, shapely.box(10, 0, 14, 10), shapely.box(0, 0, 10, 10), shapely.box(4, 4, 6, 6)]
    holed = Polygon(square.exterior.coords, [[(2, 2), (8, 2), (8, 8), (2, 8)]])
    outlines = [Outline(geometry) for geometry in cells]
    points = [(10, 5), (14, 10), (1, 1), (5, 5), (4, 5), (15, 5)]
    assert assign_nuclei(outlines, points).tolist() == [1, 1, 0, 3, 3, -1]
    assert assign_nuclei([Outline(holed)], [(5, 5), (2, 5), (1, 5)]).tolist() == [-1, 0, 0]


@pytest.mark.parametrize('at_a_time', [1, 2])
def test_cells_taken_in_parts_own_the_same_nuclei(monkeypatch, at_a_time):
    """The smallest cell has a nucleus, and of equally large ones the first, also if they come in different parts."""
    outlines = [Outline(shapely.box(*corners)) for corners in ((0, 0, 9, 9), (2, 2, 5, 5), (3, 3, 6, 6), (1, 1, 8, 8))]
    points = [(4, 4), (5.5, 5.5), (7, 7), (0.5, 0.5), (20, 20)]
    monkeypatch.setattr('noise_mm.measure.nuclei.CELLS_AT_A_TIME', at_a_time)
    assert assign_nuclei(outlines, points).tolist() == [1, 2, 3, 0, -1]


def test_no_cells_or_no_nuclei():
    assert assign_nuclei([], [(1, 1), (2, 2)]).tolist() == [-1, -1]
    assert assign_nuclei([Outline(shapely.box(0, 0, 1, 1))], []).tolist() == []
    assert assign_nuclei([], np.empty((0, 2))).tolist() == []


@pytest.mark.real
def test_nuclei_of_the_real_image(shared_dir):
    """The table of the data's README; nuclei of pre-osteoclasts lie in none of the outlined cells."""
    folder = shared_dir / 'data' / 'real_trap'
    if not folder.is_dir():
        pytest.skip(f'the real TRAP image is not at {folder}')
    outlines = read_imagej(folder / 'oc_finder_example_RoiSet.zip')
    (points,) = read_via_points(folder / 'oc_finder_example_nuclei_via.json').values()
    owners = assign_nuclei(outlines, [(point.x, point.y) for point in points])
    names = [outlines[owner].name if owner >= 0 else '' for owner in owners]
    assert len(points) == 159
    assert names == [point.attributes['cell'] for point in points]
    counts = [names.count(f'OC{number:02d}') for number in range(1, 14)]
    assert counts == [18, 13, 18, 4, 4, 3, 3, 3, 3, 3, 3, 3, 3]


@pytest.mark.real
@pytest.mark.parametrize('grid', list(itertools.product((832, 416), (416, 200))), ids=str)
def test_nuclei_of_the_real_image_over_tiles(shared_dir, grid):
    path = shared_dir / 'data' / 'real_trap' / 'oc_finder_example_nuclei_via.json'
    if not path.is_file():
        pytest.skip(f'the real TRAP image is not at {path.parent}')
    (of_image,) = read_via_points(path).values()
    points = np.array([(point.x, point.y) for point in of_image])
    well = (*grid, 1920, 1440)
    rng = np.random.default_rng(0)
    assert len(merged(well, views_of(well, points, rng))) == 159
    assert len(merged(well, views_of(well, points, rng, off_px=2.0))) == pytest.approx(159, abs=2)
    twice = [
        np.concatenate(2 * [view]) + rng.uniform(-1.4, 1.4, (2 * len(view), 3)) * [1, 1, 0]
        for view in views_of(well, points, rng)
    ]
    assert len(merged(well, twice)) == pytest.approx(159, abs=1)
