"""Networks for inference on tiles: any MMDetection instance segmentor as a function from tiles to detections."""

import copy
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmcv.cnn import ConvModule, fuse_conv_bn
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from pycocotools import mask as coco_mask

import noise_mm.register  # noqa: F401
from noise_mm.checkpoints.loading import load_weights
from noise_mm.checkpoints.provenance import short_training_note, training_of
from noise_mm.errors import InputError
from noise_mm.files import sha256_of
from noise_mm.inference.box_cuts import mended
from noise_mm.inference.detection import Detection, without_specks
from noise_mm.inference.onnx_backend import input_size_px, prepare_backend
from noise_mm.inference.precision import (
    DTYPES,
    FiniteOutputs,
    as_float32,
    require_finite_weights,
    resolve_precision,
)
from noise_mm.inference.tile_pipeline import NetworkError, StagedDetector
from noise_mm.models.instance_masks import MaskRegion, UndrawnMasks
from noise_mm.models.yolov8_ins_head import YOLOv8InsHead
from noise_mm.seen_batches import seen_by_checkpoint

# Steps of a test pipeline that read files; a tile is in memory already.
IMAGE_LOADERS = ('LoadImageFromFile', 'LoadImageFromNDArray', 'LoadPatch')
HASH_LETTERS = 16  # enough to tell networks apart, and few enough for a line
ANNOTATION_LOADERS = ('LoadAnnotations', 'LoadTargets', 'LoadPanopticAnnotations')


class TileNetwork:
    """A network with its checkpoint, run on tiles through MMDetection's own interface, `model.test_step`.

    Args:
        config: From `load_config`, with `model` and a test pipeline.
        checkpoint: Weights of the same network.
        device: Where it runs.
        score_thr: Score threshold.
        precision: Of `PRECISIONS`; see `resolve_precision`.
        backend: Of `onnx_backend.BACKENDS`.

    Attributes:
        classes: Names of the classes: as the checkpoint, else the config, else its dataset says.
        seen_batches: The batches that it has seen in training, see `noise_mm.seen_batches`; None if not known.
        metadata: What its predictions depend on: hashes of the network's config and of the checkpoint, the score
            threshold and the precision.

    Raises:
        InputError: If the config has no network or test pipeline, or the checkpoint is of another network.
    """

    def __init__(
        self,
        config: Config,
        checkpoint: str | Path,
        device: torch.device,
        score_thr: float,
        precision: str = 'auto',
        backend: str = 'pytorch',
    ) -> None:
        if 'model' not in config:
            raise InputError(f'{config.filename}: describes no network (no model). Choose another config.')
        self.score_thr = score_thr
        self.device = device
        # Only here: names in the caller's own configs are not to be looked up elsewhere from now on.
        with DefaultScope.overwrite_default_scope(config.get('default_scope') or 'mmdet'):
            steps = _tile_pipeline(config)
            self.pipeline = Compose(steps)
            self.model = MODELS.build(_for_prediction(config.model, score_thr))
            meta = load_weights(self.model, checkpoint)
            self.classes = _class_names(self.model, meta, config)
        self.seen_batches = seen_by_checkpoint(meta, checkpoint)
        if note := short_training_note(training_of(meta, checkpoint)):
            print(f'note: {checkpoint}: {note}')
        require_finite_weights(self.model, checkpoint)
        self.precision = resolve_precision(precision, device)
        self._finite = FiniteOutputs(self.model, self.precision)
        _fold_norms(self.model)
        self.metadata = {
            'config': hashlib.sha256(repr((config.model, steps)).encode()).hexdigest()[:HASH_LETTERS],
            'checkpoint': sha256_of(checkpoint)[:HASH_LETTERS],
            'score_thr': score_thr,
            'precision': self.precision,
        }
        # Convolutions of this memory format are a fifth faster on CPUs, and what GPUs' half precision asks for.
        self.model.to(device, memory_format=torch.channels_last).eval()
        digest = f'{self.metadata["config"]}-{self.metadata["checkpoint"]}'
        size_px = input_size_px(self.pipeline)
        self.metadata['backend'] = prepare_backend(backend, self.model, device, self.precision, digest, size_px)

    def prepare(self, tiles: Sequence[np.ndarray]) -> dict:
        """Return a batch for `run_network`.

        Args:
            tiles: Arrays (height, width, 3) uint8, RGB.
        """
        batch = [
            self.pipeline({'img': cv2.cvtColor(tile, cv2.COLOR_RGB2BGR), 'img_id': i}) for i, tile in enumerate(tiles)
        ]
        return pseudo_collate(batch)

    def run_network(self, prepared: dict) -> list[InstanceData]:
        """Return the raw detections of each tile of a batch of `prepare`.

        Raises:
            NetworkError: If the network needs an op or memory that is not there, or its outputs are not finite.
        """
        dtype = DTYPES[self.precision]
        autocast = torch.autocast(self.device.type, dtype=dtype, enabled=dtype != torch.float32)
        try:
            with torch.inference_mode(), autocast, self._finite.required():
                return [sample.pred_instances for sample in self.model.test_step(prepared)]
        except NotImplementedError as error:
            raise NetworkError(f'the network cannot run here: {error}') from error
        except torch.cuda.OutOfMemoryError as error:
            raise NetworkError('the GPU has not enough memory. Lower --batch-size.') from error


class TileDetector(TileNetwork, StagedDetector):
    """Any MMDetection instance segmentor as a function from tiles to detections.

    It needs scores, labels and masks as bitmaps or run lengths. Every instance segmentor of MMDetection's registry
    works that needs no compiled op but `nms` and `roi_align`; with the full MMCV, every one. The masks of this
    project's own head are rasterised within their boxes, while the network runs on the next tiles.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        head = getattr(self.model, 'bbox_head', None)
        if isinstance(head, YOLOv8InsHead):
            head.test_cfg.mask_format = 'undrawn'

    def infer(self, prepared: dict) -> list[InstanceData]:
        """Return the raw detections of each tile.

        Raises:
            NetworkError: If it gives boxes without masks, or as `run_network` does.
        """
        found = self.run_network(prepared)
        if any('masks' not in instances for instances in found):
            raise NetworkError('the network gives boxes without masks. Choose the config of an instance segmentor.')
        for instances in found:
            if isinstance(instances.masks, UndrawnMasks):
                instances.masks = instances.masks.cpu()
        return [as_float32(instances) for instances in found]

    def finish(self, found: InstanceData) -> list[Detection]:
        """Return the detections of one tile, in its pixels."""
        detections = []
        for score, label, mask in zip(found.scores.tolist(), found.labels.tolist(), found.masks, strict=True):
            x, y, bitmap = _cropped(mask)
            is_wanted = score >= self.score_thr and bitmap.any()
            detections.append(Detection.from_bitmap(without_specks(bitmap), x, y, score, label) if is_wanted else None)
        if isinstance(found.masks, UndrawnMasks):
            detections = mended(detections, found.bboxes.tolist(), found.masks)
        return [detection for detection in detections if detection is not None]


def _cropped(mask: Any) -> tuple[int, int, np.ndarray]:
    """Crop a mask to its pixels: left edge, upper edge, (height, width) bool.

    Args:
        mask: A region, COCO run lengths, a tensor or an array.
    """
    if isinstance(mask, MaskRegion):
        return mask.left, mask.top, mask.pixels
    if isinstance(mask, dict):
        x, y, width, height = (int(value) for value in coco_mask.toBbox(mask))
        return x, y, coco_mask.decode(mask)[y : y + height, x : x + width].astype(bool)
    bitmap = mask.cpu().numpy() if isinstance(mask, torch.Tensor) else np.asarray(mask)
    x, y, width, height = cv2.boundingRect(np.ascontiguousarray(bitmap, dtype=np.uint8))
    return x, y, bitmap[y : y + height, x : x + width].astype(bool)


def _for_prediction(model: dict, score_thr: float) -> dict:
    """Return the config of the network with its own score filter set, so that only wanted masks are rasterised.

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


def _fold_norms(model: torch.nn.Module) -> None:
    """Fold each normalisation into the convolution before it: same numbers, less time (nano on a CPU: 5 %).

    Left as they are: layers in another order, and convolutions that several normalisations share, as RTMDet has them.
    """
    layers = [module for module in model.modules() if isinstance(module, ConvModule)]
    uses = Counter(id(layer.conv) for layer in layers)
    for layer in layers:
        if layer.with_norm and layer.order[:2] == ('conv', 'norm') and uses[id(layer.conv)] == 1:
            fuse_conv_bn(layer)


def _class_names(model: torch.nn.Module, meta: dict, config: Config) -> tuple[str, ...]:
    """Return a name for each class of the network; `class_0` and so on where none is stated."""
    counts = [getattr(module, 'num_classes', None) for module in model.modules()]
    count = max((count for count in counts if isinstance(count, int)), default=1)
    names = (names for names in _candidate_names(meta, config) if len(names) == count)
    return next(names, tuple(f'class_{i}' for i in range(count)))


def _candidate_names(meta: dict, config: Config) -> Iterator[tuple[str, ...]]:
    """Yield the class names that the checkpoint, the config and the dataset of the config state."""
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
    """Return the config's test pipeline, with steps that read files replaced by ones that take pixels in memory."""
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
