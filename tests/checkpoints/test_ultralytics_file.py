from pathlib import Path

import pytest
import torch

from noise_mm.checkpoints.checkpoint_keys import DFL_WEIGHT
from noise_mm.checkpoints.ultralytics_file import plain_settings, read_ultralytics
from noise_mm.checkpoints.ultralytics_model import build_model, save_ultralytics
from noise_mm.checkpoints.yolov8_size import size_of
from noise_mm.errors import InputError

CLASSES = ('osteoclast', 'nucleus')


class Namespace(torch.nn.Module):
    """Written as Ultralytics' namespace of settings."""


Namespace.__module__, Namespace.__qualname__ = 'ultralytics.utils', 'IterableSimpleNamespace'


@pytest.fixture(scope='session')
def weights_nc2(weights):
    return {masks: weights(classes=CLASSES, masks=masks) for masks in (False, True)}


@pytest.fixture
def model(weights_nc2):
    """`model(masks)` -> the module tree of an Ultralytics checkpoint, free to be changed."""

    def make(masks=False):
        size = size_of({name: tuple(value.shape) for name, value in weights_nc2[masks].items()})
        return build_model(weights_nc2[masks], size, CLASSES, {'imgsz': 640})

    return make


def renamed(module: torch.nn.Module, name: str) -> None:
    """Gives a module another class name."""
    module.__class__ = type(name, (torch.nn.Module,), {'__module__': type(module).__module__})


def moved_to_old_paths(module: torch.nn.Module) -> None:
    """Gives modules the class paths of Ultralytics 8.0."""
    for part in module.modules():
        if type(part).__module__.startswith('ultralytics.'):
            old = 'ultralytics.yolo.tasks' if 'tasks' in type(part).__module__ else 'ultralytics.nn.modules'
            part.__class__ = type(type(part).__name__, (torch.nn.Module,), {'__module__': old})


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'x.pt'


@pytest.mark.parametrize(('masks', 'task'), [(False, 'detect'), (True, 'segment')])
def test_reads_weights_names_and_facts(path, model, weights_nc2, masks, task):
    facts = {'version': '8.3.200', 'date': '2024-04-10', 'epoch': -1}
    save_ultralytics(path, {'model': model(masks), 'train_args': {'imgsz': 640, 'tuple': (1,)}, **facts})
    checkpoint = read_ultralytics(path)
    assert (checkpoint.task, checkpoint.class_names) == (task, CLASSES)
    assert checkpoint.facts == {**facts, 'train_args': {'imgsz': 640}}
    assert checkpoint.state_dict.keys() == weights_nc2[masks].keys()
    for name, value in checkpoint.state_dict.items():
        assert value.dtype == (torch.int64 if name.endswith('num_batches_tracked') else torch.float32)
        assert torch.equal(value, weights_nc2[masks][name])


def test_averaged_weights_are_preferred(path, model):
    averaged, last = model(), model()
    averaged.model[0].conv.weight.fill_(0.5)
    save_ultralytics(path, {'model': last, 'ema': averaged})
    assert (read_ultralytics(path).state_dict['model.0.conv.weight'] == 0.5).all()


def test_names_as_list_and_old_class_paths(path, model):
    tree = model(masks=True)
    tree.names = list(CLASSES)
    tree.args = Namespace()
    moved_to_old_paths(tree)
    save_ultralytics(path, {'model': tree, 'train_args': Namespace()})
    checkpoint = read_ultralytics(path)
    assert (checkpoint.task, checkpoint.class_names) == ('segment', CLASSES)


def test_buffers_that_are_not_kept_are_left_out(path, model, weights_nc2):
    tree = model()
    tree.model[0].register_buffer('scratch', torch.ones(3), persistent=False)
    save_ultralytics(path, {'model': tree})
    assert read_ultralytics(path).state_dict.keys() == weights_nc2[False].keys()


@pytest.mark.parametrize('content', [None, 3, ['model'], torch.nn.Identity()])
def test_content_that_is_no_checkpoint(path, content):
    save_ultralytics(path, content)
    with pytest.raises(InputError, match=r'x\.pt: not an Ultralytics checkpoint'):
        read_ultralytics(path)


@pytest.mark.parametrize(
    'content', [{}, {'model': None, 'ema': None}, {'model': {'model.0.conv.weight': torch.ones(1)}}]
)
def test_checkpoint_without_model(path, content):
    save_ultralytics(path, content)
    with pytest.raises(InputError, match=r'x\.pt: holds no Ultralytics model'):
        read_ultralytics(path)


def test_checkpoint_of_this_project(path):
    save_ultralytics(path, {'state_dict': {}, 'meta': {}})
    with pytest.raises(InputError, match=r'an MMEngine checkpoint.*Rename it to \.pth'):
        read_ultralytics(path)


def pose_head(tree):
    renamed(tree.model[22], 'Pose')


def other_block(tree):
    renamed(tree.model[2], 'C3k2')


def no_head(tree):
    del tree.model[22]


def one_layer_more(tree):
    tree.model.append(torch.nn.Identity())


def no_layers(tree):
    del tree.model


def other_activation(tree):
    tree.model[3].act = torch.nn.ReLU()


def other_eps(tree):
    tree.model[3].bn.eps = 1e-5


def other_bins(tree):
    tree.model[22].dfl.conv.weight.add_(1)


def no_bins(tree):
    del tree.model[22].dfl


def diverged(tree):
    tree.model[4].cv1.conv.weight[0] = torch.nan


def no_class_output(tree):
    tree.model[22].cv3 = torch.nn.Identity()


def fused(tree):
    tree.model[0].conv.bias = torch.nn.Parameter(torch.zeros(16))


def too_few_names(tree):
    tree.names = {0: 'osteoclast'}


def names_with_a_gap(tree):
    tree.names = {0: 'osteoclast', 2: 'nucleus'}


def names_that_are_numbers(tree):
    tree.names = [0, 1]


def no_names(tree):
    del tree.names


def too_long_names(tree):
    tree.add_module('a' * 300, torch.nn.Identity())


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (pose_head, 'layer 22 is Pose, not Detect or Segment'),
        (other_block, 'layer 2 is C3k2, not C2f'),
        (no_head, 'it has 22 layers'),
        (one_layer_more, 'it has 24 layers'),
        (no_layers, 'it has 0 layers'),
        (other_activation, 'its activation is ReLU'),
        (other_eps, r'eps of model\.3\.bn is not 0\.001'),
        (other_bins, 'is not 0, 1, 2'),
        (no_bins, 'is not 0, 1, 2'),
        (diverged, r'model\.4\.cv1\.conv\.weight has values that are not finite'),
        (no_class_output, 'no class output'),
        (fused, 'fused into its convolutions'),
        (too_few_names, 'do not fit its 2 classes'),
        (names_with_a_gap, 'do not fit its 2 classes'),
        (names_that_are_numbers, 'do not fit its 2 classes'),
        (no_names, 'do not fit its 2 classes'),
        (too_long_names, 'more modules or longer names'),
    ],
)
def test_models_that_are_refused(path, model, change, message):
    tree = model()
    with torch.no_grad():
        change(tree)
    save_ultralytics(path, {'model': tree})
    with pytest.raises(InputError, match=rf'x\.pt: .*{message}'):
        read_ultralytics(path)


def test_more_modules_than_any_yolov8(path, model, monkeypatch):
    monkeypatch.setattr('noise_mm.checkpoints.ultralytics_file._MAX_MODULES', 100)
    save_ultralytics(path, {'model': model()})
    with pytest.raises(InputError, match='more modules or longer names'):
        read_ultralytics(path)


def test_constant_weights_are_not_returned(path, model):
    save_ultralytics(path, {'model': model()})
    assert DFL_WEIGHT not in read_ultralytics(path).state_dict


def test_plain_settings():
    settings = {'a': 1, 'b': [1, 'x', None], 'c': {'d': 1}, 'e': [[1]], 3: 4, 'f': None, 'g': Path('x')}
    assert plain_settings(settings) == {'a': 1, 'b': [1, 'x', None], 'f': None}
    assert plain_settings(None) == {}


def test_genuine_files_equal_their_recipe(shared_dir, reference_shapes, recipe):
    for file, shapes_file, task, classes in [
        ('ultralytics_yolov8n-seg_nc1.pt', 'yolov8n-seg_nc1.shapes.json', 'segment', ('osteoclast',)),
        ('ultralytics_yolov8n-det_nc2.pt', 'yolov8n-det_nc2.shapes.json', 'detect', CLASSES),
        ('ultralytics_unstripped_tiny-seg_nc1.pt', 'tiny-seg_nc1.shapes.json', 'segment', ('osteoclast',)),
    ]:
        checkpoint = read_ultralytics(shared_dir / 'parity' / file)
        expected = recipe.fill(reference_shapes(shapes_file), 20240410)
        assert (checkpoint.task, checkpoint.class_names) == (task, classes)
        assert checkpoint.facts['version'] == '8.3.200' and checkpoint.facts['train_args']['imgsz'] == 640
        assert {*checkpoint.state_dict, DFL_WEIGHT} == set(expected)
        for name, value in checkpoint.state_dict.items():
            array = torch.from_numpy(expected[name])
            assert torch.equal(value, array.half().float() if array.is_floating_point() else array), name


@pytest.mark.parametrize(('file', 'name'), [('malicious.pt', 'posix.system'), ('malicious_eval.pt', 'builtins.eval')])
def test_malicious_files_are_refused_by_what_they_tried(shared_dir, file, name):
    with pytest.raises(InputError, match=rf'{file}: refused and not loaded, because it asks for {name},'):
        read_ultralytics(shared_dir / 'parity' / file)
    assert not Path('/tmp/noise_pwned').exists()
