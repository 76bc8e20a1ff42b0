import torch

from noise_mm.checkpoints.weights_digest import weights_digest


def test_order_and_layout_do_not_matter_but_every_value_and_name_does():
    weights = {'a': torch.arange(6.0).reshape(2, 3), 'n': torch.tensor(3), 'h': torch.ones(2, dtype=torch.bfloat16)}
    digest = weights_digest(weights)
    turned = dict(reversed(weights.items())) | {'a': weights['a'].T.contiguous().T}
    assert weights_digest(turned) == digest
    others = [
        weights | {'n': torch.tensor(4)},
        weights | {'a': weights['a'].reshape(3, 2)},
        weights | {'h': torch.ones(2, dtype=torch.float16)},
        {('b' if name == 'a' else name): value for name, value in weights.items()},
        weights | {'more': torch.zeros(0)},
    ]
    assert len({digest, *map(weights_digest, others)}) == 6
