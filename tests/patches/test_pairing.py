import json
from pathlib import Path

import pytest

from noise_mm.errors import InputError
from noise_mm.patches.pairing import find_wells


def folder(path, *names):
    path.mkdir(exist_ok=True)
    for name in names:
        (path / name).touch()
    return path


@pytest.mark.parametrize(
    ('image', 'annotation'),
    [
        ('w1.tif', 'w1.zip'),
        ('w1.TIF', 'w1_RoiSet.zip'),
        ('w1.tif', 'RoiSet_w1.zip'),
        ('w1.ome.tif', 'w1.geojson'),
        ('w1.ome.tif', 'w1.ome.geojson.gz'),
        ('w1.svs', 'w1.roi'),
        ('img_w1.tif', 'roi_w1.csv'),
        ('img_w1.png', 'img_w1.json'),
        ('w1.jpg', 'w1_labels.tif'),
        ('w1.jpg', 'w1.tif'),
    ],
)
def test_names_that_belong_together(tmp_path, image, annotation):
    wells, faults, _ = find_wells(folder(tmp_path / 'w', image), folder(tmp_path / 'r', annotation))
    assert [(well.name, well.image.name, well.annotation.name) for well in wells] == [('w1', image, annotation)]
    assert not faults


def test_one_folder_for_both(tmp_path):
    names = ['a.tif', 'a_RoiSet.zip', 'a_nuclei.csv', 'b.tif', 'b_labels.tif', '.hidden.tif', 'notes.txt']
    both = folder(tmp_path, *names)
    (tmp_path / 'sub.tif').mkdir()
    wells, faults, _ = find_wells(both, both)
    assert [(well.name, well.annotation.name) for well in wells] == [('a', 'a_RoiSet.zip'), ('b', 'b_labels.tif')]
    assert not faults


def test_wells_are_sorted_by_name(tmp_path):
    images = folder(tmp_path / 'w', 'b.tif', 'a.tif', 'c.tif')
    wells, *_ = find_wells(images, folder(tmp_path / 'r', 'c.zip', 'a.zip', 'b.zip'))
    assert [well.name for well in wells] == ['a', 'b', 'c']


def test_each_fault_is_named_and_the_others_are_found(tmp_path):
    images = folder(tmp_path / 'w', 'good.tif', 'twice.tif', 'twice.png', 'bare.tif', 'unclear.tif')
    outlines = folder(tmp_path / 'r', 'good.zip', 'twice.zip', 'unclear.zip', 'unclear.csv')
    wells, faults, _ = find_wells(images, outlines)
    assert [well.name for well in wells] == ['good']
    messages = {name: str(fault) for name, fault in faults.items()}
    assert "two wells are called 'twice' (twice.png, twice.tif)" in messages['twice']
    assert 'bare.tif' in messages['bare'] and str(outlines) in messages['bare']
    assert "several annotation files for well 'unclear' (unclear.csv, unclear.zip)" in messages['unclear']
    assert len(messages) == 3


def test_unannotated_wells_if_allowed(tmp_path):
    wells, faults, _ = find_wells(folder(tmp_path / 'w', 'a.tif'), folder(tmp_path / 'r'), allow_unannotated=True)
    assert [well.annotation for well in wells] == [None]
    assert not faults


def test_folders_that_are_missing_or_empty(tmp_path):
    images = folder(tmp_path / 'w', 'a.tif')
    for wells_dir, rois_dir, reason in (
        (Path(tmp_path / 'no'), images, 'no: not a folder'),
        (images, Path(tmp_path / 'no'), 'no: not a folder'),
        (folder(tmp_path / 'empty', 'notes.txt'), images, 'empty: no well images'),
    ):
        with pytest.raises(InputError, match=reason):
            find_wells(wells_dir, rois_dir)


def plate_file(path, *file_names):
    images = [{'id': n, 'file_name': name, 'width': 9, 'height': 9} for n, name in enumerate(file_names)]
    path.write_text(json.dumps({'images': images, 'annotations': [], 'categories': [{'id': 1, 'name': 'a'}]}))


def test_one_coco_file_for_the_plate(tmp_path):
    images, rois = folder(tmp_path / 'w', 'a.tif', 'img_b.ome.tif', 'c.png'), folder(tmp_path / 'r', 'c.zip')
    plate_file(rois / 'instances_default.json', 'a.png', 'plate/b.TIF', 'x.tif')
    wells, faults, notes = find_wells(images, rois)
    assert [(well.name, well.annotation.name, well.coco_image) for well in wells] == [
        ('a', 'instances_default.json', 'a.png'),
        ('b', 'instances_default.json', 'plate/b.TIF'),
        ('c', 'c.zip', None),
    ]
    assert not faults
    assert [note.partition('json: ')[2] for note in notes] == ['1 images in it are of no well here (x.tif)']


def test_a_well_in_two_places(tmp_path):
    images, rois = folder(tmp_path / 'w', 'a.tif', 'b.tif'), folder(tmp_path / 'r', 'a.zip')
    plate_file(rois / 'plate.json', 'a.png', '1/b.tif', '2/b.tif')
    _, faults, _ = find_wells(images, rois)
    assert r"several annotation files for well 'a' (a.zip, plate.json (a.png))" in str(faults['a'])
    assert r'(plate.json (1/b.tif), plate.json (2/b.tif))' in str(faults['b'])


@pytest.mark.parametrize('allow_unannotated', [True, False])
def test_annotations_of_no_well_are_named(tmp_path, allow_unannotated):
    images, rois = folder(tmp_path / 'w', 'a.tif'), folder(tmp_path / 'r', 'a.zip', 'A01.zip', 'b.csv', 'notes.txt')
    (rois / 'other.json').write_text('[')
    _, _, notes = find_wells(images, rois, allow_unannotated)
    assert notes == [f'A01.zip, b.csv, other.json in {rois}: not used, named after no well here']


def test_label_images_beside_wells_are_no_wells(tmp_path):
    names = ['a.tif', 'a_labels.tif', 'a_cp_masks.png', 'a_masks.tif', 'a_MASK.tif']
    wells, _, notes = find_wells(folder(tmp_path / 'w', *names), folder(tmp_path / 'r', 'a.zip'))
    assert [well.name for well in wells] == ['a']
    assert notes[0].startswith('a_MASK.tif, a_cp_masks.png, a_labels.tif, a_masks.tif in')
    with pytest.raises(InputError, match='no well images but label images'):
        find_wells(folder(tmp_path / 'm', 'a_labels.tif'), tmp_path / 'r')


@pytest.mark.parametrize('name', ['a_labels.tif', 'a_cp_masks.png', 'a_masks.tif', 'a_label.png', 'a_mask.png'])
def test_label_images_belong_to_their_well(tmp_path, name):
    both = folder(tmp_path, 'a.png', name)
    (well,), faults, notes = find_wells(both, both)
    assert (well.annotation.name, faults, notes) == (name, {}, [])


def test_a_picture_beside_the_annotations_is_none(tmp_path):
    images, rois = folder(tmp_path / 'w', 'a.tif'), folder(tmp_path / 'r', 'a.zip', 'a.png')
    (well,), faults, notes = find_wells(images, rois)
    assert (well.annotation.name, faults) == ('a.zip', {})
    assert notes == [f'a.png in {rois}: not used, taken for a picture beside the annotations']


def test_umlauts_of_macos_are_those_of_other_systems(tmp_path):
    composed, decomposed = 'M\u00e4use 1', 'Ma\u0308use 1'
    images, rois = folder(tmp_path / 'w', f'{decomposed}.tif'), folder(tmp_path / 'r', f'{composed}.zip')
    (well,), faults, _ = find_wells(images, rois)
    assert (well.name, faults) == (composed, {})
