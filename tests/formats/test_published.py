import numpy as np
import pytest
from shapely import box

from noise_mm.formats.published import (
    PatchName,
    names_hold_offsets,
    parse_patch_name,
    patch_cell,
    patch_origin,
)
from noise_mm.formats.yolo import YoloRow


@pytest.mark.parametrize(
    ('stem', 'name'),
    [
        ('img_3_0_12', ('3', 0, 12)),
        ('img_B2_left_416_0', ('B2_left', 416, 0)),
        ('well_7_1_2', None),
        ('img_3_0', None),
        ('img_3_0_x', None),
    ],
)
def test_names(stem, name):
    assert parse_patch_name(stem) == (None if name is None else PatchName(*name))


def test_counts_are_told_from_pixels():
    counts = [PatchName('1', row, column) for row in range(3) for column in range(240)]
    pixels = [PatchName('1', row, column) for row in (0, 416) for column in (0, 416, 832, 1168)]
    assert not names_hold_offsets(counts)
    assert names_hold_offsets(pixels)
    assert not names_hold_offsets([])


@pytest.mark.parametrize(
    ('name', 'size', 'offsets', 'origin'),
    [
        (('1', 2, 3), (832, 832), False, (1248, 832, True)),
        (('1', 2, 3), (831, 832), False, (1248, 832, False)),
        (('1', 2, 3), (832, 831), False, (1248, 832, False)),
        (('1', 0, 0), (831, 831), False, (0, 0, True)),
        (('1', 416, 1168), (832, 832), True, (1168, 416, True)),
    ],
)
def test_origins(name, size, offsets, origin):
    assert patch_origin(PatchName(*name), size, offsets) == origin


def test_fractions_are_of_the_full_patch():
    """The released script crops 831 px at the far border and still divides by 832."""
    vertices = np.array([[100, 100], [831, 100], [831, 700], [100, 700]]) / 832
    cell = patch_cell(YoloRow(1, 0, tuple(vertices.ravel())), (831, 832))
    assert cell.geometry.symmetric_difference(box(100, 100, 831, 700)).area < 1e-6
    assert not cell.outside and not cell.crossing


def test_odd_cells():
    size = (832, 832)
    bow_tie = patch_cell(YoloRow(1, 0, (0.0, 0.0, 0.5, 0.5, 0.5, 0.0, 0.0, 0.5)), size)
    assert bow_tie.crossing and bow_tie.geometry.area == pytest.approx(416 * 416 / 2)
    beyond = patch_cell(YoloRow(1, 0, (0.5, 0.5, 1.5, 0.5, 1.5, 1.0, 0.5, 1.0)), size)
    assert beyond.outside and beyond.geometry.bounds == (416, 416, 832, 832)
    assert patch_cell(YoloRow(1, 0, (0.5, 0.5, 0.6, 0.6, 0.7, 0.7)), size) is None
    assert patch_cell(YoloRow(1, 0, (1.5, 1.5, 1.6, 1.5, 1.6, 1.7)), size) is None


def test_boxes_at_the_border_are_cut_off():
    cell = patch_cell(YoloRow(1, 0, (0.0, 0.5, 36 / 832, 36 / 832)), (832, 832))
    assert cell.geometry.bounds == pytest.approx((0, 398, 18, 434))
    assert not cell.outside
