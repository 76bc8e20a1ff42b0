import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from noise_mm.errors import InputError
from noise_mm.formats.via import CSV_COLUMNS, ViaPoint, read_via
from tests.fixtures.files import read_via_points, write_via

HEADER = ','.join(CSV_COLUMNS) + '\n'
TEXT = st.text('ab ,"\u00e4\n/.', min_size=1, max_size=5)
PLACES = st.integers(0, 90000) | st.floats(0, 1e5)
POINTS = st.builds(ViaPoint, PLACES, PLACES, st.dictionaries(TEXT, TEXT, max_size=2))


def _row(shape, count=1, number=0, name='a.tif'):
    return ','.join([name, '-1', '{}', str(count), str(number), '"' + json.dumps(shape).replace('"', '""') + '"', '{}'])


def _image(*shapes, name='a.tif'):
    regions = [{'shape_attributes': shape, 'region_attributes': {}} for shape in shapes]
    return {name: {'filename': name, 'size': 5, 'regions': regions, 'file_attributes': {}}}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    points=st.dictionaries(TEXT, st.lists(POINTS, max_size=4), max_size=3), suffix=st.sampled_from(['.csv', '.json'])
)
def test_round_trip(tmp_path, points, suffix):
    path = tmp_path / f'via{suffix}'
    write_via(path, points)
    assert read_via_points(path) == points


@pytest.mark.real
@pytest.mark.parametrize('suffix', ['.csv', '.json'])
def test_real_export_survives_a_round_trip(shared_dir, tmp_path, suffix):
    source = shared_dir / 'data' / 'real_trap' / f'oc_finder_example_nuclei_via{suffix}'
    points = read_via_points(source)
    assert len(points['oc_finder_example.tif']) == 159
    assert points['oc_finder_example.tif'][0].attributes['cell'] == 'OC01'
    write_via(tmp_path / source.name, points, {'oc_finder_example.tif': 5528763})
    assert read_via_points(tmp_path / source.name) == points
    ours, theirs = (path.read_text().splitlines() for path in (tmp_path / source.name, source))
    if suffix == '.csv':
        assert ours == theirs
    else:
        assert json.loads(ours[0]) == json.loads(theirs[0])


@pytest.mark.real
def test_real_csv_and_json_agree(shared_dir):
    folder = shared_dir / 'data' / 'real_trap'
    csv, json_ = (read_via_points(folder / f'oc_finder_example_nuclei_via.{kind}') for kind in ('csv', 'json'))
    assert csv == json_


@pytest.mark.parametrize(
    ('shape', 'centre'),
    [
        ({'name': 'point', 'cx': 3, 'cy': 4}, (3, 4)),
        ({'name': 'circle', 'cx': 3, 'cy': 4.5, 'r': 9}, (3, 4.5)),
        ({'name': 'ellipse', 'cx': 3, 'cy': 4, 'rx': 9, 'ry': 2, 'theta': 0}, (3, 4)),
        ({'name': 'rect', 'x': 10, 'y': 20, 'width': 5, 'height': 8}, (12.5, 24)),
    ],
)
def test_shapes_become_their_centres(tmp_path, shape, centre):
    (tmp_path / 'a.csv').write_text(HEADER + _row(shape) + '\n')
    (tmp_path / 'a.json').write_text(json.dumps(_image(shape)))
    for name in ('a.csv', 'a.json'):
        (point,) = read_via_points(tmp_path / name)['a.tif']
        assert (point.x, point.y) == centre


def test_project_files_and_via_1_objects_are_read(tmp_path):
    image = _image({'name': 'point', 'cx': 1, 'cy': 2})
    image['a.tif']['regions'] = dict(enumerate(image['a.tif']['regions']))
    (tmp_path / 'a.json').write_text(json.dumps({'_via_settings': {}, '_via_img_metadata': image}))
    assert read_via_points(tmp_path / 'a.json') == {'a.tif': [ViaPoint(1, 2)]}


def test_images_without_regions_are_there(tmp_path):
    (tmp_path / 'a.csv').write_text('#' + HEADER + _row({}, count=0) + '\n')
    (tmp_path / 'a.json').write_text(json.dumps(_image()))
    for name in ('a.csv', 'a.json'):
        assert read_via_points(tmp_path / name) == {'a.tif': []}


@pytest.mark.parametrize(
    ('shape', 'message'),
    [
        ({'name': 'polygon', 'all_points_x': [1], 'all_points_y': [2]}, "shape 'polygon' is not a point"),
        ({'name': 'star', 'cx': 1, 'cy': 2}, "shape 'star' is not a point"),
        ({'cx': 1, 'cy': 2}, 'shape None is not a point'),
        ({'name': 'point', 'cx': 1}, "the shape lacks 'cy'"),
        ({'name': 'point', 'cx': 1, 'cy': 'x'}, 'could not convert'),
        ({'name': 'point', 'cx': 1, 'cy': None}, 'must be'),
        ({'name': 'rect', 'x': 1, 'y': 2, 'width': 3}, "the shape lacks 'height'"),
        ({'name': 'point', 'cx': 1, 'cy': 'nan'}, 'not a finite number'),
        ([1], 'shape None is not a point'),
    ],
)
def test_bad_shapes_are_named(tmp_path, shape, message):
    (tmp_path / 'a.csv').write_text(HEADER + _row(shape) + '\n')
    with pytest.raises(InputError, match=rf'a\.csv: line 2 \(a\.tif\): .*{message}'):
        read_via_points(tmp_path / 'a.csv')
    (tmp_path / 'a.json').write_text(json.dumps(_image(shape)))
    with pytest.raises(InputError, match=rf'a\.json: a\.tif, region 0: .*{message}'):
        read_via_points(tmp_path / 'a.json')


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', 'header lacks filename'),
        ('filename,x\n', 'header lacks file_size'),
        (HEADER + 'a.tif,-1,{},1,0\n', 'line 2: 5 cells, but the header has 7'),
        (HEADER + 'a.tif,-1,{},1,0,{name,{}\n', r'line 2 \(a\.tif\): attributes are not JSON'),
        (HEADER + _row({'name': 'point', 'cx': 1, 'cy': 2}, count=2), 'should have 2 regions, but 1 are in the file'),
    ],
)
def test_bad_csv_is_named(tmp_path, text, message):
    (tmp_path / 'a.csv').write_text(text)
    with pytest.raises(InputError, match=rf'a\.csv: .*{message}'):
        read_via_points(tmp_path / 'a.csv')


@pytest.mark.parametrize(
    ('value', 'message'),
    [
        ([], 'not a VIA 2 JSON'),
        ({'a': {}}, 'not a VIA 2 JSON'),
        ({'a': {'filename': 'a.tif', 'regions': 3}}, r'a\.tif: its regions are not a list'),
        ({'a': {'filename': 'a.tif', 'regions': [3]}}, r'a\.tif, region 0: shape None'),
    ],
)
def test_bad_json_is_named(tmp_path, value, message):
    (tmp_path / 'a.json').write_text(json.dumps(value))
    with pytest.raises(InputError, match=rf'a\.json: .*{message}'):
        read_via_points(tmp_path / 'a.json')


@pytest.mark.parametrize('attributes', ['[' * 100_000, '9' * 5000, '{'])
def test_attributes_that_python_cannot_hold_are_named(tmp_path, attributes):
    (tmp_path / 'a.csv').write_text(HEADER + f'a.tif,-1,{{}},1,0,"{attributes}",{{}}\n')
    with pytest.raises(InputError, match=r'line 2 \(a\.tif\): attributes are not JSON'):
        read_via_points(tmp_path / 'a.csv')


@pytest.mark.parametrize('suffix', ['.csv', '.json'])
def test_images_of_one_name_are_told_apart_by_size(tmp_path, suffix):
    image = {
        **_image({'name': 'point', 'cx': 1, 'cy': 2}),
        'x': _image(*[{'name': 'point', 'cx': 3, 'cy': 4}] * 2)['a.tif'],
    }
    image['x']['size'] = 9
    (tmp_path / 'a.json').write_text(json.dumps(image))
    rows = [
        _row({'name': 'point', 'cx': 1, 'cy': 2}),
        *[_row({'name': 'point', 'cx': 3, 'cy': 4}, 2, n) for n in (0, 1)],
    ]
    rows = [rows[0].replace('-1', '5', 1), *(row.replace('-1', '9', 1) for row in rows[1:])]
    (tmp_path / 'a.csv').write_text(HEADER + '\n'.join(rows))
    found = read_via(tmp_path / f'a{suffix}')
    assert [(entry.name, entry.size_bytes, len(entry.points)) for entry in found] == [('a.tif', 5, 1), ('a.tif', 9, 2)]
