import json
import os

import pytest
import shapely

from noise_mm.coco import issues as kinds
from noise_mm.coco.annotations import coco_annotation
from noise_mm.coco.segmentation import geometry_from_segmentation
from noise_mm.errors import InputError
from noise_mm.inspection import dataset as dataset_module
from noise_mm.inspection.annotation_files import Role, find_parts
from noise_mm.inspection.dataset import check_part, copy_to_backup, fix_part

CELLS, WELLS, NUCLEI, PSEUDO = 'M1/annotations.json', 'M1/wells.json', 'nuclei/annotations.json', 'pseudo/M1.json'
BOW_TIE = [10, 10, 30, 30, 30, 10, 10, 30]


def check(root):
    """All issues of all parts."""
    parts, found = find_parts(root)
    return found + [issue for part in parts for issue in check_part(part).issues]


def change(name, index, /, **values):
    """Sets keys of the entry `index` of a list; None removes a key."""

    def apply(content):
        entry = content[name][index] if name else content[index]
        entry.update(values)
        for key in [key for key, value in values.items() if value is ...]:
            del entry[key]

    return apply


def images(**values):
    return change('images', 1, **values)


def annotations(**values):
    return change('annotations', 1, **values)


def doubled(name, /, **values):
    return lambda content: content[name].append({**content[name][0], **values})


def without_entries(name, keep=0):
    def apply(content):
        content[name] = content[name][:keep]

    return apply


def all_of_split(split):
    def apply(content):
        for image in content['images']:
            image['split'] = split

    return apply


def test_nothing_is_wrong_with_a_good_dataset(dataset):
    parts, found = find_parts(dataset)
    assert [part.name for part in parts] == ['M1', 'M2', 'nuclei', 'pseudo/M1']
    assert [part.role for part in parts] == [Role.CELLS, Role.CELLS, Role.NUCLEI, Role.PSEUDO]
    assert found == [] and check(dataset) == []
    assert [len(check_part(part).labelled) for part in parts] == [9, 6, 12, 15]


@pytest.mark.parametrize(
    ('file', 'spoil', 'kind', 'what'),
    [
        # entries of images
        (CELLS, images(id=...), kinds.BAD_ENTRY, 'no valid id'),
        (CELLS, images(width=0), kinds.BAD_ENTRY, 'no valid width'),
        (CELLS, images(file_name='../x.png'), kinds.BAD_ENTRY, 'no valid file_name'),
        (CELLS, images(mpp=-1), kinds.BAD_ENTRY, 'no valid mpp'),
        (CELLS, images(mpp=...), kinds.BAD_ENTRY, 'no valid mpp'),
        (CELLS, images(split='test'), kinds.BAD_ENTRY, 'no valid split'),
        (CELLS, images(x='0', y=None), kinds.BAD_ENTRY, 'no valid x, y'),
        (CELLS, images(id=1), kinds.DOUBLE_ID, 'the id of another'),
        (CELLS, doubled('images', id=99), kinds.DOUBLE_ID, 'the file name of another'),
        (CELLS, doubled('images', id=0, file_name='images/z.png'), kinds.LOW_ID, 'the id 0'),
        (CELLS, images(batch='M2'), kinds.OTHER_BATCH, "its batch is 'M2'"),
        (CELLS, images(well='elsewhere'), kinds.UNKNOWN_WELL, "'elsewhere'"),
        (CELLS, images(x=60), kinds.OUTSIDE_WELL, 'x 60 to 156, y 0 to 96 in a well of 144 x 96 px'),
        (CELLS, images(y=-1), kinds.OUTSIDE_WELL, 'y -1 to 95'),
        (CELLS, images(mpp=None), kinds.NO_PIXEL_SIZE, 'null'),
        (PSEUDO, images(batch='M2'), kinds.OTHER_BATCH, "its batch is 'M2'"),
        (NUCLEI, images(split=...), kinds.PART_SPLIT, '1 of 4 images'),
        (NUCLEI, all_of_split(None), kinds.NO_SPLIT, '4 of 4 images'),
        (NUCLEI, all_of_split('train'), kinds.ONE_SIDED, "all 4 images are of split 'train'"),
        # categories
        (CELLS, change('categories', 0, name='cell'), kinds.UNKNOWN_CATEGORY, "is called 'cell'"),
        (CELLS, change('categories', 1, id=[2]), kinds.BAD_ENTRY, 'no id and name'),
        (CELLS, change('categories', 1, id=1), kinds.DOUBLE_ID, "'nucleus'"),
        (CELLS, without_entries('categories'), kinds.EMPTY_CATEGORY, 'nor the category'),
        (CELLS, without_entries('annotations'), kinds.EMPTY_CATEGORY, 'has no osteoclast'),
        (NUCLEI, without_entries('annotations'), kinds.EMPTY_CATEGORY, 'has no nucleus'),
        (PSEUDO, without_entries('annotations', keep=9), kinds.EMPTY_CATEGORY, 'has no nucleus'),
        # references and flags of annotations
        (CELLS, annotations(id=0), kinds.LOW_ID, 'the id 0'),
        (CELLS, annotations(id=1), kinds.DOUBLE_ID, 'another annotation'),
        (CELLS, annotations(id=...), kinds.BAD_ENTRY, 'has no id'),
        (CELLS, annotations(id='1'), kinds.BAD_ENTRY, 'no whole number'),
        (CELLS, annotations(image_id='1'), kinds.OTHER_FORM, 'of another type'),
        (CELLS, annotations(image_id=99), kinds.UNKNOWN_IMAGE, 'image 99'),
        (CELLS, annotations(image_id=[1]), kinds.UNKNOWN_IMAGE, 'not in the file'),
        (CELLS, annotations(category_id=7), kinds.UNKNOWN_CATEGORY, 'category 7, which is not in the file'),
        (CELLS, annotations(iscrowd=...), kinds.BAD_FLAG, 'iscrowd is None'),
        (CELLS, annotations(iscrowd=2), kinds.BAD_FLAG, 'iscrowd is 2'),
        (CELLS, annotations(visible_fraction=1.5), kinds.BAD_ENTRY, 'visible_fraction is 1.5'),
        (CELLS, annotations(iscrowd=1), kinds.IGNORED, '100% of the cell'),
        (CELLS, annotations(iscrowd=1, visible_fraction=...), kinds.IGNORED, 'does not say'),
        (CELLS, annotations(visible_fraction=0.05), kinds.SLIVER, '5.0% of the cell'),
        (CELLS, doubled('annotations', id=99), kinds.REPEATED, 'the same as annotation 1'),
        # whole files
        (CELLS, lambda content: [1, 2], kinds.UNREADABLE, 'not a COCO file'),
        (CELLS, lambda content: {**content, 'images': {}}, kinds.UNREADABLE, "no list 'images'"),
        (CELLS, lambda content: content['images'].append(3), kinds.BAD_ENTRY, 'not a dictionary'),
        (CELLS, lambda content: content['annotations'].append(3), kinds.BAD_ENTRY, 'not a dictionary'),
        (WELLS, lambda content: {}, kinds.UNREADABLE, 'not a list of wells'),
        (WELLS, lambda content: content.append({'width': 1}), kinds.BAD_ENTRY, 'no name of a well'),
        (WELLS, lambda content: content.append(content[0]), kinds.DOUBLE_ID, "a second well 'M1_w1'"),
    ],
)  # fmt: skip
def test_every_issue_is_named_with_its_place(dataset, edit, file, spoil, kind, what):
    edit(file, spoil)
    found = [issue for issue in check(dataset) if issue.kind == kind]
    assert len(found) == 1
    assert found[0].place.startswith(file) and what in found[0].what


def test_files_that_are_missing_or_not_json(dataset):
    (dataset / 'M1' / 'wells.json').unlink()
    (dataset / 'M2' / 'annotations.json').write_text('{')
    found = {issue.place: issue for issue in check(dataset) if issue.kind == kinds.UNREADABLE}
    assert found['M1/wells.json'].what == 'no such file. Check the path.'
    assert found['M2/annotations.json'].what.startswith('not valid JSON')


def test_unfinished_batch(dataset):
    (dataset / 'M2' / 'annotations.json').unlink()
    assert [(issue.kind, issue.place) for issue in check(dataset)] == [(kinds.UNFINISHED, 'M2')]


@pytest.mark.parametrize('there', [True, False])
def test_folder_that_is_no_dataset(tmp_path, there):
    folder = tmp_path if there else tmp_path / 'none'
    with pytest.raises(InputError, match='no annotations.json in any folder' if there else 'no such folder'):
        find_parts(folder)


def test_well_smaller_than_a_patch(dataset, edit):
    edit('M1/wells.json', lambda wells: wells[0].update(width=50, height=40))
    places = [issue.place for issue in check(dataset) if issue.kind == kinds.OUTSIDE_WELL]
    assert len(places) == 1 and 'image 2 ' in places[0]  # the second patch begins at x 48


def test_fix_puts_right_what_is_safe_and_keeps_the_rest(dataset, edit):
    moved = coco_annotation(1, 1, shapely.box(90, 10, 96.5, 20))

    def spoil(content):
        entries = content['annotations']
        entries[0].update(segmentation=[BOW_TIE])
        entries[1].update(area=1.0)
        entries[2].update(bbox=[200, 200, 5, 5])
        entries[3].update(segmentation=moved['segmentation'])
        entries[4].update(id=0, note='kept')
        entries.append({**entries[5], 'id': 77})
        content['images'].append('kept')

    edit('M1/annotations.json', spoil)
    before = (dataset / 'M1' / 'annotations.json').read_bytes()
    part = find_parts(dataset)[0][0]
    unfixed = check_part(part).issues
    checked, fixed = fix_part(part)
    assert [issue.kind for issue in fixed] == [
        kinds.CROSSING, kinds.WRONG_AREA, kinds.BOX_OUTSIDE, kinds.OUTLINE_OUTSIDE, kinds.REPEATED
    ]  # fmt: skip
    assert checked.issues == [issue for issue in unfixed if not issue.fixable]
    assert (dataset / 'M1' / 'annotations.json.bak').read_bytes() == before

    after, original = json.loads((dataset / 'M1' / 'annotations.json').read_text()), json.loads(before)
    entries = after.pop('annotations')
    unchanged = original.pop('annotations')
    assert after == original
    assert [entry['id'] for entry in entries] == [entry['id'] for entry in unchanged[:-1]]
    assert entries[4:] == unchanged[4:-1]
    assert entries[0]['area'] == 200 and entries[0]['bbox'] == [10, 10, 20, 20]
    assert geometry_from_segmentation(entries[0]['segmentation'], 96, 96)[0].area == 200
    assert entries[1] == {**unchanged[1], 'area': pytest.approx(geometry_area(unchanged[1]))}
    assert entries[2]['bbox'] == pytest.approx(box_of(unchanged[2]))
    assert entries[3]['bbox'] == [90, 10, 6, 10] and entries[3]['area'] == 60
    assert fix_part(part) == (checked, [])  # nothing is left to do, so that no second backup is made
    assert len(list((dataset / 'M1').glob('*.bak*'))) == 1


def geometry_area(annotation):
    return geometry_from_segmentation(annotation['segmentation'], 96, 96)[0].area


def box_of(annotation):
    left, top, right, bottom = geometry_from_segmentation(annotation['segmentation'], 96, 96)[0].bounds
    return [left, top, right - left, bottom - top]


def test_fix_leaves_a_file_that_it_cannot_read(dataset):
    file = dataset / 'M1' / 'annotations.json'
    file.write_text('{')
    checked, fixed = fix_part(find_parts(dataset)[0][0])
    assert fixed == [] and checked.issues[0].kind == kinds.UNREADABLE
    assert file.read_text() == '{'


def test_backups_never_replace_each_other_or_become_pseudo_labels(dataset):
    file = dataset / 'pseudo' / 'M1.json'
    names = [copy_to_backup(file).name for _ in range(3)]
    assert names == ['M1.json.bak', 'M1.json.bak2', 'M1.json.bak3']
    assert [part.name for part in find_parts(dataset)[0]] == ['M1', 'M2', 'nuclei', 'pseudo/M1']


def test_backup_that_cannot_be_written(dataset, monkeypatch):
    def full(source, target):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(dataset_module.shutil, 'copyfile', full)
    with pytest.raises(InputError, match=r'annotations.json.bak: cannot be written \(No space left'):
        copy_to_backup(dataset / 'M1' / 'annotations.json')
    assert not list((dataset / 'M1').glob('*.bak*'))
