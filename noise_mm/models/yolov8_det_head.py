"""YOLOv8's box head where MMYOLO's differs from YOLOv8 or loses precision."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from mmcv.ops import batched_nms
from mmdet.models.utils import filter_scores_and_topk
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from mmyolo.models.dense_heads import YOLOv8Head, YOLOv8HeadModule
from mmyolo.registry import MODELS
from torch import Tensor, nn

from noise_mm.errors import InputError

# The class branch of YOLOv8 grows with the number of classes up to this width.
MAX_CLASS_BRANCH_WIDTH = 100


@MODELS.register_module()
class YOLOv8DetHeadModule(YOLOv8HeadModule):
    """The convolutions of YOLOv8's box head.

    It differs from MMYOLO's `YOLOv8HeadModule` in three points: the class branch is at most
    `MAX_CLASS_BRANCH_WIDTH` wide because of its classes, as in YOLOv8; convolutions start from torch's own
    initialisation, as the backbone's do; and logits and box distances leave it as float32, because under autocast
    the expectation over the bins would be a bfloat16 or float16 product, wrong by up to a tenth of a stride.
    """

    def _init_layers(self) -> None:
        num_classes = self.num_classes
        self.num_classes = min(num_classes, MAX_CLASS_BRANCH_WIDTH)
        super()._init_layers()
        self.num_classes = num_classes
        for branch in self.cls_preds:
            if branch[-1].out_channels != num_classes:
                branch[-1] = nn.Conv2d(branch[-1].in_channels, num_classes, 1)

    def init_weights(self, prior_prob: float = 0.01) -> None:
        """Sets torch's default for convolutions, then YOLOv8's biases of the last ones."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.reset_parameters()
        super().init_weights(prior_prob)

    def forward_single(self, x: Tensor, cls_pred: nn.Module, reg_pred: nn.Module) -> tuple[Tensor, ...]:
        """One level's class logits, box distances and, in training, distribution logits.

        Args:
            x: (batch_size, channels, h, w) features.
            cls_pred: The class branch of this level.
            reg_pred: The box branch of this level.

        Returns:
            Class logits (batch_size, num_classes, h, w); distances left, top, right, bottom in strides
            (batch_size, 4, h, w); in training also the distribution logits (batch_size, h * w, 4, reg_max).
            All float32.
        """
        batch_size, _, h, w = x.shape
        logits = cls_pred(x).float()
        bins = reg_pred(x).float().reshape(batch_size, 4, self.reg_max, h * w)
        # A product and a sum, not matmul: autocast leaves these two in float32.
        distances = (bins.softmax(dim=2) * self.proj[:, None]).sum(dim=2).reshape(batch_size, 4, h, w)
        if self.training:
            return logits, distances, bins.permute(0, 3, 1, 2)
        return logits, distances


class SparingLoss(nn.Module):
    """An element-wise class loss that leaves out some pairs of anchor and class.

    Attributes:
        loss: The loss proper, with `reduction='none'`.
        spared: Tells, when the loss is computed, which pairs: a function that returns bools of the shape of the
            logits. None for no pair, which is exactly the loss proper.
    """

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss
        self.spared: Callable[[], Tensor] | None = None

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """(batch_size, num_anchors, num_classes) logits and soft targets -> losses of the same shape."""
        if self.spared is None:
            return self.loss(logits, targets)
        return self.loss(logits, targets, weight=(~self.spared()).to(logits.dtype))


@MODELS.register_module()
class YOLOv8DetHead(YOLOv8Head):
    """YOLOv8's box head: MMYOLO's losses, and a prediction that other heads can extend.

    Use it with `YOLOv8DetHeadModule` and `YOLOv8TaskAlignedAssigner`. Losses are those of MMYOLO's `YOLOv8Head`.
    The prediction is split into `decode`, `select` and `to_original_frame`, so that the mask head only adds to it.

    Args:
        spare_ignored: Whether detections in ignored regions are neither rewarded nor punished: the class loss leaves
            out class c of every anchor whose centre lies inside an ignored box of class c, unless a target took the
            anchor. The assignment, the other classes and the other losses stay as they are, and so does everything
            where nothing is ignored. Needs `collate_with_ignored` and `IgnoredRegionsPreprocessor`; not for
            `YOLOv8InsHead`, which refuses it at the first batch.
    """

    def __init__(self, *args: object, spare_ignored: bool = False, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        del self.loss_obj  # YOLOv5's, None here; MMEngine's analysis of a network stumbles over it
        self.spare_ignored = spare_ignored
        if spare_ignored:
            self.loss_cls = SparingLoss(self.loss_cls)

    def loss(self, x: tuple[Tensor, ...], batch_data_samples: dict | list[DetDataSample]) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            x: Features of the neck.
            batch_data_samples: The dictionary of `collate_with_ignored` or, without `spare_ignored`, of MMYOLO's fast
                collation: `bboxes_labels` (n, 6) and `ignored` (m, 6), rows of image index, class, x1, y1, x2, y2 in
                network-input pixels; `img_metas`. Or MMDetection's list of samples.

        Returns:
            `loss_cls`, `loss_bbox`, `loss_dfl`, each times the batch size.

        Raises:
            InputError: If ignored regions are to be spared and the batch doesn't bring them.
        """
        if not self.spare_ignored or isinstance(batch_data_samples, list):
            return super().loss(x, batch_data_samples)
        targets, ignored = batch_data_samples['bboxes_labels'], batch_data_samples.get('ignored')
        return self.loss_by_feat(*self(x), targets, batch_data_samples['img_metas'], ignored)

    def loss_by_feat(
        self,
        cls_scores: Sequence[Tensor],
        bbox_preds: Sequence[Tensor],
        bbox_dist_preds: Sequence[Tensor],
        batch_gt_instances: Tensor | Sequence[InstanceData],
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: Tensor | Sequence[InstanceData | None] | None = None,
    ) -> dict[str, Tensor]:
        """Losses from the raw outputs; see MMYOLO's `YOLOv8Head`.

        Args:
            cls_scores: For each level (batch_size, num_classes, h, w).
            bbox_preds: For each level (batch_size, 4, h, w).
            bbox_dist_preds: For each level (batch_size, h * w, 4, reg_max).
            batch_gt_instances: (n, 6), see `loss`, or for each image `bboxes` and `labels`.
            batch_img_metas: One for each image.
            batch_gt_instances_ignore: The same of the ignored regions.

        Raises:
            InputError: See `loss`.
        """
        targets = batch_gt_instances, batch_img_metas
        if not self.spare_ignored:
            return super().loss_by_feat(cls_scores, bbox_preds, bbox_dist_preds, *targets)
        if batch_gt_instances_ignore is None:
            raise InputError(
                "spare_ignored: a batch doesn't bring its ignored regions. Train a detector with collate_fn.type="
                "'collate_with_ignored' and data_preprocessor.type='IgnoredRegionsPreprocessor', or set it to False."
            )
        regions = as_rows(batch_gt_instances_ignore, cls_scores[0])
        # Asked for by the class loss, when the parent has made the anchors and their assignment.
        self.loss_cls.spared = partial(self._spared, regions) if len(regions) else None
        try:
            return super().loss_by_feat(cls_scores, bbox_preds, bbox_dist_preds, *targets)
        finally:
            self.loss_cls.spared = None

    def _spared(self, regions: Tensor) -> Tensor:
        """(batch_size, num_anchors, num_classes) bool: inside one of the `regions` (m, 6), and not assigned."""
        foreground = self.assigner.assignment['fg_mask_pre_prior']
        centres = self.flatten_priors_train[:, :2]
        spared = torch.zeros((*foreground.shape, self.num_classes), dtype=torch.bool, device=foreground.device)
        for image, label in regions[:, :2].long().unique(dim=0).tolist():
            boxes = regions[(regions[:, 0] == image) & (regions[:, 1] == label), None, 2:]  # (k, 1, 4)
            inside = ((centres > boxes[..., :2]) & (centres < boxes[..., 2:])).all(dim=2)  # (k, num_anchors)
            spared[image, :, label] = inside.any(dim=0)
        return spared & ~foreground[..., None]

    def decode(self, cls_scores: Sequence[Tensor], bbox_preds: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Boxes and class probabilities of all anchors.

        Anchors are the cells of the levels in the order of their strides, each level row by row.

        Args:
            cls_scores: For each level (batch_size, num_classes, h, w) logits.
            bbox_preds: For each level (batch_size, 4, h, w) distances left, top, right, bottom in strides.

        Returns:
            (batch_size, num_anchors, 4) x1, y1, x2, y2 in network-input pixels, not clipped, and
            (batch_size, num_anchors, num_classes) probabilities.
        """
        sizes = [level.shape[-2:] for level in cls_scores]
        priors = self.prior_generator.grid_priors(
            sizes, dtype=torch.float32, device=cls_scores[0].device, with_stride=True
        )
        points = torch.cat(priors)  # (num_anchors, 4): x, y, stride, stride
        distances = flatten_levels(bbox_preds)
        boxes = self.bbox_coder.decode(points[:, :2], distances, points[:, 2])
        return boxes, flatten_levels(cls_scores).sigmoid()

    def select(self, boxes: Tensor, probabilities: Tensor, cfg: ConfigDict, with_nms: bool = True) -> InstanceData:
        """The detections of one image: confident ones, after non-maximum suppression, best first.

        Args:
            boxes: (num_anchors, 4) x1, y1, x2, y2.
            probabilities: (num_anchors, num_classes).
            cfg: `score_thr` (a detection has to be above it), `nms_pre` (candidates that enter the suppression),
                `nms` (as in MMCV), `max_per_img`, and `multi_label`: whether an anchor gives one detection for
                each class above the threshold, or only one for its best class.
            with_nms: Whether to suppress.

        Returns:
            `bboxes` (n, 4), `scores` (n,), `labels` (n,) and `anchors` (n,), the row of `boxes` each comes from.
        """
        labels = None
        if not (cfg.multi_label and self.num_classes > 1):
            probabilities, labels = probabilities.max(dim=1, keepdim=True)
        scores, columns, anchors, _ = filter_scores_and_topk(probabilities, cfg.score_thr, cfg.nms_pre)
        labels = columns if labels is None else labels[anchors, 0]
        found = InstanceData(bboxes=boxes[anchors], scores=scores, labels=labels, anchors=anchors)
        if with_nms and len(found):
            _, keep = batched_nms(found.bboxes, found.scores, found.labels, cfg.nms)
            found = found[keep]
        return found[: cfg.max_per_img]

    def to_original_frame(self, bboxes: Tensor, img_meta: dict) -> Tensor:
        """Boxes in network-input pixels -> pixels of the original image, clipped to it; (n, 4) both."""
        top, left = padding_of(img_meta)
        scale = bboxes.new_tensor(img_meta['scale_factor']).repeat(2)
        bboxes = (bboxes - bboxes.new_tensor([left, top, left, top])) / scale
        height, width = img_meta['ori_shape'][:2]
        return torch.stack(
            [bboxes[:, i].clamp(0, limit) for i, limit in enumerate((width, height, width, height))], dim=1
        )

    def predict_by_feat(
        self,
        cls_scores: Sequence[Tensor],
        bbox_preds: Sequence[Tensor],
        batch_img_metas: list[dict],
        cfg: ConfigDict | None = None,
        rescale: bool = True,
        with_nms: bool = True,
    ) -> list[InstanceData]:
        """Raw outputs -> detections of each image.

        Args:
            cls_scores: For each level (batch_size, num_classes, h, w) logits.
            bbox_preds: For each level (batch_size, 4, h, w) distances in strides.
            batch_img_metas: For each image `ori_shape`, `scale_factor` (x, y) and, where the image was padded,
                `pad_param` (top, bottom, left, right in network-input pixels).
            cfg: See `select`; the head's `test_cfg` if None.
            rescale: Boxes in original pixels, clipped to the image, instead of network-input pixels.
            with_nms: Whether to suppress.

        Returns:
            For each image `bboxes` (n, 4), `scores` (n,), `labels` (n,), `anchors` (n,), best first.
        """
        cfg = self.test_cfg if cfg is None else cfg
        results = []
        for boxes, probabilities, meta in zip(*self.decode(cls_scores, bbox_preds), batch_img_metas, strict=True):
            found = self.select(boxes, probabilities, cfg, with_nms)
            if rescale:
                found.bboxes = self.to_original_frame(found.bboxes, meta)
            results.append(found)
        return results


def as_rows(instances: Tensor | Sequence[InstanceData | None], like: Tensor) -> Tensor:
    """Rows (m, 6) of image index, class, x1, y1, x2, y2 from either form of a batch's objects."""
    if isinstance(instances, Tensor):
        return instances
    rows = [like.new_zeros((0, 6))]
    for index, each in enumerate(instances):
        if each is not None and len(each):
            boxes = getattr(each.bboxes, 'tensor', each.bboxes).to(like)
            labels = each.labels[:, None].to(like)
            rows.append(torch.cat([torch.full_like(labels, index), labels, boxes], dim=1))
    return torch.cat(rows)


def flatten_levels(levels: Sequence[Tensor]) -> Tensor:
    """For each level (batch_size, c, h, w) -> (batch_size, all anchors, c), contiguous.

    Levels in channels-last memory format are copied once, and their gradients stay in that format.
    """
    return torch.cat([level.permute(0, 2, 3, 1).flatten(1, 2) for level in levels], dim=1)


def padding_of(img_meta: dict) -> tuple[float, float]:
    """Rows above and columns left of the image in the network's input."""
    padding = img_meta.get('pad_param')
    return (0.0, 0.0) if padding is None else (float(padding[0]), float(padding[2]))
