"""YOLOv8 as a detector of MMDetection that knows its size."""

import copy
import inspect
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import DefaultScope
from mmyolo.models.dense_heads import YOLOv8Head
from mmyolo.models.detectors import YOLODetector
from mmyolo.registry import MODELS

from noise_mm.checkpoints.yolov8_size import SIZES
from noise_mm.configuration import fill
from noise_mm.errors import InputError

BACKBONE = {'type': 'YOLOv8CSPDarknet'}
NECK = {'type': 'YOLOv8PAFPN', 'num_csp_blocks': 3}
HEAD_MODULES = {
    'YOLOv8DetHead': 'YOLOv8DetHeadModule',
    'YOLOv8InsHead': 'YOLOv8InsHeadModule',
    'YOLOv8Head': 'YOLOv8HeadModule',  # MMYOLO's own
}
NORM = {'type': 'BN', 'momentum': 0.03, 'eps': 0.001}
STRIDES_PX = (8, 16, 32)


@MMENGINE_MODELS.register_module()  # for tools in MMDetection's scope, such as DetInferencer
@MODELS.register_module()
class YOLOv8Detector(YOLODetector):
    """MMYOLO's `YOLODetector` whose parts follow from its size and its number of classes.

    Whatever an argument of a part does not say is filled in: depth, width and channels by `size`, class counts by
    `num_classes`, normalisation by `norm_cfg`. What it says is kept, so a backbone or neck of another type can be put
    in; only parts of YOLOv8 are filled in.

    Args:
        size: 'n', 's', 'm', 'l' or 'x'.
        num_classes: Number of classes.
        backbone: Config of the backbone; YOLOv8's if None.
        neck: Config of the neck; YOLOv8's if None.
        bbox_head: Config of the head: `YOLOv8InsHead` for masks, `YOLOv8DetHead` for boxes (default).
        norm_cfg: Normalisation of all parts.
        train_cfg: As in the parent; the assigner's class count is filled in.
        kwargs: Further arguments of the parent.

    Attributes:
        cfg: The whole config, which MMDetection's inference sets; setting it fills in what its pipelines refer to.

    Raises:
        InputError: If there is no such size, or the whole config asks for another one.
    """

    def __init__(
        self,
        size: str = 'l',
        num_classes: int = 1,
        backbone: dict | None = None,
        neck: dict | None = None,
        bbox_head: dict | None = None,
        norm_cfg: dict | None = None,
        train_cfg: dict | None = None,
        use_syncbn: bool = True,
        **kwargs: Any,
    ) -> None:
        if size not in SIZES:
            raise InputError(f'size is {size!r}. Choose one of {", ".join(SIZES)}.')
        depth, width, last_channels = SIZES[size]
        channels = [256, 512, last_channels]
        norm = norm_cfg or NORM

        backbone = _part(backbone or BACKBONE)
        if _is_a(backbone, 'YOLOv8CSPDarknet'):
            factors = {'deepen_factor': depth, 'widen_factor': width}
            _complete(backbone, **factors, last_stage_out_channels=last_channels, norm_cfg=norm)
        neck = _part(neck or NECK)
        if _is_a(neck, 'YOLOv8PAFPN'):
            factors = {'deepen_factor': depth, 'widen_factor': width}
            _complete(neck, **factors, in_channels=channels, out_channels=channels, num_csp_blocks=3, norm_cfg=norm)
        bbox_head = _part(bbox_head or {'type': 'YOLOv8DetHead'})
        for head, module in HEAD_MODULES.items():
            if _is_a(bbox_head, head):
                _complete(bbox_head, head_module={})
                strides = {'featmap_strides': list(STRIDES_PX)}
                _complete(bbox_head.head_module, type=module, in_channels=channels, widen_factor=width, **strides)
                _complete(bbox_head.head_module, num_classes=num_classes, norm_cfg=norm)
                _complete_parts(bbox_head)
        train_cfg = _part(train_cfg or {'assigner': {'type': 'YOLOv8TaskAlignedAssigner'}})
        if 'assigner' in train_cfg:
            _complete(train_cfg.assigner, num_classes=num_classes)
        self._cfg = None
        # Synchronised batch norm runs on GPUs only.
        use_syncbn = use_syncbn and torch.cuda.is_available()
        with DefaultScope.overwrite_default_scope('mmyolo'):
            super().__init__(backbone, neck, bbox_head, train_cfg=train_cfg, use_syncbn=use_syncbn, **kwargs)
        self.size, self.num_classes = size, num_classes

    @property
    def cfg(self) -> Config | ConfigDict | None:
        """The whole config; None unless `init_detector` or an inferencer has set it."""
        return self._cfg

    @cfg.setter
    def cfg(self, config: Config | ConfigDict | None) -> None:
        if config is not None:
            fill(config)
            model = config.get('model') or {}
            for key, built in (('size', self.size), ('num_classes', self.num_classes)):
                if model.get(key, built) != built:
                    raise InputError(
                        f'the settings of the config ask for {key} {model[key]!r}, but a tool that does not know them '
                        f'has built {built!r}. Set model = dict({key}={model[key]!r}) in the config.'
                    )
            self.bbox_head.drawable_masks = True  # whoever sets the whole config may draw
        self._cfg = config


def _part(config: dict) -> ConfigDict:
    """Return a copy of the config of a part, to be completed."""
    return ConfigDict(copy.deepcopy(dict(config)))


def _is_a(part: dict, name: str) -> bool:
    """Whether the config of a part names a class, with or without the scope of its registry."""
    kind = part.get('type')
    return (kind.rpartition('.')[2] if isinstance(kind, str) else getattr(kind, '__name__', '')) == name


def _complete(part: ConfigDict, **values: Any) -> None:
    """Set what a config does not say. Dictionaries such as `norm_cfg` are taken or left as a whole."""
    for key, value in values.items():
        if key not in part:
            part[key] = copy.deepcopy(value)


def _complete_parts(bbox_head: ConfigDict) -> None:
    """Complete losses, priors and box coder that a config gives without type, such as dict(loss_weight=5.0)."""
    defaults = {name: each.default for name, each in inspect.signature(YOLOv8Head).parameters.items()}
    for key, part in bbox_head.items():
        if key != 'head_module' and isinstance(part, dict) and isinstance(defaults.get(key), dict):
            _complete(part, **({} if 'type' in part else defaults[key]))
