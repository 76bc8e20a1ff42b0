"""What is annotated in one training image, as arrays that are moved, clipped and filtered together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import PolygonMasks

from noise_mm.datasets.rings import Rings
from noise_mm.errors import InputError


class RingMasks(PolygonMasks):
    """MMDetection's `PolygonMasks` over flat arrays: what training steps do often needs no loop over the outlines.

    Everything else works as in the parent, which finds its lists in `masks`. Some of its methods give plain
    `PolygonMasks`, which `Targets.from_results` understands as well.

    Args:
        rings: The outlines, or as in the parent for each instance a list of arrays x1, y1, x2, y2, ...
        height: Rows of the image.
        width: Columns of the image.
    """

    def __init__(self, rings: Rings | Sequence[Sequence[np.ndarray]], height: int, width: int) -> None:
        self.rings = rings if isinstance(rings, Rings) else Rings.from_lists(rings)
        self.height = height
        self.width = width

    @property
    def masks(self) -> list[list[np.ndarray]]:
        """The parent's form: for each instance arrays x1, y1, x2, y2, ..."""
        return self.rings.to_lists()

    def __len__(self) -> int:
        """Number of instances."""
        return len(self.rings)

    def __getitem__(self, index: object) -> 'RingMasks':
        """The instances that `index` selects: a number, a slice, or an array of numbers or bools."""
        indices = np.atleast_1d(np.arange(len(self))[index])
        return RingMasks(self.rings.selected(indices), self.height, self.width)

    def flip(self, flip_direction: str = 'horizontal') -> 'RingMasks':
        """Mirrored; 'horizontal', 'vertical' or 'diagonal' (both)."""
        x, y = flip_direction != 'vertical', flip_direction != 'horizontal'
        matrix = np.array([[1 - 2 * x, 0, x * self.width], [0, 1 - 2 * y, y * self.height]])
        return RingMasks(self.rings.moved(matrix), self.height, self.width)

    def rotate(
        self,
        out_shape: tuple[int, int],
        angle: float,
        center: tuple[float, float] | None = None,
        scale: float = 1.0,
        border_value: int = 0,
        interpolation: str = 'bilinear',
    ) -> 'RingMasks':
        """Turned clockwise by `angle` degrees and clipped to `out_shape` (height, width), as the image is turned.

        Without `center` (x, y, in indices of pixels) about the image's centre, where the parent turns about its corner.
        """
        x, y = ((self.width - 1) / 2, (self.height - 1) / 2) if center is None else center
        matrix = cv2.getRotationMatrix2D((x + 0.5, y + 0.5), -angle, scale)
        return RingMasks(self.rings.moved(matrix).clipped(out_shape[1], out_shape[0]), *out_shape)


@dataclass(frozen=True)
class Targets:
    """The n annotated objects of one image, in its pixels.

    Attributes:
        boxes: (n, 4) float64 x1, y1, x2, y2. With outlines these are always the outlines' own extents.
        labels: (n,) int64 class indices.
        ignore_flags: (n,) bool; True for regions that are neither object nor background.
        rings: The outlines, or None where only boxes are trained.
    """

    boxes: np.ndarray
    labels: np.ndarray
    ignore_flags: np.ndarray
    rings: Rings | None

    @classmethod
    def from_results(cls, results: dict) -> 'Targets':
        """Return what the keys of MMDetection's transforms hold, as `write_to` or steps of others have set them.

        Raises:
            InputError: If a step has made masks that are no outlines.
        """
        masks = results.get('gt_masks')
        if masks is not None and not isinstance(masks, PolygonMasks):
            raise InputError(
                f'gt_masks is {type(masks).__name__}, but this step needs outlines. Put steps that make bitmaps, such '
                'as DrawTargetMasks, behind it.'
            )
        if masks is not None and not isinstance(masks, RingMasks):
            masks = RingMasks(masks.masks, masks.height, masks.width)
        if masks is not None and len(masks) != len(results['gt_bboxes_labels']):
            raise InputError(
                f'gt_masks has outlines of {len(masks)} objects but gt_bboxes has {len(results["gt_bboxes_labels"])} '
                'boxes: a step before changed boxes and forgot masks, as YOLOXMixUp does. Use YOLOv5MixUp instead.'
            )
        return cls(
            results['gt_bboxes'].tensor.numpy().astype(np.float64),
            results['gt_bboxes_labels'],
            results['gt_ignore_flags'],
            None if masks is None else masks.rings,
        )

    def write_to(self, results: dict) -> None:
        """Sets `gt_bboxes`, `gt_bboxes_labels`, `gt_ignore_flags` and, with outlines, `gt_masks`."""
        results['gt_bboxes'] = HorizontalBoxes(torch.from_numpy(self.boxes.astype(np.float32)))
        results['gt_bboxes_labels'] = self.labels
        results['gt_ignore_flags'] = self.ignore_flags
        if self.rings is not None:
            results['gt_masks'] = RingMasks(self.rings, *results['img_shape'][:2])

    def __len__(self) -> int:
        """Number of objects."""
        return len(self.labels)

    def moved(self, matrix: np.ndarray) -> 'Targets':
        """Transformed by an affine `matrix` (2, 3). A turned box without outline becomes the box around it."""
        if self.rings is not None:
            return self._with_rings(self.rings.moved(matrix))
        corners = self.boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2) @ matrix[:, :2].T + matrix[:, 2]
        return replace(self, boxes=np.hstack([corners.min(1), corners.max(1)]))

    def clipped(self, width: float, height: float) -> 'Targets':
        """The parts inside the frame from (0, 0) to (width, height). Objects outside keep their place; see `seen`."""
        if self.rings is not None:
            return self._with_rings(self.rings.clipped(width, height))
        return replace(self, boxes=np.clip(self.boxes, 0, [width, height, width, height]))

    def seen(self) -> 'Targets':
        """Without the objects of which clipping left nothing."""
        return self.selected(np.flatnonzero((self.boxes[:, 2:] > self.boxes[:, :2]).all(1)))

    def selected(self, indices: np.ndarray) -> 'Targets':
        """The objects `indices`, in that order."""
        if len(indices) == len(self) and (indices == np.arange(len(self))).all():
            return self
        rings = None if self.rings is None else self.rings.selected(indices)
        return Targets(self.boxes[indices], self.labels[indices], self.ignore_flags[indices], rings)

    @classmethod
    def joined(cls, parts: Sequence['Targets']) -> 'Targets':
        """All objects of `parts`, one after the other; either all parts have outlines or none."""
        return cls(
            np.concatenate([part.boxes for part in parts]),
            np.concatenate([part.labels for part in parts]),
            np.concatenate([part.ignore_flags for part in parts]),
            None if parts[0].rings is None else Rings.joined([part.rings for part in parts]),
        )

    def _with_rings(self, rings: Rings) -> 'Targets':
        return replace(self, rings=rings, boxes=rings.boxes())
