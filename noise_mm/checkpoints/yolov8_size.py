"""Which YOLOv8 a set of tensors is: everything that a config needs to build the network, read off their shapes."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from noise_mm.checkpoints.checkpoint_keys import C2F_LAYERS

# (depth factor, width factor, most channels of the last stage) of the published sizes.
SIZES = {
    'n': (0.33, 0.25, 1024),
    's': (0.33, 0.50, 1024),
    'm': (0.67, 0.75, 768),
    'l': (1.00, 1.00, 512),
    'x': (1.00, 1.25, 512),
}

# Bottlenecks of the eight C2f blocks at depth factor 1.
_BOTTLENECKS = (3, 6, 6, 3, 3, 3, 3, 3)
# Output channels of the layers that are convolutions, at width factor 1 and before the limit of the last stage.
_CHANNELS = {0: 64, 1: 128, 3: 256, 5: 512, 7: 1024}
_LAST_STAGES = (1024, 768, 512)
# Depth factors to try, those of the published sizes first.
_DEPTHS = (0.33, 0.67, 1.0, *(step / 20 for step in range(2, 41)))
# Channels are rounded up to a multiple of this.
_CHANNEL_STEP = 8


@dataclass(frozen=True)
class YOLOv8Size:
    """What has to be known to build a YOLOv8.

    Attributes:
        letter: 'n', 's', 'm', 'l' or 'x', or '' for a network of none of these sizes.
        deepen_factor: As in MMYOLO's configs; multiplies the number of bottlenecks.
        widen_factor: As in MMYOLO's configs; multiplies the channels.
        last_stage_out_channels: As in MMYOLO's configs; most channels of the last stage before `widen_factor`.
        num_classes: Classes of the box head.
        masks: Whether there is a mask branch.
    """

    letter: str
    deepen_factor: float
    widen_factor: float
    last_stage_out_channels: int
    num_classes: int
    masks: bool

    @property
    def task(self) -> str:
        """Ultralytics' word for what the network does."""
        return 'segment' if self.masks else 'detect'


def size_of(shapes: Mapping[str, tuple[int, ...]]) -> YOLOv8Size:
    """The size of a YOLOv8 from the shapes of its tensors under their Ultralytics names.

    Raises:
        ValueError: If the shapes are not those of any YOLOv8, whatever its depth and width.
    """
    flat = [name for name, shape in shapes.items() if name.endswith('conv.weight') and len(shape) != 4]
    if flat:
        raise ValueError(f'{flat[0]} is not a convolution: it has {len(shapes[flat[0]])} dimensions, not 4')
    channels = {layer: shapes[f'model.{layer}.conv.weight'][0] for layer in _CHANNELS}
    bottlenecks = tuple(_count_bottlenecks(shapes, layer) for layer in C2F_LAYERS)
    width = _width(channels)
    depths = [depth for depth in _DEPTHS if _bottlenecks(depth) == bottlenecks]
    if width is None or not depths:
        raise ValueError(
            f'not the proportions of a YOLOv8: {list(channels.values())} channels, {list(bottlenecks)} bottlenecks'
        )
    letters = [letter for letter, size in SIZES.items() if size[0] in depths and size[1:] == width]
    return YOLOv8Size(
        letter=letters[0] if letters else '',
        deepen_factor=SIZES[letters[0]][0] if letters else depths[0],
        widen_factor=width[0],
        last_stage_out_channels=width[1],
        num_classes=shapes['model.22.cv3.0.2.weight'][0],
        masks='model.22.cv4.0.2.weight' in shapes,
    )


def _width(channels: Mapping[int, int]) -> tuple[float, int] | None:
    """(width factor, most channels of the last stage) that give these channels; the largest factor of several."""
    for last_stage in _LAST_STAGES:
        base = {layer: min(count, last_stage) for layer, count in _CHANNELS.items()}
        factor = min(channels[layer] / base[layer] for layer in base)
        if all(math.ceil(base[layer] * factor / _CHANNEL_STEP) * _CHANNEL_STEP == channels[layer] for layer in base):
            return factor, last_stage
    return None


def _bottlenecks(deepen_factor: float) -> tuple[int, ...]:
    return tuple(max(round(count * deepen_factor), 1) for count in _BOTTLENECKS)


def _count_bottlenecks(shapes: Mapping[str, tuple[int, ...]], layer: str) -> int:
    return sum(re.fullmatch(rf'{re.escape(layer)}\.m\.\d+\.cv1\.conv\.weight', name) is not None for name in shapes)
