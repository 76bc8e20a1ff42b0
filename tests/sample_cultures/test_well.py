import cv2
import numpy as np
import pytest

from noise_mm.geometry.pixels import fill_pixels
from sample_cultures.batches import BATCHES
from sample_cultures.cells import CellPlan
from sample_cultures.well import VisibleCell, Well, outline_of

SIZE = (1100, 900)


@pytest.fixture(scope='module', params=['M3', 'H1'])
def cells(request) -> list[VisibleCell]:
    well = Well(BATCHES[request.param], f'{request.param}_w01', 1, *SIZE)
    return [cell for row in well.plot_rows for cell in well.visible_cells(row)]


def test_visible_cells_are_one_piece_inside_the_well_and_share_no_pixel(cells):
    count = np.zeros((SIZE[1] + 1000, SIZE[0] + 1000), int)
    for cell in cells:
        height, width = cell.mask.shape
        count[cell.top_px + 500 :][:height, cell.left_px + 500 :][:, :width] += cell.mask
        assert cv2.connectedComponents(cell.mask.astype(np.uint8), connectivity=4)[0] == 2
    assert count.max() == 1
    count[500 : 500 + SIZE[1], 500 : 500 + SIZE[0]] = 0
    assert count.max() == 0


def test_nuclei_that_can_be_seen_decide_the_kind(cells):
    assert {cell.kind for cell in cells} == {'osteoclast', 'pre-osteoclast'}
    for cell in cells:
        assert (cell.kind == 'osteoclast') == (len(cell.nuclei_xy_px) >= 3)
        columns, rows = (np.floor(cell.nuclei_xy_px).astype(int) - (cell.left_px, cell.top_px)).T
        assert cell.mask[rows, columns].all()


def test_outlines_are_valid_and_cover_their_cells(cells):
    for cell in cells:
        outline = outline_of(cell)
        assert outline.is_valid and outline.geom_type == 'Polygon'
        height, width = cell.mask.shape
        filled = fill_pixels(outline, cell.left_px, cell.top_px, width, height)
        assert (filled & cell.mask).sum() / (filled | cell.mask).sum() >= 0.98


def test_some_cells_touch(cells):
    labels = np.zeros((SIZE[1], SIZE[0]), np.int32)
    for index, cell in enumerate(cells, 1):
        rows, columns = np.nonzero(cell.mask)
        labels[rows + cell.top_px, columns + cell.left_px] = index
    right, below = (np.stack(pair) for pair in ((labels[:, 1:], labels[:, :-1]), (labels[1:], labels[:-1])))
    touching = [((pair[0] != pair[1]) & (pair > 0).all(0)).sum() for pair in (right, below)]
    assert sum(touching) > 20


def test_outline_keeps_a_hole_and_the_corner_convention():
    mask = np.zeros((50, 60), bool)
    mask[10:40, 10:50] = True
    mask[20:30, 20:30] = False
    outline = outline_of(VisibleCell(CellPlan(0, 0, 1, 3, 0, 0.0), 'osteoclast', 100, 200, mask, np.zeros((0, 2))))
    assert len(outline.interiors) == 1
    assert outline.bounds == (110, 210, 150, 240)
    assert outline.area == pytest.approx(30 * 40 - 100, rel=0.01)


def test_a_well_follows_from_seed_and_name():
    def plans(seed: int, name: str) -> list[CellPlan]:
        return Well(BATCHES['M1'], name, seed, 512, 512).large_cells(0, 0)

    assert plans(0, 'M1_w01') == plans(0, 'M1_w01')
    assert plans(0, 'M1_w01') != plans(1, 'M1_w01')
    assert plans(0, 'M1_w01') != plans(0, 'M1_w02')


def test_crowding_gives_more_cells():
    def count(crowding: float) -> int:
        well = Well(BATCHES['M2'], 'M2_w01', 0, 1024, 1024, crowding)
        return sum(len(well.large_cells(row, column)) for row in range(2) for column in range(2))

    assert count(2.0) > 1.2 * count(0.5)
