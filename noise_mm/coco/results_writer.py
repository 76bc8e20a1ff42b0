"""Writes what a network found as COCO results, so that it can be scored again, or by other tools."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmyolo.registry import METRICS

from noise_mm.coco.reader import read_content, require_classes
from noise_mm.coco.rle import compressed_counts
from noise_mm.files import read_json, require_folder, write_json
from noise_mm.seen_batches import RESULT_KEY


@METRICS.register_module()
class CocoResultsWriter(BaseMetric):
    """Writes `<folder>/<batch>.json` for each batch: COCO results with the ids of its annotation file.

    It computes nothing; it goes beside the metric in an evaluator. Unlike MMDetection's `CocoMetric` with
    `outfile_prefix`, it writes boxes and masks into one file, and a file for each batch, because image ids of two
    batches may be the same. Scores and boxes are written with all their digits, so that scoring the files gives the
    numbers that the metric gave.

    Args:
        folder: Where the files go.
        sources: For each batch its `batch`, `annotation_file` and `image_dir`, as `PatchDataset.sources` has them.
        classes: Class names in the order of the labels.
        seen_in_training: Batches that were seen in training; each of their results is marked.
        kwargs: Arguments of MMEngine's `BaseMetric`.

    Raises:
        InputError: If the folder can't be written to, or an annotation file lacks a class.
    """

    default_prefix = 'results'  # of no number; MMEngine asks for one

    def __init__(
        self,
        folder: str | Path,
        sources: Sequence[Mapping[str, str]],
        classes: Sequence[str],
        seen_in_training: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.folder = Path(folder)
        self.seen_in_training = set(seen_in_training)
        self.batches = [source['batch'] for source in sources]
        self.image_ids: dict[Path, tuple[str, int]] = {}
        self.category_ids: dict[str, list[int]] = {}
        for source in sources:
            file = str(source['annotation_file'])
            content = read_content(read_json(file), file, annotation_ids=False)
            content.raise_if_any(file)
            require_classes(content, file, classes)
            ids = {name: key for key, name in content.categories.items()}
            self.category_ids[source['batch']] = [ids[name] for name in classes]
            for image in content.images:
                self.image_ids[Path(source['image_dir'], image.file_name)] = source['batch'], image.id
        require_folder(self.folder)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Add the results of some images.

        Args:
            data_batch: Not used.
            data_samples: For each image a dictionary with `img_path`, `ori_shape` and `pred_instances` (`bboxes`
                (n, 4) x1, y1, x2, y2, `scores`, `labels` and, if there are any, `masks` of the size of the image).
        """
        for sample in data_samples:
            batch, image_id = self.image_ids[Path(sample['img_path'])]
            found = sample['pred_instances']
            corners = _numbers(found['bboxes']).reshape(-1, 4)
            boxes = np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]]).tolist()
            common = {'image_id': image_id} | ({RESULT_KEY: True} if batch in self.seen_in_training else {})
            labels, scores = _numbers(found['labels']), _numbers(found['scores']).tolist()
            results = [
                {**common, 'category_id': self.category_ids[batch][int(label)], 'score': score, 'bbox': box}
                for label, score, box in zip(labels, scores, boxes, strict=True)
            ]
            if 'masks' in found:
                masks = found['masks'].cpu().numpy() if isinstance(found['masks'], torch.Tensor) else found['masks']
                size = [int(side) for side in sample['ori_shape'][:2]]
                for result, counts in zip(results, compressed_counts(masks, *size), strict=True):
                    text = counts.decode() if isinstance(counts, bytes) else counts
                    result['segmentation'] = {'size': size, 'counts': text}
            self.results.append((batch, results))

    def compute_metrics(self, results: list[tuple[str, list[dict]]]) -> dict[str, float]:
        """Write the files, one for every batch even if nothing was found there; gives no numbers."""
        by_batch = defaultdict(list)
        for batch, of_image in results:
            by_batch[batch] += of_image
        for batch in self.batches:
            write_json(self.folder / f'{batch}.json', by_batch[batch])
        return {}


def _numbers(values: Any) -> np.ndarray:
    """Return numbers of a tensor or array in double precision, in which they are scored."""
    return (values.cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)).astype(np.float64)
