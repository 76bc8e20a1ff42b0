import json
from dataclasses import replace

import pytest

from noise_mm.configuration import load_config
from noise_mm.errors import InputError
from noise_mm.stages import FINISHED_FILE
from noise_mm.training.run_record import (
    STARTED_FILE,
    RunRecord,
    begin_record,
    differences,
    digest,
    evaluation_settings,
    finish_record,
    listed,
    read_record,
    training_settings,
)


@pytest.fixture
def record():
    return RunRecord({'max_epochs': 2}, {'annotation M1': {'file': 'a', 'identity': '1'}}, noise_mm_version='0', gpus=2)


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
        ({'hooks.ema.momentum': 0.5}, 'default_hooks.ema.momentum: 0.0001 -> 0.5'),
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


# --- files


def test_a_run_is_finished_only_at_its_end(tmp_path, record):
    assert read_record(tmp_path) is None
    assert begin_record(tmp_path, record, resumed=False) == []
    assert read_record(tmp_path) == record
    finish_record(tmp_path, epochs=2, image_passes=14)
    found = read_record(tmp_path)
    assert (found.finished, found.epochs, found.image_passes, found.run_id) == (True, 2, 14, record.run_id)
    assert (found.settings, found.inputs, found.gpus) == (record.settings, record.inputs, 2)
    assert not (tmp_path / STARTED_FILE).exists()


def test_the_digest_is_of_settings_and_inputs_wherever_they_lie(tmp_path, record):
    def digest_of(**changes):
        replace(record, **changes).write(tmp_path)
        return json.loads((tmp_path / STARTED_FILE).read_text())['digest']

    elsewhere = {'annotation M1': {'file': 'b', 'identity': '1'}}
    other = {'annotation M1': {'file': 'a', 'identity': '2'}}
    plain = digest_of()
    assert plain == digest_of(inputs=elsewhere) == digest_of(run_id='other', gpus=1)
    assert len({plain, digest_of(inputs=other), digest_of(settings={'max_epochs': 3})}) == 3


def test_a_new_run_undoes_the_former_one(tmp_path, record):
    begin_record(tmp_path, record, resumed=False)
    finish_record(tmp_path, 2, 14)
    (tmp_path / 'last_checkpoint').write_text('epoch_9.pth')
    begin_record(tmp_path, record, resumed=False)
    assert not read_record(tmp_path).finished
    assert not (tmp_path / 'last_checkpoint').exists()


def test_a_resumed_run_keeps_the_inputs_that_it_began_with(tmp_path, record):
    begin_record(tmp_path, record, resumed=False)
    (tmp_path / 'last_checkpoint').write_text('epoch_1.pth')
    changed = begin_record(tmp_path, RunRecord({'max_epochs': 3}, {}), resumed=True)
    assert changed == ['max_epochs: 2 -> 3']
    assert (read_record(tmp_path).inputs, read_record(tmp_path).run_id) == (record.inputs, record.run_id)
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
    assert list(first.inputs) == ['annotation M1/annotations.json']
    assert (first.epochs, first.image_passes) == (1, 4)  # a third of M1's six patches is for validation

    config = load_config(tiny_config)
    config.work_dir, config.launcher = str(tmp_path), 'none'
    _, report = evaluate(config, tmp_path / 'best.pth')
    assert report['run']['training']['run_id'] == first.run_id
    assert report['run']['training']['image_passes'] == 4
    assert report['run']['settings_digest'] == digest(evaluation_settings(load_config(tiny_config)))
    assert list(report['run']['data']) == ['annotation M2/annotations.json']
    assert report['run']['initialised_from'] == []
    assert report['run']['coco_weights'] is False

    # A start that fails for its options leaves the finished run as it is.
    with pytest.raises(InputError, match="no batch 'Z'"):
        train(tmp_path, train_batches=['Z'])
    assert read_record(tmp_path) == first

    train(tmp_path, resume='auto', max_epochs=2)
    assert read_record(tmp_path).settings['max_epochs'] == 2
    last = read_record(tmp_path)
    assert (last.inputs, last.run_id, last.image_passes) == (first.inputs, first.run_id, 8)
