"""Any MMDetection detector as a function from tiles to nuclei."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData
from numpy.typing import ArrayLike, NDArray

from noise_mm.coco.batch_folder import CATEGORIES
from noise_mm.errors import InputError
from noise_mm.geometry.distinct_nuclei import MIN_DISTANCE_PX, distinct_nuclei
from noise_mm.inference.detector import TileNetwork
from noise_mm.inference.precision import as_float32
from noise_mm.inference.tile_pipeline import StagedDetector

NUCLEUS = 'nucleus'


class FoundBoxes(NamedTuple):
    """The raw detections of one tile.

    Attributes:
        instances: Boxes, scores and labels.
        width_px: Width of the tile.
        height_px: Its height.
    """

    instances: InstanceData
    width_px: int
    height_px: int


class NucleusDetector(TileNetwork, StagedDetector):
    """Any MMDetection detector as a function from tiles to the centres of nuclei.

    It needs boxes, scores and labels. Of several classes the one named `nucleus` counts, so a detector of osteoclasts
    and nuclei serves as well. A single class is taken for nuclei, whatever it is called, unless it is one of this
    project's other classes.

    Args:
        config: From `load_config`, with `model` and a test pipeline.
        checkpoint: Weights of the same network.
        device: Where it runs.
        score_thr: Score threshold.
        precision: Of `noise_mm.inference.precision.PRECISIONS`.
        backend: Of `noise_mm.inference.onnx_backend.BACKENDS`.
        zoom: Of the tiles, see `TileSettings`; the distance at which two nuclei are one is a length in um.

    Attributes:
        label: Index of the class among the network's.

    Raises:
        InputError: If the network knows no nuclei, or as `TileNetwork` does.
    """

    def __init__(
        self,
        config: Config,
        checkpoint: str | Path,
        device: torch.device,
        score_thr: float,
        precision: str = 'auto',
        backend: str = 'pytorch',
        zoom: float = 1.0,
    ) -> None:
        super().__init__(config, checkpoint, device, score_thr, precision, backend)
        self.min_distance_px = MIN_DISTANCE_PX * zoom
        self.label = _nucleus_label(self.classes, checkpoint)

    def infer(self, prepared: dict) -> list[FoundBoxes]:
        """Return the raw detections of each tile; raises a NetworkError as `run_network` does."""
        shapes = [sample.ori_shape[:2] for sample in prepared['data_samples']]
        found = self.run_network(prepared)
        return [FoundBoxes(as_float32(one), width, height) for one, (height, width) in zip(found, shapes, strict=True)]

    def finish(self, raw: FoundBoxes) -> NDArray[np.float64]:
        """Return each nucleus of one tile once: (n, 3) x and y, in pixels of the tile, and score, best first."""
        found = raw.instances[(raw.instances.labels == self.label) & (raw.instances.scores >= self.score_thr)]
        boxes, scores = (values.numpy().astype(np.float64) for values in (found.bboxes, found.scores))
        centres = box_centres(boxes, raw.width_px, raw.height_px)
        return np.column_stack([centres, scores])[distinct_nuclei(centres, scores, self.min_distance_px)]


def _nucleus_label(classes: Sequence[str], checkpoint: str | Path) -> int:
    """Return the index of the class of nuclei; see `NucleusDetector`."""
    if NUCLEUS in classes:
        return classes.index(NUCLEUS)
    if len(classes) == 1 and classes[0] not in {category['name'] for category in CATEGORIES}:
        return 0
    raise InputError(
        f'{checkpoint}: finds {", ".join(classes)}, but no {NUCLEUS!r}. Name a detector of nuclei with --nuclei or '
        '--nuclei-weights.'
    )


def box_centres(boxes: ArrayLike, width_px: int, height_px: int) -> NDArray[np.float64]:
    """Return the centres of nuclei whose boxes may be cut off at the border of the tile.

    Nuclei are about as wide as high, and boxes in training are squares around the marked centre, cut off at the border
    (`noise_mm.patches.nuclei_boxes`). So a box that ends at a border and is too short in that direction goes on beyond
    it. Without this, centres at borders would lie up to a quarter of a box too far inside.

    Args:
        boxes: (n, 4) x1, y1, x2, y2 in pixels of the tile.
        width_px: Width of the tile.
        height_px: Its height.

    Returns:
        (n, 2) x and y; not outside the tile, because only nuclei with their centre inside count for it.
    """
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    sizes_px = np.array([width_px, height_px], dtype=np.float64)
    low, high = boxes[:, :2], boxes[:, 2:]
    half = (high - low).max(axis=1, keepdims=True) / 2  # of the whole square; (n, 1)
    ends_low, ends_high = low < 1, high > sizes_px - 1  # a pixel: detectors do not meet a border exactly
    centres = (low + high) / 2
    centres = np.where(ends_low & ~ends_high, high - half, centres)
    centres = np.where(ends_high & ~ends_low, low + half, centres)
    return np.clip(centres, 0, sizes_px)
