import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from shapely import Polygon, box

from noise_mm.coco.annotations import coco_annotation, write_coco
from noise_mm.coco.reader import is_coco
from noise_mm.coco.segmentation import coco_segmentation, geometry_from_segmentation, mask_annotation
from noise_mm.errors import InputError
from noise_mm.formats.imagej import read_imagej
from noise_mm.geometry.cell_masks import CellMask
from noise_mm.geometry.outline import Outline, parts_of
from noise_mm.geometry.pixels import fill_pixels, trace
from tests.fixtures.files import read_coco

RING = Polygon([(2, 2), (30, 4), (28, 30), (4, 26)], [[(10, 10), (20, 12), (14, 20)]])
MASKS = arrays(bool, st.tuples(st.integers(1, 8), st.integers(1, 8))).filter(np.any)


def _dataset(annotations, images=None, categories=None):
    return {
        'images': [{'id': 1, 'file_name': 'a.tif', 'width': 40, 'height': 50}] if images is None else images,
        'annotations': annotations,
        'categories': [{'id': 1, 'name': 'osteoclast'}] if categories is None else categories,
    }


def _write(path, value):
    path.write_text(json.dumps(value))
    return path


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(data=st.data())
def test_round_trip(data, tmp_path, outline_lists, assert_same_geometry):
    outlines = data.draw(outline_lists)
    write_coco(tmp_path / 'a.json', outlines, 'well.tif', (400, 400), well='well', mpp=0.5)
    for one, other in zip(outlines, read_coco(tmp_path / 'a.json', (400, 400)), strict=True):
        assert (one.name, one.label, one.score, one.ignored) == (other.name, other.label, other.score, other.ignored)
        assert_same_geometry(one.geometry, other.geometry)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(data=st.data())
def test_round_trip_of_rle_gives_the_pixels(data, tmp_path, geometries):
    geometry = data.draw(geometries)
    write_coco(tmp_path / 'a.json', [Outline(geometry)], 'well.tif', (400, 300), rle=True)
    pixels = fill_pixels(geometry, 0, 0, 400, 300)
    if not pixels.any():
        return
    (outline,) = read_coco(tmp_path / 'a.json')
    assert outline.geometry.equals(trace(pixels))


@settings(max_examples=100)
@given(mask=MASKS)
def test_area_and_box_of_an_rle_are_those_of_pycocotools(mask):
    annotation = mask_annotation(CellMask.of(trace(mask), mask.shape[::-1]), *mask.shape)
    assert annotation['area'] == coco_mask.area(annotation['segmentation'])
    assert annotation['bbox'] == coco_mask.toBbox(annotation['segmentation']).tolist()


def test_a_sliver_stays_a_polygon(tmp_path):
    write_coco(tmp_path / 'a.json', [Outline(box(3.6, 0, 4.4, 9))], 'w.tif', (40, 40), rle=True)
    (outline,) = read_coco(tmp_path / 'a.json')
    assert outline.geometry.equals(box(3.6, 0, 4.4, 9))


def test_attributes_stand_beside_the_name(tmp_path):
    outlines = [Outline(RING, name='OC1'), Outline(RING), Outline(RING)]
    write_coco(tmp_path / 'a.json', outlines, 'w.tif', (40, 40), attributes=[{'nuclei': 3}, {'nuclei': 2}, {}])
    first, second, third = json.loads((tmp_path / 'a.json').read_text())['annotations']
    assert (first['attributes'], second['attributes']) == ({'name': 'OC1', 'nuclei': 3}, {'nuclei': 2})
    assert 'attributes' not in third


@settings(max_examples=50)
@given(data=st.data())
def test_pycocotools_sees_holes_and_parts(data, geometries):
    """Its polygon rasteriser differs by up to a pixel along borders; a hole filled by mistake would differ by more."""
    geometry = data.draw(geometries)
    annotation = coco_annotation(1, 1, geometry)
    coco = COCO()
    coco.dataset = _dataset([annotation], [{'id': 1, 'file_name': 'a', 'width': 400, 'height': 400}])
    coco.createIndex()
    decoded = coco.annToMask(annotation).astype(bool)
    ours = fill_pixels(geometry, 0, 0, 400, 400)
    border = fill_pixels(geometry.boundary.buffer(1.5), 0, 0, 400, 400)
    assert not (decoded != ours)[~border].any()
    assert abs(int(decoded.sum()) - annotation['area']) <= 0.6 * geometry.length


def test_pycocotools_counts_whole_numbered_squares_exactly():
    annotation = coco_annotation(1, 1, box(2, 3, 20, 30) - box(5, 6, 9, 12))
    rle = coco_mask.frPyObjects(annotation['segmentation'], 50, 40)
    assert coco_mask.area(rle).tolist() == [annotation['area']] == [18 * 27 - 4 * 6]


def test_annotation_has_exact_area_and_box():
    annotation = coco_annotation(7, 3, RING, category_id=2, ignored=True, score=0.5, cell=9)
    assert annotation['area'] == RING.area
    assert annotation['bbox'] == [2, 2, 28, 28]
    assert annotation['iscrowd'] == 1
    assert (annotation['id'], annotation['image_id'], annotation['cell'], annotation['score']) == (7, 3, 9, 0.5)
    assert len(annotation['segmentation']) == 1
    assert Polygon(np.reshape(annotation['segmentation'][0], (-1, 2))).area == pytest.approx(RING.area)


@given(MASKS)
def test_every_form_of_rle_gives_the_mask(mask):
    height, width = mask.shape
    compressed = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    flat = mask.T.ravel().astype(int)
    changes = np.flatnonzero(np.diff(np.r_[0, flat, 1 - flat[-1]]))
    counts = np.diff(np.r_[0, changes]).tolist()
    expected = trace(mask)
    for rle in ({'size': [height, width], 'counts': compressed['counts'].decode()},
                {'size': [height, width], 'counts': counts}):  # fmt: skip
        geometry, _ = geometry_from_segmentation(rle, height, width)
        assert geometry.equals(expected)
        assert geometry.area == mask.sum()


@given(MASKS)
def test_our_rle_is_that_of_pycocotools(mask):
    height, width = mask.shape
    expected = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))['counts'].decode()
    assert mask_annotation(CellMask.of(trace(mask), (width, height)), height, width)['segmentation'] == {
        'size': [height, width],
        'counts': expected,
    }


def test_an_rle_needs_no_image():
    geometry = box(50000, 60000, 50100, 60050) - box(50010, 60010, 50020, 60020)
    rle = mask_annotation(CellMask.of(geometry, (66000, 65000)), 65000, 66000)['segmentation']
    assert geometry_from_segmentation(rle, 65000, 66000)[0].equals(geometry)


def test_an_image_too_large_for_run_lengths_has_polygons(tmp_path):
    """pycocotools counts pixels in 32 bits."""
    cell = box(70000, 80000, 70100, 80050)
    write_coco(tmp_path / 'a.json', [Outline(cell)], 'w.tif', (100000, 100000), rle=True)
    (annotation,) = json.loads((tmp_path / 'a.json').read_text())['annotations']
    assert isinstance(annotation['segmentation'], list)
    assert read_coco(tmp_path / 'a.json')[0].geometry.equals(cell)
    with pytest.raises(ValueError, match='an RLE cannot hold an image of 100000 x 100000 px'):
        geometry_from_segmentation({'size': [100000, 100000], 'counts': [10**10]}, 100000, 100000)


def test_polygons_of_one_annotation_are_joined():
    both, _ = geometry_from_segmentation([[0, 0, 4, 0, 4, 4, 0, 4], [2, 0, 6, 0, 6, 4, 2, 4]], 10, 10)
    assert both.equals(box(0, 0, 6, 4))


@pytest.mark.parametrize(
    ('segmentation', 'message'),
    [
        ([], 'is empty'),
        ('abc', 'neither a list of polygons nor an RLE'),
        ([1, 2, 3, 4], 'fewer than three'),
        ([[0, 0, 4, 0, 4, 10**400]], 'something else than numbers'),
        ([[0, 0, 4, 0, 4, 1e9]], 'which no image has'),
        ([[0, 0, 4, 0, 4]], '5 numbers, which are not pairs'),
        ([[0, 0, 4, 0]], 'fewer than three'),
        ({'size': [9, 10], 'counts': [90]}, 'has the size'),
        ({'size': [10, 10], 'counts': [10, 20]}, 'does not fill its image'),
        ({'size': [10, 10], 'counts': [110, -10]}, 'does not fill its image'),
        ({'size': [10, 10], 'counts': [100]}, 'has no pixel'),
        ({'size': [10, 10], 'counts': '0\n'}, 'not in the compressed form'),
        ({'size': [10, 10], 'counts': '0o'}, 'not in the compressed form'),
        ({'size': [10, 10], 'counts': [100, 10**30]}, 'no whole numbers'),
        ({'size': [10, 10]}, 'fill its image|no whole numbers'),
    ],
)
def test_damaged_segmentations_are_refused(segmentation, message):
    with pytest.raises(ValueError, match=message):
        geometry_from_segmentation(segmentation, 10, 10)


def test_segmentation_of_parts():
    assert len(coco_segmentation(parts_of(RING)[0].union(box(40, 40, 45, 45)))) == 2


def test_unknown_labels_get_further_categories(tmp_path):
    outlines = [Outline(RING, label='debris'), Outline(RING), Outline(RING, label='giant')]
    write_coco(tmp_path / 'a.json', outlines, 'w.tif', (40, 40))
    dataset = json.loads((tmp_path / 'a.json').read_text())
    assert [(c['id'], c['name']) for c in dataset['categories']][2:] == [(3, 'debris'), (4, 'giant')]
    assert [annotation['category_id'] for annotation in dataset['annotations']] == [3, 1, 4]
    assert [annotation['id'] for annotation in dataset['annotations']] == [1, 2, 3]


@pytest.mark.real
def test_real_file_holds_the_vertices_of_the_roi_set(shared_dir):
    folder = shared_dir / 'data' / 'real_trap'
    coco = read_coco(folder / 'oc_finder_example_coco.json', (1920, 1440))
    rois = read_imagej(folder / 'oc_finder_example_RoiSet.zip')
    assert [outline.name for outline in coco] == [outline.name for outline in rois]
    assert all(one.geometry.equals_exact(other.geometry) for one, other in zip(coco, rois, strict=True))


def test_images_are_told_apart(tmp_path):
    images = [{'id': n, 'file_name': f'plate/{n}.tif', 'width': 40, 'height': 40} for n in (1, 2, 3)]
    annotations = [coco_annotation(1, 2, RING), coco_annotation(2, 1, RING), coco_annotation(3, 2, RING)]
    path = _write(tmp_path / 'a.json', _dataset(annotations, images))
    assert [len(read_coco(path, file_name=f'plate/{n}.tif')) for n in (1, 2, 3)] == [1, 2, 0]
    assert len(read_coco(path, file_name='2.tif')) == 2
    with pytest.raises(InputError, match='holds 3 images; say which one'):
        read_coco(path)
    with pytest.raises(InputError, match=r"holds 3 images, 0 of which are called 'x\.tif'"):
        read_coco(path, file_name='x.tif')


def test_an_annotation_without_outline_is_named(tmp_path):
    annotations = [coco_annotation(1, 1, RING), {'id': 2, 'image_id': 1, 'category_id': 1, 'bbox': [1, 1, 5, 5]}]
    with pytest.raises(InputError, match='annotation 2: has no segmentation'):
        read_coco(_write(tmp_path / 'a.json', _dataset(annotations)))


def test_self_crossing_polygons_are_logged_or_refused(tmp_path, caplog):
    bow_tie = {'id': 1, 'image_id': 1, 'category_id': 1, 'segmentation': [[0, 0, 4, 4, 4, 0, 0, 4]]}
    path = _write(tmp_path / 'a.json', _dataset([bow_tie]))
    assert read_coco(path)[0].geometry.area == 8
    assert 'annotation 1: the outline crosses itself' in caplog.text
    with pytest.raises(InputError, match='crosses itself'):
        read_coco(path, repair=False)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'id': 1}, 'annotation 1 has the id of another annotation too'),
        ({'image_id': 9}, 'annotation 2 refers to image 9, which is not in the file'),
        ({'category_id': 9}, 'annotation 2 refers to category 9, which is not in the file'),
        ({'segmentation': []}, 'annotation 2: has no segmentation'),
        ({'segmentation': [[0, 0, 4, 0, 4]]}, 'annotation 2: a polygon has 5 numbers'),
        ({'segmentation': [[0, 0, 4, 0, 'x', 4]]}, 'annotation 2: '),
        ({'segmentation': [[100, 100, 110, 100, 110, 110]]}, 'annotation 2: lies outside the image of 40 x 50 px'),
    ],
)
def test_bad_annotations_are_named(tmp_path, change, message):
    annotations = [coco_annotation(1, 1, RING), {**coco_annotation(2, 1, RING), **change}]
    with pytest.raises(InputError, match=rf'a\.json: {message}'):
        read_coco(_write(tmp_path / 'a.json', _dataset(annotations)))


def test_annotations_that_are_no_objects_are_named(tmp_path):
    with pytest.raises(InputError, match='annotations, entry 1 is not a dictionary'):
        read_coco(_write(tmp_path / 'a.json', _dataset([None])))


@pytest.mark.parametrize(
    ('image', 'message'),
    [
        (None, 'images, entry 1 is not a dictionary'),
        ({'id': 1, 'width': 4, 'height': 4}, 'image 1 has no valid file_name'),
        ({'id': 1, 'file_name': 'a', 'width': 4.5, 'height': 4}, 'no valid width'),
        ({'id': 1, 'file_name': 'a'}, r'image 1 \(a\) has no valid width, height'),
        ({'file_name': 'a', 'width': 4, 'height': 4}, r'image 1 \(a\) has no valid id'),
    ],
)
def test_bad_images_are_named(tmp_path, image, message):
    with pytest.raises(InputError, match=message):
        read_coco(_write(tmp_path / 'a.json', _dataset([], [image])))


def test_another_size_is_refused(tmp_path):
    path = _write(tmp_path / 'a.json', _dataset([]))
    with pytest.raises(InputError, match='was made for 40 x 50 px, but the image has 400 x 500 px'):
        read_coco(path, (400, 500))


def test_what_is_no_coco_is_refused(tmp_path):
    assert not is_coco({'images': []})
    with pytest.raises(InputError, match='not a COCO file'):
        read_coco(_write(tmp_path / 'a.json', {'images': []}))
