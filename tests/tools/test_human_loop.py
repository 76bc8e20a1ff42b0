"""The loop with the human: cells are predicted, outlines corrected in ImageJ or QuPath, and trained on (the way of
docs/human_in_the_loop.md). What people do in these programs is done to the files here, as they would save them."""

import copy
import csv
import json
import os
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
import roifile
import shapely
from shapely import affinity

from noise_mm.formats.geojson import write_geojson
from noise_mm.formats.imagej import read_imagej, write_imagej
from noise_mm.geometry.outline import Outline

SIZE_PX = (300, 260)
CUT = ('--mpp', '0.7784', '--patch-size', '128', '--stride', '64', '--workers', '1')


@pytest.fixture
def call(repo_dir):
    """`call('tools/train.py', *arguments)` -> exit status and all output; as typed in the root of the repository."""
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}

    def start(script, *arguments):
        command = [sys.executable, script, *map(str, arguments)]
        done = subprocess.run(command, cwd=repo_dir, env=environment, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    return start


def draw_well(path, cells):
    """A well with these cells."""
    picture = np.full((SIZE_PX[1], SIZE_PX[0], 3), 215, np.uint8)
    for cell in cells:
        ring = np.rint(shapely.get_coordinates(cell)).astype(np.int32)
        cv2.fillPoly(picture, [ring], (140, 60, 120))
    path.parent.mkdir(exist_ok=True)
    assert cv2.imwrite(str(path), picture)


def predictions():
    """Four osteoclasts and two pre-osteoclasts, named and classed as `tools/predict.py` does it."""
    places = [(50, 50), (150, 60), (240, 70), (60, 180), (150, 170), (240, 190)]
    classes = ['osteoclast', 'osteoclast', 'osteoclast', 'pre-osteoclast', 'osteoclast', 'pre-osteoclast']
    return [
        Outline(shapely.Point(x, y).buffer(20 + i), name=f'{label}_{i:04d}', label=label, score=0.9 - i / 20)
        for i, ((x, y), label) in enumerate(zip(places, classes, strict=True), 1)
    ]


def correct_in_imagej(path):
    """Deletes the first ROI, drags the second 5 px to the right, and adds a polygon drawn by hand."""
    rois = roifile.roiread(path)[1:]
    rois[0].subpixel_coordinates = rois[0].subpixel_coordinates + np.float32([5, 0])
    drawn = roifile.ImagejRoi.frompoints(np.array([[100, 210], [130, 205], [135, 240], [105, 245]]))
    drawn.name = '0225-0117'  # as ImageJ names what is added
    path.unlink()  # roifile would add to it
    roifile.roiwrite(path, [*rois, drawn])


def correct_in_qupath(path):
    """The same; what is drawn has the class that the user gave it, and no name."""
    collection = json.loads(path.read_text())
    features = collection['features'][1:]
    (ring,) = features[0]['geometry']['coordinates']
    features[0]['geometry']['coordinates'] = [[[x + 5, y] for x, y in ring]]
    drawn = copy.deepcopy(features[0])
    drawn['geometry']['coordinates'] = [[[100, 210], [130, 205], [135, 240], [105, 245], [100, 210]]]
    drawn['properties'] = {'objectType': 'annotation', 'classification': {'name': 'osteoclast', 'color': [200, 0, 0]}}
    path.write_text(json.dumps({**collection, 'features': [*features, drawn]}))


FORMATS = {'A1.zip': (write_imagej, correct_in_imagej), 'A1.geojson': (write_geojson, correct_in_qupath)}


@pytest.mark.parametrize('name', FORMATS)
def test_corrections_become_a_batch(call, tmp_path, name):
    write, correct = FORMATS[name]
    draw_well(tmp_path / 'plate' / 'A1.png', [outline.geometry for outline in predictions()])
    corrected = tmp_path / 'corrected' / name
    corrected.parent.mkdir()
    write(corrected, predictions())
    correct(corrected)
    command = ['data_prep/extract_patches.py', '--wells', tmp_path / 'plate', '--rois', corrected.parent]
    command += ['--batch', 'corrected', '--out', tmp_path / 'data', *CUT]
    status, output = call(*command)
    assert status == 2
    assert '--leave-out pre-osteoclast' in output  # the remedy is named
    status, output = call(*command, '--leave-out', 'pre-osteoclast')
    assert status == 0, output
    cells = cells_of(tmp_path / 'data' / 'corrected')
    expected = [outline.geometry for outline in predictions() if outline.label == 'osteoclast'][1:]
    expected[0] = affinity.translate(expected[0], 5, 0)
    expected.append(shapely.Polygon([(100, 210), (130, 205), (135, 240), (105, 245)]))
    assert len(cells) == len(expected)
    for cell, truth in zip(cells, expected, strict=True):
        assert cell.symmetric_difference(truth).area < 0.02 * truth.area


def cells_of(batch):
    """The cells of a batch in pixels of the well, in the order of the annotation file, from their pieces."""
    coco = json.loads((batch / 'annotations.json').read_text())
    places = {image['id']: (image['x'], image['y']) for image in coco['images']}
    pieces = {}
    for annotation in coco['annotations']:
        assert annotation['category_id'] == 1
        for ring in annotation['segmentation']:
            polygon = shapely.Polygon(np.reshape(ring, (-1, 2)) + places[annotation['image_id']])
            pieces.setdefault(annotation['cell'], []).append(polygon)
    return [shapely.union_all(pieces[cell]) for cell in sorted(pieces)]


FIRST_ROUND = """
_base_ = '{base}'
data_root = '{data_root}'
init_from = []
network_size_px = 96
patch_size_px = 128
batch_size = nominal_batch_size = 3
max_epochs = 60
val_interval = 30
train_pipeline = [
    dict(type='LoadPatch'),
    dict(type='FitPatch', network_size_px=96),
    dict(type='LoadTargets', with_mask=True),
    dict(type='mmdet.RandomFlip', prob=0.5),
    dict(type='RandomQuarterTurn', prob=0.5),
    dict(type='DrawTargetMasks', overlap=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape')),
]
norm_cfg = dict(type='BN', momentum=0.1, eps=0.001)
model = dict(
    backbone=dict(norm_cfg=norm_cfg), neck=dict(norm_cfg=norm_cfg), bbox_head=dict(head_module=dict(norm_cfg=norm_cfg))
)
hooks = dict(close_mosaic=None)
default_hooks = dict(checkpoint=dict(interval=60))
"""
SECOND_ROUND = """
_base_ = '{base}'
train_batches = ['M1', 'corrected']
init_from = ['{current}']
max_epochs = 5
val_interval = 5
"""


@pytest.mark.slow
def test_predict_correct_train_predict(call, tiny_config, tiny_data, tmp_path):
    """With a nano network that is sure of dark discs after a minute."""
    data, plate, corrected = tmp_path / 'data', tmp_path / 'plate', tmp_path / 'corrected'
    shutil.copytree(tiny_data, data)
    first, second = tmp_path / 'first.py', tmp_path / 'second.py'
    first.write_text(FIRST_ROUND.format(base=tiny_config, data_root=data))
    status, output = call('tools/train.py', first, '--work-dir', tmp_path / 'first')
    assert status == 0, output
    for well in ('A1', 'A2'):
        draw_well(plate / f'{well}.png', [outline.geometry for outline in predictions()])
    current = tmp_path / 'first' / 'best.pth'
    look = (plate, '--mpp', '0.7784', '--device', 'cpu', '--formats', 'roi,csv')
    status, output = call('tools/predict.py', first, current, *look, '--out', tmp_path / 'results')
    assert status == 0, output

    corrected.mkdir()
    for well in ('A1', 'A2'):
        (found,) = (tmp_path / 'results').glob(f'{well}*.zip')
        shutil.copy(found, corrected)
        correct_in_imagej(corrected / found.name)
    n_cells = [len(read_imagej(path)) for path in sorted(corrected.iterdir())]
    assert min(n_cells) >= 4  # of six discs
    extract = ['data_prep/extract_patches.py', '--wells', plate, '--rois', corrected, '--batch', 'corrected']
    status, output = call(*extract, '--out', data, *CUT)
    assert status == 0, output
    assert [well['cells'] for well in json.loads((data / 'corrected' / 'wells.json').read_text())] == n_cells

    second.write_text(SECOND_ROUND.format(base=first, current=current))
    status, output = call('tools/train.py', second, '--work-dir', tmp_path / 'second')
    assert status == 0, output
    initial = json.loads((tmp_path / 'second' / 'initial_weights.json').read_text())
    assert [checkpoint['file'] for checkpoint in initial['checkpoints']] == [str(current)]
    assert initial['random'] == []  # all of the network goes on from the current model
    new = tmp_path / 'second' / 'best.pth'
    status, output = call('tools/predict.py', second, new, *look, '--out', tmp_path / 'again')
    assert status == 0, output
    rows = list(csv.DictReader((tmp_path / 'again' / 'wells.csv').open()))
    assert [row['well'] for row in rows] == ['A1', 'A2']
    assert all(int(row['count']) >= 4 for row in rows)
