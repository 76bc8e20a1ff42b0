"""YOLOv8's instance-segmentation head: what its box head lacks for masks, and no more."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from mmcv.cnn import ConvModule
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.dist import get_world_size
from mmengine.model import BaseModule
from mmengine.structures import InstanceData
from mmyolo.models.utils import make_divisible
from mmyolo.registry import MODELS
from torch import Tensor, nn

from noise_mm.errors import InputError
from noise_mm.models.instance_masks import MaskFrame, UndrawnMasks, image_window
from noise_mm.models.mask_loss import mask_loss
from noise_mm.models.run_length_masks import RunLengthMasks
from noise_mm.models.yolov8_det_head import YOLOv8DetHead, YOLOv8DetHeadModule, as_rows, flatten_levels, padding_of

MASK_RESOLUTIONS = ('native', 'input', 'prototype')
MASK_FORMATS = ('rle', 'bitmap', 'undrawn')


class ProtoModule(BaseModule):
    """The branch that makes the mask prototypes from the finest level of the neck.

    Differs from the one of MMYOLO's YOLOv5 head in the up-sampling, which YOLOv8 learns (transposed 2 x 2
    convolution with bias). The last layer keeps its activation, so prototypes are never below -0.279.
    """

    def __init__(
        self, in_channels: int, middle_channels: int, num_protos: int, norm_cfg: dict, act_cfg: dict, **kwargs: object
    ) -> None:
        super().__init__(**kwargs)
        layer = {'norm_cfg': norm_cfg, 'act_cfg': act_cfg}
        self.conv1 = ConvModule(in_channels, middle_channels, 3, padding=1, **layer)
        self.upsample = nn.ConvTranspose2d(middle_channels, middle_channels, 2, stride=2)
        self.conv2 = ConvModule(middle_channels, middle_channels, 3, padding=1, **layer)
        self.conv3 = ConvModule(middle_channels, num_protos, 1, **layer)

    def forward(self, x: Tensor) -> Tensor:
        """(batch_size, in_channels, h, w) -> (batch_size, num_protos, 2 h, 2 w)."""
        return self.conv3(self.conv2(self.upsample(self.conv1(x))))


@MODELS.register_module()
class YOLOv8InsHeadModule(YOLOv8DetHeadModule):
    """The convolutions of YOLOv8's segmentation head: those of the box head, coefficients and prototypes.

    Args:
        num_protos: Prototypes, and coefficients of each anchor.
        proto_channels: Width of the prototype branch before `widen_factor`.
        widen_factor: As in the parent.
    """

    def __init__(
        self,
        *args: object,
        num_protos: int = 32,
        proto_channels: int = 256,
        widen_factor: float = 1.0,
        **kwargs: object,
    ) -> None:
        self.num_protos = num_protos
        self.proto_channels = make_divisible(proto_channels, widen_factor)
        super().__init__(*args, widen_factor=widen_factor, **kwargs)

    def _init_layers(self) -> None:
        super()._init_layers()
        layer = {'norm_cfg': self.norm_cfg, 'act_cfg': self.act_cfg}
        width = max(self.in_channels[0] // 4, self.num_protos)
        self.coef_preds = nn.ModuleList(
            nn.Sequential(
                ConvModule(channels, width, 3, padding=1, **layer),
                ConvModule(width, width, 3, padding=1, **layer),
                nn.Conv2d(width, self.num_protos, 1),
            )
            for channels in self.in_channels
        )
        self.proto = ProtoModule(self.in_channels[0], self.proto_channels, self.num_protos, **layer)

    def forward(self, x: tuple[Tensor, ...]) -> tuple:
        """Raw outputs for the levels of the neck.

        Args:
            x: For each level (batch_size, channels, h, w).

        Returns:
            The parent's lists; then for each level coefficients (batch_size, num_protos, h, w); then the prototypes
            (batch_size, num_protos, 2 h, 2 w) with h, w of the first level. All float32.
        """
        coefs = [branch(level).float() for branch, level in zip(self.coef_preds, x, strict=True)]
        return (*super().forward(x), coefs, self.proto(x[0]).float())


@MODELS.register_module()
class YOLOv8InsHead(YOLOv8DetHead):
    """YOLOv8's segmentation head: the box head plus mask loss and masks.

    Use it with `YOLOv8InsHeadModule` and `YOLOv8TaskAlignedAssigner`. The losses are those of Ultralytics YOLOv8:
    the mask loss is neither weighted by the assignment's scores nor averaged per image, but summed over the batch
    and divided by the number of assigned anchors, and it has the gain of the box loss.

    Args:
        overlap_masks: How training masks come: True for one index map an image (the k-th target of the image is
            k), False for a stack with one mask a target.
        mask_loss_weight: Gain of the mask loss.

    Attributes:
        drawable_masks: Whether run lengths come as `RunLengthMasks`, which MMDetection's visualizers and inferencers
            take for arrays. A runner and MMDetection's inference set it; pycocotools takes plain lists only.

    `test_cfg` takes, besides the entries named in `YOLOv8DetHead.select`:
        mask_resolution: 'native' (default; logits are enlarged to the original image and cropped to the box there),
            'input' (logits are cropped on the prototype grid and enlarged to the network's input: the default of
            Ultralytics' prediction) or 'prototype' (cropped and thresholded on the prototype grid: its validation).
        mask_format: 'rle' (default) for a list of COCO run-length encodings, which need no full-size array,
            'bitmap' for a bool tensor (n, height, width), or 'undrawn' for `UndrawnMasks`, which are drawn when
            somebody iterates over them, each within its box only.
        whole_cell_padding: Where the input was padded, cut the padding off in whole prototype cells as
            Ultralytics does (default True) or exactly (False). See `image_window`.
    """

    def __init__(
        self, *args: object, overlap_masks: bool = True, mask_loss_weight: float = 7.5, **kwargs: object
    ) -> None:
        super().__init__(*args, **kwargs)
        self.overlap_masks = overlap_masks
        self.drawable_masks = False
        self.mask_loss_weight = mask_loss_weight
        for name, choices in (('mask_resolution', MASK_RESOLUTIONS), ('mask_format', MASK_FORMATS)):
            value = (self.test_cfg or {}).get(name, choices[0])
            if value not in choices:
                raise InputError(f'test_cfg.{name} is {value!r}. Choose one of {", ".join(map(repr, choices))}.')

    def loss(self, x: tuple[Tensor, ...], batch_data_samples: dict | list[DetDataSample]) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            x: Features of the neck.
            batch_data_samples: The dictionary of MMYOLO's fast collation: `bboxes_labels` (n, 6) rows of image index,
                class, x1, y1, x2, y2 in network-input pixels; `masks`, an index map (batch_size, h, w) or a stack
                (n, h, w) in the order of the rows (see `overlap_masks`); `img_metas`. Or MMDetection's list of
                samples with boxes, labels and masks.

        Returns:
            `loss_cls`, `loss_bbox`, `loss_dfl`, `loss_mask`.
        """
        outputs = self(x)
        if isinstance(batch_data_samples, dict):
            boxes, masks = batch_data_samples['bboxes_labels'], batch_data_samples['masks']
            return self.loss_by_feat(
                *outputs, boxes, masks, batch_data_samples['img_metas'], overlap=self.overlap_masks
            )
        boxes, masks = _stack_samples(batch_data_samples, outputs[-1])
        metas = [sample.metainfo for sample in batch_data_samples]
        return self.loss_by_feat(*outputs, boxes, masks, metas, overlap=False)

    def loss_by_feat(
        self,
        cls_scores: Sequence[Tensor],
        bbox_preds: Sequence[Tensor],
        bbox_dist_preds: Sequence[Tensor],
        coef_preds: Sequence[Tensor],
        protos: Tensor,
        batch_gt_instances: Tensor,
        batch_gt_masks: Tensor,
        batch_img_metas: list[dict],
        overlap: bool,
    ) -> dict[str, Tensor]:
        """Losses from the raw outputs.

        Args:
            cls_scores: For each level (batch_size, num_classes, h, w).
            bbox_preds: For each level (batch_size, 4, h, w).
            bbox_dist_preds: For each level (batch_size, h * w, 4, reg_max).
            coef_preds: For each level (batch_size, num_protos, h, w).
            protos: (batch_size, num_protos, proto_h, proto_w).
            batch_gt_instances: (n, 6), see `loss`.
            batch_gt_masks: See `loss`; masks of another size than the prototypes are resized by nearest neighbour.
            batch_img_metas: With `batch_input_shape` (height, width).
            overlap: Whether the masks are index maps.

        Returns:
            `loss_cls`, `loss_bbox`, `loss_dfl`, `loss_mask`, each times the batch size.
        """
        losses = super().loss_by_feat(cls_scores, bbox_preds, bbox_dist_preds, batch_gt_instances, batch_img_metas)
        # The parent's loss has just run the assigner; the masks are to follow the very same assignment.
        foreground = self.assigner.assignment['fg_mask_pre_prior']
        gt_inds = self.assigner.assignment['assigned_gt_inds']
        grid_hw = protos.shape[-2:]
        boxes = _boxes_on_grid(batch_gt_instances[:, 2:], batch_img_metas[0]['batch_input_shape'], grid_hw)
        total = mask_loss(
            flatten_levels(coef_preds),
            protos,
            _resize_masks(batch_gt_masks, grid_hw),
            batch_gt_instances[:, 0],
            boxes,
            foreground,
            gt_inds,
            overlap,
        )
        scale = self.mask_loss_weight / foreground.sum().clamp(min=1)
        losses['loss_mask'] = total * scale * len(foreground) * get_world_size()
        return losses

    def predict_by_feat(
        self,
        cls_scores: Sequence[Tensor],
        bbox_preds: Sequence[Tensor],
        coef_preds: Sequence[Tensor],
        protos: Tensor,
        batch_img_metas: list[dict],
        cfg: ConfigDict | None = None,
        rescale: bool = True,
        with_nms: bool = True,
    ) -> list[InstanceData]:
        """Raw outputs -> detections with masks.

        Args:
            cls_scores: As in the parent.
            bbox_preds: As in the parent.
            coef_preds: For each level (batch_size, num_protos, h, w).
            protos: (batch_size, num_protos, proto_h, proto_w).
            batch_img_metas: As in the parent, with `batch_input_shape` (height, width).
            cfg: See the class; the head's `test_cfg` if None.
            rescale: Boxes and native masks of the original image instead of the network's input.
            with_nms: Whether to suppress.

        Returns:
            The parent's results, with `masks` (see `mask_format`) in the same order.
        """
        cfg = self.test_cfg if cfg is None else cfg
        results = super().predict_by_feat(
            cls_scores, bbox_preds, batch_img_metas, cfg, rescale=False, with_nms=with_nms
        )
        coefs = flatten_levels(coef_preds)
        for i, (found, meta) in enumerate(zip(results, batch_img_metas, strict=True)):
            input_boxes = found.bboxes
            if rescale:
                found.bboxes = self.to_original_frame(input_boxes, meta)
            own = coefs[i, found.anchors], protos[i], input_boxes, found.bboxes
            found.masks = _as_format(
                self._undrawn(*own, meta, cfg, rescale), cfg.get('mask_format', 'rle'), self.drawable_masks
            )
        return results

    def _undrawn(
        self,
        coefs: Tensor,
        protos: Tensor,
        input_boxes: Tensor,
        boxes: Tensor,
        meta: dict,
        cfg: ConfigDict,
        rescale: bool,
    ) -> UndrawnMasks:
        """The masks of one image in the resolution of `cfg`."""
        grid = tuple(protos.shape[-2:])
        input_shape = tuple(meta['batch_input_shape'])
        resolution = cfg.get('mask_resolution', 'native')
        to_grid = input_boxes.new_tensor([grid[1] / input_shape[1], grid[0] / input_shape[0]]).repeat(2)
        if resolution == 'prototype':
            return UndrawnMasks(coefs, protos, input_boxes * to_grid, MaskFrame(*grid, window=(0, 0, *grid)))
        if resolution == 'input' or not rescale:
            frame = MaskFrame(*input_shape, window=(0, 0, *grid))
            crop = input_boxes * to_grid if resolution == 'input' else None
            return UndrawnMasks(coefs, protos, input_boxes, frame, crop)
        size = tuple(meta['ori_shape'][:2])
        window = image_window(
            grid, input_shape, size, meta['scale_factor'], padding_of(meta), cfg.get('whole_cell_padding', True)
        )
        return UndrawnMasks(coefs, protos, boxes, MaskFrame(*size, window=window))


def _as_format(masks: UndrawnMasks, mask_format: str, drawable: bool) -> list[dict] | Tensor | UndrawnMasks:
    """Masks as a list of run-length encodings, as one bool tensor (n, height, width), or as they are."""
    if mask_format == 'undrawn':
        return masks
    size = masks.frame.height_px, masks.frame.width_px
    if mask_format == 'rle':
        encoded = masks.to_rles()
        return RunLengthMasks(encoded, size) if drawable else encoded
    return torch.from_numpy(masks.astype(bool)).to(masks.protos.device)


def _boxes_on_grid(boxes: Tensor, input_hw: tuple[int, int], grid_hw: tuple[int, int]) -> Tensor:
    """Return boxes in pixels of the prototype grid, by way of fractions of the input: YOLOv8's way of rounding."""
    height, width = input_hw
    rows, columns = grid_hw
    fractions = boxes / boxes.new_tensor([width, height, width, height])
    return fractions * boxes.new_tensor([columns, rows, columns, rows])


def _resize_masks(masks: Tensor, size: torch.Size) -> Tensor:
    """(n, h, w) masks or index maps on the grid of the prototypes, by nearest neighbour."""
    if masks.shape[-2:] == size or not len(masks):
        return masks
    # Index maps hold more than 255 values, which float32 keeps exactly up to 2**24.
    return F.interpolate(masks[:, None].float(), size=tuple(size), mode='nearest')[:, 0].to(masks.dtype)


def _stack_samples(samples: list[DetDataSample], protos: Tensor) -> tuple[Tensor, Tensor]:
    """MMDetection's samples as rows (n, 6) and a stack of masks (n, proto_h, proto_w)."""
    masks = [protos.new_zeros((0, *protos.shape[-2:]))]
    for sample in samples:
        targets = sample.gt_instances
        if len(targets):
            stack = targets.masks.to_tensor(torch.float32, protos.device)
            # Samples of one batch may be smaller than the batch: pad to the input before resizing.
            height, width = sample.metainfo['batch_input_shape']
            stack = F.pad(stack, (0, width - stack.shape[-1], 0, height - stack.shape[-2]))
            masks.append(_resize_masks(stack, protos.shape[-2:]))
    return as_rows([sample.gt_instances for sample in samples], protos), torch.cat(masks)
