"""From a detector and batch folders to pseudo-label files."""

import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from pycocotools.coco import COCO

from noise_mm.datasets import OsteoclastNucleiDataset
from noise_mm.errors import InputError
from noise_mm.pseudo_labels import labelling
from noise_mm.pseudo_labels.batches import read_batches
from noise_mm.pseudo_labels.labeller import NucleusLabeller
from noise_mm.pseudo_labels.weak_nuclei import LabelSettings

BOX_PX = 12.0


def read(culture, batch='M1'):
    return json.loads((culture.root / 'pseudo' / f'{batch}.json').read_text())


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def nuclei_of(content, iscrowd=0):
    """Rounded centres and scores by file name."""
    names = {image['id']: image['file_name'] for image in content['images']}
    found = {name: set() for name in names.values()}
    for each in content['annotations']:
        if each['category_id'] == 2 and each['iscrowd'] == iscrowd:
            x, y, w, h = each['bbox']
            found[names[each['image_id']]].add((round(x + w / 2), round(y + h / 2), each['score']))
    return found


def expected_of(culture, batch, low, high=256):
    return {
        name: {(x, y, round(b / 255, 4)) for x, y, b in dots.tolist() if low <= b < high}
        for name, dots in culture.dots[batch].items()
    }


def test_every_nucleus_above_the_threshold_is_labelled(culture, label):
    assert label(score_thr=0.6) == ['M1', 'M2']
    for batch in ('M1', 'M2'):
        content = read(culture, batch)
        assert nuclei_of(content) == expected_of(culture, batch, 153)
        assert not any(nuclei_of(content, iscrowd=1).values())
        boxes = [each['bbox'] for each in content['annotations'] if each['category_id'] == 2]
        assert all(box[2:] == [BOX_PX, BOX_PX] for box in boxes)  # none at a border here
    assert not [path for path in (culture.root / 'pseudo').iterdir() if path.suffix != '.json' or path.name[0] == '.']


def test_osteoclasts_stay_exactly_as_they_are(culture, label):
    label(score_thr=0.6)
    before = json.loads((culture.root / 'M1' / 'annotations.json').read_text())
    after = read(culture)
    assert after['images'] == before['images']
    assert [each for each in after['annotations'] if each['category_id'] == 1] == before['annotations']
    ids = [each['id'] for each in after['annotations']]
    assert min(ids) == 1
    assert len(set(ids)) == len(ids)
    assert [category['name'] for category in after['categories']] == ['osteoclast', 'nucleus']
    assert len(COCO(culture.root / 'pseudo' / 'M1.json').getAnnIds(catIds=[2])) > 0


def test_stage_two_reads_the_files(culture, label):
    label(score_thr=0.8, uncertain_from=0.5)
    dataset = OsteoclastNucleiDataset(str(culture.root), ['M1', 'M2'], held_out=['M5'])
    n_nuclei = n_ignored = 0
    for index in range(len(dataset)):
        for each in dataset.get_data_info(index)['instances']:
            n_nuclei += each['bbox_label'] == 1
            n_ignored += each['bbox_label'] == 1 and each['ignore_flag']
    facts = [read(culture, batch)['info']['pseudo_labels'] for batch in ('M1', 'M2')]
    assert n_ignored == sum(each['n_uncertain'] for each in facts) > 0
    assert n_nuclei - n_ignored == sum(each['n_nuclei'] for each in facts) > 0


def test_uncertain_nuclei_are_regions_to_ignore(culture, label):
    label(score_thr=0.8, uncertain_from=0.6)
    content = read(culture)
    assert nuclei_of(content) == expected_of(culture, 'M1', 204)
    assert nuclei_of(content, iscrowd=1) == expected_of(culture, 'M1', 153, 204)
    assert {each['ignore'] for each in content['annotations'] if each['category_id'] == 2 and each['iscrowd']} == {1}


def test_the_threshold_of_maximum_f1_is_taken(culture, label):
    """Dim dots are not marked, so the best threshold is the confidence of the dimmest one that is."""
    label()
    provenance = read(culture)['info']['pseudo_labels']
    threshold = provenance['threshold']
    assert threshold['score_thr'] == round(180 / 255, 4)
    assert (threshold['f1'], threshold['precision'], threshold['recall']) == (1, 1, 1)
    assert threshold['n_images'] == 1  # 0.4 of the three wells
    assert threshold['chosen_by'].startswith('maximum F1 at IoU 0.5')
    assert nuclei_of(read(culture)) == expected_of(culture, 'M1', 180)


def test_the_file_says_where_it_comes_from(culture, label, write_checkpoint):
    label(write_checkpoint('epoch_7.pth'), score_thr=0.6, uncertain_from=0.5)
    provenance = read(culture)['info']['pseudo_labels']
    assert provenance['detector'] == {
        'checkpoint': 'epoch_7.pth',
        'config': None,
        'train_batches': ['M1', 'M2'],
        'fold': None,
        'training': None,
    }
    assert provenance['threshold']['chosen_by'] == 'given'
    assert provenance['made_from'].keys() == {
        'weights_sha256',
        'network_size_px',
        'box_px',
        'min_distance_px',
        'detector_test_cfg',
        'score_thr',
        'uncertain_from',
        'validation_sha256',
        'annotations_sha256',
        'n_images',
        'images_sha256',
    }
    assert provenance['noise_mm']


def test_what_is_up_to_date_is_left_alone(culture, label, write_checkpoint):
    label()
    path = culture.root / 'pseudo' / 'M1.json'
    before = path.stat().st_mtime_ns, path.read_bytes()
    for image in (culture.root / 'M1' / 'images').iterdir():
        os.utime(image, (1, 1))  # as after a copy
    assert label() == []
    assert label(write_checkpoint('epoch_3.pth', epoch=3)) == []  # the same weights in another file
    assert (path.stat().st_mtime_ns, path.read_bytes()) == before
    assert label(force=True) == ['M1', 'M2']
    assert path.read_bytes() == before[1]


def test_whatever_changes_makes_it_anew(culture, label, write_checkpoint):
    label()
    assert label(score_thr=0.6) == ['M1', 'M2']
    assert label(score_thr=0.6, uncertain_from=0.5) == ['M1', 'M2']
    assert label(score_thr=0.6, box_px='predicted') == ['M1', 'M2']
    assert label(score_thr=0.6, min_distance_px=9) == ['M1', 'M2']
    assert label() == ['M1', 'M2']
    edit(culture.root / 'M2' / 'annotations.json', lambda content: content['annotations'].pop())
    assert label() == ['M2']
    cv2.imwrite(str(culture.root / 'M1' / 'images' / 'M1_w1_0_0.png'), np.zeros((96, 96, 3), np.uint8))
    assert label() == ['M1']
    assert not nuclei_of(read(culture))['images/M1_w1_0_0.png']
    (culture.root / 'pseudo' / 'M1.json').write_text('{"images": [')
    (culture.root / 'pseudo' / 'M2.json').write_text('{"images": []}')
    assert label() == ['M1', 'M2']
    assert label(write_checkpoint(gain=0.9)) == ['M1', 'M2']
    edit(culture.root / 'nuclei' / 'annotations.json', lambda content: content['annotations'].clear())
    assert label(write_checkpoint(gain=0.9)) == ['M1', 'M2']
    threshold = read(culture)['info']['pseudo_labels']['threshold']
    assert (threshold['score_thr'], threshold['f1'], threshold['n_nuclei']) == (0.25, 0.0, 0)


def test_labelling_that_is_cut_goes_on_where_it_was(culture, label, monkeypatch):
    find = labelling._find

    def cut(labeller, patches, least):
        if patches.batch == 'M2':
            raise KeyboardInterrupt
        return find(labeller, patches, least)

    monkeypatch.setattr(labelling, '_find', cut)
    with pytest.raises(KeyboardInterrupt):
        label()
    assert [path.name for path in (culture.root / 'pseudo').iterdir()] == ['M1.json']
    monkeypatch.setattr(labelling, '_find', find)
    assert label() == ['M2']


def test_a_chosen_threshold_below_the_uncertain_ones_leaves_none(culture, label, capsys):
    label(uncertain_from=0.9)
    assert not any(nuclei_of(read(culture), iscrowd=1).values())
    assert nuclei_of(read(culture)) == expected_of(culture, 'M1', 180)


def test_invalid_ids_are_renumbered_and_marked_nuclei_replaced(culture, label):
    def change(content):
        for each in content['annotations']:
            each['id'] -= 1
        content['annotations'].append({**content['annotations'][0], 'id': 99, 'category_id': 2})

    edit(culture.root / 'M1' / 'annotations.json', change)
    label(score_thr=0.6)
    content = read(culture)
    assert sorted(each['id'] for each in content['annotations']) == list(range(1, len(content['annotations']) + 1))
    assert nuclei_of(content) == expected_of(culture, 'M1', 153)


def test_categories_of_other_programs(culture, label):
    def change(content):
        content['categories'] = [{'id': 0, 'name': 'cell'}, {'id': 2, 'name': 'osteoclast'}]
        for each in content['annotations']:
            each['category_id'] = 2

    edit(culture.root / 'M1' / 'annotations.json', change)
    label(score_thr=0.6)
    names = {category['id']: category['name'] for category in read(culture)['categories']}
    assert names == {0: 'cell', 2: 'osteoclast', 3: 'nucleus'}


@pytest.mark.parametrize(
    ('settings', 'words'),
    [
        ({'score_thr': 0}, 'score_thr is 0'),
        ({'score_thr': True}, 'score_thr is True'),
        ({'uncertain_from': 1.2}, 'uncertain_from is 1.2'),
        ({'min_distance_px': 'x'}, "min_distance_px is 'x'"),
        ({'min_distance_px': None}, 'min_distance_px is None'),
        ({'min_distance_px': -1}, 'min_distance_px is -1'),
        ({'box_px': -1}, 'box_px is -1'),
        ({'box_px': 'large'}, "box_px is 'large'"),
        ({'score_thr': 0.3, 'uncertain_from': 0.3}, 'uncertain_from=0.3 is not below score_thr=0.3'),
    ],
)
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(InputError, match=words):
        LabelSettings(**settings)


def test_faulty_batches_are_refused(culture):
    assert [each.batch for each in read_batches(culture.root, ['M1', 'M9', 'M1'])[0]] == ['M1']
    assert read_batches(culture.root, ['M9', 'M1'])[1] == ['M9']
    (culture.root / 'M1').rename(culture.root / 'M3')
    with pytest.raises(InputError, match='holds images of batch M1 and not of M3'):
        read_batches(culture.root, ['M3'])
    (culture.root / 'M2' / 'images' / 'M2_w1_0_0.png').unlink()
    with pytest.raises(InputError, match='M2_w1_0_0.png: is annotated but missing'):
        read_batches(culture.root, ['M2'])
    edit(culture.root / 'M2' / 'annotations.json', lambda content: content.update(images=[], annotations=[]))
    with pytest.raises(InputError, match='has no images'):
        read_batches(culture.root, ['M2'])
    (culture.root / 'M2' / 'annotations.json').write_text('[]')
    with pytest.raises(InputError, match='not a COCO file'):
        read_batches(culture.root, ['M2'])
    (culture.root / 'M2' / 'annotations.json').unlink()
    with pytest.raises(InputError, match='no such file'):
        read_batches(culture.root, ['M2'])


def test_a_damaged_patch_is_named(culture, label):
    (culture.root / 'M2' / 'images' / 'M2_w1_0_0.png').write_bytes(b'x')
    with pytest.raises(InputError, match='M2_w1_0_0.png: not an image'):
        label()
    assert [path.name for path in (culture.root / 'pseudo').iterdir()] == ['M1.json']


def test_another_network_is_refused(config, write_checkpoint):
    def build(**meta):
        return NucleusLabeller(config, write_checkpoint(**meta), torch.device('cpu'), LabelSettings(box_px=BOX_PX), 1)

    with pytest.raises(InputError, match="classes are 'osteoclast', and 'nucleus' is not among them"):
        build(dataset_meta={'classes': ('osteoclast',)})
    with pytest.raises(InputError, match=r'was trained on M1, M5, but the config says M1, M2\. Give the config'):
        build(cfg="train_batches = ['M1', 'M5']")
    build(cfg='')
    config.val_dataloader = None
    with pytest.raises(InputError, match='no detector with validation data'):
        build()


def test_labels_tell_all_that_their_detector_has_seen(config, write_checkpoint):
    """Also what it was started from, so that stage 2 refuses them when one of these batches is tested."""
    meta = {'seen_batches': {'M1': 'trained on', 'H1': 'trained on by old.pth'}}
    labeller = NucleusLabeller(config, write_checkpoint(**meta), torch.device('cpu'), LabelSettings(box_px=BOX_PX), 1)
    assert labeller.facts['train_batches'] == ['H1', 'M1', 'M2']


LAUNCHED = """
import sys, torch
from mmengine.dist import init_dist
sys.path.insert(0, {tests!r})
import importlib.util
spec = importlib.util.spec_from_file_location('stand_in', {conftest!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
torch.distributed.init_process_group('gloo')
from mmengine.config import Config
from noise_mm.pseudo_labels.labelling import label_batches
from noise_mm.pseudo_labels.weak_nuclei import LabelSettings
from noise_mm.pseudo_labels.labeller import NucleusLabeller
from noise_mm.pseudo_labels.batches import read_batches
config = Config.fromfile({config!r})
labeller = NucleusLabeller(config, {checkpoint!r}, torch.device('cpu'), LabelSettings(box_px=12.0), 2)
found, _ = read_batches({root!r}, ['M1', 'M2'])
written = label_batches(labeller, found, {root!r}, 'pseudo2')
assert written == ['M1', 'M2'], written
assert label_batches(labeller, found, {root!r}, 'pseudo2') == []
"""


@pytest.mark.slow
def test_two_ranks_write_what_one_does(culture, label, config, write_checkpoint, tmp_path, repo_dir):
    checkpoint = write_checkpoint()
    config.dump(tmp_path / 'config.py')
    script = tmp_path / 'launched.py'
    conftest = repo_dir / 'tests' / 'pseudo_labels' / 'conftest.py'
    names = {'tests': str(repo_dir), 'conftest': str(conftest), 'root': str(culture.root)}
    script.write_text(LAUNCHED.format(config=str(tmp_path / 'config.py'), checkpoint=str(checkpoint), **names))
    label(checkpoint)
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2', str(script)]
    environment = os.environ | {'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}
    subprocess.run(command, check=True, cwd=tmp_path, env=environment)
    for batch in ('M1', 'M2'):
        one, two = (json.loads((culture.root / name / f'{batch}.json').read_text()) for name in ('pseudo', 'pseudo2'))
        for content in (one, two):
            del content['info']['pseudo_labels']['detector']['config']
        assert one == two
