"""Which objects of a QuPath file are cells."""

import gzip
import json
import zipfile

import pytest
from shapely import box, geometry

from noise_mm.errors import InputError
from noise_mm.formats.read import read_outlines


def feature(shape, kind='detection', name=None, **properties):
    classification = {'classification': {'name': name}} if name else {}
    return {
        'type': 'Feature',
        'geometry': geometry.mapping(shape),
        'properties': {'objectType': kind, **classification, **properties},
    }


CELLS = [feature(box(x, 10, x + 8, 20)) for x in (10, 30, 50)]
REGION = box(0, 0, 90, 60)


def read(tmp_path, *features, notes=None, name='a.geojson'):
    (tmp_path / name).write_text(json.dumps({'type': 'FeatureCollection', 'features': list(features)}))
    return read_outlines(tmp_path / name, (100, 80), notes=notes)


def test_an_annotation_around_detections_is_a_region(tmp_path):
    notes = []
    outlines = read(tmp_path, feature(REGION, 'annotation'), *CELLS, notes=notes)
    assert [outline.geometry.area for outline in outlines] == [80] * 3
    assert notes == ['left out: 1 annotations around cells, which are regions']


def test_regions_with_a_class_of_their_own(tmp_path):
    assert len(read(tmp_path, feature(REGION, 'annotation', 'Region*'), *CELLS)) == 3
    kept = read(tmp_path, feature(REGION, 'annotation', 'Ignore*'), *CELLS)
    assert [outline.ignored for outline in kept] == [True, False, False, False]
    first, *_ = read(tmp_path, feature(REGION, 'annotation', 'debris'), *CELLS)
    assert first.label == 'debris'


@pytest.mark.parametrize('name', [None, 'Region*', 'region', 'Region'])
def test_an_annotation_around_drawn_osteoclasts_is_a_region(tmp_path, name):
    drawn = [{**each, 'properties': feature(REGION, 'annotation', 'Osteoclast')['properties']} for each in CELLS]
    assert len(read(tmp_path, feature(REGION, 'annotation', name), *drawn)) == 3


def test_debris_in_a_drawn_cell_makes_it_no_region(tmp_path):
    debris = feature(box(20, 20, 24, 24), 'annotation', 'Debris')
    assert len(read(tmp_path, feature(box(10, 10, 40, 40), 'annotation'), debris)) == 2


def test_frames_around_annotations_without_a_class_may_be_either(tmp_path):
    drawn = [feature(geometry.shape(each['geometry']), 'annotation') for each in CELLS]
    with pytest.raises(InputError, match=r'feature 1: is an annotation without a class that lies around 3 others'):
        read(tmp_path, feature(box(5, 5, 70, 30), 'annotation'), *drawn)
    with pytest.raises(InputError, match='covers more than half of the image'):
        read(tmp_path, feature(REGION, 'annotation'))
    assert len(read(tmp_path, *drawn)) == 3


def test_an_empty_annotation_beside_regions_may_be_either(tmp_path):
    other = feature(box(70, 65, 90, 79), 'annotation')
    with pytest.raises(InputError, match=r'feature 2: is an annotation without a class.*class osteoclast'):
        read(tmp_path, feature(REGION, 'annotation'), other, *CELLS)
    drawn = feature(box(70, 65, 90, 79), 'annotation', 'OSTEOCLAST')
    assert [each.label for each in read(tmp_path, feature(REGION, 'annotation'), drawn, *CELLS)] == ['osteoclast'] * 4


def test_drawn_cells_beside_detections_that_hold_none(tmp_path):
    notes = []
    assert len(read(tmp_path, feature(box(70, 65, 90, 79), 'annotation'), *CELLS, notes=notes)) == 4
    assert notes == ['1 annotations without a class beside 3 detections: taken for cells']


def test_nuclei_inside_a_drawn_cell_make_it_no_region(tmp_path):
    nuclei = [feature(box(20, 20, 24, 24), name='Nucleus')]
    labels = [outline.label for outline in read(tmp_path, feature(box(10, 10, 40, 40), 'annotation'), *nuclei)]
    assert labels == ['osteoclast', 'nucleus']


@pytest.mark.parametrize('kind', ['tile', 'tmaCore', 'tma_core', 'root'])
def test_tiles_and_cores_are_no_cells(tmp_path, kind):
    notes = []
    assert len(read(tmp_path, feature(REGION, kind), *CELLS, notes=notes)) == 3
    assert notes and notes[0].startswith('left out: 1')


def test_objects_of_old_qupath_say_their_type_in_the_id(tmp_path):
    tile = feature(box(0, 0, 50, 50))
    del tile['properties']['objectType']
    assert len(read(tmp_path, {**tile, 'id': 'PathTileObject'}, *CELLS)) == 3


def test_objects_on_several_planes_are_noted(tmp_path):
    notes = []
    planes = [{**each, 'geometry': {**each['geometry'], 'plane': {'c': -1, 'z': z, 't': 0}}} for z, each in
              enumerate(CELLS)]  # fmt: skip
    assert len(read(tmp_path, *planes, notes=notes)) == 3
    assert notes == ['objects lie on 3 planes (z, t) of a stack; all are taken for one image']


@pytest.mark.parametrize('name', ['a.zip', 'a.geojson', 'a.geojson.gz', 'a.json.gz', 'a.json'])
@pytest.mark.parametrize('packing', ['zip', 'gzip', 'gzip in zip'])
def test_packed_files_are_told_by_content(tmp_path, name, packing):
    data = json.dumps({'type': 'FeatureCollection', 'features': CELLS}).encode()
    if packing.startswith('gzip'):
        data = gzip.compress(data[:99]) + gzip.compress(data[99:])  # two members are one file
    if packing.endswith('zip') and packing != 'gzip':
        with zipfile.ZipFile(tmp_path / name, 'w') as archive:
            archive.writestr('cells.geojson' + '.gz' * packing.startswith('gzip'), data)
            archive.writestr('__MACOSX/._cells.geojson', b'x')
    else:
        (tmp_path / name).write_bytes(data)
    if (name, packing) == ('a.zip', 'gzip'):
        with pytest.raises(InputError, match='not a whole zip'):
            read_outlines(tmp_path / name)
    else:
        assert len(read_outlines(tmp_path / name, (100, 80))) == 3


def test_packed_files_that_are_refused(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / 'two.zip', 'w') as archive:
        archive.writestr('a.geojson', b'[]')
        archive.writestr('b.geojson', b'[]')
    with pytest.raises(InputError, match=r'holds 2 JSON files \(a.geojson, b.geojson\)'):
        read_outlines(tmp_path / 'two.zip')
    monkeypatch.setattr('noise_mm.formats.packed_json.LARGEST_BYTES', 10_000)
    (tmp_path / 'bomb.json.gz').write_bytes(gzip.compress(b' ' * 1_000_000))
    with zipfile.ZipFile(tmp_path / 'bomb.zip', 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('a.json', b' ' * 1_000_000)
    for name in ('bomb.json.gz', 'bomb.zip'):
        with pytest.raises(InputError, match=f'{name}: unpacks to'):
            read_outlines(tmp_path / name)
