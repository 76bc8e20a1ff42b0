import json
from dataclasses import replace

import pytest
import shapely

from noise_mm.coco.annotations import write_coco
from noise_mm.errors import InputError
from noise_mm.evaluation.well_files import pair_files, read_well, require_labels
from noise_mm.geometry.outline import Outline
from noise_mm.patches.pairing import Annotated

CELL = Outline(shapely.box(2, 3, 12, 9), score=0.5)
SIZE = 40, 30


@pytest.fixture
def folders(tmp_path):
    for name in ('predictions', 'rois'):
        (tmp_path / name).mkdir()
    return tmp_path / 'predictions', tmp_path / 'rois'


def sides(folder, found='found.json', truth='truth.json'):
    return Annotated(folder / found), Annotated(folder / truth)


def test_names_are_paired_as_wells_are(folders):
    predictions, rois = folders
    for name in ('img_A1.json', 'B1.json', 'C1.json', 'run.json', 'B1.geojson', 'B1_overlay.png', '.hidden.json'):
        (predictions / name).touch()
    (predictions / 'records').mkdir()
    (predictions / 'records' / 'D1.json').touch()
    for name in ('roi_A1.csv', 'B1_RoiSet.zip', 'E1.json'):
        (rois / name).touch()
    files = pair_files(predictions, rois)
    assert {name: list(map(str, sides)) for name, sides in files.wells.items()} == {
        'A1': ['img_A1.json', 'roi_A1.csv'],
        'B1': ['B1.json', 'B1_RoiSet.zip'],
    }
    assert (files.without_rois, files.without_predictions) == (['C1'], ['E1'])


def test_folders_that_are_not_what_is_needed(folders):
    predictions, rois = folders
    with pytest.raises(InputError, match='not a folder'):
        pair_files(predictions / 'none', rois)
    with pytest.raises(InputError, match='holds the predictions'):
        pair_files(predictions, predictions)
    (predictions / 'run.json').touch()
    with pytest.raises(InputError, match='no <well>.json'):
        pair_files(predictions, rois)
    (predictions / 'A1.json').touch()
    with pytest.raises(InputError, match='no annotation files'):
        pair_files(predictions, rois)
    for name in ('A1.zip', 'A1.csv'):
        (rois / name).touch()
    with pytest.raises(InputError, match=r"several files of well 'A1' \(A1.csv, A1.zip\)"):
        pair_files(predictions, rois)


@pytest.mark.parametrize(('facts', 'batch'), [({'batch': 'M1'}, 'M1'), ({'plate': 7}, '7'), ({}, 'unknown')])
def test_both_sides_of_a_well(tmp_path, facts, batch):
    write_coco(tmp_path / 'found.json', [CELL], 'A1.tif', SIZE, rle=True, mpp=0.5, **facts)
    write_coco(tmp_path / 'truth.json', [replace(CELL, score=None)], 'A1.tif', SIZE)
    well = read_well('A1', *sides(tmp_path))
    assert (well.name, well.batch, well.size_px, well.um_per_px) == ('A1', batch, SIZE, 0.5)
    assert well.found[0].geometry.equals(CELL.geometry)
    assert (well.found[0].score, well.objects[0].score) == (0.5, None)
    assert read_well('A1', *sides(tmp_path), 0.25).um_per_px == 0.25


def test_annotations_of_another_image_are_refused(tmp_path):
    write_coco(tmp_path / 'found.json', [], 'A1.tif', SIZE)
    write_coco(tmp_path / 'truth.json', [], 'A1.tif', (50, 30))
    with pytest.raises(InputError, match=r'truth.json: .*50 x 30 px'):
        read_well('A1', *sides(tmp_path))
    (tmp_path / 'other.json').write_text(json.dumps({'epoch': 1}))
    with pytest.raises(InputError, match='other.json'):
        read_well('A1', *sides(tmp_path, 'other.json'))


def test_labels_that_are_not_scored_are_counted(tmp_path):
    write_coco(tmp_path / 'found.json', [CELL, replace(CELL, label='pre-osteoclast')], 'A1.tif', SIZE)
    write_coco(tmp_path / 'truth.json', [CELL], 'A1.tif', SIZE)
    well = read_well('A1', *sides(tmp_path))
    assert require_labels([well], ['osteoclast']) == {'pre-osteoclast': 1}
    with pytest.raises(InputError, match="no cell is annotated in any of the 1 wells; there are 'osteoclast'"):
        require_labels([well], ['cell'])
    with pytest.raises(InputError, match='the files are empty'):
        require_labels([replace(well, objects=[])], ['osteoclast'])


def test_one_coco_file_for_the_whole_plate(folders, tmp_path):
    """On either side, matched by `file_name`; folders and capitals of the suffix do not matter."""
    predictions, rois = folders
    images = [
        {'id': n, 'file_name': f'plate7\\{name}.TIF', 'width': 40, 'height': 30} for n, name in ((0, 'A1'), (7, 'A2'))
    ]
    ring = [[2, 3, 12, 3, 12, 9, 2, 9]]
    annotations = [
        {'id': 1, 'image_id': '7', 'category_id': 1, 'segmentation': ring, 'score': 0.5},
        {'id': 2, 'image_id': 7, 'category_id': 1, 'segmentation': ring[0], 'score': 0.25},
    ]
    content = {'images': images, 'annotations': annotations, 'categories': [{'id': 1, 'name': 'Osteoclast'}]}
    (predictions / 'instances_default.json').write_text(json.dumps(content))
    for name in ('A1', 'A2'):
        write_coco(rois / f'{name}.json', [CELL], f'{name}.tif', SIZE)
    files = pair_files(predictions, rois)
    wells = [read_well(name, *both) for name, both in files.wells.items()]
    assert [len(well.found) for well in wells] == [0, 2]
    assert wells[1].found[0].label == 'osteoclast'
    assert len(wells[1].notes) == 2  # the id that is text, and the flat list
