import pytest
import torch

from noise_mm.checkpoints.checkpoint_keys import DFL_WEIGHT
from noise_mm.checkpoints.safe_loading import load_file
from noise_mm.checkpoints.stand_ins import Record
from noise_mm.checkpoints.ultralytics_file import read_ultralytics
from noise_mm.checkpoints.ultralytics_model import build_model, save_ultralytics
from noise_mm.checkpoints.yolov8_size import size_of
from noise_mm.errors import InputError

# Attributes that a genuine head gets when it first runs.
AFTER_FIRST_USE = {'anchors', 'strides', 'shape'}


def built(state_dict, class_names, settings=None):
    size = size_of({name: tuple(value.shape) for name, value in state_dict.items()})
    return build_model(state_dict, size, class_names, settings or {})


def described(value):
    """A record as plain values that can be compared; tensors as their type and size."""
    if isinstance(value, torch.Tensor):
        return value.dtype, value.shape, value.requires_grad
    if isinstance(value, Record):
        return f'{type(value).__module__}.{value.class_name}', {
            name: described(part) for name, part in value.state.items()
        }
    if isinstance(value, dict):
        return {name: described(part) for name, part in value.items()}
    return value


def without_use(described_model):
    """Leaves out what genuine heads get when they first run."""
    name, state = described_model
    head = state['_modules']['model'][1]['_modules']['22'][1]
    for attribute in AFTER_FIRST_USE:
        head.pop(attribute, None)
    return name, state


@pytest.mark.parametrize(
    ('file', 'key'),
    [
        ('ultralytics_yolov8n-seg_nc1.pt', 'model'),
        ('ultralytics_yolov8n-det_nc2.pt', 'model'),
        ('ultralytics_unstripped_tiny-seg_nc1.pt', 'ema'),
    ],
)
def test_tree_has_every_module_and_attribute_of_a_genuine_one(tmp_path, shared_dir, file, key):
    path = shared_dir / 'parity' / file
    checkpoint = read_ultralytics(path)
    save_ultralytics(tmp_path / 'x.pt', {'model': built(checkpoint.state_dict, checkpoint.class_names)})

    ours = without_use(described(load_file(tmp_path / 'x.pt', objects_as_records=True)['model']))
    genuine = without_use(described(load_file(path, objects_as_records=True)[key]))
    for _, state in (ours, genuine):
        state.pop('args')
        state.pop('criterion', None)  # the loss of an unfinished training
    assert ours == genuine


def test_weights_are_half_precision_and_named_as_before(weights):
    state_dict = weights(classes=('a', 'b'))
    model = built(state_dict, ('a', 'b'), {'imgsz': 416})
    written = model.state_dict()
    assert written.pop(DFL_WEIGHT).flatten().tolist() == list(range(16))
    assert written.keys() == state_dict.keys()
    for name, value in written.items():
        assert value.dtype == (torch.int64 if name.endswith('num_batches_tracked') else torch.float16)
        assert torch.equal(value.to(state_dict[name].dtype), state_dict[name])
    assert (model.names, model.nc, model.args) == ({0: 'a', 1: 'b'}, 2, {'imgsz': 416})
    assert model.stride.tolist() == [8, 16, 32]


def test_values_beyond_half_precision(weights):
    state_dict = weights()
    state_dict['model.0.bn.running_var'] = torch.full((16,), 1e5)
    with pytest.raises(ValueError, match=r'model\.0\.bn\.running_var has values that half precision cannot hold'):
        built(state_dict, ('a',))


def test_shapes_that_do_not_fit_together(weights):
    state_dict = weights()
    state_dict['model.0.bn.running_var'] = torch.ones(17)
    with pytest.raises(ValueError, match='do not fit together'):
        built(state_dict, ('a',))


def test_file_can_be_read_back(tmp_path, weights):
    save_ultralytics(tmp_path / 'x.pt', {'model': built(weights(), ('a',))})
    assert read_ultralytics(tmp_path / 'x.pt').class_names == ('a',)
    with pytest.raises(InputError):
        read_ultralytics(tmp_path / 'y.pt')
