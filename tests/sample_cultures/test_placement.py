import numpy as np

from sample_cultures.batches import BATCHES
from sample_cultures.placement import _CLOSENESS, PLOT_PX, propose, scatter, settle

PLACES = [(row, column) for row in range(-1, 4) for column in range(-1, 4)]


def settled(batch: str, seed: int, row: int, column: int):
    neighbours = [(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]
    return settle([propose(BATCHES[batch], seed, 1.0, *place) for place in [(row, column), *neighbours]])


def test_settled_cells_lie_in_their_plot_and_keep_their_distance_across_plot_borders():
    plans = []
    for row, column in PLACES:
        for plan in settled('M3', 7, row, column):
            assert column <= plan.x_px / PLOT_PX < column + 1
            assert row <= plan.y_px / PLOT_PX < row + 1
            plans.append(plan)
    assert len(plans) > 100
    xy = np.array([(plan.x_px, plan.y_px) for plan in plans])
    radius = 1.15 * np.sqrt(np.array([plan.area_px for plan in plans]) / np.pi)
    distance = np.hypot(*(xy[:, None] - xy).transpose(2, 0, 1)) + 1e9 * np.eye(len(plans))
    assert (distance >= _CLOSENESS * (radius[:, None] + radius)).all()


def test_a_candidate_only_gives_way_to_a_candidate_of_higher_rank():
    own = propose(BATCHES['M1'], 3, 3.0, 0, 0)
    kept = {plan.seed for plan in settle([own])}
    best = int(own.seed[np.argmax(own.rank)])
    assert best in kept
    assert len(kept) < len(own.seed)


def test_osteoclasts_have_three_nuclei_or_more_and_their_areas_overlap_those_of_pre_osteoclasts():
    plots = [propose(BATCHES['M1'], 1, 1.0, row, column) for row in range(10) for column in range(10)]
    nuclei = np.concatenate([plot.nuclei for plot in plots])
    area = np.concatenate([plot.area_px for plot in plots])
    assert nuclei.min() == 1 and nuclei.max() >= 10
    small_osteoclast, large_pre_osteoclast = np.percentile(area[nuclei >= 3], 25), np.percentile(area[nuclei < 3], 75)
    assert small_osteoclast < large_pre_osteoclast


def test_bone_marks_only_on_bone_and_small_cells_mostly_beside_large_ones():
    assert scatter(BATCHES['M1'], 5, 0, 0, []).below == []
    marks = [item for row, column in PLACES for item in scatter(BATCHES['H2'], 5, row, column, []).below]
    assert {item.kind for item in marks} == {'lacuna', 'scratch', 'pit'}
    on, all_cells = 0, 0
    for row, column in PLACES:
        large = settled('M3', 7, row, column)
        for cell in scatter(BATCHES['M3'], 7, row, column, large).cells:
            all_cells += 1
            on += any((cell.x_px - p.x_px) ** 2 + (cell.y_px - p.y_px) ** 2 < 0.3 * p.area_px for p in large)
    assert all_cells > 300
    assert 0 < on < 0.05 * all_cells


def test_the_same_plot_holds_the_same_objects():
    assert scatter(BATCHES['H1'], 9, 2, -1, []) == scatter(BATCHES['H1'], 9, 2, -1, [])
    assert scatter(BATCHES['H1'], 9, 2, -1, []) != scatter(BATCHES['H1'], 8, 2, -1, [])
