"""From the targets of a patch to a sample, and from samples to a batch."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.dataset import COLLATE_FUNCTIONS
from mmyolo.datasets import yolov5_collate
from mmyolo.datasets.transforms import PackDetInputs
from mmyolo.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PackPatch(PackDetInputs):
    """MMYOLO's `PackDetInputs` whose samples MMDetection's visualizers can draw.

    MMYOLO puts the index map of `DrawTargetMasks` where MMDetection expects a panoptic segmentation. Here it is
    `index_map` of the sample, and `gt_instances.masks` are the outlines. Use it with `collate_patches`. As in
    MMDetection's, `meta_keys` of steps that a pipeline does not have, such as `flip`, are left out.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.known_keys = self.meta_keys

    def transform(self, results: dict) -> dict:
        """Return `inputs` and `data_samples`."""
        self.meta_keys = [key for key in self.known_keys if key in results]
        outlines = results.pop('gt_outlines', None)
        packed = super().transform(results)
        sample = packed['data_samples']
        if 'gt_panoptic_seg' in sample:
            sample.index_map = sample.gt_panoptic_seg
            del sample.gt_panoptic_seg
        if outlines is not None:
            sample.gt_instances.masks = outlines
        return packed


@COLLATE_FUNCTIONS.register_module()
def collate_patches(data_batch: Sequence[dict]) -> dict:
    """Return the batch that MMYOLO's `yolov5_collate` makes, from samples of `PackPatch` or of `PackDetInputs`."""
    for each in data_batch:
        sample = each['data_samples']
        if 'index_map' in sample:
            sample.gt_panoptic_seg = sample.index_map
            sample.gt_instances.pop('masks', None)  # outlines, for visualizers only
    return yolov5_collate(data_batch)


@COLLATE_FUNCTIONS.register_module()
def collate_with_ignored(data_batch: Sequence[dict]) -> dict:
    """MMYOLO's `yolov5_collate`, whose `data_samples` also have `ignored`.

    Use it with `IgnoredRegionsPreprocessor` where a head is to know of ignored regions (`YOLOv8DetHead.spare_ignored`).

    Args:
        data_batch: Samples as MMYOLO's `PackDetInputs` makes them.

    Returns:
        What `yolov5_collate` gives, and under `data_samples` `ignored` (m, 6): rows of image index, class, x1, y1, x2,
        y2 in network-input pixels, as those of `bboxes_labels`.
    """
    batch = yolov5_collate(data_batch)
    rows = [batch['data_samples']['bboxes_labels'].new_zeros((0, 6))]
    for index, sample in enumerate(data_batch):
        regions = sample['data_samples'].ignored_instances
        boxes, labels = regions.bboxes.tensor, regions.labels[:, None]
        rows.append(torch.cat([torch.full_like(labels, index), labels, boxes], dim=1))
    batch['data_samples']['ignored'] = torch.cat(rows)
    return batch
