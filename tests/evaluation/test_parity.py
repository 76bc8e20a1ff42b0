"""Equal to Ultralytics' and pycocotools' numbers on the reference data, and to pycocotools' on random data."""

import contextlib
import copy
import io
import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from noise_mm.evaluation.coco_results import evaluate_coco_results
from noise_mm.evaluation.evaluate import COCO_IOU_THRS, IOU_THRS, fitness, mean_ap

SIZE_PX = 60


@pytest.fixture(scope='module')
def reference(shared_dir):
    names = ('metrics_gt', 'metrics_results', 'metrics')
    return [json.loads((shared_dir / 'parity' / f'{name}.json').read_text()) for name in names]


def in_file_order(results, flags):
    """Flags of detections, which are sorted by image, in the order of the results."""
    ordered = np.zeros(len(results), dtype=int)
    ordered[np.argsort([each['image_id'] for each in results], kind='stable')] = flags
    return ordered


@pytest.mark.parametrize('kind', ['segm', 'bbox'])
def test_coco_mode_equals_pycocotools_on_the_reference(reference, kind):
    truth, results, expected = reference
    evaluation = evaluate_coco_results(truth, results, (kind,))
    expected = expected['pycocotools'][kind]['maxDets_1000']
    scores = evaluation.mean_scores(kind)
    assert [score.ap for score in scores] == pytest.approx(expected['ap'], abs=1e-9)
    assert [score.n_true_positives for score in scores] == expected['n_matched']


@pytest.mark.parametrize('kind', ['segm', 'bbox'])
def test_ultralytics_mode_equals_ultralytics_on_the_reference(reference, kind):
    truth, results, expected = reference
    evaluation = evaluate_coco_results(truth, results, (kind,), mode='ultralytics')
    for k, ours in enumerate(evaluation.mean_scores(kind)):
        theirs = expected['ultralytics'][kind][k]
        for name in ('precision', 'recall', 'f1', 'confidence', 'ap'):
            assert getattr(ours, name) == pytest.approx(theirs[name], abs=1e-9), name
        flags = in_file_order(results, evaluation.matches[kind][k].true_positive)
        assert ''.join(map(str, flags)) == theirs['tp_flags']


def random_dataset(seed, n_images=6, n_classes=3):
    """Overlapping rectangles and ellipses with crowd regions, equal scores, images and a class without objects."""
    rng = np.random.default_rng(seed)
    images = [{'id': int(k), 'width': SIZE_PX, 'height': SIZE_PX} for k in rng.permutation(20)[:n_images] + 1]
    annotations, results = [], []
    for image in images:
        for _ in range(rng.integers(0, 9)):
            region = random_region(rng, rng.uniform(10, 50, 2), rng.uniform(4, 15, 2))
            label = int(rng.integers(1, n_classes))  # the last class has no objects
            crowd = int(rng.random() < 0.2)
            annotations.append({'id': len(annotations) + 1, 'image_id': image['id'], 'category_id': label} | region)
            annotations[-1]['iscrowd'] = crowd
            for _ in range(rng.integers(0, 4)):
                found = random_region(
                    rng, region['centre'] + rng.normal(0, 2, 2), region['radii'] * rng.normal(1, 0.2, 2)
                )
                other = int(rng.integers(1, n_classes + 1))
                results.append({'image_id': image['id'], 'category_id': label if rng.random() < 0.8 else other} | found)
        if rng.random() < 0.3:
            region = random_region(rng, rng.uniform(10, 50, 2), rng.uniform(4, 15, 2))
            results.append({'image_id': image['id'], 'category_id': int(rng.integers(1, n_classes + 1))} | region)
    for each in results:
        each['score'] = float(rng.integers(0, 12) / 12)
    categories = [{'id': k, 'name': f'class {k}'} for k in range(1, n_classes + 1)]
    for each in annotations + results:
        del each['centre'], each['radii']
    truth = {'images': images, 'annotations': annotations, 'categories': categories, 'info': {}}
    return truth, [results[k] for k in rng.permutation(len(results))]


def random_region(rng, centre, radii):
    centre, radii = np.clip(centre, 5, SIZE_PX - 5), np.clip(np.abs(radii), 2, 20)
    rows, columns = np.mgrid[:SIZE_PX, :SIZE_PX]
    distances = np.stack([(columns - centre[0]) / radii[0], (rows - centre[1]) / radii[1]])
    mask = (np.abs(distances).max(0) if rng.random() < 0.5 else np.hypot(*distances)) <= 1
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {
        'centre': centre,
        'radii': radii,
        'segmentation': {'size': rle['size'], 'counts': rle['counts'].decode()},
        'bbox': coco_mask.toBbox(rle).tolist(),
        'area': float(coco_mask.area(rle)),
    }


def pycocotools_evaluation(truth, results, kind, iou_thrs=IOU_THRS):
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = COCO()
        dataset.dataset = copy.deepcopy(truth)
        dataset.createIndex()
        evaluation = COCOeval(dataset, dataset.loadRes(copy.deepcopy(results)), kind)
        evaluation.params.iouThrs = np.array(iou_thrs)
        evaluation.params.maxDets = [1000]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ['all']
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


@pytest.mark.parametrize('kind', ['segm', 'bbox'])
@pytest.mark.parametrize('seed', range(40))
def test_coco_mode_equals_pycocotools_on_random_data(seed, kind):
    truth, results = random_dataset(seed)
    theirs = pycocotools_evaluation(truth, results, kind)
    ours = evaluate_coco_results(truth, results, (kind,))
    for t in range(len(IOU_THRS)):
        for index, score in enumerate(ours.scores[kind][t]):
            precision = theirs.eval['precision'][t, :, index, 0, 0]
            if precision[0] == -1:
                assert np.isnan(score.ap) and score.n_objects == 0
                continue
            assert score.precision_at_recall == pytest.approx(precision, abs=1e-9)
            assert score.ap == pytest.approx(precision.mean(), abs=1e-9)
            n_true = round(theirs.eval['recall'][t, index, 0, 0] * score.n_objects)
            assert score.n_true_positives == n_true
        check_flags(theirs, ours, kind, t, results)


@pytest.mark.parametrize('kind', ['segm', 'bbox'])
@pytest.mark.parametrize('seed', range(5))
def test_mean_ap_is_cocos(seed, kind):
    truth, results = random_dataset(seed)
    precision = pycocotools_evaluation(truth, results, kind, COCO_IOU_THRS).eval['precision']
    ours = evaluate_coco_results(truth, results, (kind,), iou_thrs=(0.75,))
    assert mean_ap(ours, kind) == pytest.approx(precision[precision > -1].mean(), abs=1e-9)


@pytest.mark.parametrize('iou_thrs', [IOU_THRS, (0.75, 0.9)])
def test_fitness_is_the_weighted_sum_over_boxes_and_masks(reference, iou_thrs):
    truth, results, _ = reference
    all_thrs = evaluate_coco_results(truth, results, ('segm', 'bbox'), COCO_IOU_THRS, mode='ultralytics')
    aps = {kind: [score.ap for score in all_thrs.mean_scores(kind)] for kind in ('segm', 'bbox')}
    expected = sum(0.1 * values[0] + 0.9 * np.mean(values) for values in aps.values())
    found = evaluate_coco_results(truth, results, ('segm', 'bbox'), iou_thrs, mode='ultralytics')
    assert fitness(found) == pytest.approx(expected, abs=1e-12)


def check_flags(theirs, ours, kind, t, results):
    """Every single detection is right, wrong or ignored as in pycocotools, in every image and class."""
    verdicts = {}
    for each in filter(None, theirs.evalImgs):
        matched, ignored = each['dtMatches'][t] > 0, each['dtIgnore'][t]
        verdicts.update(zip(each['dtIds'], zip(matched & ~ignored, ignored, strict=True), strict=True))
    matches = ours.matches[kind][t]
    right, ignored = (in_file_order(results, flags) for flags in (matches.true_positive, matches.ignored))
    assert [verdicts[k + 1] for k in range(len(results))] == list(zip(right, ignored, strict=True))


@pytest.mark.parametrize('mode', ['coco', 'ultralytics'])
def test_the_order_of_images_and_results_does_not_matter_where_scores_differ(mode):
    truth, results = random_dataset(3)
    rng = np.random.default_rng(0)
    for each, score in zip(results, rng.permutation(len(results)), strict=True):
        each['score'] = float(score + 1) / (len(results) + 1)
    once = evaluate_coco_results(truth, results, ('segm',), mode=mode)
    again = evaluate_coco_results({**truth, 'images': truth['images'][::-1]}, results[::-1], ('segm',), mode=mode)
    assert [s.ap for s in once.mean_scores('segm')] == [s.ap for s in again.mean_scores('segm')]


def test_ultralytics_mode_leaves_crowds_out_of_the_truth():
    truth, results = random_dataset(5)
    kept = [each for each in truth['annotations'] if not each['iscrowd']]
    assert len(kept) < len(truth['annotations'])
    with_crowds = evaluate_coco_results(truth, results, ('segm',), mode='ultralytics')
    without = evaluate_coco_results({**truth, 'annotations': kept}, results, ('segm',), mode='ultralytics')
    assert [s.ap for s in with_crowds.mean_scores('segm')] == [s.ap for s in without.mean_scores('segm')]


def test_more_than_a_hundred_detections_of_an_image_all_count():
    truth = {
        'images': [{'id': 1, 'width': 200, 'height': 200}],
        'categories': [{'id': 1, 'name': 'nucleus'}],
        'annotations': [
            {'id': k + 1, 'image_id': 1, 'category_id': 1, 'bbox': [10 * (k % 20), 10 * (k // 20), 9, 9]}
            for k in range(150)
        ],
    }
    results = [{**each, 'score': 0.5} for each in truth['annotations']]
    (score,) = evaluate_coco_results(truth, results, ('bbox',), (0.5,)).mean_scores('bbox')
    assert (score.ap, score.recall) == (1.0, 1.0)
