"""The MMEngine metric of this project: it collects; `evaluate` and `report` compute."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmyolo.registry import METRICS
from numpy.typing import NDArray

from noise_mm.coco.reader import REMEDY
from noise_mm.coco.rle import compressed_counts
from noise_mm.datasets.rings import Rings
from noise_mm.datasets.target_masks import PROTOTYPE_STRIDE_PX, index_map, mask_stack
from noise_mm.errors import InputError
from noise_mm.evaluation.curves import draw_curves
from noise_mm.evaluation.evaluate import IOU_THRS, check_settings, evaluate
from noise_mm.evaluation.matching import ImageOverlaps
from noise_mm.evaluation.overlaps import DamagedMaskError, ImageInstances, Instances, compare_images
from noise_mm.evaluation.report import flat_metrics, make_report, table_text
from noise_mm.seen_batches import MARK

MASK_RESOLUTIONS = ('native', 'prototype')
META_KEYS = ('img_id', 'ori_shape', 'instances')  # without batch and well, all images are one


@METRICS.register_module()
class OsteoclastMetric(BaseMetric):
    """Precision, recall and AP at each IoU threshold, and counts and areas of wells.

    Unlike `CocoMetric` it takes the truth from the data samples (`instances` among the `meta_keys` of
    `PackDetInputs`), counts all detections of an image, and keeps of an image only what overlaps what, so that ranks
    exchange little. Any detector can be scored: masks may be run lengths or bitmaps.

    The numbers are named as in `report.flat_metrics`, with the prefix `osteoclast`: `osteoclast/segm_mAP50`. After
    `evaluate`, `report` holds the content of `metrics.json` on the main process; see `report`.

    Args:
        metric: What to score: 'segm', 'bbox' or both.
        iou_thrs: IoU thresholds.
        mode: 'coco' or 'ultralytics', see `matching` and `precision_recall`.
        mask_resolution: 'native': masks have the size of the annotated patch. 'prototype': masks have the size of the
            prototypes (the model's `test_cfg.mask_resolution` is the same), and the truth is drawn on that grid as for
            the validation of YOLOv8: a cell of 4 x 4 network pixels belongs to an object if its centre is inside, and
            smaller objects lie on larger ones, which so have holes. Boxes are those of the patch either way.
        curves_dir: Folder for precision-recall and F1-confidence curves as PNG; None for no curves.
        seen_in_training: Test batches that were seen in training; table and report are marked.
        kwargs: Arguments of MMEngine's `BaseMetric`.

    Raises:
        InputError: If an argument is none of the allowed.
    """

    default_prefix = 'osteoclast'

    def __init__(
        self,
        metric: str | Sequence[str] = ('segm', 'bbox'),
        iou_thrs: Sequence[float] = IOU_THRS,
        mode: str = 'coco',
        mask_resolution: str = 'native',
        curves_dir: str | Path | None = None,
        seen_in_training: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        self.kinds = (metric,) if isinstance(metric, str) else tuple(metric)
        self.iou_thrs = tuple(iou_thrs)
        self.mode = mode
        self.mask_resolution = mask_resolution
        self.curves_dir = curves_dir
        self.seen_in_training = list(seen_in_training)
        self.report: dict | None = None
        check_settings(self.kinds, self.iou_thrs, mode)
        if mask_resolution not in MASK_RESOLUTIONS:
            choices = ', '.join(map(repr, MASK_RESOLUTIONS))
            raise InputError(f'mask_resolution is {mask_resolution!r}. Choose one of {choices}.')
        super().__init__(**kwargs)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Add the overlaps in some images to `results`.

        Args:
            data_batch: Not used.
            data_samples: For each image a dictionary with `pred_instances` (`bboxes` (n, 4) x1, y1, x2, y2, `scores`,
                `labels` and, for 'segm', `masks`), `img_id`, `ori_shape`, `batch`, `well`, and `instances`: the
                truth in pixels of the annotated patch as `noise_mm.datasets` gives it. With
                `mask_resolution='prototype'` also `scale_factor` and, where the input was padded, `pad_param`.

        Raises:
            InputError: If a sample lacks one of these, or masks have another size than was said.
        """
        images = [image_instances(sample, self.kinds, self.mask_resolution) for sample in data_samples]
        try:
            self.results.extend(compare_images(images, min(0.5, *self.iou_thrs)))  # mAP50-95 begins at 0.5
        except DamagedMaskError as error:
            side = 'an annotated' if error.of_object else 'a predicted'
            raise InputError(
                f'OsteoclastMetric: image {error.image.image_id} has {side} mask that is faulty: {error}. {REMEDY}'
            ) from error

    def compute_metrics(self, results: list[ImageOverlaps]) -> dict[str, float]:
        """Return the numbers of all images; keep the report, print the table and draw the curves.

        Raises:
            InputError: If the names of the classes are not known.
        """
        if 'classes' not in (self.dataset_meta or {}):
            raise InputError('OsteoclastMetric: the dataset has no classes. Set its metainfo=dict(classes=...).')
        evaluation = evaluate(results, self.dataset_meta['classes'], self.kinds, self.iou_thrs, self.mode)
        self.report = make_report(evaluation, self.mask_resolution, {'seen_in_training': self.seen_in_training})
        print_log(f'\n{table_text(self.report)}', logger='current')
        if self.curves_dir is not None:
            draw_curves(evaluation, self.curves_dir, MARK if self.seen_in_training else '')
        return flat_metrics(self.report)


def image_instances(sample: Mapping, kinds: Sequence[str], mask_resolution: str) -> ImageInstances:
    """Return what was detected in one image and what is annotated there; see `OsteoclastMetric.process`.

    Args:
        sample: The dictionary of a data sample.
        kinds: What to score.
        mask_resolution: One of `MASK_RESOLUTIONS`.

    Raises:
        InputError: See `OsteoclastMetric.process`.
    """
    lacking = [key for key in META_KEYS if key not in sample]
    if lacking:
        raise InputError(
            f'OsteoclastMetric: the samples have no {", ".join(lacking)}. Add it to meta_keys of PackDetInputs.'
        )
    predicted, instances = sample['pred_instances'], sample['instances']
    masks = objects = size = None
    if 'segm' in kinds:
        size = mask_size(sample, mask_resolution)
        masks = _predicted_masks(sample, size)
        objects = _annotated_masks(sample, size, mask_resolution)
    boxes = np.array([each['bbox'] for each in instances], dtype=np.float64).reshape(-1, 4)
    classes = np.array([each['bbox_label'] for each in instances], dtype=np.int64)
    return ImageInstances(
        image_id=sample['img_id'],
        batch=str(sample.get('batch') or 'unknown'),
        well=str(sample.get('well') or ''),
        detections=Instances(
            _array(predicted['labels'], np.int64), _as_xywh(_array(predicted['bboxes'], np.float64)), masks
        ),
        scores=_array(predicted['scores'], np.float64),
        objects=Instances(classes, _as_xywh(boxes), objects),
        ignored=_ignored(instances),
        size=size,
        px2_per_cell=1.0 if mask_resolution == 'native' else PROTOTYPE_STRIDE_PX**2 / np.prod(sample['scale_factor']),
    )


def mask_size(sample: Mapping, mask_resolution: str) -> tuple[int, int]:
    """Return height and width of the masks of an image.

    Raises:
        InputError: If the sample lacks what is needed to know it.
    """
    if mask_resolution == 'native':
        return tuple(sample['ori_shape'][:2])
    if 'batch_input_shape' not in sample or 'scale_factor' not in sample:
        raise InputError(
            "OsteoclastMetric: mask_resolution='prototype' needs batch_input_shape and scale_factor of the samples. "
            "Add scale_factor and pad_param to meta_keys of PackDetInputs, or set mask_resolution='native'."
        )
    height, width = sample['batch_input_shape']
    return height // PROTOTYPE_STRIDE_PX, width // PROTOTYPE_STRIDE_PX


def _array(values: Any, dtype: type) -> np.ndarray:
    values = values.cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    return values.astype(dtype)


def _as_xywh(boxes: np.ndarray) -> np.ndarray:
    """Return boxes (n, 4) x1, y1, x2, y2 as x, y, width, height."""
    return np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])


def _ignored(instances: Sequence[Mapping]) -> np.ndarray:
    """Return (m,) bool, True for ignored regions."""
    return np.array([bool(each.get('ignore_flag', 0)) for each in instances], dtype=bool)


def _predicted_masks(sample: Mapping, size: tuple[int, int]) -> list[str | bytes]:
    if 'masks' not in sample['pred_instances']:
        raise InputError("OsteoclastMetric: the model predicts no masks. Set the evaluator's metric='bbox'.")
    masks = sample['pred_instances']['masks']
    try:
        return compressed_counts(masks.cpu().numpy() if isinstance(masks, torch.Tensor) else masks, *size)
    except ValueError as error:
        raise InputError(
            f'OsteoclastMetric: image {sample["img_id"]}: {error} (height, width). '
            "Set the same mask_resolution in the model's test_cfg and in the evaluator."
        ) from error


def _annotated_masks(sample: Mapping, size: tuple[int, int], mask_resolution: str) -> list[str | bytes]:
    outlines = [each.get('mask') for each in sample['instances']]
    if not all(outline is not None and len(outline) for outline in outlines):
        raise InputError(
            f'OsteoclastMetric: an object of image {sample["img_id"]} has no outline. '
            "Set the evaluator's metric='bbox', or annotate outlines."
        )
    try:
        return compressed_counts(outlines if mask_resolution == 'native' else prototype_masks(sample, size), *size)
    except ValueError as error:
        raise InputError(
            f'OsteoclastMetric: image {sample["img_id"]} has an annotated mask that is faulty: {error}. {REMEDY}'
        ) from error


def prototype_masks(sample: Mapping, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the n objects of `instances` drawn on the grid of the prototypes, (n, *size); see `OsteoclastMetric`.

    Ignored regions neither cover objects nor are covered.

    Args:
        sample: With `instances`, `scale_factor` and, if padded, `pad_param`. Masks are polygons.
        size: Rows and columns of the grid.

    Raises:
        InputError: If a mask is a run-length encoding.
    """
    if any(isinstance(each['mask'], Mapping) for each in sample['instances']):
        raise InputError(
            f"OsteoclastMetric: mask_resolution='prototype' needs outlines, but image {sample['img_id']} has "
            "run-length masks. Set mask_resolution='native'."
        )
    scale_x, scale_y = sample['scale_factor']
    top, _, left, _ = sample.get('pad_param', (0, 0, 0, 0))
    to_network = np.array([[scale_x, 0, left], [0, scale_y, top]], dtype=np.float64)
    rings = Rings.from_lists([each['mask'] for each in sample['instances']]).moved(to_network)
    ignored = _ignored(sample['instances'])
    by_area = np.flatnonzero(~ignored)[np.argsort(-rings.areas()[~ignored], kind='stable')]
    cells = index_map(rings.selected(by_area), size)
    masks = np.zeros((len(rings), *size), dtype=bool)
    masks[ignored] = mask_stack(rings.selected(np.flatnonzero(ignored)), size)
    masks[by_area] = cells == np.arange(1, len(by_area) + 1).reshape(-1, 1, 1)
    return masks
