import json

import numpy as np
import pytest

from noise_mm.errors import InputError
from noise_mm.evaluation.coco_results import evaluate_coco_results
from noise_mm.evaluation.curves import draw_curves
from noise_mm.evaluation.report import RUN_KEYS, flat_metrics, make_report, table_text


def square(x, y, side=10):
    return [[x, y, x + side, y, x + side, y + side, x, y + side]]


# image id -> batch, well, annotated squares, detected squares with scores
STUDY = {
    1: ('H1', 'a', [(0, 0), (50, 50)], [(0, 0, 0.9), (50, 50, 0.8)]),
    2: ('H1', 'b', [(0, 0)], [(80, 80, 0.85)]),
    3: ('H2', 'c', [(20, 20)], [(20, 20, 0.7), (60, 0, 0.1)]),
    4: ('H2', 'd', [], []),
}


@pytest.fixture
def evaluation():
    return evaluate(1)


def evaluate(n_classes, **settings):
    images, annotations, results = [], [], []
    for image_id, (batch, well, objects, found) in STUDY.items():
        images.append({'id': image_id, 'width': 100, 'height': 100, 'batch': batch, 'well': well})
        for place in objects:
            entry = {'id': len(annotations) + 1, 'image_id': image_id, 'category_id': 1, 'segmentation': square(*place)}
            annotations.append(entry)
        for x, y, score in found:
            results.append({'image_id': image_id, 'category_id': 1, 'score': score, 'segmentation': square(x, y)})
    ignored = {'id': 99, 'image_id': 4, 'category_id': 1, 'segmentation': square(80, 0), 'iscrowd': 1}
    categories = [{'id': k, 'name': name} for k, name in enumerate(('osteoclast', 'nucleus')[:n_classes], start=1)]
    truth = {'images': images, 'annotations': [*annotations, ignored], 'categories': categories}
    return evaluate_coco_results(truth, results, ('segm', 'bbox'), **settings)


def test_the_report_is_json_without_nan_and_says_what_it_is(evaluation):
    report = make_report(evaluation, run={'fold': 'H2', 'method': 'noise'})
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report['run'] == {**dict.fromkeys(RUN_KEYS), 'fold': 'H2', 'method': 'noise'}
    assert (report['mode'], report['mask_resolution'], report['classes']) == ('coco', 'native', ['osteoclast'])
    sizes = {name: report[name] for name in ('n_images', 'n_objects', 'n_ignored', 'n_detections', 'max_detections')}
    assert sizes == {'n_images': 4, 'n_objects': 4, 'n_ignored': 1, 'n_detections': 5, 'max_detections': 2}


def test_scores_of_the_whole_and_of_each_batch(evaluation):
    report = make_report(evaluation)
    at_half = report['segm']['mean'][2]
    assert at_half['iou_thr'] == 0.5
    assert (at_half['precision'], at_half['recall'], at_half['confidence']) == (0.75, 0.75, 0.7)
    assert report['segm']['classes']['osteoclast'] == report['segm']['mean']
    first, second = report['batches']
    assert (first['batch'], first['n_images'], first['n_objects'], first['n_ignored']) == ('H1', 2, 3, 0)
    assert (second['batch'], second['n_images'], second['n_objects'], second['n_ignored']) == ('H2', 2, 1, 1)
    assert first['segm'][2]['recall'] == pytest.approx(2 / 3)
    assert second['bbox'][2]['ap'] == 1.0


def test_counts_and_areas_of_wells_and_batches(evaluation):
    counts = make_report(evaluation)['counts']
    assert (counts['kind'], counts['iou_thr'], counts['confidence']) == ('segm', 0.5, {'osteoclast': 0.7})
    wells = {row['well']: row for row in counts['wells']}
    assert [wells[name]['n_annotated'] for name in 'abcd'] == [2, 1, 1, 0]
    assert [wells[name]['n_detected'] for name in 'abcd'] == [2, 1, 1, 0]  # the detection of score 0.1 does not count
    assert wells['a']['area_px2_error'] == 0
    assert wells['d']['n_error_percent'] is None
    h1, h2 = counts['batches']
    assert (h1['n_annotated'], h1['n_detected'], h1['n_error'], h1['n_images']) == (3, 3, 0, 2)
    assert h2['area_px2_annotated'] == h2['area_px2_detected'] == wells['c']['area_px2_annotated']


def test_cells_are_counted_at_the_threshold_nearest_to_a_half():
    evaluation = evaluate(1, iou_thrs=(0.9, 0.4))
    assert make_report(evaluation)['counts']['iou_thr'] == 0.4


def test_names_for_mmengine(evaluation):
    metrics = flat_metrics(make_report(evaluation))
    assert next(iter(metrics)) == 'segm_mAP50'
    assert (metrics['segm_P50'], metrics['bbox_R50']) == (0.75, 0.75)
    assert len(metrics) == 2 * (3 * 5 + 1) + 1  # of boxes and masks also mAP50-95, and the fitness
    two = flat_metrics(make_report(evaluate(2, iou_thrs=(0.5, 0.125))))
    assert two['segm_mAP50'] == two['segm_mAP50_osteoclast'] == metrics['segm_mAP50']
    assert two['segm_mAP50_nucleus'] == two['bbox_P12.5_nucleus'] == -1.0


def test_the_table_names_its_mode_and_shows_every_batch(evaluation):
    text = table_text(make_report(evaluation))
    assert 'segm, mode coco' in text
    assert 'masks at native resolution' in text
    (whole,) = {line for line in text.splitlines() if line.startswith('all')}
    assert whole.split()[1:4] == ['0.750', '0.750', '0.629']
    assert sum(line.startswith(('batch H1 ', 'batch H2 ')) for line in text.splitlines()) == 4
    assert 'batch H1, osteoclast: 3 annotated, 3 detected (+0.0 %)' in text


def test_the_table_tells_how_far_single_wells_are_off():
    report = make_report(evaluate(1))
    assert '  mean absolute error of its 2 wells: count 0.0 (0.0 %), area 0 px^2 (0.0 %)' in table_text(report)
    first, second = (row for row in report['counts']['wells'] if row['batch'] == 'H1')
    first.update(n_error=3, n_error_percent=150.0)
    second.update(n_error=-1, n_error_percent=None, area_px2_error=-50.0)
    assert '  mean absolute error of its 2 wells: count 2.0 (150.0 %), area 25 px^2 (0.0 %)' in table_text(report)


def test_the_table_shows_classes_and_what_is_not_defined():
    text = table_text(make_report(evaluate(2, mode='ultralytics')))
    assert 'mode ultralytics' in text
    (line,) = {line for line in text.splitlines() if line.startswith('nucleus')}
    assert line.split()[1:] == ['-'] * 15


def test_curves_are_drawn_for_each_kind_and_class_with_objects(tmp_path):
    draw_curves(evaluate(2), tmp_path / 'curves')
    names = {
        f'{kind}_{what}'
        for kind in ('segm', 'bbox')
        for what in ('osteoclast_precision_recall.png', 'osteoclast_f1_confidence.png', 'matches.npz')
    }
    assert {path.name for path in (tmp_path / 'curves').iterdir()} == names
    assert all(path.read_bytes().startswith(b'\x89PNG') for path in (tmp_path / 'curves').glob('*.png'))


def test_curves_need_a_folder(tmp_path, evaluation):
    (tmp_path / 'file').write_text('')
    with pytest.raises(InputError, match='cannot write here'):
        draw_curves(evaluation, tmp_path / 'file')


def test_lines_of_the_curves_agree_with_the_scores(evaluation):
    (score,) = evaluation.scores['segm'][2]
    assert score.precision_at_recall.mean() == pytest.approx(score.ap)
    assert np.max(score.f1_at_confidence) == pytest.approx(score.f1)
