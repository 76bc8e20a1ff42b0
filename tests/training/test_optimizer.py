import pytest
import torch

from noise_mm.training.optimizer import YOLOv8OptimWrapper, choose_optimizer, iterations_per_step


@pytest.mark.parametrize(
    ('images', 'batch', 'epochs', 'classes', 'kind', 'rate'),
    [
        (64 * 100, 16, 100, 1, 'AdamW', 0.002),
        (64 * 100 + 1, 16, 100, 1, 'SGD', 0.01),
        (64 * 100 + 1, 128, 100, 1, 'AdamW', 0.002),
        (1000, 16, 100, 2, 'AdamW', 0.001667),
        (1000, 16, 100, 80, 'AdamW', 0.000119),
    ],
)
def test_choice_by_number_of_steps(images, batch, epochs, classes, kind, rate):
    chosen = choose_optimizer(images, batch, epochs, classes, nominal=64)
    assert (chosen['type'], chosen['lr']) == (kind, rate)


@pytest.mark.parametrize(('batch', 'expected'), [(1, 64), (16, 4), (24, 3), (48, 1), (64, 1), (128, 1)])
def test_iterations_per_step(batch, expected):
    assert iterations_per_step(batch, 64) == expected


def run(accumulation, epochs):
    """Parameter values after each iteration of epochs given as their lengths; gradient 1, rate 1."""
    parameter = torch.nn.Parameter(torch.zeros(()))
    wrapper = YOLOv8OptimWrapper(torch.optim.SGD([parameter], lr=1.0))
    values = []
    for length in epochs:
        for i in range(length):
            wrapper.accumulation, wrapper.is_last_of_epoch = accumulation, i + 1 == length
            wrapper.update_params(parameter.sum())
            values.append(-int(parameter.detach()))
    return values


def test_gradients_are_summed_and_none_waits_over_an_epoch():
    assert run(1, [3]) == [1, 2, 3]
    assert run(3, [7]) == [0, 0, 3, 3, 3, 6, 7]
    assert run(3, [4, 4]) == [0, 0, 3, 4, 4, 4, 7, 8]


def test_clipping_sees_the_sum():
    parameter = torch.nn.Parameter(torch.zeros(()))
    wrapper = YOLOv8OptimWrapper(torch.optim.SGD([parameter], lr=1.0), clip_grad={'max_norm': 2.0})
    for i in range(4):
        wrapper.accumulation, wrapper.is_last_of_epoch = 4, i == 3
        wrapper.update_params(parameter.sum())
    assert float(parameter.detach()) == pytest.approx(-2.0, rel=1e-4)
