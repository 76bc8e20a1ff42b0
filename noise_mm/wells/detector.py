"""Any MMDetection instance segmentor as a function from tiles to detections."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from pycocotools import mask as coco_mask

from noise_mm.checkpoints.loading import load_weights
from noise_mm.errors import InputError
from noise_mm.wells.detection import Detection, without_specks

# Steps of a test pipeline that read files; a tile is in memory already.
IMAGE_LOADERS = ('LoadImageFromFile', 'LoadImageFromNDArray', 'LoadPatch')
ANNOTATION_LOADERS = ('LoadAnnotations', 'LoadTargets', 'LoadPanopticAnnotations')


class TileDetector:
    """A network with its checkpoint; called with tiles, it gives the objects of each.

    It goes through MMDetection's own interface (`model.test_step`, `pred_instances` with scores, labels and masks as
    bitmaps or run lengths), so any instance segmentor of its registry will do.

    Args:
        config: From `load_config`, with `model` and a test pipeline.
        checkpoint: Weights of the same network.
        device: Where it runs.
        score_thr: Less confident objects are left out.

    Attributes:
        classes: Names of the classes.

    Raises:
        InputError: If the config has no network or test pipeline, or the checkpoint is of another network.
    """

    def __init__(self, config: Config, checkpoint: str | Path, device: torch.device, score_thr: float) -> None:
        if 'model' not in config:
            raise InputError(f'{config.filename}: describes no network (no model). Choose another config.')
        init_default_scope(config.get('default_scope', 'mmdet'))
        test_cfg = config.model.get('test_cfg') or {}
        if 'score_thr' in test_cfg:
            test_cfg.score_thr = score_thr  # so that masks are drawn only for these
        self.score_thr = score_thr
        self.pipeline = Compose(_tile_pipeline(config))
        self.model = MODELS.build(config.model)
        meta = load_weights(self.model, checkpoint)
        self.model.to(device).eval()
        names = config.get('classes') or (meta.get('dataset_meta') or {}).get('classes')
        self.classes = tuple(names or ('osteoclast',))

    def __call__(self, tiles: Sequence[np.ndarray]) -> list[list[Detection]]:
        """The objects of each tile, in pixels of the tile.

        Args:
            tiles: Arrays (height, width, 3) uint8, RGB.

        Raises:
            InputError: If the network gives boxes without masks.
        """
        batch = [
            self.pipeline({'img': np.ascontiguousarray(tile[..., ::-1]), 'img_id': i}) for i, tile in enumerate(tiles)
        ]
        with torch.no_grad():
            samples = self.model.test_step(pseudo_collate(batch))
        return [self._detections(sample.pred_instances) for sample in samples]

    def _detections(self, found: InstanceData) -> list[Detection]:
        if 'masks' not in found:
            raise InputError('the network gives boxes without masks. Choose the config of an instance segmentor.')
        detections = []
        for score, label, mask in zip(found.scores.tolist(), found.labels.tolist(), found.masks, strict=True):
            if score >= self.score_thr:
                detection = Detection.from_bitmap(without_specks(_bitmap(mask)), 0, 0, score, label)
                if detection is not None:
                    detections.append(detection)
        return detections


def _bitmap(mask: Any) -> np.ndarray:
    """(height, width) bool of COCO run lengths, a tensor or an array."""
    if isinstance(mask, dict):
        return coco_mask.decode(mask).astype(bool)
    return mask.cpu().numpy().astype(bool) if isinstance(mask, torch.Tensor) else np.asarray(mask, dtype=bool)


def _tile_pipeline(config: Config) -> list[dict]:
    """The config's test pipeline, with steps that read files made to take what is in memory."""
    loader = config.get('test_dataloader') or {}
    steps = config.get('test_pipeline') or (loader.get('dataset') or {}).get('pipeline')
    if not steps:
        raise InputError(f'{config.filename}: has no test_pipeline. Choose another config.')
    pipeline = []
    for step in steps:
        kind = step['type'].rpartition('.')[2]
        if kind in ANNOTATION_LOADERS:
            continue
        if kind in IMAGE_LOADERS and kind != 'LoadPatch':
            step = {'type': 'mmdet.LoadImageFromNDArray'}
        pipeline.append(step)
    return pipeline
