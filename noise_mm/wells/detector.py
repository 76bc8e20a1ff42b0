"""Any MMDetection instance segmentor as a function from tiles to detections."""

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DefaultScope
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
    bitmaps or run lengths), so any instance segmentor of its registry will do that needs no compiled op but `nms` and
    `roi_align`; with the full MMCV, any.

    Args:
        config: From `load_config`, with `model` and a test pipeline.
        checkpoint: Weights of the same network.
        device: Where it runs.
        score_thr: Less confident objects are left out.

    Attributes:
        classes: Names of the classes: as the checkpoint, else the config, else its dataset says.

    Raises:
        InputError: If the config has no network or test pipeline, or the checkpoint is of another network.
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
            self.classes = _class_names(self.model, meta, config)
        self.model.to(device).eval()

    def __call__(self, tiles: Sequence[np.ndarray]) -> list[list[Detection]]:
        """The objects of each tile, in pixels of the tile.

        Args:
            tiles: Arrays (height, width, 3) uint8, RGB.

        Raises:
            InputError: If the network gives boxes without masks, or needs an op that is not there.
        """
        batch = [
            self.pipeline({'img': np.ascontiguousarray(tile[..., ::-1]), 'img_id': i}) for i, tile in enumerate(tiles)
        ]
        with torch.no_grad():
            try:
                samples = self.model.test_step(pseudo_collate(batch))
            except NotImplementedError as error:
                raise InputError(f'the network cannot run here: {error}') from error
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


def _for_prediction(model: dict, score_thr: float) -> dict:
    """The config of the network, with its own filter of boxes set so that masks are drawn only for what is wanted.

    Evaluation lets one place of the image be of several classes (`multi_label`); a cell is to be counted once.
    """
    model = copy.deepcopy(model)
    test_cfg = model.get('test_cfg') or {}
    for settings in (test_cfg, test_cfg.get('rcnn') or {}):  # networks of one and of two stages
        if 'score_thr' in settings:
            settings['score_thr'] = score_thr
        if 'multi_label' in settings:
            settings['multi_label'] = False
    return model


def _class_names(model: torch.nn.Module, meta: dict, config: Config) -> tuple[str, ...]:
    """A name for each class of the network; `class_0` and so on where nobody names them."""
    counts = [getattr(module, 'num_classes', None) for module in model.modules()]
    count = max((count for count in counts if isinstance(count, int)), default=1)
    names = (names for names in _candidate_names(meta, config) if len(names) == count)
    return next(names, tuple(f'class_{i}' for i in range(count)))


def _candidate_names(meta: dict, config: Config) -> Iterator[tuple[str, ...]]:
    """Class names by the checkpoint, by the config, and by the dataset of the config."""
    dataset = (config.get('test_dataloader') or {}).get('dataset') or {}
    kind = dataset.get('type')
    if isinstance(kind, str):
        with DATASETS.switch_scope_and_registry(None) as registry:  # that of the default scope
            kind = registry.get(kind)
    metas = (meta.get('dataset_meta'), config, dataset.get('metainfo'), getattr(kind, 'METAINFO', None))
    for source in metas:
        names = (source or {}).get('classes') or ()
        yield (names,) if isinstance(names, str) else tuple(names)


def _tile_pipeline(config: Config) -> list[dict]:
    """The config's test pipeline, with steps that read files made to take what is in memory."""
    loader = config.get('test_dataloader') or {}
    steps = config.get('test_pipeline') or (loader.get('dataset') or {}).get('pipeline')
    if not steps:
        raise InputError(f'{config.filename}: has no test_pipeline. Choose another config.')
    pipeline = []
    for step in steps:
        kind = step['type'] if isinstance(step['type'], str) else step['type'].__name__
        kind = kind.rpartition('.')[2]
        if kind in ANNOTATION_LOADERS:
            continue
        if kind in IMAGE_LOADERS and kind != 'LoadPatch':
            step = {'type': 'mmdet.LoadImageFromNDArray'}
        pipeline.append(step)
    return pipeline
