"""Outlines that were drawn on images as their EXIF orientation turns them."""

import json

import pytest
from shapely import box

from noise_mm.errors import InputError
from noise_mm.formats.geojson import write_geojson
from noise_mm.geometry.outline import Outline
from noise_mm.patches.annotations import read_cells
from noise_mm.patches.pairing import WellFiles

SIZE = (50, 30)
DRAWN = {1: box(2, 3, 12, 9), 3: box(38, 21, 48, 27), 6: box(21, 2, 27, 12)}  # in the image as it is shown
SHOWN_PX = {1: (50, 30), 3: (50, 30), 6: (30, 50)}


def coco(path, orientation, size_px):
    x0, y0, x1, y1 = DRAWN[orientation].bounds
    content = {
        'images': [{'id': 1, 'file_name': 'a.jpg', 'width': size_px[0], 'height': size_px[1]}],
        'categories': [{'id': 1, 'name': 'osteoclast'}],
        'annotations': [{'id': 1, 'image_id': 1, 'category_id': 1, 'segmentation': [[x0, y0, x1, y0, x1, y1, x0, y1]]}],
    }
    path.write_text(json.dumps(content))
    return WellFiles('a', path.with_name('a.jpg'), path)


@pytest.mark.parametrize('orientation', DRAWN)
@pytest.mark.parametrize('kind', ['coco', 'geojson'])
def test_turned_outlines_come_back_to_the_stored_image(tmp_path, orientation, kind):
    files = coco(tmp_path / 'a.json', orientation, SHOWN_PX[orientation])
    if kind == 'geojson':
        write_geojson(tmp_path / 'a.json', [Outline(DRAWN[orientation])])
    (outline,), notes = read_cells(files, SIZE, orientation, 0.5, exif='turned')
    assert outline.geometry.equals(box(2, 3, 12, 9))
    assert len(notes) == (orientation != 1)


def test_the_size_in_a_coco_file_tells_of_quarter_turns(tmp_path):
    (outline,), notes = read_cells(coco(tmp_path / 'a.json', 6, (30, 50)), SIZE, 6, 0.5)
    assert outline.geometry.equals(box(2, 3, 12, 9))
    assert 'places in the turned image (as the size in the file says)' in notes[0]
    (outline,), notes = read_cells(coco(tmp_path / 'a.json', 1, SIZE), SIZE, 6, 0.5)
    assert outline.geometry.equals(DRAWN[1])
    assert 'image as it is stored' in notes[0]


@pytest.mark.parametrize(('orientation', 'size_px'), [(3, (50, 30)), (6, (30, 30))])
def test_what_the_size_does_not_tell_must_be_said(tmp_path, orientation, size_px):
    files = coco(tmp_path / 'a.json', orientation, size_px)
    with pytest.raises(InputError, match=r'--exif turned \(in a browser\) or --exif stored'):
        read_cells(files, size_px, orientation, 0.5)
    assert read_cells(files, size_px, orientation, 0.5, exif='stored')[0][0].geometry.equals(DRAWN[orientation])


def test_outlines_of_imagej_and_qupath_are_in_the_stored_image(tmp_path):
    write_geojson(tmp_path / 'a.geojson', [Outline(DRAWN[1])])
    files = WellFiles('a', tmp_path / 'a.jpg', tmp_path / 'a.geojson')
    (outline,), notes = read_cells(files, SIZE, 6, 0.5)
    assert outline.geometry.equals(DRAWN[1])
    assert '--exif turned' in notes[0]
    assert read_cells(WellFiles('a', files.image, None), SIZE, 6, 0.5) == ([], [])
