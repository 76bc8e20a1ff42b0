"""YOLOv8's choice of optimizer, and optimizer wrappers that sum gradients up to the nominal batch."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmyolo.registry import OPTIM_WRAPPERS
from torch import nn

from noise_mm.errors import InputError

# Images per step that YOLOv8's learning rates and weight decay are made for; a config's `nominal_batch_size`.
NOMINAL_BATCH_SIZE = 64

# Above this many optimizer steps Ultralytics' `optimizer=auto` takes SGD.
MANY_ITERATIONS = 10_000


def choose_optimizer(num_images: int, batch_size: int, max_epochs: int, num_classes: int, nominal: int) -> dict:
    """The optimizer that Ultralytics' `optimizer=auto` takes for a training of this length.

    Args:
        num_images: Training images.
        batch_size: Images per iteration over all devices.
        max_epochs: Epochs.
        num_classes: Classes of the network; more classes give a smaller learning rate for AdamW.
        nominal: Nominal batch size.

    Returns:
        An MMEngine optimizer config with type and learning rate, without weight decay.
    """
    iterations = math.ceil(num_images / max(batch_size, nominal)) * max_epochs
    if iterations > MANY_ITERATIONS:
        return {'type': 'SGD', 'lr': 0.01, 'momentum': 0.9, 'nesterov': True}
    return {'type': 'AdamW', 'lr': round(0.002 * 5 / (4 + num_classes), 6), 'betas': (0.9, 0.999)}


def iterations_per_step(batch_size: int, nominal: int) -> int:
    """Iterations whose gradients are summed, so that about `nominal` images make one step."""
    return max(round(nominal / batch_size), 1)


class SummedGradients:
    """Steps after `accumulation` iterations and sums their gradients.

    MMEngine's wrappers average them instead, which would divide the gradients that YOLOv8's learning rates and its
    clipping at 10 are made for. `YOLOv8ScheduleHook` sets `accumulation` and `is_last_of_epoch` before each
    iteration: no gradient waits over the end of an epoch, where checkpoints are written.

    Attributes:
        accumulation: Iterations per step.
        is_last_of_epoch: Whether this iteration ends an epoch.
        stepped: Whether the last iteration changed the parameters.
    """

    accumulation = 1
    is_last_of_epoch = False
    stepped = False
    _waiting = 0

    def __init__(self, *args: Any, accumulative_counts: int = 1, **kwargs: Any) -> None:
        if accumulative_counts != 1:
            raise InputError(
                f'accumulative_counts={accumulative_counts}: {type(self).__name__} sums gradients up to '
                "nominal_batch_size images. Set that instead, or type='OptimWrapper' or 'AmpOptimWrapper'."
            )
        super().__init__(*args, **kwargs)

    def scale_loss(self, loss: torch.Tensor) -> torch.Tensor:
        """The loss as it is."""
        return loss

    def should_sync(self) -> bool:
        """Whether this iteration's backward pass is to average gradients over the devices."""
        return self._waiting + 1 >= self.accumulation or self.is_last_of_epoch

    def should_update(self) -> bool:
        """Whether to step; called once after each backward pass."""
        self._waiting += 1
        self.stepped = self._waiting >= self.accumulation or self.is_last_of_epoch
        if self.stepped:
            self._waiting = 0
        return self.stepped


@OPTIM_WRAPPERS.register_module()
class YOLOv8OptimWrapper(SummedGradients, OptimWrapper):
    """MMEngine's optimizer wrapper with summed gradients."""


@OPTIM_WRAPPERS.register_module()
class YOLOv8AmpOptimWrapper(SummedGradients, AmpOptimWrapper):
    """The same under autocast (`--amp`); float16 with a dynamic loss scale unless `dtype='bfloat16'`."""


@OPTIM_WRAPPERS.register_module()
class YOLOv8CPUAmpOptimWrapper(SummedGradients, OptimWrapper):
    """The same on a CPU: autocast to bfloat16, which has float32's range and needs no loss scale."""

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the forward pass under autocast."""
        with super().optim_context(model), torch.autocast('cpu', dtype=torch.bfloat16):
            yield


def cpu_multiplies_bfloat16() -> bool:
    """Return whether this processor has instructions for products of bfloat16; without them it is slower than float32.

    They are AVX512-BF16 and AMX. PyTorch before 2.6 cannot tell, which counts as no.
    """
    return any(getattr(torch.cpu, name, bool)() for name in ('_is_avx512_bf16_supported', '_is_amx_tile_supported'))
