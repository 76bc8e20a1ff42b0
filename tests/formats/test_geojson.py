import gzip
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shapely import MultiPolygon, box

from noise_mm.errors import InputError
from noise_mm.formats.geojson import features_of, write_geojson
from noise_mm.formats.read import read_outlines
from noise_mm.geometry.outline import Outline

SQUARE = [[[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]]


def _feature(geometry=None, **properties):
    return {
        'type': 'Feature',
        'geometry': geometry or {'type': 'Polygon', 'coordinates': SQUARE},
        'properties': properties,
    }


def _write(path, value):
    path.write_text(json.dumps(value))
    return path


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(data=st.data(), suffix=st.sampled_from(['.geojson', '.geojson.gz', '.json']))
def test_round_trip(data, suffix, tmp_path, outline_lists, assert_same_geometry):
    outlines = data.draw(outline_lists)
    path = tmp_path / f'cells{suffix}'
    write_geojson(path, outlines)
    back = read_outlines(path, size_px=(400, 400))
    for one, other in zip(outlines, back, strict=True):
        assert (one.name, one.label, one.score, one.ignored) == (other.name, other.label, other.score, other.ignored)
        assert_same_geometry(one.geometry, other.geometry, area_px2=0)


def test_what_qupath_reads_is_there(tmp_path):
    outlines = [
        Outline(box(0, 0, 4, 4) - box(1, 1, 2, 2), name='OC1', score=0.5),
        Outline(box(5, 5, 9, 9), ignored=True),
    ]
    write_geojson(tmp_path / 'a.geojson', outlines, [{'Area um^2': 9.0}, {}], 'detection')
    value = json.loads((tmp_path / 'a.geojson').read_text())
    first, second = value['features']
    assert value['type'] == 'FeatureCollection'
    assert first['properties']['objectType'] == 'detection'
    assert first['properties']['classification'] == {'name': 'osteoclast'}
    assert first['properties']['measurements'] == {'Area um^2': 9.0, 'Detection probability': 0.5}
    assert second['properties']['classification'] == {'name': 'Ignore*'}
    assert first['id'] != second['id']
    assert [ring[0] == ring[-1] for ring in first['geometry']['coordinates']] == [True, True]


def test_classes_have_the_colours_given(tmp_path):
    outlines = [Outline(box(0, 0, 4, 4)), Outline(box(5, 5, 9, 9), label='debris')]
    write_geojson(tmp_path / 'a.geojson', outlines, colours={'osteoclast': (1, 2, 3)})
    first, second = json.loads((tmp_path / 'a.geojson').read_text())['features']
    assert first['properties']['classification'] == {'name': 'osteoclast', 'color': [1, 2, 3]}
    assert second['properties']['classification'] == {'name': 'debris'}


@pytest.mark.parametrize('suffix', ['.geojson', '.geojson.gz'])
def test_nuclei_are_points_that_reading_leaves_out(tmp_path, caplog, suffix):
    path = tmp_path / f'a{suffix}'
    nuclei = np.array([[1.5, 2.0], [3.25, 1.0]])
    write_geojson(path, [Outline(box(0, 0, 4, 4), name='OC1')], colours={'nucleus': (1, 2, 3)}, nuclei_px=nuclei)
    data = path.read_bytes()
    features = json.loads(gzip.decompress(data) if suffix.endswith('.gz') else data)['features']
    assert [feature['geometry']['type'] for feature in features] == ['Polygon', 'Point', 'Point']
    assert [feature['geometry']['coordinates'] for feature in features[1:]] == nuclei.tolist()
    assert features[1]['properties']['objectType'] == 'detection'
    assert features[1]['properties']['classification'] == {'name': 'nucleus', 'color': [1, 2, 3]}
    assert len({feature['id'] for feature in features}) == 3
    with caplog.at_level('INFO'):
        (outline,) = read_outlines(path, (10, 10))
    assert outline.name == 'OC1'
    assert 'left out: 2 nuclei (points)' in caplog.text


def test_points_of_another_class_are_refused(tmp_path):
    value = _feature({'type': 'Point', 'coordinates': [1, 1]}, classification={'name': 'spot'})
    with pytest.raises(InputError, match='is a Point, not a Polygon'):
        read_outlines(_write(tmp_path / 'a.geojson', value))


def test_the_same_outlines_give_the_same_bytes(tmp_path):
    for name in ('a.geojson.gz', 'b.geojson.gz'):
        write_geojson(tmp_path / name, [Outline(box(0, 0, 4, 4))])
    assert (tmp_path / 'a.geojson.gz').read_bytes() == (tmp_path / 'b.geojson.gz').read_bytes()


@pytest.mark.parametrize('value', [_feature(), [_feature()], {'type': 'FeatureCollection', 'features': [_feature()]}])
def test_collection_feature_and_list_are_read(tmp_path, value):
    (outline,) = read_outlines(_write(tmp_path / 'a.geojson', value))
    assert outline.geometry.equals(box(0, 0, 10, 10))
    assert outline.label == 'osteoclast'


def test_parts_and_third_coordinates(tmp_path):
    far = [[[20, 20, 1], [30, 20, 1], [30, 30, 1], [20, 20, 1]]]
    value = _feature({'type': 'MultiPolygon', 'coordinates': [SQUARE, far]})
    (outline,) = read_outlines(_write(tmp_path / 'a.geojson', value))
    assert isinstance(outline.geometry, MultiPolygon)
    assert outline.geometry.area == 150
    assert not outline.geometry.has_z


@pytest.mark.parametrize(
    ('classification', 'label', 'ignored'),
    [
        ({'name': 'Osteoclast', 'color': [1, 2, 3]}, 'osteoclast', False),
        ({'names': ['Cell', 'giant']}, 'Cell: giant', False),
        ('Debris', 'Debris', False),
        ({'name': 'Ignore*'}, 'osteoclast', True),
        ({'name': 'Edge*'}, 'Edge', True),
        (None, 'osteoclast', False),
    ],
)
def test_classes(tmp_path, classification, label, ignored):
    (outline,) = read_outlines(_write(tmp_path / 'a.geojson', _feature(classification=classification)))
    assert (outline.label, outline.ignored) == (label, ignored)


@pytest.mark.parametrize(
    'measurements', [{'Detection probability': 0.25}, [{'name': 'Detection probability', 'value': 0.25}]]
)
def test_scores_of_new_and_old_qupath(tmp_path, measurements):
    (outline,) = read_outlines(_write(tmp_path / 'a.geojson', _feature(measurements=measurements)))
    assert outline.score == 0.25


def test_other_units_are_refused(tmp_path):
    path = tmp_path / 'a.geojson'
    collection = {'type': 'FeatureCollection', 'features': [_feature()]}
    for extra in ({'crs': {'type': 'name'}}, {'unit': 'um'}, {'units': 'micron'}, {'properties': {'unit': '\u00b5m'}}):
        with pytest.raises(InputError, match=r'a\.geojson: .*not (in )?pixels'):
            read_outlines(_write(path, {**collection, **extra}))
    with pytest.raises(InputError, match="coordinates in 'mm'"):
        read_outlines(_write(path, _feature(unit='mm')))
    assert len(read_outlines(_write(path, {**collection, 'unit': 'px'}))) == 1


def test_fractions_are_refused(tmp_path):
    small = {'type': 'Polygon', 'coordinates': [[[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.1]]]}
    with pytest.raises(InputError, match='between 0 and 1'):
        read_outlines(_write(tmp_path / 'a.geojson', _feature(small)))


def test_coordinates_outside_the_image_are_refused(tmp_path):
    """Nanometres, or another image."""
    path = _write(tmp_path / 'a.geojson', _feature(name='OC1'))
    with pytest.raises(InputError, match=r'a\.geojson: feature 1 \(OC1\): lies outside the image of 4 x 300 px'):
        read_outlines(path, size_px=(4, 300))


@pytest.mark.parametrize('name', ['Area \u00b5m^2', 'Cell: Area \u00b5m^2', 'Area um^2'])
def test_micrometres_are_seen_by_the_stated_areas(tmp_path, name):
    path = _write(tmp_path / 'a.geojson', _feature(measurements={name: 100.2}))
    with pytest.raises(InputError, match='their unit is um, not pixels'):
        read_outlines(path, um_per_px=0.5)
    assert read_outlines(path)  # without a resolution nothing can be said
    assert read_outlines(path, um_per_px=1.0)
    fine = _write(tmp_path / 'b.geojson', _feature(measurements={name: 25.0}))
    assert read_outlines(fine, um_per_px=0.5)


@pytest.mark.parametrize(
    ('geometry', 'message'),
    [
        ({'type': 'Point', 'coordinates': [1, 2]}, 'is a Point, not a Polygon'),
        ({'type': 'GeometryCollection', 'geometries': []}, 'is a GeometryCollection'),
        ({'type': 'Polygon'}, 'has no coordinates'),
        ({'type': 'Polygon', 'coordinates': []}, 'polygon without rings'),
        ({'type': 'MultiPolygon', 'coordinates': [[]]}, 'polygon without rings'),
        ({'type': 'Polygon', 'coordinates': [[1, 2, 3]]}, 'not lists of numbers'),
        ({'type': 'Polygon', 'coordinates': [[[0, 0], [1, 1], [0, 0]]]}, 'fewer than three'),
        ({'type': 'Polygon', 'coordinates': [[[0, 0], [1, 1], [2, 2], [0, 0]]]}, 'no area'),
        ({'type': None}, 'has no geometry'),
    ],
)
def test_bad_geometries_are_named(tmp_path, geometry, message):
    value = [_feature(), _feature(geometry, name='bad')]
    with pytest.raises(InputError, match=rf'a\.geojson: feature 2 \(bad\): .*{message}'):
        read_outlines(_write(tmp_path / 'a.geojson', value))


@pytest.mark.parametrize('value', [{}, [], 3, {'type': 'FeatureCollection'}, [{'type': 'Polygon'}]])
def test_what_is_no_geojson(tmp_path, value):
    path = _write(tmp_path / 'a.geojson', value)
    if value == []:
        assert read_outlines(path) == []  # QuPath writes this when there are no objects
    else:
        assert features_of(value) is None
        with pytest.raises(InputError, match='neither COCO nor GeoJSON'):
            read_outlines(path)


def test_damaged_files_are_named(tmp_path):
    path = tmp_path / 'a.geojson.gz'
    path.write_bytes(gzip.compress(b'[]' * 100)[:-9])
    with pytest.raises(InputError, match='not a whole gzip file'):
        read_outlines(path)
    path.write_text('{')
    with pytest.raises(InputError, match='not valid JSON'):
        read_outlines(path)
    with pytest.raises(InputError, match='no such file'):
        read_outlines(tmp_path / 'b.geojson')


def test_write_refuses_wrong_arguments(tmp_path):
    with pytest.raises(ValueError, match='zip'):
        write_geojson(tmp_path / 'a.geojson', [Outline(box(0, 0, 1, 1))], measurements=[])
