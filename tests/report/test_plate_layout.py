import pytest

from noise_mm.report import plate_layout
from noise_mm.report.well_names import read_names


def plates_of(images):
    return plate_layout.plates_of(read_names(images)[0])


@pytest.mark.parametrize(
    ('wells', 'size'),
    [
        (['A1', 'B3'], (2, 3)),
        (['A1', 'A4'], (3, 4)),
        (['D1', 'A6'], (4, 6)),
        (['A7'], (6, 8)),
        (['G1'], (8, 12)),
        (['H12'], (8, 12)),
        (['A13'], (16, 24)),
        (['P2'], (16, 24)),
    ],
)
def test_the_smallest_plate_that_has_all_wells(wells, size):
    wells = sorted({*wells, *(f'{row}{column}' for row in 'ABCD' for column in range(1, 6))} if size[1] > 6 else wells)
    (plate,) = plates_of(wells)
    assert (plate.rows, plate.columns) == size
    assert sorted(plate.wells.values()) == sorted(wells)


def test_plates_are_told_apart():
    two, one = plates_of(['q_A1', 'p_B2', 'q_A2'])[::-1]
    assert (one.name, one.wells) == ('p', {(1, 1): 'p_B2'})
    assert (two.name, two.wells) == ('q', {(0, 0): 'q_A1', (0, 1): 'q_A2'})


@pytest.mark.parametrize('wells', [[], ['A1', 'other'], ['A1', 'A01'], ['M1_w02', 'M3_w01'], ['A13']])
def test_no_plate(wells):
    assert plates_of(wells) is None
