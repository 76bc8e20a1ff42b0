"""All files of a well show the same cells: each is read with the program that others read it with."""

import csv
import json

import numpy as np
import pytest
import roifile
import shapely
import tifffile
from pycocotools.coco import COCO
from shapely import box
from shapely.geometry import shape
from skimage.measure import regionprops

from noise_mm.formats.read import read_outlines
from noise_mm.geometry.outline import Outline
from noise_mm.measure.found import Found
from noise_mm.report.content import measured_content
from noise_mm.report.exports import write_files
from noise_mm.report.options import WellOptions
from noise_mm.report.output_files import FORMATS
from noise_mm.report.overlay import COLOURS
from noise_mm.report.well import write_well
from noise_mm.scale import PixelSize

UM_PER_PX = 0.5


@pytest.fixture
def folder(slide, result, tmp_path):
    content = measured_content('A1', slide, result, PixelSize(UM_PER_PX), WellOptions(min_nuclei=3))
    out = tmp_path / 'out'
    files = write_files(out, content, FORMATS)
    assert {path.name for path in out.iterdir()} == set(files.values())
    return out


@pytest.fixture
def masks(folder):
    """The pixels of each cell, from the label image."""
    labels = tifffile.imread(folder / 'A1_labels.tif')
    return [labels == number for number in range(1, labels.max() + 1)]


def centres_in(geometry):
    """The pixels of the well whose centres lie in a geometry, decided by GEOS."""
    y, x = np.mgrid[:480, :640] + 0.5
    return shapely.contains_xy(geometry, x, y)


def test_label_image(folder, masks, geometries):
    assert len(masks) == 6
    for mask, geometry in zip(masks, geometries, strict=True):
        assert (mask == centres_in(geometry)).all()
    with tifffile.TiffFile(folder / 'A1_labels.tif') as tiff:
        page = tiff.pages[0]
        assert (page.dtype, page.predictor) == (np.uint16, 1)
        numerator, denominator = page.tags['XResolution'].value
        assert numerator / denominator == pytest.approx(1e4 / UM_PER_PX)


def test_table_of_cells(folder, masks):
    rows = list(csv.DictReader((folder / 'A1_cells.csv').open()))
    (labels,) = [sum(number * mask for number, mask in enumerate(masks, 1))]
    for row, reference in zip(rows, regionprops(labels), strict=True):
        assert int(row['name'].rpartition('_')[2]) == reference.label
        assert int(row['area_px2']) == reference.area
        assert float(row['area_um2']) == pytest.approx(reference.area * UM_PER_PX**2)
        assert float(row['perimeter_px']) == pytest.approx(reference.perimeter, abs=0.006)
        assert float(row['solidity']) == pytest.approx(reference.solidity, abs=6e-5)
        assert float(row['centroid_x_px']) == pytest.approx(reference.centroid[1] + 0.5, abs=0.006)
    assert [row['nuclei'] for row in rows] == ['5', '3', '1', '0', '0', '0']
    assert [row['class'] for row in rows] == ['osteoclast'] * 2 + ['pre-osteoclast'] * 4
    assert [row['touches_edge'] for row in rows] == ['0'] * 5 + ['1']


def test_coco(folder, masks, capsys):
    coco = COCO(folder / 'A1.json')
    annotations = coco.loadAnns(coco.getAnnIds())
    for annotation, mask in zip(annotations, masks, strict=True):
        assert (coco.annToMask(annotation) == mask).all()
        assert annotation['area'] == mask.sum()
    assert [annotation['attributes'] for annotation in annotations][:2] == [
        {'name': 'osteoclast_0001', 'nuclei': 5},
        {'name': 'osteoclast_0002', 'nuclei': 3},
    ]
    labels = [coco.cats[annotation['category_id']]['name'] for annotation in annotations]
    assert labels == ['osteoclast'] * 2 + ['pre-osteoclast'] * 4
    assert (coco.imgs[1]['file_name'], coco.imgs[1]['well'], coco.imgs[1]['mpp']) == ('A1.png', 'A1', UM_PER_PX)


def test_geojson(folder, masks):
    features = json.loads((folder / 'A1.geojson').read_text(encoding='utf-8'))['features']
    cells = [feature for feature in features if feature['geometry']['type'] != 'Point']
    for feature, mask in zip(cells, masks, strict=True):
        geometry, properties = shape(feature['geometry']), feature['properties']
        assert geometry.is_valid
        assert (centres_in(geometry) == mask).all()
        assert properties['objectType'] == 'annotation'
        assert properties['measurements']['Cell: Area px^2'] == mask.sum()
        assert properties['measurements']['Cell: Area µm^2'] == mask.sum() * UM_PER_PX**2
        assert all(isinstance(value, float) for value in properties['measurements'].values())
    assert cells[0]['properties']['name'] == 'osteoclast_0001'
    assert cells[0]['properties']['measurements']['Cell: Nuclei'] == 5
    assert cells[2]['properties']['classification'] == {
        'name': 'pre-osteoclast',
        'color': list(COLOURS['pre-osteoclast']),
    }


def test_geojson_in_geopandas(folder):
    geopandas = pytest.importorskip('geopandas')
    frame = geopandas.read_file(folder / 'A1.geojson')
    assert frame.geometry.geom_type.value_counts().to_dict() == {'Point': 11, 'Polygon': 5, 'MultiPolygon': 1}


def test_nuclei(folder, result):
    features = json.loads((folder / 'A1.geojson').read_text(encoding='utf-8'))['features']
    points = [feature for feature in features if feature['geometry']['type'] == 'Point']
    assert [feature['geometry']['coordinates'] for feature in points] == result.nuclei.xy_px.tolist()
    assert {feature['properties']['classification']['name'] for feature in points} == {'nucleus'}
    rows = list(csv.DictReader((folder / 'A1_nuclei.csv').open()))
    cells = ['osteoclast_0001'] * 5 + ['osteoclast_0002'] * 3 + ['pre-osteoclast_0003', '', '']
    assert [row['cell'] for row in rows] == cells
    assert [float(row['x_px']) for row in rows] == pytest.approx(result.nuclei.xy_px[:, 0], abs=0.006)


def rings_of(roi):
    """The rings of a ROI; a composite's path is 0 x y (move), 1 x y (line), 4 (close)."""
    if roi.multi_coordinates is None:
        return [roi.subpixel_coordinates]
    rings, place, path = [], 0, roi.multi_coordinates.tolist()
    while place < len(path):
        if path[place] == 4:
            place += 1
            continue
        if path[place] == 0:
            rings.append([])
        rings[-1].append(path[place + 1 : place + 3])
        place += 3
    return rings


def test_imagej(folder, masks):
    rois = roifile.roiread(folder / 'A1_RoiSet.zip')
    assert [roi.name for roi in rois] == [f'osteoclast_000{i}' for i in (1, 2)] + [
        f'pre-osteoclast_000{i}' for i in (3, 4, 5, 6)
    ]
    for roi, mask in zip(rois, masks, strict=True):
        geometry = shapely.Polygon()
        for ring in rings_of(roi):
            geometry = geometry.symmetric_difference(shapely.Polygon(ring))  # even-odd
        assert (centres_in(geometry) == mask).all()
        assert roi.position == 1
    assert bytes(rois[0].stroke_color) == bytes([255, *COLOURS['osteoclast']])


def test_very_many_cells_are_packed_and_simplified_for_qupath(slide, result, folder, tmp_path, monkeypatch):
    monkeypatch.setattr('noise_mm.report.exports.MOST_PLAIN_CELLS', len(result.outlines) - 1)
    record = write_well(
        tmp_path / 'packed', 'A1', slide, result, PixelSize(UM_PER_PX), ('geojson',), WellOptions(min_nuclei=3)
    )
    assert record['files'] == {'geojson': 'A1.geojson.gz'}
    assert any('6 cells: A1.geojson.gz is packed' in note for note in record['notes'])
    plain, packed = read_outlines(folder / 'A1.geojson'), read_outlines(tmp_path / 'packed' / 'A1.geojson.gz')
    for one, other in zip(plain, packed, strict=True):
        assert (one.name, one.label, one.score) == (other.name, other.label, other.score)
        assert other.geometry.is_valid and other.geometry.area == pytest.approx(one.geometry.area, rel=0.01)
        assert shapely.hausdorff_distance(one.geometry, other.geometry) <= 0.75 / (UM_PER_PX / 0.7784)
    vertices = [sum(shapely.get_num_coordinates([each.geometry for each in set_])) for set_ in (plain, packed)]
    assert vertices[1] < 0.7 * vertices[0]


@pytest.mark.parametrize('name', ['A1.json', 'A1.geojson', 'A1_RoiSet.zip', 'A1_labels.tif'])
def test_what_was_written_can_be_read_as_annotations(folder, masks, name):
    outlines = read_outlines(folder / name, (640, 480), UM_PER_PX)
    for outline, mask in zip(outlines, masks, strict=True):
        assert (centres_in(outline.geometry) == mask).all()


def test_only_what_is_asked_for_is_written(slide, result, tmp_path):
    without_nuclei = Found(result.outlines)
    for found, formats, names in (
        (result, ('csv',), {'A1_cells.csv', 'A1_nuclei.csv'}),
        (without_nuclei, ('csv',), {'A1_cells.csv'}),
        (result, ('roi',), {'A1_RoiSet.zip', 'A1_nuclei.roi'}),
        (without_nuclei, ('roi', 'overlay'), {'A1_RoiSet.zip', 'A1_overlay.png'}),
    ):
        out = tmp_path / '-'.join(sorted(names))
        content = measured_content('A1', slide, found, PixelSize(UM_PER_PX), WellOptions())
        assert set(write_files(out, content, formats).values()) == names
        assert {path.name for path in out.iterdir()} == names


def test_a_well_without_cells(slide, tmp_path):
    content = measured_content('A1', slide, Found([]), PixelSize(UM_PER_PX), WellOptions())
    write_files(tmp_path / 'out', content, FORMATS)
    assert tifffile.imread(tmp_path / 'out' / 'A1_labels.tif').max() == 0
    assert json.loads((tmp_path / 'out' / 'A1.geojson').read_text())['features'] == []
    assert json.loads((tmp_path / 'out' / 'A1.json').read_text())['annotations'] == []


def test_small_cells_over_large_ones_are_seen_in_the_label_image(slide, tmp_path):
    outlines = [Outline(box(20, 20, 40, 40), 'osteoclast_0001'), Outline(box(0, 0, 100, 100), 'osteoclast_0002')]
    content = measured_content('A1', slide, Found(outlines), PixelSize(UM_PER_PX), WellOptions())
    write_files(tmp_path, content, ['labels', 'csv'])
    labels = tifffile.imread(tmp_path / 'A1_labels.tif')
    assert np.bincount(labels.ravel())[1:].tolist() == [400, 9600]
    areas = [row['area_px2'] for row in csv.DictReader((tmp_path / 'A1_cells.csv').open())]
    assert areas == ['400', '10000']
    assert content.measures['covered_area_px2'] == 10_000


@pytest.mark.parametrize(('size_px', 'kind'), [((65_535, 65_535), dict), ((65_536, 65_536), list)])
def test_masks_that_pycocotools_could_not_count_are_polygons(large_slide, grey_thumbnail, tmp_path, size_px, kind):
    far = [Outline(box(60_000, 60_000, 60_100, 60_050), 'osteoclast_0001')]
    content = measured_content('A1', large_slide(*size_px), Found(far), PixelSize(1.0), WellOptions())
    write_files(tmp_path, content, ['coco'])
    (annotation,) = json.loads((tmp_path / 'A1.json').read_text())['annotations']
    assert isinstance(annotation['segmentation'], kind)
    assert (annotation['area'], annotation['bbox']) == (5000, [60_000, 60_000, 100, 50])
