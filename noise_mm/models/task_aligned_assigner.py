"""Task-aligned assignment of targets to anchors, as YOLOv8 does it and within bounded memory."""

from typing import NamedTuple

import torch
from mmyolo.models.losses import bbox_overlaps
from mmyolo.models.task_modules.assigners import BatchTaskAlignedAssigner
from mmyolo.registry import TASK_UTILS
from torch import Tensor

# Entries of one (targets, anchors) array that may exist at a time; 2**24 float32 values are 64 MiB. The candidates of
# more targets are chosen group by group; all that follows works on the few pairs in which the anchor is inside the box.
MAX_PAIRS = 2**24


@TASK_UTILS.register_module()
class YOLOv8TaskAlignedAssigner(BatchTaskAlignedAssigner):
    """Chooses for each target the anchors that learn it.

    It differs from its parent, MMYOLO's `BatchTaskAlignedAssigner`, in four points:

    * An anchor that several targets want goes to the one of largest overlap among the targets whose BOX CONTAINS
      the anchor. The parent looks at all targets of the image. This is YOLOv8's rule.
    * Only the pairs of target and anchor in which the anchor lies inside the target's box are looked at, in one list
      for the whole batch. The parent holds a one-hot array of (images, targets, topk, anchors) 64-bit integers, which
      is 20 GB for 1,000 targets an image.
    * The result also names the target of each anchor (`assigned_gt_inds`), which the mask loss needs.
    * Without any target the foreground mask is boolean, as it is with targets.

    How it works: `metric = score ** alpha * overlap ** beta` for the pairs; each target takes its `topk` anchors of
    largest metric; contested anchors go to their largest overlap; the soft class score of an anchor is its metric,
    scaled so that the best anchor of each target gets the largest overlap of that target (TOOD, arXiv:2108.07755,
    section 3.2).

    Attributes:
        assignment: The result of the last call; `YOLOv8InsHead` reads it after its parent's loss has made it.
    """

    def __init__(
        self,
        num_classes: int,
        topk: int = 10,
        alpha: float = 0.5,
        beta: float = 6.0,
        eps: float = 1e-9,
        use_ciou: bool = True,
    ) -> None:
        super().__init__(num_classes, topk=topk, alpha=alpha, beta=beta, eps=eps, use_ciou=use_ciou)
        self.assignment: dict[str, Tensor] = {}

    @torch.no_grad()
    def forward(
        self,
        pred_bboxes: Tensor,
        pred_scores: Tensor,
        priors: Tensor,
        gt_labels: Tensor,
        gt_bboxes: Tensor,
        pad_bbox_flag: Tensor,
    ) -> dict[str, Tensor]:
        """Assigns the targets of a batch.

        Args:
            pred_bboxes: (batch_size, num_priors, 4) predicted x1, y1, x2, y2 in network-input pixels.
            pred_scores: (batch_size, num_priors, num_classes) class probabilities.
            priors: (num_priors, 2 or more) anchor centres x, y in network-input pixels, then anything.
            gt_labels: (batch_size, num_gt, 1) class of each target.
            gt_bboxes: (batch_size, num_gt, 4) x1, y1, x2, y2 in network-input pixels.
            pad_bbox_flag: (batch_size, num_gt, 1) 1 for a target, 0 for a row that only pads the batch.

        Returns:
            `assigned_labels` (batch_size, num_priors) int64; `assigned_bboxes` (batch_size, num_priors, 4);
            `assigned_scores` (batch_size, num_priors, num_classes), 0 where nothing is assigned;
            `fg_mask_pre_prior` (batch_size, num_priors) bool; `assigned_gt_inds` (batch_size, num_priors) int64, the
            row of the target within its image, 0 where nothing is assigned.
        """
        batch_size, num_priors = pred_scores.shape[:2]
        num_gt = gt_bboxes.shape[1]
        if num_gt == 0:
            gt_inds = torch.zeros((batch_size, num_priors), dtype=torch.long, device=pred_scores.device)
            self.assignment = {
                'assigned_labels': torch.full_like(gt_inds, self.num_classes),
                'assigned_bboxes': gt_bboxes.new_zeros(pred_bboxes.shape),
                'assigned_scores': gt_bboxes.new_zeros(pred_scores.shape),
                'fg_mask_pre_prior': torch.zeros_like(gt_inds, dtype=torch.bool),
                'assigned_gt_inds': gt_inds,
            }
            return self.assignment

        image, gt = pad_bbox_flag[..., 0].bool().nonzero(as_tuple=True)
        pairs = self._pairs(
            pred_bboxes, pred_scores, priors[:, :2], image, gt_labels[image, gt, 0].long(), gt_bboxes[image, gt]
        )
        # For each pair its anchor in the whole batch, and for each of these anchors a target, counted in its image.
        place = image[pairs.target] * num_priors + pairs.prior
        gt_inds, foreground = _owners(pairs, place, gt[pairs.target], batch_size * num_priors)
        assigned = foreground[place] & (gt_inds[place] == gt[pairs.target])
        scores = pairs.metric.new_zeros(batch_size * num_priors)
        scores[place[assigned]] = self._soft_scores(pairs.selected(assigned), len(image))

        gt_inds, scores = gt_inds.view(batch_size, num_priors), scores.view(batch_size, num_priors)
        rows = torch.arange(batch_size, device=gt_inds.device)[:, None]
        labels = gt_labels[rows, gt_inds, 0].long().clamp(min=0)
        assigned_scores = pred_scores.new_zeros(pred_scores.shape)
        assigned_scores.scatter_(-1, labels[..., None], scores[..., None].to(assigned_scores.dtype))
        self.assignment = {
            'assigned_labels': labels,
            'assigned_bboxes': gt_bboxes[rows, gt_inds],
            'assigned_scores': assigned_scores,
            'fg_mask_pre_prior': foreground.view(batch_size, num_priors),
            'assigned_gt_inds': gt_inds,
        }
        return self.assignment

    def _pairs(
        self, pred_bboxes: Tensor, pred_scores: Tensor, points: Tensor, image: Tensor, labels: Tensor, boxes: Tensor
    ) -> '_Pairs':
        """Pair the n targets of a batch (image, class, box of each) with the anchors inside their boxes."""
        targets_at_once = max(1, MAX_PAIRS // len(points))
        parts = []
        for first in range(0, max(len(boxes), 1), targets_at_once):
            own = slice(first, first + targets_at_once)
            inside = _anchors_inside(points, boxes[own])  # (targets, num_priors)
            target, prior = inside.nonzero(as_tuple=True)
            target_of_batch = target + first
            overlap = bbox_overlaps(
                pred_bboxes[image[target_of_batch], prior],
                boxes[target_of_batch],
                iou_mode='ciou' if self.use_ciou else 'iou',
                bbox_format='xyxy',
            ).clamp_(min=0)
            scores = pred_scores[image[target_of_batch], prior, labels[target_of_batch]]
            metric = scores.pow(self.alpha) * overlap.pow(self.beta)
            # All anchors take part in the choice, those outside with 0, as in YOLOv8: a target whose anchors do not
            # overlap it at all is not given more of them.
            metrics = metric.new_zeros(inside.shape)
            metrics[target, prior] = metric
            best = metrics.topk(min(self.topk, len(points)), dim=-1).indices
            wanted = torch.zeros_like(inside).scatter_(-1, best, True)[target, prior]
            parts.append(_Pairs(target_of_batch, prior, overlap, metric, wanted))
        return _Pairs(*(torch.cat(arrays) for arrays in zip(*parts, strict=True)))

    def _soft_scores(self, pairs: '_Pairs', num_targets: int) -> Tensor:
        """Return the class score that the anchor of each assigned pair is to reach."""
        zeros = pairs.metric.new_zeros(num_targets)
        largest_metric = zeros.scatter_reduce(0, pairs.target, pairs.metric, 'amax')[pairs.target]
        largest_overlap = zeros.scatter_reduce(0, pairs.target, pairs.overlap, 'amax')[pairs.target]
        return pairs.metric * largest_overlap / (largest_metric + self.eps)


class _Pairs(NamedTuple):
    """Pairs of a target of the batch and an anchor of its image, inside its box; `wanted`: in the target's `topk`."""

    target: Tensor
    prior: Tensor
    overlap: Tensor
    metric: Tensor
    wanted: Tensor

    def selected(self, mask: Tensor) -> '_Pairs':
        """Return the pairs where `mask` is true."""
        return _Pairs(*(array[mask] for array in self))


def _owners(pairs: _Pairs, place: Tensor, gt: Tensor, num_places: int) -> tuple[Tensor, Tensor]:
    """Return the target of each anchor of the batch, 0 where there is none, and whether there is one."""
    wants = torch.zeros(num_places, dtype=torch.long, device=place.device).index_add_(0, place, pairs.wanted.long())
    gt_inds = torch.zeros_like(wants)
    gt_inds[place[pairs.wanted]] = gt[pairs.wanted]  # right where one target wants the anchor
    # A contested anchor goes to the target of largest overlap, the first one of several; 0 if there is no overlap.
    largest = pairs.overlap.new_zeros(num_places).scatter_reduce_(0, place, pairs.overlap, 'amax')
    rivals = (pairs.overlap == largest[place]) & (pairs.overlap > 0) & (wants[place] > 1)
    gt_inds[wants > 1] = 0
    gt_inds.scatter_reduce_(0, place[rivals], gt[rivals], 'amin', include_self=False)
    return gt_inds, wants > 0


def _anchors_inside(points: Tensor, boxes: Tensor, margin: float = 1e-9) -> Tensor:
    """(n, num_priors) bool: which points lie inside which boxes by more than YOLOv8's margin, so never on an edge."""
    x, y = points[:, 0], points[:, 1]
    x1, y1, x2, y2 = boxes[..., None].unbind(dim=1)  # each (n, 1)
    return (x - x1 > margin) & (x2 - x > margin) & (y - y1 > margin) & (y2 - y > margin)
