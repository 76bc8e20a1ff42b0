"""Brings a batch to the network."""

from mmyolo.models import YOLOv5DetDataPreprocessor
from mmyolo.registry import MODELS


@MODELS.register_module()
class IgnoredRegionsPreprocessor(YOLOv5DetDataPreprocessor):
    """MMYOLO's `YOLOv5DetDataPreprocessor`, which in training keeps the `ignored` regions of `collate_with_ignored`.

    The parent passes on only the entries it knows. Batch augmentations that move boxes don't move these.
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        """As in the parent; in training `data_samples` has `ignored` (m, 6) where the batch has."""
        prepared = super().forward(data, training)
        samples = data['data_samples']
        if training and 'ignored' in samples:
            prepared['data_samples']['ignored'] = self.cast_data(samples['ignored'])
        return prepared
