"""Any MMDetection detector as a function from tiles to nuclei."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from numpy.typing import ArrayLike, NDArray

from noise_mm.annotations.batch_folder import CATEGORIES
from noise_mm.checkpoints.loading import load_weights
from noise_mm.errors import InputError
from noise_mm.wells.detector import _class_names, _for_prediction, _tile_pipeline

NUCLEUS = 'nucleus'


class NucleusDetector:
    """A network that finds nuclei as boxes, with its checkpoint; called with tiles, it gives the centres in each.

    Any detector of MMDetection's registry will do (`model.test_step`, `pred_instances` with boxes, scores and labels).
    Of several classes the one named `nucleus` counts, so a detector of osteoclasts and nuclei serves as well. A single
    class is taken for nuclei, whatever it is called, unless it is one of this project's other classes.

    Args:
        config: From `load_config`, with `model` and a test pipeline.
        checkpoint: Weights of the same network.
        device: Where it runs.
        score_thr: Less confident nuclei are left out.

    Attributes:
        label: Index of the class among the network's.

    Raises:
        InputError: If the config has no network or test pipeline, the checkpoint is of another network, or the
            network knows no nuclei.
    """

    def __init__(self, config: Config, checkpoint: str | Path, device: torch.device, score_thr: float) -> None:
        if 'model' not in config:
            raise InputError(f'{config.filename}: describes no network (no model). Choose another config.')
        self.score_thr = score_thr
        # Only here: names in the caller's own configs are not to be looked up elsewhere from now on.
        with DefaultScope.overwrite_default_scope(config.get('default_scope') or 'mmdet'):
            self.pipeline = Compose(_tile_pipeline(config))
            self.model = MODELS.build(_for_prediction(config.model, score_thr))
            meta = load_weights(self.model, checkpoint)
            self.label = _nucleus_label(_class_names(self.model, meta, config), checkpoint)
        self.model.to(device).eval()

    def __call__(self, tiles: Sequence[np.ndarray]) -> list[NDArray[np.float64]]:
        """The nuclei of each tile: arrays (n, 3) of x, y, in pixels of the tile, and score, best first.

        Args:
            tiles: Arrays (height, width, 3) uint8, RGB.

        Raises:
            InputError: If the network needs an op that is not there.
        """
        batch = [
            self.pipeline({'img': np.ascontiguousarray(tile[..., ::-1]), 'img_id': i}) for i, tile in enumerate(tiles)
        ]
        with torch.no_grad():
            try:
                samples = self.model.test_step(pseudo_collate(batch))
            except NotImplementedError as error:
                raise InputError(f'the network cannot run here: {error}') from error
        return [
            self._nuclei(sample.pred_instances, tile.shape[:2]) for sample, tile in zip(samples, tiles, strict=True)
        ]

    def _nuclei(self, found: InstanceData, shape: tuple[int, int]) -> NDArray[np.float64]:
        found = found[(found.labels == self.label) & (found.scores >= self.score_thr)]
        boxes, scores = (values.cpu().numpy().astype(np.float64) for values in (found.bboxes, found.scores))
        best_first = np.argsort(-scores, kind='stable')
        centres = box_centres(boxes.reshape(-1, 4), width_px=shape[1], height_px=shape[0])
        return np.column_stack([centres, scores])[best_first]


def _nucleus_label(classes: Sequence[str], checkpoint: str | Path) -> int:
    """The index of the class of nuclei; see `NucleusDetector`."""
    if NUCLEUS in classes:
        return classes.index(NUCLEUS)
    if len(classes) == 1 and classes[0] not in {category['name'] for category in CATEGORIES}:
        return 0
    raise InputError(
        f'{checkpoint}: finds {", ".join(classes)}, but no {NUCLEUS!r}. Give --nuclei the config and the checkpoint of '
        'a detector of nuclei.'
    )


def box_centres(boxes: ArrayLike, width_px: int, height_px: int) -> NDArray[np.float64]:
    """Centres of nuclei whose boxes may be cut off at the border of the tile.

    Nuclei are about as wide as high, and boxes in training are squares around the marked centre, cut off at the border
    (`noise_mm.annotations.nuclei`). So a box that ends at a border and is too short in that direction goes on beyond
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
