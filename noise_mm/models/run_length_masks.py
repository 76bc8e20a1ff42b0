"""Run-length masks that MMDetection's visualizers, inferencers and evaluators take for arrays."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, SupportsIndex

import numpy as np
import torch
from pycocotools import mask as coco_mask


class RunLengths(dict):
    """COCO's run-length encoding of one mask; indexed otherwise than by its keys, it is the bitmap."""

    def __getitem__(self, key: Any) -> Any:
        """Return an entry, or a part of the bitmap (height, width) uint8."""
        return super().__getitem__(key) if isinstance(key, str) else coco_mask.decode(dict(self))[key]


class RunLengthMasks(Sequence):
    """The masks of one image as a sequence of run-length encodings, which take little memory.

    MMDetection's own code expects an array of bitmaps: what it calls makes one. This is no list, because MMEngine's
    evaluators would copy it to a plain one.

    Args:
        masks: COCO's run-length encodings.
        size: Height and width of the image.
    """

    def __init__(self, masks: Iterable[dict], size: tuple[int, int]) -> None:
        self.masks = [RunLengths(mask) for mask in masks]
        self.size = size

    def __reduce__(self) -> tuple:
        """Return how to pickle it."""
        return RunLengthMasks, ([dict(mask) for mask in self], self.size)

    def __len__(self) -> int:
        """Return the number of masks."""
        return len(self.masks)

    def __iter__(self) -> Iterator[RunLengths]:
        """Yield the masks."""
        return iter(self.masks)

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        """Return one mask, or the masks of a slice."""
        found = self.masks[index]
        return RunLengthMasks(found, self.size) if isinstance(index, slice) else found

    def __add__(self, others: Iterable[dict]) -> 'RunLengthMasks':
        """Return these masks and others."""
        return RunLengthMasks([*self, *others], self.size)

    @staticmethod
    def cat(parts: Sequence['RunLengthMasks']) -> 'RunLengthMasks':
        """Return the masks of several parts of one image."""
        return RunLengthMasks([mask for part in parts for mask in part], parts[0].size)

    def astype(self, dtype: Any) -> np.ndarray:
        """Return the bitmaps (n, height, width)."""
        bitmaps = [coco_mask.decode(dict(mask)) for mask in self]
        return np.stack(bitmaps).astype(dtype) if bitmaps else np.zeros((0, *self.size), dtype=dtype)

    def numpy(self) -> np.ndarray:
        """Return the bitmaps (n, height, width) bool."""
        return self.astype(bool)

    def cpu(self) -> torch.Tensor:
        """Return the bitmaps (n, height, width) bool as a tensor."""
        return torch.from_numpy(self.numpy())
