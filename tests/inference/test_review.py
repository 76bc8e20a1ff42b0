"""Decisions on cells change all files alike."""

import csv
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
import shapely
import tifffile
from scipy import ndimage
from shapely import Polygon

from noise_mm.errors import InputError
from noise_mm.formats.read import read_outlines
from noise_mm.inference.detection import Detection
from noise_mm.inference.predict_folder import PredictOptions, predict_folder
from noise_mm.inference.predict_well import TileSettings
from noise_mm.inference.review import apply_review
from noise_mm.report.output_files import FORMATS
from noise_mm.report.page import REVIEW_FORMAT


class Dark:
    classes = ('osteoclast',)

    def __call__(self, tiles):
        found = []
        for tile in tiles:
            labels, count = ndimage.label(tile[..., 1] < 150)
            found.append([Detection.from_bitmap(labels == i, 0, 0, 0.9, 0) for i in range(1, count + 1)])
        return found


def dots(tiles):
    return [np.array([[50.0, 50.0, 0.7]]) for _ in tiles]


@pytest.fixture
def results(tmp_path):
    (tmp_path / 'wells').mkdir()
    for name in ('A1', 'B1'):
        picture = np.full((300, 400, 3), 220, np.uint8)
        for x, y in ((60, 60), (200, 80), (330, 200)):
            cv2.circle(picture, (x, y), 20, (130, 60, 130), -1)
        tifffile.imwrite(tmp_path / 'wells' / f'{name}.tif', picture, photometric='rgb')
    images = sorted((tmp_path / 'wells').iterdir())
    options = PredictOptions(TileSettings(200, 100), 0.7784, formats=FORMATS, nucleus_finder=dots)
    predict_folder(images, Dark(), tmp_path / 'results', options, {'plate_map': 'None'})
    return tmp_path / 'results'


def write_review(path, **images):
    path.write_text(json.dumps({'format': REVIEW_FORMAT, 'images': images}))
    return path


def test_rejected_cells_are_gone_everywhere_and_the_others_stay(results, tmp_path):
    decisions = {'rejected': ['osteoclast_0002'], 'accepted': ['osteoclast_0001']}
    review, out = write_review(tmp_path / 'review.json', A1=decisions), tmp_path / 'out'
    assert apply_review(results, review, out) == ['A1: 1 cells rejected and 1 accepted in the review']
    before, after = (
        {row['well']: row for row in csv.DictReader((folder / 'wells.csv').open())} for folder in (results, out)
    )
    assert (before['A1']['count'], after['A1']['count']) == ('3', '2')
    assert before['B1'] == after['B1']
    rows = list(csv.DictReader((out / 'A1_cells.csv').open()))
    old = list(csv.DictReader((results / 'A1_cells.csv').open()))
    assert [row['name'] for row in rows] == ['osteoclast_0001', 'osteoclast_0002']
    assert [row['area_px2'] for row in rows] == [old[0]['area_px2'], old[2]['area_px2']]
    assert tifffile.imread(out / 'A1_labels.tif').max() == 2
    assert len(json.loads((out / 'A1.json').read_text())['annotations']) == 2
    assert len(read_outlines(out / 'A1_RoiSet.zip')) == 2
    assert len(list(csv.DictReader((out / 'cells.csv').open()))) == 5
    assert 'rejected' in (out / 'index.html').read_text(encoding='utf-8')


def test_what_was_reviewed_goes_back_to_training(results, tmp_path):
    review = write_review(tmp_path / 'review.json', A1={'rejected': ['osteoclast_0003']})
    apply_review(results, review, tmp_path / 'out')
    assert [path.name for path in (tmp_path / 'out' / 'corrected').iterdir()] == ['A1.geojson']
    assert len(read_outlines(tmp_path / 'out' / 'corrected' / 'A1.geojson', (400, 300))) == 2


def test_images_that_were_moved(results, tmp_path):
    review = write_review(tmp_path / 'review.json', A1={'rejected': ['osteoclast_0003']})
    (tmp_path / 'wells').rename(tmp_path / 'elsewhere')
    with pytest.raises(InputError, match='A1.tif: no such image.*--wells'):
        apply_review(results, review, tmp_path / 'out')
    apply_review(results, review, tmp_path / 'out', tmp_path / 'elsewhere')


def test_reviews_that_cannot_be_applied(results, tmp_path):
    (tmp_path / 'other.json').write_text('{}')
    for review, words in (
        (tmp_path / 'other.json', 'not a review'),
        (write_review(tmp_path / 'a.json', Z9={'rejected': []}), 'decides on Z9'),
        (
            write_review(tmp_path / 'b.json', A1={'rejected': ['osteoclast_0009']}),
            'osteoclast_0009, which is not there',
        ),
        (write_review(tmp_path / 'c.json', A1=['x']), 'the decisions on A1 are damaged'),
    ):
        with pytest.raises(InputError, match=words):
            apply_review(results, review, tmp_path / 'out')
    with pytest.raises(InputError, match='Give another folder'):
        apply_review(results, write_review(tmp_path / 'd.json'), results)


def test_the_corrected_set_gives_the_corrected_targets(results, tmp_path, repo_dir):
    """From the folder of the plate only the reviewed image becomes a batch, without its rejected cell."""
    review = write_review(tmp_path / 'review.json', A1={'rejected': ['osteoclast_0002'], 'accepted': []})
    corrected = tmp_path / 'out' / 'corrected'
    extract = ['data_prep/extract_patches.py', '--wells', tmp_path / 'wells', '--rois', corrected, '--skip-bad']
    extract += ['--mpp', '0.7784', '--batch', 'M6', '--out', tmp_path / 'data', '--workers', '1']
    extract += ['--patch-size', '128', '--stride', '64']
    # 3: done without the wells that are named, here the one that was not reviewed.
    for command, status in ((['tools/apply_review.py', results, review, '--out', tmp_path / 'out'], 0), (extract, 3)):
        done = subprocess.run([sys.executable, *map(str, command)], cwd=repo_dir, capture_output=True, text=True)
        assert done.returncode == status, done.stdout + done.stderr
    coco = json.loads((tmp_path / 'data' / 'M6' / 'annotations.json').read_text())
    places = {image['id']: (image['x'], image['y']) for image in coco['images']}
    assert {image['well'] for image in coco['images']} == {'A1'}
    pieces = {}
    for annotation in coco['annotations']:
        for ring in annotation['segmentation']:
            polygon = Polygon(np.reshape(ring, (-1, 2)) + places[annotation['image_id']])
            pieces.setdefault(annotation['cell'], []).append(polygon)
    targets = [shapely.union_all(pieces[cell]) for cell in sorted(pieces)]
    expected = [outline.geometry for outline in read_outlines(results / 'A1.json') if outline.name != 'osteoclast_0002']
    assert len(targets) == len(expected) == 2
    for target, cell in zip(targets, expected, strict=True):
        assert target.symmetric_difference(cell).area < 0.02 * cell.area
