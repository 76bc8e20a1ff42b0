"""Instance masks from prototypes and coefficients (YOLACT, arXiv:1904.02689, section 3), within bounded memory.

Only the prototype grid is ever held for many instances at a time, as logits. At image resolution an instance exists
alone, only within its box, and only as booleans. Boxes are x1, y1, x2, y2.

A pixel with integer index c is inside a box if x1 <= c < x2 (the index is compared, not the pixel's centre; the same
for rows). This is YOLOv8's crop rule, in the loss as well as in prediction.
"""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import DTypeLike
from pycocotools import mask as coco_mask
from torch import Tensor

# Instances whose logits on the prototype grid are held at a time: 44 MB at 104 x 104.
INSTANCES_AT_ONCE = 1024
# Interpolation weights kept for the next image, which mostly is of the same size: 0.35 MB each at 832 px.
AXES_KEPT = 32
MASKS_OF_THREAD = 64  # that a thread draws at a time


@dataclass(frozen=True)
class MaskFrame:
    """The image that masks are drawn on, and where it lies on the prototype grid.

    Attributes:
        height_px: Rows of the image.
        width_px: Columns of the image.
        window: top, left, height, width of the image in cells of the prototype grid; need not be whole numbers.
    """

    height_px: int
    width_px: int
    window: tuple[float, float, float, float]


@dataclass(frozen=True)
class MaskRegion:
    """A mask that is zero outside a rectangle.

    Attributes:
        top: First row of `pixels` in the image.
        left: First column of `pixels` in the image.
        pixels: (h, w) bool.
    """

    top: int
    left: int
    pixels: np.ndarray

    def to_rle(self, height_px: int, width_px: int) -> dict:
        """COCO's compressed run-length encoding of the whole image, without drawing it.

        The format counts zeros and ones in turn, column by column (pycocotools, `mask.py`).
        """
        counts = _column_major_runs(self.pixels, self.top, self.left, height_px, width_px)
        return coco_mask.frPyObjects({'counts': counts, 'size': [height_px, width_px]}, height_px, width_px)

    def to_bitmap(self, height_px: int, width_px: int) -> np.ndarray:
        """(height_px, width_px) bool."""
        bitmap = np.zeros((height_px, width_px), dtype=bool)
        height, width = self.pixels.shape
        bitmap[self.top : self.top + height, self.left : self.left + width] = self.pixels
        return bitmap


@dataclass(frozen=True, eq=False)
class UndrawnMasks:
    """The masks of one image as the network gives them; attributes as the arguments of `draw_masks`.

    They are drawn, one after the other, by iterating over them. Slices, `cat` and `astype` are what MMDetection's
    visualizers ask of masks.
    """

    coefs: Tensor
    protos: Tensor
    boxes: Tensor
    frame: MaskFrame
    proto_boxes: Tensor | None = None

    def __len__(self) -> int:
        """Their number."""
        return len(self.coefs)

    def cpu(self) -> 'UndrawnMasks':
        """The same in host memory, where masks can be drawn while the network goes on."""
        proto_boxes = None if self.proto_boxes is None else self.proto_boxes.cpu()
        return UndrawnMasks(self.coefs.cpu(), self.protos.cpu(), self.boxes.cpu(), self.frame, proto_boxes)

    def __getitem__(self, index: slice) -> 'UndrawnMasks':
        """Return some of them."""
        proto_boxes = None if self.proto_boxes is None else self.proto_boxes[index]
        return UndrawnMasks(self.coefs[index], self.protos, self.boxes[index], self.frame, proto_boxes)

    @staticmethod
    def cat(parts: Sequence['UndrawnMasks']) -> 'UndrawnMasks':
        """Return the masks of several parts of one image."""
        coefs, boxes = (torch.cat([getattr(part, name) for part in parts]) for name in ('coefs', 'boxes'))
        grid = [part.proto_boxes for part in parts]
        return UndrawnMasks(coefs, parts[0].protos, boxes, parts[0].frame, None if grid[0] is None else torch.cat(grid))

    def astype(self, dtype: DTypeLike) -> np.ndarray:
        """Return the bitmaps (n, height, width)."""
        size = self.frame.height_px, self.frame.width_px
        bitmaps = [region.to_bitmap(*size) for region in self]
        return np.stack(bitmaps).astype(dtype) if bitmaps else np.zeros((0, *size), dtype=dtype)

    def to_rles(self) -> list[dict]:
        """Return COCO's run-length encodings, drawn by as many threads as PyTorch computes with.

        Most of the work, matrix products and NumPy, needs no lock of Python.
        """

        def encoded(first: int) -> list[dict]:
            part = self[first : first + MASKS_OF_THREAD]
            return [region.to_rle(self.frame.height_px, self.frame.width_px) for region in part]

        firsts = range(0, len(self), MASKS_OF_THREAD)
        threads = min(torch.get_num_threads(), len(firsts))
        if threads < 2:
            return [rle for first in firsts for rle in encoded(first)]
        with ThreadPoolExecutor(threads) as pool:
            return [rle for rles in pool.map(encoded, firsts) for rle in rles]

    def __iter__(self) -> Iterator[MaskRegion]:
        """Draws them; see `draw_masks`."""
        return draw_masks(self.coefs, self.protos, self.boxes, self.frame, self.proto_boxes)


def crop_weights(boxes: Tensor, height: int, width: int) -> Tensor:
    """1 inside each box and 0 outside, by the crop rule above.

    Args:
        boxes: (n, 4) in cells of the grid.
        height: Rows of the grid.
        width: Columns of the grid.

    Returns:
        (n, height, width) bool.
    """
    columns = torch.arange(width, device=boxes.device)
    rows = torch.arange(height, device=boxes.device)
    x1, y1, x2, y2 = boxes[:, :, None].unbind(dim=1)  # each (n, 1)
    across = (columns >= x1) & (columns < x2)  # (n, width)
    down = (rows >= y1) & (rows < y2)  # (n, height)
    return down[:, :, None] & across[:, None, :]


def draw_masks(
    coefs: Tensor, protos: Tensor, boxes: Tensor, frame: MaskFrame, proto_boxes: Tensor | None = None
) -> Iterator[MaskRegion]:
    """The masks of one image: logits = coefficients times prototypes, enlarged bilinearly, positive where above 0.

    Args:
        coefs: (n, num_protos).
        protos: (num_protos, rows, columns).
        boxes: (n, 4) in pixels of `frame`; a mask is zero outside its box. Not looked at with `proto_boxes`.
        frame: The image to draw on.
        proto_boxes: (n, 4) in cells of the prototype grid. If given, logits are set to 0 outside these BEFORE they are
            enlarged, and not cropped afterwards, so that the borders of the crop are blurred by the interpolation.

    Yields:
        For each instance its region; empty (0 x 0) where the box holds no pixel.
    """
    rows, columns = protos.shape[-2:]
    top, left, height, width = frame.window
    vertical = _axis(frame.height_px, rows, top, height)
    horizontal = _axis(frame.width_px, columns, left, width)
    if proto_boxes is None:
        areas = _whole_pixels(boxes, frame.height_px, frame.width_px)
    else:
        areas = _reached_pixels(proto_boxes, frame, rows, columns)
    flat = protos.float().flatten(1)
    for first in range(0, len(coefs), INSTANCES_AT_ONCE):
        with torch.autocast(protos.device.type, enabled=False):
            logits = (coefs[first : first + INSTANCES_AT_ONCE].float() @ flat).unflatten(1, (rows, columns))
            if proto_boxes is not None:
                logits = logits * crop_weights(proto_boxes[first : first + INSTANCES_AT_ONCE], rows, columns)
        for instance, (left, top, right, bottom) in zip(logits.detach().cpu().numpy(), areas[first:], strict=False):
            down, down_cells = vertical.weights_of(top, bottom)
            across, across_cells = horizontal.weights_of(left, right)
            yield MaskRegion(top, left, down @ instance[down_cells, across_cells] @ across.T > 0)


def image_window(
    proto_shape: tuple[int, int],
    input_shape: tuple[int, int],
    image_shape: tuple[int, int],
    scale_factor: tuple[float, float],
    padding: tuple[float, float],
    whole_cells: bool,
) -> tuple[float, float, float, float]:
    """Where an image that was scaled and padded lies on the prototype grid.

    Args:
        proto_shape: Rows and columns of the prototype grid.
        input_shape: Height and width of the network's input.
        image_shape: Height and width of the original image.
        scale_factor: Input pixels per pixel of the original image, along x and along y.
        padding: Input pixels above the image and left of it.
        whole_cells: Round the borders to whole cells as Ultralytics does, which shifts masks against their boxes by
            up to half a cell where the padding is not a whole number of cells.

    Returns:
        top, left, height, width in cells.
    """
    borders = []
    for axis in (0, 1):
        cells_per_px = proto_shape[axis] / input_shape[axis]
        first = padding[axis] * cells_per_px
        length = image_shape[axis] * scale_factor[1 - axis] * cells_per_px
        if whole_cells:
            # Padding that is equal on both sides but for a pixel was rounded before; Ultralytics starts from the
            # exact half.
            behind = proto_shape[axis] - first - length
            if abs(behind - first) <= cells_per_px:
                first = behind = (first + behind) / 2
            first, end = round(first - 0.1), proto_shape[axis] - round(behind + 0.1)
            length = end - first
        borders.append((first, length))
    (top, height), (left, width) = borders
    return top, left, height, width


@dataclass(frozen=True, eq=False)
class _Axis:
    """How pixels along one axis are interpolated: weights (pixels, cells), first and last cell of each pixel."""

    weights: np.ndarray
    first: list[int]
    last: list[int]

    def weights_of(self, start: int, end: int) -> tuple[np.ndarray, slice]:
        """The weights of pixels `start` to `end` (not included), and the cells that these are of; no others count."""
        cells = slice(self.first[start], self.last[end - 1] + 1) if start < end else slice(0, 0)
        return self.weights[start:end, cells], cells


@lru_cache(maxsize=AXES_KEPT)
def _axis(length_px: int, cells: int, first: float, extent: float) -> _Axis:
    weights = _bilinear_weights(length_px, cells, first, extent)
    reached = weights > 0
    return _Axis(weights, reached.argmax(axis=1).tolist(), (cells - 1 - reached[:, ::-1].argmax(axis=1)).tolist())


def _bilinear_weights(length_px: int, cells: int, first: float, extent: float) -> np.ndarray:
    """(length_px, cells) float32 weights that enlarge `extent` cells from cell `first` on to `length_px` pixels.

    The same as `torch.nn.functional.interpolate(mode='bilinear', align_corners=False)` of the cells that were cut out
    where `first` and `extent` are whole numbers: samples beyond the outermost cell centres repeat these. Otherwise
    the cells that the window touches take part.
    """
    lowest, highest = math.floor(first), min(math.ceil(first + extent), cells) - 1
    at = ((np.arange(length_px) + 0.5) * (extent / length_px) + first - 0.5).clip(lowest, highest)
    below = np.minimum(np.floor(at).astype(np.intp), max(highest - 1, lowest))
    share = at - below
    weights = np.zeros((length_px, cells))
    pixels = np.arange(length_px)
    np.add.at(weights, (pixels, below), 1 - share)
    np.add.at(weights, (pixels, np.minimum(below + 1, highest)), share)
    return weights.astype(np.float32)


def _whole_pixels(boxes: Tensor, height: int, width: int) -> list[tuple[int, int, int, int]]:
    """left, top, right, bottom of the pixels inside each box by the crop rule; an empty box gives right == left."""
    limits = boxes.new_tensor([width, height, width, height])
    corners = torch.minimum(boxes.ceil().clamp(min=0), limits).long().tolist()
    return [(x1, y1, max(x1, x2), max(y1, y2)) for x1, y1, x2, y2 in corners]


def _reached_pixels(proto_boxes: Tensor, frame: MaskFrame, rows: int, columns: int) -> list[tuple[int, int, int, int]]:
    """left, top, right, bottom of the pixels that interpolation fills from the cells inside each box."""
    top, left, height, width = frame.window
    cells = torch.tensor(_whole_pixels(proto_boxes, rows, columns), dtype=torch.float64).reshape(-1, 4)
    scale = cells.new_tensor([frame.width_px / width, frame.height_px / height]).repeat(2)
    # A cell reaches to the centres of its neighbours: half a cell beyond its own border.
    spread = (cells + cells.new_tensor([-0.5 - left, -0.5 - top, 0.5 - left, 0.5 - top])) * scale
    return _whole_pixels(torch.cat([spread[:, :2].floor(), spread[:, 2:].ceil()], 1), frame.height_px, frame.width_px)


def _column_major_runs(pixels: np.ndarray, top: int, left: int, height_px: int, width_px: int) -> list[int]:
    """Lengths of the runs of zeros and ones, in turn and zeros first, of the whole image column by column."""
    h, w = pixels.shape
    edged = np.zeros(1 + w * (h + 1), dtype=bool)  # zeros before the first column and behind each
    edged[1:].reshape(w, h + 1)[:, :h] = pixels.T
    place = np.flatnonzero(edged[1:] != edged[:-1])
    position = place + place // (h + 1) * (height_px - h - 1) + (left * height_px + top)
    # A run that ends at the bottom of a column and goes on at the top of the next gives the same position twice.
    again = np.flatnonzero(position[1:] == position[:-1])
    if len(again):
        position = np.delete(position, np.concatenate([again, again + 1]))
    borders = np.zeros(len(position) + 2, dtype=np.int64)
    borders[1:-1], borders[-1] = position, height_px * width_px
    runs = (borders[1:] - borders[:-1]).tolist()
    # pycocotools writes no empty run behind ones that reach the last pixel.
    return runs if runs[-1] else runs[:-1]
