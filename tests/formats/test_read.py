import json

import pytest
from shapely import box

from noise_mm.coco.annotations import write_coco
from noise_mm.errors import InputError
from noise_mm.formats.geojson import write_geojson
from noise_mm.formats.imagej import write_imagej
from noise_mm.formats.label_image import write_label_image
from noise_mm.formats.read import read_outlines
from noise_mm.geometry.outline import Outline
from tests.fixtures.files import write_roi_csv

CELL = Outline(box(3, 4, 20, 30) - box(6, 7, 10, 12))
SIZE = (60, 50)
WRITERS = {
    'a.roi': write_imagej,
    'a.ZIP': write_imagej,
    'a.csv': write_roi_csv,
    'a.geojson': write_geojson,
    'a.geojson.gz': write_geojson,
    'a.json': write_geojson,
    'coco.json': lambda path, outlines: write_coco(path, outlines, 'w.tif', SIZE),
    'a.tif': lambda path, outlines: write_label_image(path, outlines, SIZE),
    'a.tiff': lambda path, outlines: write_label_image(path, outlines, SIZE),
}


@pytest.mark.parametrize('name', WRITERS)
def test_every_format_is_found_and_means_the_same_pixels(tmp_path, name):
    """One cell with whole-numbered corners comes back exactly from all formats: none shifts by half a pixel."""
    WRITERS[name](tmp_path / name, [CELL])
    (outline,) = read_outlines(tmp_path / name, size_px=SIZE, um_per_px=0.5)
    assert outline.geometry.equals(CELL.geometry)
    assert outline.label == 'osteoclast'


def test_unknown_suffix(tmp_path):
    with pytest.raises(InputError, match=r'a\.xml: no annotation format has this suffix'):
        read_outlines(tmp_path / 'a.xml')


def test_json_of_another_kind(tmp_path):
    (tmp_path / 'a.json').write_text(json.dumps({'cells': []}))
    with pytest.raises(InputError, match='neither COCO nor GeoJSON'):
        read_outlines(tmp_path / 'a.json')
