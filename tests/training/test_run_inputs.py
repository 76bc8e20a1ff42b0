import json
import shutil

import pytest
from mmyolo.registry import DATASETS

from noise_mm.configuration import load_config
from noise_mm.datasets.patch_datasets import OsteoclastDataset
from noise_mm.training.run_inputs import data_inputs, input_differences, training_inputs

DETECTOR = 'configs/noise/nuclei_detector_yolov8-l.py'
PRETRAIN = 'configs/noise/pretrain_osteoclast-nuclei_yolov8-l.py'


@DATASETS.register_module()
class OwnOsteoclasts(OsteoclastDataset):
    """A user's dataset."""


def test_annotations_are_compared_by_content_wherever_they_lie(tiny_config, tiny_data, tmp_path):
    copy = tmp_path / 'copy'
    shutil.copytree(tiny_data, copy)

    def inputs(root):
        return training_inputs(load_config(tiny_config, {'data_root': str(root)}))

    here = inputs(tiny_data)
    assert list(here) == ['annotation M1/annotations.json']
    assert input_differences(here, inputs(copy)) == []
    (copy / 'M2' / 'annotations.json').write_text('{}')  # not trained on
    assert input_differences(here, inputs(copy)) == []
    (copy / 'M1' / 'annotations.json').write_text('{}')
    expected = [f'annotation M1/annotations.json ({copy}/M1/annotations.json) has changed']
    assert input_differences(here, inputs(copy)) == expected
    shutil.rmtree(copy / 'M1')
    assert input_differences(here, inputs(copy)) == []  # a finished training needs it no more


def test_test_data_are_those_of_the_test(tiny_config):
    assert list(data_inputs(load_config(tiny_config), 'test_dataloader')) == ['annotation M2/annotations.json']


@pytest.mark.parametrize('kind', ['OwnOsteoclasts', OwnOsteoclasts, 'mmyolo.OwnOsteoclasts'])
def test_a_dataset_of_the_users_own_counts(tiny_data, kind):
    dataset = {'type': kind, 'data_root': str(tiny_data), 'batches': ['M2']}
    assert list(data_inputs({'train_dataloader': {'dataset': dataset}}, 'train_dataloader')) == [
        'annotation M2/annotations.json'
    ]


def test_annotation_files_of_any_dataset(tmp_path):
    for name in ('a.json', 'b.json'):
        (tmp_path / name).write_text(json.dumps(name))
    parts = [dict(type='mmdet.CocoDataset', data_root=str(tmp_path), ann_file=name) for name in ('a.json', 'b.json')]
    joined = {'type': 'RepeatDataset', 'times': 2, 'dataset': {'type': 'ConcatDataset', 'datasets': parts}}
    found = training_inputs({'train_dataloader': {'dataset': joined}})
    assert [each['file'] for each in found.values()] == [str(tmp_path / 'a.json'), str(tmp_path / 'b.json')]
    assert len({each['identity'] for each in found.values()}) == 2


def test_initial_checkpoints_are_counted_from_the_last(tmp_path):
    coco, stage = tmp_path / 'coco.pth', tmp_path / 'stage.pth'
    stage.write_bytes(b'2')
    coco.write_bytes(b'1')
    without = training_inputs({'init_checkpoints': [{'file': str(stage)}]})
    both = training_inputs({'init_checkpoints': [{'file': str(coco)}, {'file': str(stage)}]})
    assert input_differences(without, both) == [f'initial checkpoint 2 from the last ({coco}) was not there']


def test_best_checkpoint_of_a_finished_run_is_known_by_the_run(tmp_path):
    best = tmp_path / 'best.pth'
    best.write_bytes(b'1')
    config = {'init_checkpoints': [{'file': str(best)}]}
    by_content = training_inputs(config)
    (tmp_path / 'finished.json').write_text('{"run_id": "abc"}')
    (by_run,) = training_inputs(config).values()
    assert by_run['identity'] == 'run abc'
    assert by_run != next(iter(by_content.values()))


def test_stage_1_is_made_from_marked_nuclei_and_stage_2_from_labels(repo_dir, tmp_path):
    options = {'data_root': str(tmp_path), 'train_batches': ['M1']}
    for folder in ('M1', 'nuclei', 'pseudo'):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / 'annotations.json').write_text('{}')
    (tmp_path / 'pseudo' / 'M1.json').write_text('{}')
    assert list(training_inputs(load_config(repo_dir / DETECTOR, options))) == [
        'annotation nuclei/annotations.json',
        'annotation M1/annotations.json',
    ]
    assert list(training_inputs(load_config(repo_dir / PRETRAIN, options))) == [
        'annotation M1/annotations.json',
        'annotation pseudo/M1.json',
    ]
