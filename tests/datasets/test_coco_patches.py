"""COCO content to records, and every fault by name."""

import copy

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from noise_mm.datasets.coco_patches import parse_coco
from noise_mm.errors import InputError

TRIANGLE = [[1.0, 1.0, 7.0, 1.0, 7.0, 5.0]]
CONTENT = {
    'images': [
        {'id': 7, 'file_name': 'images/a.png', 'width': 12, 'height': 10, 'well': 'w1'},
        {'id': 3, 'file_name': 'images/b.png', 'width': 12, 'height': 10},
    ],
    'categories': [{'id': 2, 'name': 'nucleus'}, {'id': 1, 'name': 'osteoclast'}, {'id': 9, 'name': 'debris'}],
    'annotations': [
        {'id': 1, 'image_id': 3, 'category_id': 1, 'iscrowd': 0, 'segmentation': TRIANGLE, 'bbox': [0, 0, 1, 1]},
        {'id': 2, 'image_id': 3, 'category_id': 2, 'iscrowd': 1, 'bbox': [2, 3, 4, 5]},
        {'id': 3, 'image_id': 7, 'category_id': 9, 'bbox': [2, 3, 4, 5]},
    ],
}


def with_annotation(**changes: object) -> dict:
    content = copy.deepcopy(CONTENT)
    content['annotations'][0].update(changes)
    return content


def test_images_keep_their_order_and_entries() -> None:
    first, second = parse_coco(CONTENT, 'x.json', ('osteoclast',))
    assert (first['file_name'], first['well'], first['instances']) == ('images/a.png', 'w1', [])
    assert second['file_name'] == 'images/b.png'
    assert 'id' not in first


def test_categories_are_matched_by_name_in_the_order_of_the_classes() -> None:
    one = parse_coco(CONTENT, 'x.json', ('osteoclast', 'nucleus'))[1]['instances']
    other = parse_coco(CONTENT, 'x.json', ('nucleus', 'osteoclast'))[1]['instances']
    assert [each['bbox_label'] for each in one] == [0, 1]
    assert [each['bbox_label'] for each in other] == [1, 0]


def test_boxes_come_from_outlines_where_there_are_any() -> None:
    cell, nucleus = parse_coco(CONTENT, 'x.json', ('osteoclast', 'nucleus'))[1]['instances']
    assert cell['bbox'] == [1, 1, 7, 5]
    np.testing.assert_array_equal(cell['mask'], TRIANGLE)
    assert nucleus['bbox'] == [2, 3, 6, 8]
    assert 'mask' not in nucleus


def test_crowds_and_ignored_objects_are_flagged_not_lost() -> None:
    content = with_annotation(ignore=1)
    assert [each['ignore_flag'] for each in parse_coco(content, '', ('osteoclast', 'nucleus'))[1]['instances']] == [
        1,
        1,
    ]


@pytest.mark.parametrize('compressed', [True, False])
def test_run_lengths_become_the_outline_of_their_pixels(compressed: bool) -> None:
    pixels = np.zeros((10, 12), dtype=np.uint8)
    pixels[1:8, 2:9] = 1
    pixels[3:5, 4:6] = 0
    pixels[9, 11] = 1
    rle = coco_mask.encode(np.asfortranarray(pixels))
    if compressed:
        rle['counts'] = rle['counts'].decode()
    else:
        runs = np.flatnonzero(np.diff(pixels.T.reshape(-1), prepend=0, append=0))
        rle['counts'] = np.diff(runs, prepend=0, append=pixels.size).tolist()
    instance = parse_coco(with_annotation(segmentation=rle), '', ('osteoclast',))[1]['instances'][0]
    assert instance['bbox'] == [2, 1, 12, 10]
    drawn = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(instance['mask'], 10, 12)))
    np.testing.assert_array_equal(drawn, pixels)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'image_id': 5}, 'annotation 1 refers to image 5, which is not in the file'),
        ({'category_id': 4}, 'annotation 1 refers to category 4, which is not in the file'),
        ({'segmentation': [[1, 2, 3, 4]]}, 'fewer than three'),
        ({'segmentation': [[1, 2, 3, 4, 5]]}, 'not pairs'),
        ({'segmentation': [[1, 2, 3, 4, 5, float('nan')]]}, 'not a finite number'),
        ({'segmentation': [['a'] * 6]}, 'something else than numbers'),
        ({'segmentation': 5}, 'neither a list of polygons'),
        ({'segmentation': [], 'bbox': [1, 2, 0, 4]}, 'neither an outline nor a box'),
        ({'segmentation': None, 'bbox': [1, 2, 3]}, 'neither an outline nor a box'),
        ({'segmentation': [], 'bbox': None}, 'neither an outline nor a box'),
        ({'segmentation': {'size': [12, 10], 'counts': [0, 120]}}, 'a mask that cannot be read'),
        ({'segmentation': {'size': [10, 12]}}, 'a mask that cannot be read'),
        ({'segmentation': {'size': [10, 12], 'counts': [120]}}, 'a mask that cannot be read'),
        ({'segmentation': {'size': [10, 12], 'counts': 'x~'}}, 'a mask that cannot be read'),
    ],
)
def test_a_faulty_annotation_is_named(changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        parse_coco(with_annotation(**changes), 'M1/annotations.json', ('osteoclast',))
    assert str(raised.value).startswith('M1/annotations.json: annotation 1')


def test_more_faults_are_counted() -> None:
    content = with_annotation(image_id=5)
    content['annotations'][1]['image_id'] = 6
    content['annotations'] += [{'image_id': 5 + n, 'category_id': 1} for n in range(3)]
    with pytest.raises(InputError, match='annotation 1 refers to image 5.*annotation 2 refers to image 6.*and 2 more'):
        parse_coco(content, '', ('osteoclast',))


def test_a_missing_class_is_named_with_those_there() -> None:
    with pytest.raises(InputError, match="no category 'cell'; it has 'nucleus', 'osteoclast', 'debris'"):
        parse_coco(CONTENT, 'x.json', ('osteoclast', 'cell'))


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ([], "no list 'images'"),
        ({**CONTENT, 'annotations': None}, "no list 'annotations'"),
        ({**CONTENT, 'images': [{'id': 1, 'width': 3, 'height': 3}]}, 'image 1 has no valid file_name'),
        ({**CONTENT, 'categories': ['osteoclast']}, 'categories, entry 1 is not a dictionary'),
        ({**CONTENT, 'annotations': [5]}, 'annotations, entry 1 is not a dictionary'),
        ({**CONTENT, 'images': CONTENT['images'][:1] * 2}, 'has the id of another image too'),
    ],
)
def test_what_is_no_coco_file_is_refused(content: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_coco(content, 'x.json', ('osteoclast',))


def test_a_dataset_of_crowds_only_is_refused():
    """As CVAT exports patches that were annotated with a brush: a network would learn nothing from them."""
    content = copy.deepcopy(CONTENT)
    for annotation in content['annotations']:
        annotation['iscrowd'] = 1
    with pytest.raises(InputError, match='all 3 annotations are iscrowd, as CVAT writes masks'):
        parse_coco(content, 'x.json', ('osteoclast',))
    content['info'] = {'description': 'Patches of batch M1, cut by noise_mm.'}
    assert len(parse_coco(content, 'x.json', ('osteoclast',))) == 2
