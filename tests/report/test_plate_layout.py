import pytest

from noise_mm.report.plate_layout import Position, plates_of, position_of


@pytest.mark.parametrize(
    ('name', 'position'),
    [
        ('A1', Position('', 0, 0)),
        ('A01', Position('', 0, 0)),
        ('h12', Position('', 7, 11)),
        ('plate7_B03', Position('plate7', 1, 2)),
        ('2024-05-01 run-C10', Position('2024-05-01 run', 2, 9)),
        ('A13', None),
        ('A0', None),
        ('A001', None),
        ('I1', None),
        ('M1_w01', None),
        ('slideB2', None),
        ('A1_x20', None),
        ('', None),
    ],
)
def test_positions(name, position):
    assert position_of(name) == position


def test_positions_are_written_as_on_the_plate():
    assert str(position_of('x_b03')) == 'B3'


@pytest.mark.parametrize(
    ('wells', 'size'),
    [
        (['A1', 'B3'], (2, 3)),
        (['A1', 'A4'], (3, 4)),
        (['D1', 'A6'], (4, 6)),
        (['A7'], (6, 8)),
        (['G1'], (8, 12)),
        (['H12'], (8, 12)),
    ],
)
def test_the_smallest_plate_that_has_all_wells(wells, size):
    (plate,) = plates_of(wells)
    assert (plate.rows, plate.columns) == size
    assert sorted(plate.wells.values()) == sorted(wells)


def test_plates_are_told_apart():
    two, one = plates_of(['q_A1', 'p_B2', 'q_A2'])[::-1]
    assert (one.name, one.wells) == ('p', {(1, 1): 'p_B2'})
    assert (two.name, two.wells) == ('q', {(0, 0): 'q_A1', (0, 1): 'q_A2'})


@pytest.mark.parametrize('wells', [[], ['A1', 'other'], ['A1', 'A01']])
def test_no_plate(wells):
    assert plates_of(wells) is None
