import cv2
import numpy as np
import pytest
from scipy.spatial.distance import pdist

from sample_cultures.batches import BATCHES
from sample_cultures.cells import MIN_SPACING_PX, CellPlan, draw_cell
from sample_cultures.sprites import make_sprites

SPRITES = make_sprites(0)


def plan(seed: int, area_px: float = 3000.0, nuclei: int = 4) -> CellPlan:
    return CellPlan(700.3, 512.8, area_px, nuclei, seed, 0.5)


@pytest.mark.parametrize('batch', ['M1', 'H2'])
@pytest.mark.parametrize('area_px', [700, 3000, 42000])
def test_a_cell_is_one_piece_within_its_reach_with_nuclei_apart_inside(batch, area_px):
    for seed in range(12):
        cell = plan(seed, area_px, 5)
        drawing = draw_cell(cell, BATCHES[batch], SPRITES)
        height, width = drawing.inside.shape
        assert cv2.connectedComponents(drawing.inside.astype(np.uint8))[0] == 2
        assert max(abs(drawing.left_px - cell.x_px), abs(drawing.left_px + width - cell.x_px)) <= cell.reach_px + 1
        assert max(abs(drawing.top_px - cell.y_px), abs(drawing.top_px + height - cell.y_px)) <= cell.reach_px + 1
        columns, rows = (np.floor(drawing.nuclei_xy_px).astype(int) - (drawing.left_px, drawing.top_px)).T
        assert 1 <= len(rows) <= 5
        assert drawing.inside[rows, columns].all()
        assert len(rows) == 1 or pdist(drawing.nuclei_xy_px).min() >= 9


def test_a_giant_holds_10_to_20_nuclei_some_as_near_as_in_the_real_image():
    drawings = [draw_cell(plan(seed, 15000, 16), BATCHES['M1'], SPRITES) for seed in range(12)]
    assert all(10 <= len(drawing.nuclei_xy_px) <= 16 for drawing in drawings)
    nearest = [pdist(drawing.nuclei_xy_px).min() for drawing in drawings]
    assert MIN_SPACING_PX <= min(nearest) < 9


def test_area_is_near_the_one_aimed_at():
    areas = [draw_cell(plan(seed), BATCHES['M1'], SPRITES).inside.sum() for seed in range(60)]
    assert np.median(areas) == pytest.approx(3000, rel=0.15)


def test_same_plan_same_drawing_and_another_seed_another():
    one, same, other = (draw_cell(plan(seed), BATCHES['M2'], SPRITES) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.red, same.red)
    np.testing.assert_array_equal(one.nuclei_xy_px, same.nuclei_xy_px)
    assert one.inside.shape != other.inside.shape or (one.inside != other.inside).any()


def distance_to_nuclei(drawing) -> np.ndarray:
    """Distance of every pixel from every nucleus, (nuclei, height, width)."""
    ys, xs = np.mgrid[: drawing.inside.shape[0], : drawing.inside.shape[1]]
    nuclei = drawing.nuclei_xy_px - (drawing.left_px, drawing.top_px) - 0.5
    return np.hypot(xs - nuclei[:, 0, None, None], ys - nuclei[:, 1, None, None])


def test_nuclei_are_lighter_than_the_cytoplasm_around_them():
    lighter = []
    for seed in range(30):
        drawing = draw_cell(plan(seed), BATCHES['M1'], SPRITES)
        distances = distance_to_nuclei(drawing)
        cytoplasm = drawing.inside & (distances > 9).all(axis=0)
        for distance in distances:
            around = np.median(drawing.red[cytoplasm & (distance < 16)])
            lighter.append(np.median(drawing.red[distance < 5]) < 0.8 * around)
    assert np.mean(lighter) > 0.9


def test_the_number_of_nuclei_shifts_size_and_stain_by_far_less_than_they_scatter():
    def facts(nuclei: int) -> np.ndarray:
        drawings = [draw_cell(plan(seed, nuclei=nuclei), BATCHES['M1'], SPRITES) for seed in range(80)]
        return np.array([(drawing.inside.sum(), *drawing.mean_stain) for drawing in drawings])

    few, many = facts(2), facts(4)
    np.testing.assert_array_equal(few[:, 0], many[:, 0])  # the outline is drawn before the nuclei
    shift = np.abs(np.median(few, axis=0) - np.median(many, axis=0))
    assert (shift[1:] < 0.6 * few.std(axis=0)[1:]).all()
