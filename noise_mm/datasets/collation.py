"""Joins samples to a batch, with the ignored regions that MMYOLO's fast collation leaves behind."""

from collections.abc import Sequence

import torch
from mmengine.dataset import COLLATE_FUNCTIONS
from mmyolo.datasets import yolov5_collate


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
