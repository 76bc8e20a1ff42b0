"""What makes two checkpoints the same network."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def weights_digest(state_dict: Mapping[str, Tensor]) -> str:
    """The SHA-256 of names, types, shapes and values of all tensors, whatever their order and device.

    Unlike that of the file, it is the same for `best.pth`, for the checkpoint of that epoch, and for a converted copy.
    """
    digest = hashlib.sha256()
    for name in sorted(state_dict):
        value = state_dict[name].detach().cpu().contiguous()
        digest.update(f'{name} {value.dtype} {tuple(value.shape)}\n'.encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
