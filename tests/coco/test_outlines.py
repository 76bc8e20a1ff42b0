"""COCO files as CVAT, supervision, VIA and others write them."""

import json

import pytest
from shapely import box

from noise_mm.coco.annotations import write_coco
from noise_mm.errors import InputError
from noise_mm.geometry.outline import Outline
from tests.fixtures.files import read_coco

RING = [2, 3, 12, 3, 12, 9, 2, 9]
RLE = {'size': [30, 40], 'counts': [63, 6, 24, 6, 1101]}  # two columns of six pixels, from (2, 3) on


def coco_file(tmp_path, *annotations, **changes):
    """A COCO file of one image whose annotations are RINGs with these changes."""
    entries = [
        {'id': number, 'image_id': 1, 'category_id': 1, 'segmentation': [RING], 'iscrowd': 0, **each}
        for number, each in enumerate(annotations, start=1)
    ]
    content = {
        'images': [{'id': 1, 'file_name': 'A1.tif', 'width': 40, 'height': 30}],
        'categories': [{'id': 1, 'name': 'osteoclast'}],
        'annotations': entries,
        **changes,
    }
    path = tmp_path / 'a.json'
    path.write_text(json.dumps(content))
    return path


def test_masks_of_cvat_are_cells(tmp_path):
    """CVAT sets iscrowd for everything drawn with a brush; by the standard there would be no cell at all."""
    notes = []
    crowds = [{'iscrowd': 1, 'segmentation': RLE}] * 3
    outlines = read_coco(coco_file(tmp_path, *crowds), (40, 30), notes=notes)
    assert [(outline.geometry.area, outline.ignored) for outline in outlines] == [(12, False)] * 3
    assert notes == ['all 3 annotations are iscrowd, as CVAT writes masks; they are taken for cells']


def test_some_crowds_must_be_chosen(tmp_path):
    """As supervision writes masks with holes, or as COCO marks regions to ignore."""
    path = coco_file(tmp_path, {}, {'iscrowd': 1}, {})
    with pytest.raises(InputError, match='1 of 3 annotations are iscrowd.*--iscrowd cells or --iscrowd ignore'):
        read_coco(path)
    assert [outline.ignored for outline in read_coco(path, crowd='cells')] == [False, False, False]
    assert [outline.ignored for outline in read_coco(path, crowd='ignore')] == [False, True, False]


def test_regions_to_ignore_of_this_project_stay_so(tmp_path):
    write_coco(tmp_path / 'a.json', [Outline(box(2, 3, 12, 9), ignored=True)], 'A1.tif', (40, 30))
    assert [outline.ignored for outline in read_coco(tmp_path / 'a.json')] == [True]


def test_flags_as_text_and_the_flag_ignore(tmp_path):
    path = coco_file(tmp_path, {'iscrowd': '0'}, {'ignore': 1})
    assert [outline.ignored for outline in read_coco(path)] == [False, True]


@pytest.mark.parametrize('image_id', ['1', 1.0])
def test_the_export_of_via(tmp_path, image_id):
    """Ids of another type than those they refer to, and a segmentation that is one flat list."""
    notes = []
    path = coco_file(tmp_path, {'id': 0, 'image_id': image_id, 'segmentation': RING})
    (outline,) = read_coco(path, (40, 30), notes=notes)
    assert outline.geometry.equals(box(2, 3, 12, 9))
    assert ('values of image_id are of another type' in ''.join(notes)) == isinstance(image_id, str)
    assert 'flat lists of numbers' in notes[0]


def test_sizes_written_as_floats(tmp_path):
    images = [{'id': 1, 'file_name': 'A1.tif', 'width': 40.0, 'height': 30.0}]
    assert len(read_coco(coco_file(tmp_path, {}, images=images), (40, 30))) == 1


def test_ids_that_text_cannot_tell_apart_are_not_guessed(tmp_path):
    images = [{'id': each, 'file_name': f'{number}', 'width': 40, 'height': 30} for number, each in enumerate([1, '1'])]
    path = coco_file(tmp_path, {'image_id': 1}, {'image_id': '1'}, images=images)
    assert [len(read_coco(path, file_name=name)) for name in '01'] == [1, 1]


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'segmentation': [[2, 3, 12, 3, 12, 1e7 + 1]]}, 'which no image has'),
        ({'segmentation': [[2, 3, 12, 3, 12, 10**400]]}, 'something else than numbers'),
        ({'score': 10**400}, 'has the score'),
        ({'score': 'high'}, "has the score 'high'"),
        ({'image_id': None}, 'refers to image None'),
        ({'image_id': [1]}, r'refers to image \[1\]'),
        ({'id': True}, 'has no id'),
    ],
)
def test_absurd_values_are_named(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        read_coco(coco_file(tmp_path, change))


def test_two_images_of_one_name(tmp_path):
    images = [{'id': n, 'file_name': 'A1.tif', 'width': 40, 'height': 30} for n in (1, 2)]
    with pytest.raises(InputError, match=r'image 2 \(A1\.tif\) has the file name of another image too'):
        read_coco(coco_file(tmp_path, images=images))
    for number, folder in enumerate(('plate1', 'plate2')):
        images[number]['file_name'] = f'{folder}/A1.tif'
    path = coco_file(tmp_path, {}, images=images)
    assert len(read_coco(path, file_name='plate1/A1.tif')) == 1
    with pytest.raises(InputError, match=r"holds 2 images, 2 of which are called 'A1\.tif'"):
        read_coco(path, file_name='A1.tif')
