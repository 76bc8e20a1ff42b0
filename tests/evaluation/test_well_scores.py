import contextlib
import io
import json
from dataclasses import replace

import numpy as np
import pytest
import shapely
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from noise_mm.coco.annotations import coco_annotation
from noise_mm.coco.batch_folder import CATEGORIES
from noise_mm.coco.segmentation import mask_annotation
from noise_mm.evaluation.coco_results import evaluate_coco_results
from noise_mm.evaluation.well_scores import WELL_COLUMNS, WellPair, score_wells, well_score_text
from noise_mm.geometry.cell_masks import CellMask
from noise_mm.geometry.outline import Outline
from noise_mm.geometry.pixels import trace

SIZE = 400, 300
CLASSES = ('osteoclast',)


def cell(centre, radii, score=None, ignored=False):
    """An ellipse of pixels, cut off at the image's border; None where nothing is left."""
    left, top = np.clip(np.floor(centre - radii), 0, SIZE).astype(int)
    right, bottom = np.clip(np.ceil(centre + radii), 0, SIZE).astype(int)
    y, x = np.mgrid[top:bottom, left:right] + 0.5
    mask = ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 < 1
    return Outline(trace(mask, left, top), score=score, ignored=ignored) if mask.any() else None


def random_well(seed, name='A1', batch='M1', um_per_px=0.5):
    """150 cells, crowded, so that matches compete; more than COCO's usual 100 detections."""
    rng = np.random.default_rng(seed)
    objects, found = [], []
    for _ in range(150):
        centre, radii = rng.uniform((0, 0), SIZE), rng.uniform(6, 18, 2)
        objects.append(cell(centre, radii, ignored=rng.random() < 0.1))
        for _ in range(rng.choice(3, p=(0.15, 0.7, 0.15))):
            moved = centre + rng.normal(0, 1.5, 2), radii * rng.normal(1, 0.1, 2).clip(0.5)
            found.append(cell(*moved, score=float(np.round(rng.random(), 6))))
    drawn = [[outline for outline in side if outline is not None] for side in (found, objects)]
    return WellPair(name, batch, SIZE, um_per_px, *drawn)


def annotations_of(outlines):
    return [
        {
            **coco_annotation(number, 1, outline.geometry, ignored=outline.ignored, score=outline.score),
            **mask_annotation(CellMask.of(outline.geometry, SIZE), *SIZE[::-1]),
        }
        for number, outline in enumerate(outlines, start=1)
    ]


def as_coco(well):
    """Ground truth and results of one well for COCO tools."""
    images = [{'id': 1, 'file_name': 'a.png', 'width': SIZE[0], 'height': SIZE[1]}]
    truth = {'images': images, 'categories': list(CATEGORIES), 'annotations': annotations_of(well.objects)}
    results = annotations_of(well.found)
    return truth, [{key: each[key] for key in ('image_id', 'category_id', 'score', 'segmentation')} for each in results]


def test_ap_is_that_of_pycocotools_on_one_image():
    well = random_well(0)
    truth, results = as_coco(well)
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = COCO()
        dataset.dataset = truth
        dataset.createIndex()
        evaluation = COCOeval(dataset, dataset.loadRes(results), 'segm')
        evaluation.params.catIds = [1]
        evaluation.params.iouThrs = np.array([0.1, 0.25, 0.5, 0.75, 0.9])
        evaluation.params.maxDets = [1, 10, 10_000]
        evaluation.evaluate()
        evaluation.accumulate()
    expected = evaluation.eval['precision'][:, :, 0, 0, 2].mean(axis=1)
    scores = score_wells([well], CLASSES)['segm']['mean']
    assert [row['ap'] for row in scores] == pytest.approx(expected.tolist(), abs=1e-12)
    assert 0.1 < expected[3] < expected[0] < 1


@pytest.mark.parametrize('mode', ['coco', 'ultralytics'])
def test_all_numbers_are_those_of_scoring_the_masks(mode):
    well = random_well(1)
    evaluation = evaluate_coco_results(*as_coco(well), mode=mode, classes=CLASSES)
    for row, score in zip(
        score_wells([well], CLASSES, mode=mode)['segm']['mean'], evaluation.mean_scores('segm'), strict=True
    ):
        for key in ('precision', 'recall', 'confidence', 'ap', 'n_true_positives', 'n_objects', 'n_detections'):
            assert row[key] == getattr(score, key)


@pytest.mark.parametrize('mode', ['coco', 'ultralytics'])
def test_cells_as_predicted_are_those_above_the_confidence(mode):
    """Scored by leaving out the others beforehand."""
    well = random_well(2)
    report = score_wells([well], CLASSES, score_thr=0.4, mode=mode)
    kept = replace(well, found=[outline for outline in well.found if outline.score >= 0.4])
    alone = score_wells([kept], CLASSES, mode=mode)
    assert report['as_predicted'] == alone['as_predicted']
    assert report['wells'] == alone['wells']
    assert report['agreement'] == alone['agreement']
    assert len(kept.found) < len(well.found)
    for row, whole in zip(report['as_predicted'], alone['segm']['mean'], strict=True):
        assert row['precision'] == pytest.approx(whole['n_true_positives'] / whole['n_detections'])
        assert row['recall'] == pytest.approx(whole['n_true_positives'] / whole['n_objects'])


def squares(*places, score=None, ignored=False):
    return [Outline(shapely.box(x, y, x + 10, y + 10), score=score, ignored=ignored) for x, y in places]


@pytest.fixture
def study():
    """Two batches: M1 with two wells, M2 with one that has no cells."""
    return [
        WellPair('A1', 'M1', SIZE, 0.5, squares((0, 0), (50, 50), score=0.9), squares((0, 0))),
        WellPair(
            'A2', 'M1', SIZE, 0.5,
            [*squares((0, 0), score=0.9), *squares((100, 0), score=0.8)],
            [*squares((0, 0), (20, 20), (40, 40)), *squares((100, 0), ignored=True)],
        ),
        WellPair('B1', 'M2', SIZE, 0.5, [], []),
    ]  # fmt: skip


def test_rows_of_wells(study):
    report = score_wells(study, CLASSES, run={'method': 'by hand'})
    rows = {row['well']: row for row in report['wells']}
    assert set(rows['A1']) == set(WELL_COLUMNS)
    numbers = {name: [row[f'n_{side}'] for side in ('annotated', 'predicted', 'error')] for name, row in rows.items()}
    assert numbers == {'A1': [1, 2, 1], 'A2': [3, 1, -2], 'B1': [0, 0, 0]}  # nothing on the ignored region counts
    assert (rows['A1']['precision'], rows['A1']['recall'], rows['B1']['recall']) == (0.5, 1.0, None)
    assert (rows['A2']['area_px2_annotated'], rows['A2']['area_um2_annotated']) == (300, 75)
    assert (rows['A2']['area_um2_error'], rows['A2']['area_px2_error_percent']) == (-50, pytest.approx(-200 / 3))
    assert (report['n_images'], report['n_objects'], report['n_ignored']) == (3, 4, 1)
    assert (report['run']['method'], report['mask_resolution']) == ('by hand', 'well')
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_agreement_of_all_wells_and_of_batches(study):
    report = score_wells(study, CLASSES)
    pair = report['agreement']['all']
    assert (pair['n']['n_wells'], pair['n']['bias'], pair['n']['n_percentages']) == (3, pytest.approx(-1 / 3), 2)
    assert pair['area_um2']['bias'] == pytest.approx(pair['area_px2']['bias'] / 4)
    assert report['agreement']['batches']['M1']['n']['bias'] == -0.5
    assert report['agreement']['batches']['M2']['n']['deviation'] is None
    text = well_score_text(report)
    assert 'cells matched in whole wells): 3 wells, 4 objects, 1 ignored regions, 4 detections' in text
    assert [line.split(',')[0].strip() for line in text.splitlines() if 'area (um^2)' in line] == ['all', 'batch M1']


def test_without_pixel_sizes_areas_are_in_pixels(study):
    report = score_wells([replace(study[0], um_per_px=None), *study[1:]], CLASSES)
    assert 'area_um2' not in report['agreement']['all']
    assert 'area (px^2)' in well_score_text(report)


def test_other_labels_are_left_out(study):
    relabelled = [replace(outline, label='pre-osteoclast') for outline in study[0].found[1:]]
    report = score_wells([replace(study[0], found=[study[0].found[0], *relabelled])], CLASSES)
    assert report['wells'][0]['n_predicted'] == 1
    assert report['segm']['mean'][2]['ap'] == 1.0
