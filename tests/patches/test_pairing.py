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
