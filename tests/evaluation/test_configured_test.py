from pathlib import Path

import pytest

from noise_mm.configuration import load_config
from noise_mm.errors import InputError
from noise_mm.evaluation.configured_test import add_outputs, dataset_of_test, results_of_batches, score_results


def test_files_called_after_batches_are_theirs_whatever_the_order():
    assert results_of_batches(['x/H2.json', 'x/H1.json'], ['H1', 'H2']) == [Path('x/H1.json'), Path('x/H2.json')]


def test_other_files_are_taken_in_order_or_one_for_all():
    assert results_of_batches(['b.json', 'a.json'], ['H1', 'H2']) == [Path('b.json'), Path('a.json')]
    assert results_of_batches(['all.json'], ['H1', 'H2']) == [Path('all.json')]


@pytest.mark.parametrize(
    ('files', 'message'),
    [(['a', 'b', 'c'], '3 files for the batches H1, H2'), (['H2.json', 'other.json'], 'H2.json is called after')],
)
def test_files_that_fit_no_batch_are_refused(files, message):
    with pytest.raises(InputError, match=message):
        results_of_batches(files, ['H1', 'H2'])


def test_the_annotation_files_are_those_of_the_test_batches(tiny_config, tiny_data):
    (source,) = dataset_of_test(load_config(tiny_config)).sources()
    assert (source.batch, source.annotation_file) == ('M2', tiny_data / 'M2' / 'annotations.json')


def test_a_folder_for_curves_in_the_config_is_kept(tiny_config):
    config = load_config(tiny_config)
    add_outputs(config, 'curves')
    add_outputs(config, 'other')
    assert config.test_evaluator.curves_dir == 'curves'
    assert 'curves_dir' not in config.val_evaluator


def test_other_metrics_get_the_writer_but_no_curves(tiny_config, tmp_path):
    config = load_config(tiny_config, {'test_evaluator': {'_delete_': True, 'type': 'CocoMetric'}})
    add_outputs(config, tmp_path, tmp_path / 'results')
    first, second = config.test_evaluator
    assert first == {'type': 'CocoMetric'}
    assert (second.type, second.folder) == ('CocoResultsWriter', str(tmp_path / 'results'))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'test_evaluator.mask_resolution': 'prototype'}, 'masks at prototype resolution'),
        ({'test_evaluator.type': 'CocoMetric'}, 'is no OsteoclastMetric'),
        ({'test_dataloader.dataset.split': 'val'}, "split 'val'"),
        ({'test_dataloader.dataset': {'_delete_': True, 'type': 'mmdet.CocoDataset'}}, 'CocoDataset, not on batches'),
        ({'test_dataloader': None}, 'has no test data'),
    ],
)
def test_tests_that_results_cannot_be_put_to_are_named(tiny_config, change, message):
    config = load_config(tiny_config)
    config.merge_from_dict(change)
    with pytest.raises(InputError, match=message):
        score_results(config, ['results.json'])


def test_masks_of_another_size_are_not_saved(tiny_config, tmp_path):
    config = load_config(tiny_config, {'test_evaluator.mask_resolution': 'prototype'})
    with pytest.raises(InputError, match='--save-results: masks are scored at prototype resolution'):
        add_outputs(config, tmp_path, tmp_path)
