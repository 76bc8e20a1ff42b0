"""The floating-point precision of inference, and the check that the network's outputs are finite.

Half precision overflows on some GPUs (GTX 16xx, Quadro T) and with some weights. What is not a number has no score, so
such a network would find no cells and report no error.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.structures import InstanceData

from noise_mm.errors import InputError
from noise_mm.inference.tile_pipeline import NetworkError

PRECISIONS = ('auto', 'fp16', 'bf16', 'fp32')
DTYPES = {'fp16': torch.float16, 'bf16': torch.bfloat16, 'fp32': torch.float32}


def resolve_precision(name: str, device: torch.device) -> str:
    """Return the precision that `name`, one of `PRECISIONS`, stands for: `auto` is fp16 on a GPU and fp32 on a CPU.

    Raises:
        InputError: If the device does not support it.
    """
    if name == 'auto':
        return 'fp16' if device.type == 'cuda' else 'fp32'
    if name == 'fp16' and device.type == 'cpu':
        raise InputError('--precision fp16 needs a GPU. Use fp32 or bf16 on a CPU.')
    if name == 'bf16' and device.type == 'cuda' and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise InputError('--precision bf16: this GPU does not support it. Use fp16 or fp32.')
    return name


class FiniteOutputs:
    """Watches the outputs of a network's heads.

    Args:
        model: Any MMDetection detector; modules whose name ends in `head` are watched.
        precision: The precision it runs in, which the error names.
    """

    def __init__(self, model: torch.nn.Module, precision: str) -> None:
        self.precision = precision
        self._checks: list[torch.Tensor] = []
        for name, module in model.named_modules():
            if name.endswith('head'):
                module.register_forward_hook(self._note)

    def _note(self, module: torch.nn.Module, inputs: Any, outputs: Any) -> None:
        self._checks += [torch.isfinite(tensor).all() for tensor in _floats(outputs)]

    @contextmanager
    def required(self) -> Iterator[None]:
        """Require finite outputs of the batch that is run in the block.

        Raises:
            NetworkError: If an output is not a number or infinite.
        """
        self._checks = []
        yield
        if self._checks and not torch.stack(self._checks).all():  # one synchronisation with the GPU per batch
            raise NetworkError(f'the network gives values that are not numbers in {self.precision}. {self._advice()}')

    def _advice(self) -> str:
        if self.precision == 'fp32':
            return 'The checkpoint is damaged, or its training diverged: use another one.'
        return 'This GPU or these weights do not support it: run again with --precision fp32.'


def require_finite_weights(model: torch.nn.Module, checkpoint: Any) -> None:
    """Refuse weights that are not numbers.

    Raises:
        InputError: With the name of the first such weight.
    """
    for name, weights in model.state_dict().items():
        if weights.is_floating_point() and not torch.isfinite(weights).all():
            raise InputError(
                f'{checkpoint}: damaged, {name} holds values that are not numbers. Copy it again or use another one.'
            )


def as_float32(instances: InstanceData) -> InstanceData:
    """Return detections in host memory with floating-point tensors in single precision, as NumPy needs them."""
    instances = instances.cpu()
    for name, value in instances.items():
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            instances.set_field(value.float(), name)
    return instances


def _floats(outputs: Any) -> Iterator[torch.Tensor]:
    """Yield the floating-point tensors in nested outputs."""
    if isinstance(outputs, torch.Tensor):
        if outputs.is_floating_point():
            yield outputs
    elif isinstance(outputs, dict):
        for value in outputs.values():
            yield from _floats(value)
    elif isinstance(outputs, list | tuple):
        for value in outputs:
            yield from _floats(value)
