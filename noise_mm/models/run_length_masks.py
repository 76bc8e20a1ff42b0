"""Run-length masks that MMDetection's visualizers and inferencers take for arrays."""

from collections.abc import Iterable
from typing import Any, SupportsIndex

import numpy as np
import torch
from pycocotools import mask as coco_mask


class RunLengths(dict):
    """COCO's run-length encoding of one mask; indexed otherwise than by its keys, it is the bitmap."""

    def __getitem__(self, key: Any) -> Any:
        """Return an entry, or a part of the bitmap (height, width) uint8."""
        return super().__getitem__(key) if isinstance(key, str) else coco_mask.decode(dict(self))[key]


class RunLengthMasks(list):
    """The masks of one image as a list of run-length encodings, which takes little memory.

    MMDetection's own code expects an array of bitmaps: what it calls makes one.

    Args:
        masks: COCO's run-length encodings.
        size: Height and width of the image.
    """

    def __init__(self, masks: Iterable[dict], size: tuple[int, int]) -> None:
        super().__init__(RunLengths(mask) for mask in masks)
        self.size = size

    def __reduce__(self) -> tuple:
        """Return how to pickle it."""
        return RunLengthMasks, ([dict(mask) for mask in self], self.size)

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        """Return one mask, or the masks of a slice."""
        found = super().__getitem__(index)
        return RunLengthMasks(found, self.size) if isinstance(index, slice) else found

    def __add__(self, others: list) -> 'RunLengthMasks':
        """Return these masks and others."""
        return RunLengthMasks([*self, *others], self.size)

    def astype(self, dtype: Any) -> np.ndarray:
        """Return the bitmaps (n, height, width)."""
        bitmaps = [coco_mask.decode(dict(mask)) for mask in self]
        return np.stack(bitmaps).astype(dtype) if bitmaps else np.zeros((0, *self.size), dtype=dtype)

    def cpu(self) -> torch.Tensor:
        """Return the bitmaps (n, height, width) bool as a tensor."""
        return torch.from_numpy(self.astype(bool))
