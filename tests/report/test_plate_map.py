import pytest
from openpyxl import Workbook

from noise_mm.errors import InputError
from noise_mm.report.plate_map import read_plate_map
from noise_mm.report.well_names import read_names


def wells(images):
    return read_names(images)[0]


def write(tmp_path, content):
    path = tmp_path / 'plate.csv'
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    'content',
    [
        'well,condition,dose\nA1,control,0.5\nB1,RANKL,"1,5"\n',
        '\ufeffWell;Condition;dose\r\nA1;control;0.5\r\nB1;RANKL;1,5\r\n;;\r\n',
        'condition\tdose\tWELL\ncontrol\t0.5\t A1 \n\nRANKL\t1,5\tB1',
    ],
)
def test_what_spreadsheets_write_is_read(tmp_path, content):
    plate_map = read_plate_map(write(tmp_path, content))
    assert plate_map.columns == ('condition', 'dose')
    assert plate_map.rows == {
        'A1': {'condition': 'control', 'dose': '0.5'},
        'B1': {'condition': 'RANKL', 'dose': '1,5'},
    }


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('well,treatment\nA1,x\n', "no column 'condition' among well, treatment. Name the columns"),
        ('name,condition\nA1,x\n', "no column 'well' among name, condition"),
        ('well,condition,\nA1,x,7\n', 'column 3 has no name'),
        ('well,condition,Condition\nA1,x,y\n', "column 'condition' is there twice"),
        ('well,condition,nuclei\nA1,x,y\n', "column 'nuclei' is in the table of wells"),
        ('well,condition,dose\nA1,x,0,5\n', 'row 2 has 4 fields, the header 3. Correct the row; numbers with decimal'),
        ('well,condition\nA1\n', 'row 2 has 1 fields, the header 2'),
        ('well,condition\nA1,x\nA1,y\n', 'row 3 names the well A1 a second time'),
        ('well,condition\n,y\n', 'row 2 names no well'),
        ('well,condition\nA1,\n', 'no well has a condition'),
        ('well,condition\n', 'no well has a condition'),
        ('', 'not a CSV table'),
        ('well,condition,control\nA1,x,yes\nA2,y,yes\n', 'x, y are all marked as control'),
        ('well,condition,control\nA1,x,z\n', "control 'z' is no condition"),
        (',1,2\nA,x,y\n\n,1,2\nA,p,q\n', 'two grids are both named condition'),
        (b'PK\3\4\0\0', 'not a CSV table'),
        ('well,condition\nA1,µ\n'.encode('latin-1'), 'not a CSV table in UTF-8'),
    ],
)
def test_faults_are_named(tmp_path, content, message):
    with pytest.raises(InputError, match='plate.csv: .*') as error:
        read_plate_map(write(tmp_path, content))
    assert message in str(error.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match='no such file'):
        read_plate_map(tmp_path / 'none.csv')
    with pytest.raises(InputError, match='cannot be read'):
        read_plate_map(tmp_path)


def test_what_is_missing_on_either_side_is_named(tmp_path):
    plate_map = read_plate_map(write(tmp_path, 'well,condition\nB1,x\nA1,y\nA2,\nC1,x\nC2,\n'))
    assigned, notes = plate_map.assigned(wells(['A1', 'A2', 'A3', 'B1']))
    assert {well: row['condition'] for well, row in assigned.items()} == {'A1': 'y', 'B1': 'x'}
    assert list(assigned) == ['B1', 'A1']
    assert [note.partition(': ')[2] for note in notes] == [
        'no condition for A2, A3; left out of the conditions',
        'no results for C1',
    ]


def test_long_lists_are_cut(tmp_path):
    plate_map = read_plate_map(write(tmp_path, 'well,condition\nA1,x\n'))
    _, (note,) = plate_map.assigned(wells(['A1', *(f'w{i}' for i in range(20))]))
    assert note.endswith('w6, w7 and 12 more wells; left out of the conditions')


def test_a_position_stands_for_the_well_that_has_it(tmp_path):
    plate_map = read_plate_map(write(tmp_path, 'well,condition\nA01,x\nB1,y\n'))
    assigned, notes = plate_map.assigned(wells(['plate7_A1', 'plate7_B01']))
    assert {well: row['condition'] for well, row in assigned.items()} == {'plate7_A1': 'x', 'plate7_B01': 'y'}
    assert notes == []


def test_a_position_of_several_plates_stands_for_none(tmp_path):
    plate_map = read_plate_map(write(tmp_path, 'well,condition\nA1,x\nq_B1,y\n'))
    assigned, notes = plate_map.assigned(wells(['p_A1', 'q_A1', 'q_B1']))
    assert list(assigned) == ['q_B1']
    assert len(notes) == 2


def test_control_and_replicates(tmp_path):
    content = 'well,condition,Mouse,control\nA1,vehicle,m1,yes\nA2,drug,m1,\nA3,vehicle,m2,x\n'
    plate_map = read_plate_map(write(tmp_path, content))
    assert (plate_map.replicate_column, plate_map.control) == ('mouse', 'vehicle')
    by_name = read_plate_map(write(tmp_path, 'well,condition,control\nA1,a,b\nA2,b,\n'))
    assert (by_name.replicate_column, by_name.control) == (None, 'b')


def test_a_map_that_looks_like_the_plate(tmp_path):
    content = 'condition,1,2,3\nA,ctrl,ctrl,drug\nB,,drug,\n\ndonor,1,2,3\nA,d1,d2,d1\nB,,d2,\n'
    plate_map = read_plate_map(write(tmp_path, content))
    assert plate_map.rows == {
        'A1': {'condition': 'ctrl', 'donor': 'd1'},
        'A2': {'condition': 'ctrl', 'donor': 'd2'},
        'A3': {'condition': 'drug', 'donor': 'd1'},
        'B2': {'condition': 'drug', 'donor': 'd2'},
    }
    assert plate_map.replicate_column == 'donor'


def test_workbooks(tmp_path):
    book = Workbook()
    book.active.append(['well', 'condition', 'mouse', None])
    book.active.append(['A1', 'control', 1.0, None])
    book.active.append([None, None, None, None])
    book.active.append(['B1', 'RANKL', 2, None])
    book.save(tmp_path / 'list.xlsx')
    plate_map = read_plate_map(tmp_path / 'list.xlsx')
    assert plate_map.rows == {'A1': {'condition': 'control', 'mouse': '1'}, 'B1': {'condition': 'RANKL', 'mouse': '2'}}
    book = Workbook()
    book.active.append([None, 1, 2])
    book.active.append(['A', 'x', 'y'])
    donors = book.create_sheet('donor')
    donors.append([None, 1, 2])
    donors.append(['A', 'p', 'q'])
    book.save(tmp_path / 'grid.xlsx')
    plate_map = read_plate_map(tmp_path / 'grid.xlsx')
    assert plate_map.rows['A2'] == {'condition': 'y', 'donor': 'q'}
    (tmp_path / 'bad.xlsx').write_text('no workbook')
    with pytest.raises(InputError, match='bad.xlsx: not an XLSX workbook'):
        read_plate_map(tmp_path / 'bad.xlsx')


def test_a_map_of_other_wells_is_refused(tmp_path):
    plate_map = read_plate_map(write(tmp_path, 'well,condition\nA1,x\n'))
    plate_map.require_match(wells(['plate_A01_s1', 'plate_A01_s2']))
    with pytest.raises(InputError, match=r'plate.csv: none of its wells \(A1\).*\(B1, C1\).*--name-pattern'):
        plate_map.require_match(wells(['B1', 'C1']))
