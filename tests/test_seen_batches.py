import pytest

from noise_mm.errors import InputError
from noise_mm.seen_batches import (
    batches_of,
    refuse_repeated,
    seen_by_checkpoint,
    seen_by_config,
    seen_in_test,
    through,
    trained_batches,
)


def loader(**dataset):
    return {'dataset': dataset}


def test_batches_are_found_in_datasets_of_any_form(tmp_path):
    for name in ('A', 'B', 'nuclei'):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'annotations.json').touch()
    own, all_there = {'batches': ['M1', 'M2']}, {'batches': None, 'data_root': str(tmp_path)}
    one_file = {'ann_file': str(tmp_path / 'A' / '..' / 'a.json'), 'data_root': 'x', 'batches': ['M7']}
    assert batches_of({'train_dataloader': {'dataset': own}}, 'train_dataloader') == ['M1', 'M2']
    assert batches_of({'train_dataloader': {'dataset': all_there}}, 'train_dataloader') == ['A', 'B']
    assert batches_of({'train_dataloader': {'dataset': one_file}}, 'train_dataloader') == [str(tmp_path / 'a.json')]
    repeated = loader(type='RepeatDataset', dataset=loader(type='ConcatDataset', datasets=[own, all_there])['dataset'])
    assert batches_of({'train_dataloader': repeated}, 'train_dataloader') == ['M1', 'M2', 'A', 'B']
    assert batches_of({'train_dataloader': loader(type='CocoDataset')}, 'train_dataloader') == []
    assert batches_of({}, 'test_dataloader') == []


def test_what_chooses_the_best_epoch_is_seen():
    config = {'train_dataloader': loader(batches=['M1']), 'val_dataloader': loader(batches=['M2'])}
    assert set(seen_by_config(config)) == {'M1', 'M2'}


def test_the_batches_of_a_checkpoint_are_read_and_not_run(tmp_path):
    marker = tmp_path / 'run'
    assert trained_batches({'cfg': f"import os\nopen({str(marker)!r}, 'w')\ntrain_batches = ['M1']"}) == ['M1']
    assert not marker.exists()
    for text in (None, '', 'batches = 1', 'train_batches = open', 'not python', 'train_batches = 5'):
        assert trained_batches({'cfg': text}) is None


def test_checkpoint_that_does_not_say_what_it_has_seen():
    assert seen_by_checkpoint({}, 'a.pth') is None
    assert seen_by_checkpoint({'cfg': "train_batches = ['M1']"}, 'a.pth') == {'M1': 'trained on'}
    assert seen_by_checkpoint({'seen_batches': {}, 'cfg': "train_batches = ['M1']"}, 'a.pth') == {}


def test_how_a_batch_was_seen_names_the_run_that_saw_it():
    once = through({'M5': 'trained on'}, 'stage1.pth')
    assert through(once, 'stage2.pth') == once == {'M5': 'trained on by stage1.pth'}
    assert through(None, 'coco.pth') == {}


def test_seen_batches_are_refused_or_returned():
    seen = {'M5': 'trained on by stage2.pth'}
    assert seen_in_test(['H1'], seen, 'config.py', allow_seen=False) == []
    with pytest.raises(
        InputError, match=r'^best\.pth: test data seen in training: batch M5 \(trained on by stage2\.pth\)'
    ):
        seen_in_test(['H1', 'M5'], seen, 'best.pth', allow_seen=False)
    assert seen_in_test(['H1', 'M5'], seen, 'best.pth', allow_seen=True) == ['M5']


def test_a_batch_named_twice_is_refused():
    refuse_repeated('train_batches', ['M1', 'M2'])
    refuse_repeated('train_batches', None)
    with pytest.raises(InputError, match='train_batches: batch M1 is named twice'):
        refuse_repeated('train_batches', ['M1', 'M2', 'M1'])
