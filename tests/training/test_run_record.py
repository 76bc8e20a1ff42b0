import json
import shutil

import pytest

from noise_mm.configuration import load_config
from noise_mm.errors import InputError
from noise_mm.training.run_record import (
    FINISHED_FILE,
    STARTED_FILE,
    RunRecord,
    begin_record,
    data_inputs,
    differences,
    digest,
    evaluation_settings,
    finish_record,
    input_differences,
    listed,
    read_record,
    training_inputs,
    training_settings,
)

DETECTOR = 'configs/noise/nuclei_detector_yolov8-l.py'
PRETRAIN = 'configs/noise/pretrain_osteoclast-nuclei_yolov8-l.py'


@pytest.fixture
def record():
    return RunRecord({'max_epochs': 2}, {'patches of M1': {'file': 'a', 'sha256': '1'}}, noise_mm_version='0', gpus=2)


# --- settings


@pytest.mark.parametrize(
    'option',
    [
        {'data_root': '/elsewhere'},
        {'num_workers': 7, 'cache': 'ram'},
        {'test_batches': ['H9']},
        {'log_level': 'DEBUG', 'default_hooks.logger.interval': 1},
        {'test_evaluator.mode': 'ultralytics'},
        {'init_from': [], 'work_dir': 'x', 'launcher': 'slurm', 'resume': True, 'load_from': 'x.pth'},
        {'protocol': 'own', 'method': 'other', 'env_cfg.cudnn_benchmark': False},
    ],
)
def test_what_changes_no_training_is_not_compared(tiny_config, option):
    plain, changed = (training_settings(load_config(tiny_config, overrides)) for overrides in ({}, option))
    assert differences(plain, changed) == []
    assert digest(plain) == digest(changed)


@pytest.mark.parametrize(
    ('option', 'first'),
    [
        ({'model_size': 's'}, 'model_size: "n" -> "s"'),
        ({'max_epochs': 3}, 'max_epochs: 2 -> 3'),
        ({'train_batches': ['M2']}, 'train_batches: ["M1"] -> ["M2"]'),
        ({'randomness.seed': 1}, 'randomness.seed: 0 -> 1'),
        ({'hooks.ema.momentum': 0.5}, 'hooks.ema.momentum: 0.0001 -> 0.5'),
        ({'train_dataloader.dataset.filter_cfg': {'a': 1}}, 'train_dataloader.dataset.filter_cfg.a: not set -> 1'),
    ],
)
def test_what_changes_a_training_is_named_before_what_follows_from_it(tiny_config, option, first):
    plain, changed = (training_settings(load_config(tiny_config, overrides)) for overrides in ({}, option))
    assert differences(plain, changed)[0] == first
    assert digest(plain) != digest(changed)


def test_options_of_the_command_are_settings(tiny_config):
    config = load_config(tiny_config)
    assert differences(training_settings(config), training_settings(config, amp=True)) == ['--amp: false -> true']


def test_hooks_of_a_foreign_config_count():
    settings = [training_settings({'custom_hooks': [{'type': 'EMAHook', 'momentum': value}]}) for value in (0.1, 0.2)]
    assert differences(*settings) == ['custom_hooks.0.momentum: 0.1 -> 0.2']


def test_evaluation_has_other_settings(tiny_config):
    plain, mode, place, epochs = (
        evaluation_settings(load_config(tiny_config, overrides))
        for overrides in ({}, {'test_evaluator.mode': 'ultralytics'}, {'data_root': '/elsewhere'}, {'max_epochs': 9})
    )
    assert digest(plain) == digest(place) == digest(epochs) != digest(mode)


def test_long_lists_are_cut():
    assert listed(['a', 'b']) == 'a; b'
    assert listed(list('abcde')) == 'a; b; c; and 2 more'


# --- inputs


def test_patches_are_compared_by_content_wherever_they_lie(tiny_config, tiny_data, tmp_path):
    copy = tmp_path / 'copy'
    shutil.copytree(tiny_data, copy)
    here, there = (training_inputs(load_config(tiny_config, {'data_root': str(root)})) for root in (tiny_data, copy))
    assert list(here) == ['patches of M1']
    assert input_differences(here, there) == []
    (copy / 'M2' / 'annotations.json').write_text('{}')  # not trained on
    assert input_differences(here, training_inputs(load_config(tiny_config, {'data_root': str(copy)}))) == []
    image = next((copy / 'M1' / 'images').iterdir())
    image.write_bytes(image.read_bytes() + b' ')
    changed = training_inputs(load_config(tiny_config, {'data_root': str(copy)}))
    assert input_differences(here, changed) == [f'patches of M1 ({copy}/M1/annotations.json) has changed']
    shutil.rmtree(copy / 'M1')
    gone = training_inputs(load_config(tiny_config, {'data_root': str(copy)}))
    assert input_differences(here, gone) == [f'patches of M1 ({tiny_data}/M1/annotations.json) is gone']


def test_test_data_are_those_of_the_test(tiny_config):
    assert list(data_inputs(load_config(tiny_config), 'test_dataloader')) == ['patches of M2']


def test_initial_checkpoints_are_told_apart_from_the_last_on(tmp_path):
    coco, stage = tmp_path / 'coco.pth', tmp_path / 'stage.pth'
    stage.write_bytes(b'2')
    coco.write_bytes(b'1')
    without = training_inputs({'init_checkpoints': [{'file': str(stage)}]})
    both = training_inputs({'init_checkpoints': [{'file': str(coco)}, {'file': str(stage)}]})
    assert input_differences(without, both) == [f'initial checkpoint 2 from the last ({coco}) was not there']


def test_one_annotation_file(tmp_path):
    (tmp_path / 'a.json').write_text('{}')
    loader = {'dataset': {'type': 'OsteoclastDataset', 'ann_file': str(tmp_path / 'a.json')}}
    assert list(training_inputs({'train_dataloader': loader})) == ['annotation']
    loader['dataset']['type'] = 'CocoDataset'
    assert training_inputs({'train_dataloader': loader}) == {}


def test_stage_1_is_made_from_marked_nuclei_and_stage_2_from_labels(repo_dir, tmp_path):
    options = {'data_root': str(tmp_path), 'train_batches': ['M1']}
    for folder in ('M1', 'nuclei'):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / 'annotations.json').write_text('{}')
    assert list(training_inputs(load_config(repo_dir / DETECTOR, options))) == ['patches of M1', 'marked nuclei']

    labels = tmp_path / 'pseudo' / 'M1.json'
    labels.parent.mkdir()
    labels.write_text(json.dumps({'info': {'pseudo_labels': {'made_from': {'weights_sha256': 'abc'}}}}))
    config = load_config(repo_dir / PRETRAIN, options)
    inputs = training_inputs(config)
    assert list(inputs) == ['patches of M1', 'nuclei labels of M1']
    assert inputs['nuclei labels of M1']['weights_sha256'] == 'abc'
    assert training_inputs(config, known=inputs) == inputs
    labels.write_text('{"images": []}')  # of another program
    assert training_inputs(config, known=inputs)['nuclei labels of M1']['weights_sha256'] is None


# --- files


def test_a_run_is_finished_only_at_its_end(tmp_path, record):
    assert read_record(tmp_path) is None
    assert begin_record(tmp_path, record, resumed=False) == []
    assert read_record(tmp_path) == record
    (tmp_path / 'best.pth').write_bytes(b'weights')
    finish_record(tmp_path)
    found = read_record(tmp_path)
    assert found.finished and len(found.checkpoint_sha256) == 64
    assert (found.settings, found.inputs, found.gpus) == (record.settings, record.inputs, 2)
    assert json.loads((tmp_path / FINISHED_FILE).read_text())['settings_digest'] == digest(record.settings)
    assert not (tmp_path / STARTED_FILE).exists()


def test_a_new_run_undoes_the_former_one(tmp_path, record):
    begin_record(tmp_path, record, resumed=False)
    finish_record(tmp_path)
    (tmp_path / 'last_checkpoint').write_text('epoch_9.pth')
    begin_record(tmp_path, record, resumed=False)
    assert not read_record(tmp_path).finished
    assert not (tmp_path / 'last_checkpoint').exists()


def test_a_resumed_run_keeps_the_inputs_that_it_began_with(tmp_path, record):
    begin_record(tmp_path, record, resumed=False)
    (tmp_path / 'last_checkpoint').write_text('epoch_1.pth')
    changed = begin_record(tmp_path, RunRecord({'max_epochs': 3}, {}), resumed=True)
    assert changed == ['max_epochs: 2 -> 3']
    assert read_record(tmp_path).inputs == record.inputs
    assert read_record(tmp_path).settings == {'max_epochs': 3}
    assert (tmp_path / 'last_checkpoint').exists()


def test_a_run_resumed_from_elsewhere(tmp_path, record):
    assert begin_record(tmp_path, record, resumed=True) == []
    assert read_record(tmp_path) == record


@pytest.mark.parametrize('text', ['[]', '{"schema": 99}'])
def test_another_files_content_is_refused(tmp_path, text):
    (tmp_path / FINISHED_FILE).write_text(text)
    with pytest.raises(InputError, match=r'finished\.json: no record'):
        read_record(tmp_path)


def test_a_run_without_best_checkpoint(tmp_path, record):
    begin_record(tmp_path, record, resumed=False)
    finish_record(tmp_path)
    assert read_record(tmp_path).checkpoint_sha256 is None


# --- real runs


@pytest.fixture
def train(tiny_config):
    from noise_mm.training.run import train as start

    def make(work_dir, resume=None, **options):
        config = load_config(tiny_config, {'max_epochs': 1, **options})
        config.work_dir, config.launcher = str(work_dir), 'none'
        start(config, resume=resume)

    return make


@pytest.mark.slow
def test_training_leaves_its_record(train, tiny_config, tmp_path):
    from noise_mm.training.run import evaluate

    train(tmp_path)
    first = read_record(tmp_path)
    assert first.finished
    assert first.settings == training_settings(load_config(tiny_config, {'max_epochs': 1}))
    assert list(first.inputs) == ['patches of M1']

    config = load_config(tiny_config)
    config.work_dir, config.launcher = str(tmp_path), 'none'
    _, report = evaluate(config, tmp_path / 'best.pth')
    assert report['run']['checkpoint_sha256'] == first.checkpoint_sha256
    assert report['run']['settings_digest'] == digest(evaluation_settings(load_config(tiny_config)))
    assert list(report['run']['data']) == ['patches of M2']
    assert report['run']['initialised_from'] == []
    assert report['run']['coco_weights'] is False

    # A start that fails for its options leaves the finished run as it is.
    with pytest.raises(InputError, match="no batch 'Z'"):
        train(tmp_path, train_batches=['Z'])
    assert read_record(tmp_path) == first

    train(tmp_path, resume='auto', max_epochs=2)
    assert read_record(tmp_path).settings['max_epochs'] == 2
    assert read_record(tmp_path).inputs == first.inputs
