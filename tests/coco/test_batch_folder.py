import stat

import pytest
from shapely import box

from noise_mm.coco.annotations import coco_annotation
from noise_mm.coco.batch_folder import (
    coco_dictionary,
    image_entry,
    new_batch_folder,
    patch_file_name,
    refuse_existing,
    write_batch,
)
from noise_mm.errors import InputError
from tests.fixtures.files import read_batch

WELL = {'well': 'w', 'width': 90, 'height': 90, 'mpp': 0.5, 'source': 'w.tif'}


def _image(number=1, well='w'):
    name = patch_file_name(well, 416 * number, 0)
    return image_entry(number, name, 40, 40, batch='M1', well=well, x=0, y=416 * number, mpp=0.5)


def test_what_is_written_is_read(tmp_path):
    annotation = coco_annotation(1, 1, box(0, 0, 4, 4))
    write_batch(tmp_path / 'M1', [_image()], [annotation], [WELL], info={'made_by': 'test'})
    dataset, wells = read_batch(tmp_path / 'M1')
    assert wells == [WELL]
    assert dataset['images'] == [
        {'id': 1, 'file_name': 'images/w_416_0.png', 'width': 40, 'height': 40, 'batch': 'M1', 'well': 'w', 'x': 0,
         'y': 416, 'mpp': 0.5}
    ]  # fmt: skip
    assert dataset['annotations'] == [annotation]
    assert [(category['id'], category['name']) for category in dataset['categories']] == [
        (1, 'osteoclast'),
        (2, 'nucleus'),
    ]
    assert dataset['info'] == {'made_by': 'test'}


@pytest.mark.parametrize(
    ('images', 'annotations', 'message'),
    [
        ([_image(), _image()], [], 'ids of images are below 1 or used twice'),
        ([_image()], [coco_annotation(0, 1, box(0, 0, 1, 1))], 'ids of annotations are below 1'),
        ([_image()], [coco_annotation(1, 9, box(0, 0, 1, 1))], 'unknown images'),
        ([_image()], [coco_annotation(1, 1, box(0, 0, 1, 1), category_id=9)], 'unknown categories'),
        ([{**_image(), 'well': 'v'}], [], 'another well than'),
    ],
)
def test_inconsistent_batches_are_refused(tmp_path, images, annotations, message):
    with pytest.raises(ValueError, match=message):
        write_batch(tmp_path, images, annotations, [WELL])
    assert not list(tmp_path.iterdir())


def test_inconsistent_wells_are_refused(tmp_path):
    with pytest.raises(ValueError, match='two wells of one batch'):
        write_batch(tmp_path, [], [], [WELL, WELL])


def test_doubled_categories_are_refused():
    with pytest.raises(ValueError, match='ids of categories'):
        coco_dictionary([], [], categories=[{'id': 1, 'name': 'a'}, {'id': 1, 'name': 'b'}])


def test_a_new_folder_appears_whole(tmp_path):
    folder = tmp_path / 'data' / 'M1'
    with new_batch_folder(folder) as temporary:
        (temporary / 'images' / 'a.png').write_bytes(b'')
        assert not folder.exists()
    assert (folder / 'images' / 'a.png').exists()
    assert [path.name for path in folder.parent.iterdir()] == ['M1']
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE((folder / 'images').stat().st_mode)


def test_nothing_is_left_of_a_folder_that_failed(tmp_path):
    with pytest.raises(KeyError), new_batch_folder(tmp_path / 'M1'):
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_existing_folders_are_refused(tmp_path):
    (tmp_path / 'M1').mkdir()
    refuse_existing(tmp_path / 'M1')  # an empty one is no batch
    (tmp_path / 'M1' / 'x').write_text('')
    with pytest.raises(InputError, match='already there'), new_batch_folder(tmp_path / 'M1'):
        pass
    with pytest.raises(InputError, match='cannot be made'), new_batch_folder(tmp_path / 'M1' / 'x' / 'y'):
        pass
