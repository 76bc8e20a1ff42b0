import json

import numpy as np
import pytest

from noise_mm.errors import InputError
from noise_mm.evaluation.coco_results import evaluate_coco_results, score_results_files


def square(x, y, side=10):
    return [[x, y, x + side, y, x + side, y + side, x, y + side]]


def truth(**changes):
    content = {
        'images': [
            {'id': 1, 'width': 100, 'height': 100, 'batch': 'H1', 'well': 'a'},
            {'id': 2, 'width': 100, 'height': 100},
        ],
        'categories': [{'id': 1, 'name': 'osteoclast'}, {'id': 2, 'name': 'nucleus'}],
        'annotations': [
            {'id': 1, 'image_id': 1, 'category_id': 1, 'bbox': [0, 0, 10, 10], 'segmentation': square(0, 0)},
            {'id': 2, 'image_id': 2, 'category_id': 1, 'bbox': [20, 20, 10, 10], 'segmentation': square(20, 20)},
        ],
    }
    return {**content, **changes}


def result(image_id=1, category_id=1, score=0.5, **changes):
    found = {'image_id': image_id, 'category_id': category_id, 'score': score, 'segmentation': square(0, 0)}
    return {**found, **changes}


def aps(evaluation, kind='segm'):
    return [score.ap for score in evaluation.mean_scores(kind)]


def test_polygons_boxes_from_masks_and_names_of_batches():
    evaluation = evaluate_coco_results(truth(), [result(), result(2, segmentation=square(20, 20))], ('segm', 'bbox'))
    assert aps(evaluation) == aps(evaluation, 'bbox') == [1.0] * 5
    assert [(image.batch, image.well) for image in evaluation.images] == [('H1', 'a'), ('unknown', '')]
    assert evaluation.classes == ('osteoclast', 'nucleus')


def test_boxes_do_not_need_masks():
    results = [{'image_id': 1, 'category_id': 1, 'score': 1, 'bbox': [0, 0, 10, 10]}]
    (score,) = evaluate_coco_results(truth(), results, ('bbox',), (0.5,)).mean_scores('bbox')
    assert (score.recall, score.precision) == (0.5, 1.0)


def test_ignore_is_as_iscrowd():
    for key in ('ignore', 'iscrowd'):
        content = truth()
        content['annotations'][0][key] = 1
        (score,) = evaluate_coco_results(content, [result()], ('segm',), (0.5,)).mean_scores('segm')
        assert (score.n_objects, score.n_detections) == (1, 0)


def test_some_classes_only():
    results = [result(), result(category_id=2)]
    evaluation = evaluate_coco_results(truth(), results, classes=['osteoclast'])
    assert [len(image.scores) for image in evaluation.images] == [1, 0]


def test_no_results():
    assert aps(evaluate_coco_results(truth(), [])) == [0.0] * 5


def test_nothing_at_all():
    empty = truth(images=[], annotations=[])
    assert np.isnan(aps(evaluate_coco_results(empty, []))).all()


def without(entry, key):
    return {name: value for name, value in entry.items() if name != key}


BEYOND = {'size': [100, 100], 'counts': [0, 20000]}
FAULTY_RESULTS = {
    'not a list': {'annotations': []},
    'has no image_id, category_id, score': ['text'],
    'has no score': [without(result(), 'score')],
    "score 'high'": [result(score='high')],
    'score nan': [result(score=float('nan'))],
    'image_id 7': [result(7)],
    r'image_id \[1\]': [result([1])],
    'category_id 9': [result(category_id=9)],
    'has no segmentation': [result(segmentation=None)],
    'fewer than three': [result(segmentation=[[1, 2, 3, 4]])],
    r'mask is of \[50, 50\]': [result(segmentation={'size': [50, 50], 'counts': [2500]})],
    'does not fill': [result(segmentation=BEYOND)],
    'not fill its': [result(segmentation={'size': [100, 100], 'counts': [0, 2000]})],
    'compressed': [result(segmentation={'size': [100, 100], 'counts': 'zzzz'})],
    'is faulty': [result(segmentation={'size': [100, 100], 'counts': [-5, 10005]})],
    'without counts|is faulty': [result(segmentation={'size': [100, 100], 'counts': None})],
    'something else than numbers': [result(segmentation=[['a', 1, 5, 5, 1, 5]])],
    'has no size': [result(segmentation={'size': 100, 'counts': [10000]})],
}


@pytest.mark.parametrize('message', FAULTY_RESULTS)
def test_faulty_results_are_named(message):
    with pytest.raises(InputError, match=message):
        evaluate_coco_results(truth(), FAULTY_RESULTS[message])


@pytest.mark.parametrize('box', [[1, 2, 3], [1, 2, -3, 4], [1, 2, float('inf'), 4], 'wide'])
def test_faulty_boxes_are_named(box):
    with pytest.raises(InputError, match='box'):
        evaluate_coco_results(truth(), [result(bbox=box)], ('bbox',))


FAULTY_TRUTHS = {
    "no list 'images'": [],
    "no list 'annotations'": without(truth(), 'annotations'),
    'image 1 has no valid height': truth(images=[{'id': 1, 'width': 1}]),
    'has no categories': truth(categories=[]),
    'the id of another image': truth(images=[{'id': 1, 'width': 9, 'height': 9}] * 2, annotations=[]),
    'annotation 3 refers to image 5': truth(annotations=[{'id': 3, 'image_id': 5, 'category_id': 1}]),
    'annotation 3 refers to category 5': truth(annotations=[{'id': 3, 'image_id': 1, 'category_id': 5}]),
    'an annotation of image 1 is faulty: it has no segmentation': truth(
        annotations=[{'id': 3, 'image_id': 1, 'category_id': 1}]
    ),
}


@pytest.mark.parametrize('message', FAULTY_TRUTHS)
def test_faulty_ground_truth_is_named(message):
    with pytest.raises(InputError, match=message):
        evaluate_coco_results(FAULTY_TRUTHS[message], [])


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'kinds': ('mask',)}, 'metric'),
        ({'kinds': ()}, 'metric'),
        ({'mode': 'voc'}, 'mode'),
        ({'iou_thrs': ()}, 'iou_thrs'),
        ({'iou_thrs': (0.5, 50)}, 'iou_thrs'),
        ({'classes': ['cell']}, "no category 'cell'; there are 'osteoclast', 'nucleus'"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(InputError, match=message):
        evaluate_coco_results(truth(), [], **settings)


@pytest.fixture
def files(tmp_path):
    """Ground truth of two batches whose image ids are the same, and results of each."""
    truths, results = [], []
    for batch in ('H1', 'H2'):
        (tmp_path / batch).mkdir()
        truths.append(tmp_path / batch / 'annotations.json')
        content = truth()
        del content['images'][0]['batch']
        truths[-1].write_text(json.dumps(content))
        results.append(tmp_path / batch / 'results.json')
        results[-1].write_text(json.dumps([result()] if batch == 'H1' else []))
    return truths, results


def test_files_of_two_batches(files):
    evaluation = score_results_files(*files)
    assert [image.batch for image in evaluation.images] == ['H1', 'H1', 'H2', 'H2']
    assert [len(image.scores) for image in evaluation.images] == [1, 0, 0, 0]


def test_one_file_of_results_for_batches_with_ids_of_their_own(files):
    truths, results = files
    content = truth()
    for image in content['images']:
        image['id'] += 10
    for annotation in content['annotations']:
        annotation['image_id'] += 10
    truths[1].write_text(json.dumps(content))
    results[0].write_text(json.dumps([result(), result(11)]))
    evaluation = score_results_files(truths, results[:1])
    assert [len(image.scores) for image in evaluation.images] == [1, 0, 1, 0]


def test_files_that_do_not_fit_each_other(files, tmp_path):
    truths, results = files
    with pytest.raises(InputError, match='image id 1 is both in'):
        score_results_files(truths, results[:1])
    with pytest.raises(InputError, match='2 files of results for 1'):
        score_results_files(truths[:1], results)
    with pytest.raises(InputError, match='given twice'):
        score_results_files(truths[:1] * 2, results)
    with pytest.raises(InputError, match='no such file'):
        score_results_files(truths[:1], [tmp_path / 'missing.json'])


def named(**changes):
    """Ground truth whose images have names."""
    content = truth(**changes)
    for image, name in zip(content['images'], ('images/A1_0_0.png', 'images/17.png'), strict=True):
        image['file_name'] = name
    return content


@pytest.mark.parametrize('ids', [(1, 2), ('1', '2'), ('A1_0_0', '17'), ('A1_0_0', 17)])
def test_results_name_images_by_id_or_by_file_name(ids, caplog):
    """Ultralytics writes the name without suffix, and a number if it is one."""
    results = [result(ids[0]), result(ids[1], segmentation=square(20, 20))]
    assert aps(evaluate_coco_results(named(), results)) == [1.0] * 5
    assert ('name of the image file' in caplog.text) == (ids[0] == 'A1_0_0')


def test_names_that_two_images_have_are_not_guessed():
    content = named()
    content['images'][1]['file_name'] = 'other/A1_0_0.jpg'
    with pytest.raises(InputError, match="image_id 'A1_0_0', which the ground truth has not"):
        evaluate_coco_results(content, [result('A1_0_0')])


def test_sizes_and_ids_that_other_programs_write():
    content = truth()
    content['images'][0].update(width=100.0, height=100.0)
    content['annotations'][0].update(image_id='1', segmentation=square(0, 0)[0])
    mask = {'size': [100.0, 100.0], 'counts': [0, *[10, 90] * 9, 10, 9090]}  # the square, column by column
    assert aps(evaluate_coco_results(content, [result(segmentation=mask)]))[0] > 0


@pytest.mark.parametrize('far', [1e300, -1e12, 201, 10**400, float('nan'), float('inf')])
@pytest.mark.parametrize('side', ['truth', 'results'])
def test_absurd_coordinates_do_not_reach_native_code(side, far):
    """pycocotools ends the process for them."""
    content, results = truth(), [result()]
    entry = content['annotations'][0] if side == 'truth' else results[0]
    entry['segmentation'] = [[0, 0, 10, 0, 10, far]]
    with pytest.raises(InputError, match='beyond the image|not a finite|something else than numbers'):
        evaluate_coco_results(content, results)


def test_images_too_large_for_masks_are_refused():
    content = truth(images=[{'id': 1, 'width': 70000, 'height': 70000}, {'id': 2, 'width': 100, 'height': 100}])
    with pytest.raises(InputError, match='no masks on images of 70000 x 70000 px'):
        evaluate_coco_results(content, [result()])
