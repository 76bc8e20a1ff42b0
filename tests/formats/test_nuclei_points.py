import gzip
import json

import numpy as np
import pytest
from shapely import box

from noise_mm.errors import InputError
from noise_mm.formats.geojson import write_geojson
from noise_mm.formats.nuclei_points import read_nuclei_points
from noise_mm.formats.via import ViaPoint
from noise_mm.geometry.outline import Outline
from tests.fixtures.files import write_via

POINTS = [(1.5, 2.25), (30.0, 4.0)]


def _feature(kind, coordinates, class_name=None):
    properties = {'objectType': 'annotation'} | ({'classification': {'name': class_name}} if class_name else {})
    return {'type': 'Feature', 'geometry': {'type': kind, 'coordinates': coordinates}, 'properties': properties}


def _read(path, *features):
    path.write_text(json.dumps({'type': 'FeatureCollection', 'features': features}))
    return read_nuclei_points(path)


@pytest.mark.parametrize('suffix', ['.geojson', '.geojson.gz'])
def test_nuclei_that_predictions_hold_come_back(tmp_path, suffix):
    path = tmp_path / f'a{suffix}'
    write_geojson(path, [Outline(box(0, 0, 4, 4))], nuclei_px=np.array(POINTS))
    (image,) = read_nuclei_points(path)
    assert image.image is None
    assert image.points == POINTS
    assert image.notes == ['1 objects that are no points are left out']


def test_points_and_multi_points_without_a_class_are_nuclei(tmp_path):
    (image,) = _read(
        tmp_path / 'a.json', _feature('MultiPoint', [[1.5, 2.25], [30, 4]]), _feature('Point', [5, 6], 'Positive')
    )
    assert image.points == [*POINTS, (5, 6)]
    assert image.notes == ['points are taken for nuclei (no class, Positive)']


def test_where_some_points_are_of_the_class_nucleus_only_these_count(tmp_path):
    features = _feature('MultiPoint', [list(point) for point in POINTS], 'Nucleus'), _feature('Point', [5, 6], 'Debris')
    (image,) = _read(tmp_path / 'a.geojson', *features)
    assert image.points == POINTS
    assert image.notes == ['1 point objects of other classes than nucleus are left out']


def test_via_files_are_read_as_before(tmp_path):
    for suffix in ('.csv', '.json'):
        write_via(tmp_path / f'a{suffix}', {'b.png': [ViaPoint(3, 4)]}, {'b.png': 7})
        assert read_nuclei_points(tmp_path / f'a{suffix}') == [('b.png', 7, [(3.0, 4.0)], [])]


def test_files_without_points_are_refused(tmp_path):
    with pytest.raises(InputError, match=r'a\.geojson: holds no points, but 1 other objects'):
        _read(tmp_path / 'a.geojson', _feature('Polygon', [[[0, 0], [1, 0], [1, 1], [0, 0]]]))
    with pytest.raises(InputError, match='holds no points'):
        _read(tmp_path / 'a.geojson', _feature('Point', ['x', None]))
    (tmp_path / 'a.json.gz').write_bytes(gzip.compress(b'{}')[:-9])
    with pytest.raises(InputError, match='not a whole gzip file'):
        read_nuclei_points(tmp_path / 'a.json.gz')
