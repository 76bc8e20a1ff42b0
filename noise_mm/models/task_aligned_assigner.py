"""Task-aligned assignment of targets to anchors, as YOLOv8 does it and within bounded memory."""

import torch
from mmyolo.models.losses import bbox_overlaps
from mmyolo.models.task_modules.assigners import BatchTaskAlignedAssigner
from mmyolo.registry import TASK_UTILS
from torch import Tensor

# Entries of one (images, targets, anchors) array that may exist at a time; 2**25 float32 values are 128 MiB. Four
# such arrays live at once. A single image with more targets than this allows is still done, alone.
MAX_PAIRS = 2**25


@TASK_UTILS.register_module()
class YOLOv8TaskAlignedAssigner(BatchTaskAlignedAssigner):
    """Chooses for each target the anchors that learn it.

    It differs from its parent, MMYOLO's `BatchTaskAlignedAssigner`, in four points:

    * An anchor that several targets want goes to the one of largest overlap among the targets whose BOX CONTAINS
      the anchor. The parent looks at all targets of the image. This is YOLOv8's rule.
    * Overlaps (complete IoU) are computed only for the pairs of target and anchor in which the anchor lies inside
      the target's box; images are taken in groups of at most `MAX_PAIRS` pairs. The parent holds a one-hot array of
      (images, targets, topk, anchors) 64-bit integers, which is 20 GB for 1,000 targets an image.
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

        images_at_once = max(1, MAX_PAIRS // (num_gt * num_priors))
        parts = [
            self._assign(
                pred_bboxes[i : i + images_at_once],
                pred_scores[i : i + images_at_once],
                priors[:, :2],
                gt_labels[i : i + images_at_once, :, 0].long(),
                gt_bboxes[i : i + images_at_once],
                pad_bbox_flag[i : i + images_at_once].bool(),
            )
            for i in range(0, batch_size, images_at_once)
        ]
        self.assignment = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
        return self.assignment

    def _assign(
        self,
        pred_bboxes: Tensor,
        pred_scores: Tensor,
        points: Tensor,
        gt_labels: Tensor,
        gt_bboxes: Tensor,
        real: Tensor,
    ) -> dict[str, Tensor]:
        """The work of `forward` on one group of images; `gt_labels` is (images, num_gt), the rest as there."""
        inside = _anchors_inside(points, gt_bboxes) & real  # (images, num_gt, num_priors)
        image, gt, prior = inside.nonzero(as_tuple=True)
        overlaps, metrics = self._score_pairs(pred_bboxes, pred_scores, gt_labels, gt_bboxes, image, gt, prior)

        metric_of = metrics.new_zeros(inside.shape)
        metric_of[image, gt, prior] = metrics
        wanted = torch.zeros_like(inside)
        best = metric_of.topk(min(self.topk, inside.shape[-1]), dim=-1).indices
        wanted.scatter_(-1, best, True)
        wanted &= inside

        overlap_of = metric_of.new_zeros(inside.shape)
        overlap_of[image, gt, prior] = overlaps
        wants = wanted.sum(dim=1)  # (images, num_priors)
        gt_inds = torch.where(wants > 1, overlap_of.argmax(dim=1), wanted.byte().argmax(dim=1))
        foreground = wants > 0

        scores = self._soft_scores(metric_of, overlap_of, gt_inds, foreground)
        rows = torch.arange(len(gt_inds), device=gt_inds.device)[:, None]
        labels = gt_labels[rows, gt_inds].clamp(min=0)
        assigned_scores = pred_scores.new_zeros(pred_scores.shape)
        assigned_scores.scatter_(-1, labels[..., None], scores[..., None].to(assigned_scores.dtype))
        return {
            'assigned_labels': labels,
            'assigned_bboxes': gt_bboxes[rows, gt_inds],
            'assigned_scores': assigned_scores,
            'fg_mask_pre_prior': foreground,
            'assigned_gt_inds': gt_inds,
        }

    def _score_pairs(
        self,
        pred_bboxes: Tensor,
        pred_scores: Tensor,
        gt_labels: Tensor,
        gt_bboxes: Tensor,
        image: Tensor,
        gt: Tensor,
        prior: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Overlap, not below 0, and alignment metric of each pair (image, gt, prior); both (num_pairs,)."""
        mode = 'ciou' if self.use_ciou else 'iou'
        boxes, targets = pred_bboxes[image, prior], gt_bboxes[image, gt]
        overlaps = bbox_overlaps(boxes, targets, iou_mode=mode, bbox_format='xyxy').clamp_(min=0)
        scores = pred_scores[image, prior, gt_labels[image, gt]]
        return overlaps, scores.pow(self.alpha) * overlaps.pow(self.beta)

    def _soft_scores(self, metric_of: Tensor, overlap_of: Tensor, gt_inds: Tensor, foreground: Tensor) -> Tensor:
        """The class score that each anchor is to reach: (images, num_priors), 0 for background."""
        image, prior = foreground.nonzero(as_tuple=True)
        gt = gt_inds[image, prior]
        metric, overlap = metric_of[image, gt, prior], overlap_of[image, gt, prior]
        num_gt = metric_of.shape[1]
        target = image * num_gt + gt
        zeros = metric.new_zeros(len(metric_of) * num_gt)
        largest_metric = zeros.scatter_reduce(0, target, metric, 'amax')[target]
        largest_overlap = zeros.scatter_reduce(0, target, overlap, 'amax')[target]
        scores = metric_of.new_zeros(foreground.shape)
        scores[image, prior] = metric * largest_overlap / (largest_metric + self.eps)
        return scores


def _anchors_inside(points: Tensor, boxes: Tensor, margin: float = 1e-9) -> Tensor:
    """Which anchor centres lie inside which boxes by more than `margin`.

    Args:
        points: (num_priors, 2) x, y.
        boxes: (images, num_gt, 4) x1, y1, x2, y2.
        margin: Pixels; the value of YOLOv8, which keeps a centre exactly on an edge outside.

    Returns:
        (images, num_gt, num_priors) bool.
    """
    x, y = points[:, 0], points[:, 1]
    x1, y1, x2, y2 = boxes[..., None].unbind(dim=2)  # each (images, num_gt, 1)
    return (x - x1 > margin) & (x2 - x > margin) & (y - y1 > margin) & (y2 - y > margin)
