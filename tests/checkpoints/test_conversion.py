import hashlib

import pytest
import torch

from noise_mm.checkpoints.checkpoint_keys import ultralytics_to_ours
from noise_mm.checkpoints.conversion import convert
from noise_mm.checkpoints.ultralytics_file import read_ultralytics
from noise_mm.checkpoints.ultralytics_model import build_model, save_ultralytics
from noise_mm.checkpoints.yolov8_size import size_of
from noise_mm.errors import InputError

NETWORKS = [
    {'size': 'n', 'classes': ('osteoclast',), 'masks': True},
    {'size': 's', 'classes': ('osteoclast', 'nucleus'), 'masks': False},
    {'size': 'n', 'classes': tuple(f'class {number}' for number in range(120)), 'masks': True},
]


@pytest.fixture
def our_file(tmp_path):
    """`our_file(weights, classes)` -> an MMEngine checkpoint like those of a training run."""

    def make(weights, classes):
        path = tmp_path / 'ours.pth'
        meta = {'dataset_meta': {'classes': classes}, 'epoch': 3}
        torch.save({'meta': meta, 'state_dict': ultralytics_to_ours(weights)}, path)
        return path

    return make


@pytest.mark.parametrize('settings', NETWORKS)
def test_there_and_back(tmp_path, network, weights, our_file, settings):
    original = weights(**settings)
    first = convert(our_file(original, settings['classes']), tmp_path / 'a.pt')
    second = convert(tmp_path / 'a.pt', tmp_path / 'b.pth')
    third = convert(tmp_path / 'b.pth', tmp_path / 'c.pt')

    assert first == second == third
    assert first.class_names == settings['classes'] and first.tensors == len(original)
    assert (first.size.letter, first.size.masks) == (settings['size'], settings['masks'])
    again = read_ultralytics(tmp_path / 'c.pt').state_dict
    assert again.keys() == original.keys()
    assert all(torch.equal(again[name], value) for name, value in original.items())

    checkpoint = torch.load(tmp_path / 'b.pth', weights_only=True)
    network(**settings).load_state_dict(checkpoint['state_dict'], strict=True)


def test_converted_file_says_what_it_is(tmp_path, weights, our_file):
    convert(our_file(weights(size='m'), ('osteoclast',)), tmp_path / 'a.pt')
    convert(tmp_path / 'a.pt', tmp_path / 'b.pth')
    meta = torch.load(tmp_path / 'b.pth', weights_only=True)['meta']
    assert meta['dataset_meta'] == {'classes': ('osteoclast',)}
    assert meta['yolov8'] == {
        **{'letter': 'm', 'deepen_factor': 0.67, 'widen_factor': 0.75, 'last_stage_out_channels': 768},
        **{'num_classes': 1, 'masks': True, 'task': 'segment'},
    }
    assert meta['source']['file'] == 'a.pt'
    assert meta['source']['sha256'] == hashlib.sha256((tmp_path / 'a.pt').read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ('file', 'settings'),
    [
        ('ultralytics_yolov8n-seg_nc1.pt', {'masks': True}),
        ('ultralytics_yolov8n-det_nc2.pt', {'masks': False, 'classes': ('osteoclast', 'nucleus')}),
    ],
)
def test_genuine_file_there_and_back(tmp_path, shared_dir, network, file, settings):
    source = shared_dir / 'parity' / file
    convert(source, tmp_path / 'a.pth')
    checkpoint = torch.load(tmp_path / 'a.pth', weights_only=True)
    assert checkpoint['meta']['source']['version'] == '8.3.200'
    network(**settings).load_state_dict(checkpoint['state_dict'], strict=True)

    convert(tmp_path / 'a.pth', tmp_path / 'b.pt')
    genuine, again = read_ultralytics(source), read_ultralytics(tmp_path / 'b.pt')
    assert (again.class_names, again.task) == (genuine.class_names, genuine.task)
    assert again.facts['date'] == genuine.facts['date']
    assert genuine.facts['train_args'].items() <= again.facts['train_args'].items()
    assert all(torch.equal(again.state_dict[name], value) for name, value in genuine.state_dict.items())


def test_genuine_file_of_a_width_that_is_not_published(tmp_path, shared_dir):
    source = shared_dir / 'parity/ultralytics_unstripped_tiny-seg_nc1.pt'
    converted = convert(source, tmp_path / 'a.pth')
    assert converted.size.letter == '' and converted.tensors == 416
    convert(tmp_path / 'a.pth', tmp_path / 'b.pt')
    genuine, again = (read_ultralytics(path).state_dict for path in (source, tmp_path / 'b.pt'))
    assert all(torch.equal(again[name], value) for name, value in genuine.items())


def test_checkpoint_of_a_training_run_is_read(tmp_path, weights):
    """With what MMEngine stores beside the weights: loss histories, optimizer, schedulers."""
    from mmengine.logging import HistoryBuffer

    content = {
        'meta': {'dataset_meta': {'classes': ('osteoclast',), 'palette': [(1, 2, 3)]}, 'cfg': 'text', 'iter': 9},
        'state_dict': ultralytics_to_ours(weights()),
        'message_hub': {'log_scalars': {'train/loss': HistoryBuffer([1.0, 2.0], [1, 1])}, 'runtime_info': {'lr': 0.1}},
        'optimizer': {'state': {0: {'momentum_buffer': torch.ones(3)}}, 'param_groups': [{'lr': 0.1, 'params': [0]}]},
        'param_schedulers': [{'last_step': 3}],
        'ema_state_dict': {'steps': torch.tensor(3)},
    }
    torch.save(content, tmp_path / 'epoch_3.pth')
    assert convert(tmp_path / 'epoch_3.pth', tmp_path / 'x.pt').class_names == ('osteoclast',)


@pytest.mark.parametrize(
    ('source', 'target'), [('a.pt', 'b.pt'), ('a.pth', 'b.pth'), ('a.ckpt', 'b.pt'), ('a.pt', 'b')]
)
def test_suffixes_that_say_no_direction(tmp_path, source, target):
    with pytest.raises(InputError, match=r'one must end in \.pt'):
        convert(tmp_path / source, tmp_path / target)


def test_target_that_is_a_folder(tmp_path):
    (tmp_path / 'b.pth').mkdir()
    with pytest.raises(InputError, match=r'b\.pth: is a folder'):
        convert(tmp_path / 'a.pt', tmp_path / 'b.pth')


def test_disk_that_is_full(tmp_path, monkeypatch, weights, our_file):
    source = our_file(weights(), ('osteoclast',))

    def fail(*_args):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('pathlib.Path.write_bytes', fail)
    with pytest.raises(InputError, match=r'x\.pt: the disk is full'):
        convert(source, tmp_path / 'x.pt')
    assert [path.name for path in tmp_path.iterdir()] == ['ours.pth']


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({'model': torch.nn.Identity()}, r'an Ultralytics checkpoint.*Rename it to \.pt'),
        ({'meta': {}}, 'has no `state_dict`'),
        ([1], 'has no `state_dict`'),
        ({'state_dict': {'a': 1}}, 'has no `state_dict`'),
        ({'state_dict': {'a': torch.ones(1)}}, r"not this project's YOLOv8 \(1 unknown tensors: a; "),
    ],
)
def test_checkpoints_that_are_not_of_this_project(tmp_path, content, message):
    torch.save(content, tmp_path / 'x.pth')
    with pytest.raises(InputError, match=rf'x\.pth: {message}'):
        convert(tmp_path / 'x.pth', tmp_path / 'y.pt')
    assert not (tmp_path / 'y.pt').exists()


@pytest.mark.parametrize(
    ('source', 'target', 'message'),
    [
        ('text.pt', 'x.pth', r'text\.pt: not a PyTorch checkpoint'),
        ('missing.pt', 'x.pth', r'missing\.pt: no such file'),
        ('folder.pt', 'x.pth', r'folder\.pt: cannot be read'),
        ('cut.pth', 'x.pt', r'cut\.pth: damaged or incomplete'),
        ('ours.pth', 'text.pt/x.pt', 'cannot write here'),
    ],
)
def test_bad_files_leave_nothing(tmp_path, weights, our_file, source, target, message):
    (tmp_path / 'text.pt').write_text('epoch,loss\n')
    (tmp_path / 'folder.pt').mkdir()
    ours = our_file(weights(), ('osteoclast',))
    (tmp_path / 'cut.pth').write_bytes(ours.read_bytes()[:-200])
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match=message):
        convert(tmp_path / source, tmp_path / target)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize('classes', [None, ('a', 'b'), 'a', (1,)])
def test_class_names_that_do_not_fit(tmp_path, weights, our_file, classes):
    with pytest.raises(InputError, match='does not name its 1 classes'):
        convert(our_file(weights(), classes), tmp_path / 'x.pt')


def test_ultralytics_model_with_a_tensor_too_many(tmp_path, weights):
    state_dict = weights()
    size = size_of({name: tuple(value.shape) for name, value in state_dict.items()})
    tree = build_model(state_dict, size, ('osteoclast',), {})
    tree.model[0].register_buffer('total_ops', torch.ones(1))
    save_ultralytics(tmp_path / 'a.pt', {'model': tree})
    with pytest.raises(InputError, match=r'a\.pt: not a YOLOv8 .*1 unknown tensors: model\.0\.total_ops'):
        convert(tmp_path / 'a.pt', tmp_path / 'b.pth')
    assert not (tmp_path / 'b.pth').exists()
