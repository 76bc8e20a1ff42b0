import itertools

import pytest

from noise_mm.checkpoints.checkpoint_keys import (
    C2F_LAYERS,
    DFL_WEIGHT,
    name_table,
    ours_to_ultralytics,
    ultralytics_to_ours,
)

# Bottlenecks in the eight C2f blocks of the published sizes, and of depths that none of them has.
DEPTHS = {'n, s': (1, 2, 2, 1, 1, 1, 1, 1), 'm': (2, 4, 4, 2, 2, 2, 2, 2), 'l, x': (3, 6, 6, 3, 3, 3, 3, 3)}
UNUSUAL = (4, 12, 1, 5, 2, 3, 4, 11)


@pytest.mark.parametrize('bottlenecks', [*DEPTHS.values(), UNUSUAL])
@pytest.mark.parametrize('masks', [False, True])
def test_every_tensor_has_one_name_on_each_side(bottlenecks, masks):
    table = name_table(bottlenecks, masks)
    assert len(set(table.values())) == len(table)
    tensors = {name: object() for name in table}
    ours = ultralytics_to_ours({**tensors, DFL_WEIGHT: object()})
    assert set(ours) == set(table.values())
    assert ours_to_ultralytics(ours) == tensors


@pytest.mark.parametrize(
    ('file', 'depth', 'masks'),
    [
        ('yolov8n-seg_nc1.shapes.json', 'n, s', True),
        ('yolov8n-det_nc2.shapes.json', 'n, s', False),
        ('yolov8l-seg_nc1.shapes.json', 'l, x', True),
        ('tiny-seg_nc1.shapes.json', 'n, s', True),
    ],
)
def test_names_are_those_of_genuine_models(reference_shapes, file, depth, masks):
    assert {*name_table(DEPTHS[depth], masks), DFL_WEIGHT} == set(reference_shapes(file))


@pytest.mark.parametrize(('size', 'depth'), [('n', 'n, s'), ('m', 'm'), ('l', 'l, x')])
@pytest.mark.parametrize('masks', [False, True])
def test_names_are_those_of_our_networks(network, size, depth, masks):
    names = list(network(size=size, masks=masks).state_dict())
    assert set(name_table(DEPTHS[depth], masks).values()) == set(names)


def test_shapes_of_genuine_models_fit_our_networks(reference_shapes, network):
    for file, settings in {
        'yolov8n-seg_nc1.shapes.json': {'masks': True},
        'yolov8n-det_nc2.shapes.json': {'masks': False, 'classes': ('osteoclast', 'nucleus')},
        'yolov8l-seg_nc1.shapes.json': {'masks': True, 'size': 'l'},
    }.items():
        ours = {name: tuple(tensor.shape) for name, tensor in network(**settings).state_dict().items()}
        assert ultralytics_to_ours(reference_shapes(file)) == ours


@pytest.mark.parametrize(('rename', 'side'), [(ultralytics_to_ours, 0), (ours_to_ultralytics, 1)])
def test_unknown_and_missing_tensors_are_listed(rename, side):
    names = [pair[side] for pair in name_table(DEPTHS['m'], masks=True).items()]
    tensors = dict(zip(names, itertools.count(), strict=False))
    with pytest.raises(ValueError, match=r'^2 unknown tensors: extra\.a, extra\.b$'):
        rename({**tensors, 'extra.b': 0, 'extra.a': 0})
    del tensors[names[0]]
    with pytest.raises(ValueError, match=f'^1 tensors missing: {names[0]}$'):
        rename(tensors)
    with pytest.raises(ValueError, match=r'unknown tensors: .*; \d+ tensors missing: .*, \.\.\.$'):
        rename({'only': 0})


def test_listed_names_are_printable():
    with pytest.raises(ValueError) as error:
        ultralytics_to_ours({'\x1b[2J\n': 0})
    assert str(error.value).isprintable()


def test_layers_are_in_the_order_of_the_network():
    numbers = [int(layer.removeprefix('model.')) for layer in C2F_LAYERS]
    assert numbers == sorted(numbers)
