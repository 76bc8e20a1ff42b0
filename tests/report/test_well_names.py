import pytest

from noise_mm.errors import InputError
from noise_mm.report.plate_layout import plates_of
from noise_mm.report.plate_map import read_plate_map
from noise_mm.report.well_names import Position, compile_pattern, position_of, read_names, row_name


@pytest.mark.parametrize(
    ('name', 'plate', 'position'),
    [
        ('A1', '', 'A1'),
        ('A01', '', 'A1'),
        ('h12', '', 'H12'),
        ('P24', '', 'P24'),
        ('plate7_B03', 'plate7', 'B3'),
        ('2024-05-01 run-C10', '2024-05-01 run', 'C10'),
        ('A1_01_1_1_Bright Field_001', '', 'A1'),
        ('A1_-1_1_1_Stitched[Bright Field]_001', '', 'A1'),
        ('WellA01', '', 'A1'),
        ('well_B2', '', 'B2'),
        ('Well C03 scan', '', 'C3'),
        ('WellA01_ChannelTL_Seq0000', '', 'A1'),
        ('A01_s1', '', 'A1'),
        ('A01s2', '', 'A1'),
        ('B2_stitched', '', 'B2'),
        ('r03c05f01p01-ch1sk1fk1fl1', '', 'C5'),
        ('r16c24', '', 'P24'),
        ('A - 1(fld 1)', '', 'A1'),
        ('D - 12(fld 3 wv Brightfield)', '', 'D12'),
        ('VID123_A4_1_2023y01m02d_00h00m', 'VID123', 'A4'),
        ('scan_Plate_R_p00_0_A01f00d4', 'scan_Plate_R_p00_0', 'A1'),
        ('Plate1_E07_w1', 'Plate1', 'E7'),
        ('AssayPlate_B03_T0001F001L01A01Z01C01', 'AssayPlate', 'B3'),
        ('A1--W00001--P00001--Z00000--T00000--TL', '', 'A1'),
        ('Image_s01_B2', 'Image', 'B2'),
        ('plate2_day5_C4', 'plate2_day5', 'C4'),
        ('B_3', '', 'B3'),
        ('exp.G11', 'exp', 'G11'),
        ('Plate7_A1_1_2024y01m05d_10h30m', 'Plate7', 'A1'),
        ('MFGTMP_230101120000_B01f00d0', 'MFGTMP_230101120000', 'B1'),
        ('exp_B02_s1_w1ABCDEF12-1234-4567-89AB-1234567890AB', 'exp', 'B2'),
        ('D3_02_1_1Z0_Stitched[Color Bright Field]_001', '', 'D3'),
        ('WellA01_PointA01_0000_ChannelBF_Seq0000', '', 'A1'),
        ('TileScan 1_A_1', 'TileScan 1', 'A1'),
        ('C2C12_B7', 'C2C12', 'B7'),
        ('A_01_s1', '', 'A1'),
        ('plate_AF48', 'plate', 'AF48'),
        ('scan-Scene-1-A1-A1', 'scan', 'A1'),
    ],
)
def test_names_of_instruments(name, plate, position):
    found = position_of(name)
    assert (found[0], str(found[1])) == (plate, position)


@pytest.mark.parametrize('name', ['A25', 'A0', 'A001', 'Q1', 'slideB2', 'control', 'x20', '', 'Image--W00001--P00001'])
def test_names_without_a_position(name):
    assert position_of(name) is None


@pytest.mark.parametrize(
    ('images', 'wells', 'fields'),
    [
        (['A01_s1', 'A01_s2', 'B01_s1'], ['A1', 'A1', 'B01_s1'], ['s1', 's2', '']),
        (['A1_01_1_1_TL_001', 'A1_01_1_2_TL_001'], ['A1', 'A1'], ['1', '2']),
        (['p_B2_f01', 'p_B2_f02', 'q_B2_f01'], ['p_B2', 'p_B2', 'q_B2_f01'], ['f01', 'f02', '']),
        (['r03c05f01p01-ch1', 'r03c05f02p01-ch1'], ['C5', 'C5'], ['f01', 'f02']),
        (['A - 1(fld 1)', 'A - 1(fld 2)'], ['A1', 'A1'], ['fld1', 'fld2']),
        (['Image_s01_B2', 'Image_s02_B2'], ['Image_B2', 'Image_B2'], ['s01', 's02']),
        (['Exp-Scene-01-A1', 'Exp-Scene-02-A1'], ['Exp_A1', 'Exp_A1'], ['Scene01', 'Scene02']),
        (['scan-Scene-1-A1-A1', 'scan-Scene-2-B1-B1'], ['scan-Scene-1-A1-A1', 'scan-Scene-2-B1-B1'], ['', '']),
        (['B_03_f1', 'B_03_f2'], ['B3', 'B3'], ['f1', 'f2']),
        (['AA1_s1', 'AA1_s2', 'Q48_s1'], ['AA1', 'AA1', 'Q48_s1'], ['s1', 's2', '']),
        (['H1_A3', 'H1_A4'], ['H1_A3', 'H1_A4'], ['', '']),
        (['A01_T01_F01', 'A01_T01_F02'], ['A1', 'A1'], ['F01', 'F02']),
    ],
)
def test_fields_of_a_well_share_it(images, wells, fields):
    names, notes = read_names(images)
    assert [name.well for name in names] == wells
    assert [name.field for name in names] == fields
    assert notes == []


@pytest.mark.parametrize(
    'images', [['A1_day3', 'A1_day5'], ['A1_w1', 'A1_w2'], ['r03c05f01p01-ch1', 'r03c05f01p01-ch2']]
)
def test_images_that_differ_by_something_else_stay_apart_and_a_note_says_so(images):
    names, (note,) = read_names(images)
    assert [name.well for name in names] == images
    assert images[0] in note and '--name-pattern' in note


def test_of_two_positions_the_one_that_varies_is_the_well():
    names, _ = read_names(['A1_C1', 'B1_C1', 'C1_C1'])
    assert [str(name.position) for name in names] == ['A1', 'B1', 'C1']
    names, _ = read_names(['H1_A3', 'H1_A4'])
    assert [(name.plate, str(name.position)) for name in names] == [('H1', 'A3'), ('H1', 'A4')]


def test_a_pattern_says_what_names_do_not():
    pattern = compile_pattern(r'(?P<plate>[^ ]+) day\d+ (?P<well>[A-H]\d+) no(?P<field>\d+)')
    names, _ = read_names(['p1 day3 A1 no1', 'p1 day3 A1 no2', 'p1 day3 B1 no1'], pattern)
    assert [(name.well, name.plate, name.field) for name in names] == [
        ('p1_A1', 'p1', '1'),
        ('p1_A1', 'p1', '2'),
        ('p1_B1', 'p1', '1'),
    ]
    assert names[2].position == Position(1, 0)


def test_patterns_that_cannot_be_meant():
    with pytest.raises(InputError, match='no regular expression'):
        compile_pattern('(?P<well>')
    with pytest.raises(InputError, match='no group well'):
        compile_pattern('(?P<field>.*)')
    with pytest.raises(InputError, match='unknown group row'):
        compile_pattern('(?P<well>.)(?P<row>.)')
    with pytest.raises(InputError, match='does not match other'):
        read_names(['A1', 'other'], compile_pattern(r'(?P<well>[A-H]\d)$'))


def test_a_plate_of_1536_wells_with_its_map(tmp_path):
    names, _ = read_names(['AA30', 'Z48', 'A1'])
    assert [str(name.position) for name in names] == ['AA30', 'Z48', 'A1']
    (tmp_path / 'map.csv').write_text('well,condition\nAA30,x\nZ48,y\n')
    assigned, _ = read_plate_map(tmp_path / 'map.csv').assigned(names)
    assert list(assigned) == ['AA30', 'Z48']
    (plate,) = plates_of(read_names([f'{row_name(row)}{column}' for row in range(32) for column in (1, 25, 48)])[0])
    assert (plate.rows, plate.columns) == (32, 48)
