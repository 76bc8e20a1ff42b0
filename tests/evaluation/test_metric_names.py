import pytest
from mmengine.evaluator import Evaluator

from noise_mm.errors import InputError
from noise_mm.evaluation.evaluate import evaluate
from noise_mm.evaluation.metric_names import metric_names, require_produced
from noise_mm.evaluation.osteoclast_metric import OsteoclastMetric
from noise_mm.evaluation.report import flat_metrics, make_report


@pytest.mark.parametrize('classes', [('a',), ('a', 'b')])
@pytest.mark.parametrize('kinds', [('segm', 'bbox'), ('bbox',)])
def test_names_are_those_of_the_numbers(classes, kinds):
    metric = OsteoclastMetric(metric=kinds, iou_thrs=(0.25, 0.5), prefix='mine')
    report = make_report(evaluate([], classes, kinds, (0.25, 0.5), 'coco'), 'native', {})
    assert sorted(metric_names(metric, classes)) == sorted(f'mine/{name}' for name in flat_metrics(report))


@pytest.mark.parametrize('name', [None, 'auto', 'osteoclast/bbox_mAP50', 'osteoclast/fitness'])
def test_what_is_produced_passes(name):
    require_produced(name, 'save_best', Evaluator([OsteoclastMetric(metric=['bbox'])]), ('a',))


def test_what_is_not_is_refused_with_names_to_choose_from():
    with pytest.raises(InputError, match='osteoclast/bbox_mAP50'):
        require_produced('osteoclast/segm_mAP50', 'save_best', Evaluator([OsteoclastMetric(metric=['bbox'])]), ('a',))
