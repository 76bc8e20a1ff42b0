import json

from noise_mm.checkpoints.provenance import passes_text, short_training_note, stages_before, training_facts, training_of
from noise_mm.configuration import load_config

DETECTOR = {'config': 'detector.py', 'run_id': 'a', 'batches': ['M1'], 'n_patches': 5, 'epochs': 2, 'image_passes': 10}
PRETRAIN = {'config': 'pretrain.py', 'run_id': 'b', 'batches': ['M1'], 'n_patches': 9, 'epochs': 3, 'image_passes': 27}


def test_stages_come_once_and_in_order():
    pretrain = {**PRETRAIN, 'stages': [DETECTOR], 'coco_weights': True, 'model_size': 'n'}
    assert stages_before([DETECTOR, None, pretrain, pretrain]) == [DETECTOR, PRETRAIN]


def test_coco_weights_of_an_earlier_stage_count():
    config = {'model_size': 'n', 'train_batches': ['M1'], 'max_epochs': 3}
    start = {'origin': 'given', 'training': {**PRETRAIN, 'coco_weights': True}}
    assert training_facts(config, [start], [DETECTOR])['coco_weights'] is True
    assert training_facts(config, [{'origin': 'given', 'training': None}], [])['coco_weights'] is False
    assert training_facts(config, [{'origin': 'coco', 'training': None}], [])['coco_weights'] is True
    assert training_facts(config, [start], [DETECTOR])['stages'] == [DETECTOR, PRETRAIN]


def test_the_whole_run_counts_where_its_record_is_at_hand(tmp_path):
    """The best epoch is one in the middle; the budget was spent to the end."""
    best = tmp_path / 'best.pth'
    meta = {'training': PRETRAIN}
    assert training_of(meta, best) == PRETRAIN
    (tmp_path / 'finished.json').write_text(json.dumps({'run_id': 'b', 'epochs': 4, 'image_passes': 36}))
    assert training_of(meta, best) == {**PRETRAIN, 'epochs': 4, 'image_passes': 36}
    assert training_of(meta, tmp_path / 'epoch_1.pth') == PRETRAIN
    assert training_of({'training': DETECTOR}, best) == DETECTOR  # of another run
    assert training_of({}, best) is None


def test_passes_in_words():
    assert passes_text(PRETRAIN) == '27 image passes'
    assert passes_text({**PRETRAIN, 'stages': [DETECTOR]}) == '37 image passes (detector.py 10, this one 27)'


def test_facts_are_those_of_the_run_and_not_only_of_the_settings(repo_dir):
    """What an author writes in the dataset or the model wins over the top level."""
    options = {'model_size': 'n', 'stain_augmentation': True, 'train_dataloader.dataset.batches': ['M7']}
    facts = training_facts(load_config(repo_dir / 'configs/baseline/yolov8_m2h.py', options), [], [])
    flips = ['RandomFlip horizontal', 'RandomFlip vertical', 'RandomQuarterTurn']
    steps = ['PatchMosaic', 'PatchAffine', 'StainJitter', 'YOLOv5HSVRandomAug', *flips]
    assert facts == {
        'model_size': 'n',
        'network_size_px': 416,
        'patch_size_px': 832,
        'best_metric': 'osteoclast/segm_mAP50',
        'split_unit': 'well',
        'max_epochs': 100,
        'patience': 50,
        'augmentation': steps,
        'batches': ['M7'],
        'coco_weights': False,
        'stages': [],
    }


def test_a_short_training_is_named():
    alone = {**PRETRAIN, 'stages': [], 'coco_weights': False}
    assert 'trained for 3 epochs (27 image passes)' in short_training_note(alone)
    for other in (None, {}, alone | {'epochs': 5}, alone | {'stages': [DETECTOR]}, alone | {'coco_weights': True}):
        assert short_training_note(other) == ''
