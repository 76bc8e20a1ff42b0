"""The names of YOLOv8's tensors in Ultralytics checkpoints and in ours: one table, used in both directions.

Ultralytics numbers the layers of the network through (`model.0` ... `model.22`). Ours are the names of MMYOLO's
`YOLODetector` with `YOLOv8CSPDarknet`, `YOLOv8PAFPN` and `YOLOv8HeadModule`, and for segmentation those of
`noise_mm.models.YOLOv8InsHeadModule`. The table depends on nothing but the number of bottlenecks in each C2f block
and on whether there is a mask branch; both are read off the names themselves.
"""

import itertools
from collections.abc import Iterable, Mapping
from typing import TypeVar

from noise_mm.checkpoints.pickle_scan import shown

Tensor = TypeVar('Tensor')

_HEAD = 'bbox_head.head_module'
_THEIR_PROTO, _OUR_PROTO = 'model.22.proto', f'{_HEAD}.proto'

# Ultralytics' C2f layer -> ours, in the order of the network.
C2F_LAYERS = {
    'model.2': 'backbone.stage1.1',
    'model.4': 'backbone.stage2.1',
    'model.6': 'backbone.stage3.1',
    'model.8': 'backbone.stage4.1',
    'model.12': 'neck.top_down_layers.0',
    'model.15': 'neck.top_down_layers.1',
    'model.18': 'neck.bottom_up_layers.0',
    'model.21': 'neck.bottom_up_layers.1',
}

# Blocks of a convolution and its batch norm outside C2f blocks and the head.
_CONV_BLOCKS = {
    'model.0': 'backbone.stem',
    'model.1': 'backbone.stage1.0',
    'model.3': 'backbone.stage2.0',
    'model.5': 'backbone.stage3.0',
    'model.7': 'backbone.stage4.0',
    'model.9.cv1': 'backbone.stage4.2.conv1',
    'model.9.cv2': 'backbone.stage4.2.conv2',
    'model.16': 'neck.downsample_layers.0',
    'model.19': 'neck.downsample_layers.1',
}

# The weights 0 ... 15 that turn a distribution into its mean: constant, and no tensor of ours.
DFL_WEIGHT = 'model.22.dfl.conv.weight'

_CONV_BLOCK = [
    'conv.weight',
    *(f'bn.{name}' for name in ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')),
]


def name_table(bottlenecks: Iterable[int], masks: bool) -> dict[str, str]:
    """Ultralytics' name -> our name, for every tensor of a YOLOv8 but the constant `DFL_WEIGHT`.

    Args:
        bottlenecks: Number of bottlenecks in each of the eight C2f blocks, in the order of `C2F_LAYERS`.
        masks: Whether the network has the mask branch (coefficients and prototypes).
    """
    blocks, plain = dict(_CONV_BLOCKS), {}
    for (theirs, ours), count in zip(C2F_LAYERS.items(), bottlenecks, strict=True):
        blocks |= {f'{theirs}.cv1': f'{ours}.main_conv', f'{theirs}.cv2': f'{ours}.final_conv'}
        for i, conv in itertools.product(range(count), (1, 2)):
            blocks[f'{theirs}.m.{i}.cv{conv}'] = f'{ours}.blocks.{i}.conv{conv}'
    # Branches of the head: for each of three levels two conv blocks and a plain convolution.
    branches = {'cv2': 'reg_preds', 'cv3': 'cls_preds'} | ({'cv4': 'coef_preds'} if masks else {})
    for (theirs, ours), level in itertools.product(branches.items(), range(3)):
        blocks |= {f'model.22.{theirs}.{level}.{i}': f'{_HEAD}.{ours}.{level}.{i}' for i in (0, 1)}
        plain[f'model.22.{theirs}.{level}.2'] = f'{_HEAD}.{ours}.{level}.2'
    if masks:
        blocks |= {f'{_THEIR_PROTO}.cv{conv}': f'{_OUR_PROTO}.conv{conv}' for conv in (1, 2, 3)}
        plain[f'{_THEIR_PROTO}.upsample'] = f'{_OUR_PROTO}.upsample'
    kinds = ((blocks, _CONV_BLOCK), (plain, ('weight', 'bias')))
    return {
        f'{theirs}.{name}': f'{ours}.{name}' for of, names in kinds for theirs, ours in of.items() for name in names
    }


def ultralytics_to_ours(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames the tensors of an Ultralytics YOLOv8, and leaves out `DFL_WEIGHT`.

    Raises:
        ValueError: If a tensor is unknown or missing; it lists them.
    """
    prefixes = [f'{layer}.m' for layer in C2F_LAYERS]
    table = name_table(_counts(state_dict, prefixes), masks=_has(state_dict, _THEIR_PROTO))
    return _renamed({name: value for name, value in state_dict.items() if name != DFL_WEIGHT}, table)


def ours_to_ultralytics(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `ultralytics_to_ours`; `DFL_WEIGHT` is for the caller to add.

    Raises:
        ValueError: If a tensor is unknown or missing; it lists them.
    """
    prefixes = [f'{layer}.blocks' for layer in C2F_LAYERS.values()]
    table = name_table(_counts(state_dict, prefixes), masks=_has(state_dict, _OUR_PROTO))
    return _renamed(state_dict, {ours: theirs for theirs, ours in table.items()})


def _counts(names: Iterable[str], prefixes: list[str]) -> list[int]:
    """How many different parts follow each prefix."""
    followers: dict[str, set[str]] = {prefix: set() for prefix in prefixes}
    for name in names:
        for prefix in prefixes:
            if name.startswith(f'{prefix}.'):
                followers[prefix].add(name[len(prefix) + 1 :].partition('.')[0])
    return [len(followers[prefix]) for prefix in prefixes]


def _has(names: Iterable[str], layer: str) -> bool:
    return any(name.startswith(f'{layer}.') for name in names)


def _renamed(state_dict: Mapping[str, Tensor], table: Mapping[str, str]) -> dict[str, Tensor]:
    unknown = sorted(state_dict.keys() - table.keys())
    missing = sorted(table.keys() - state_dict.keys())
    if unknown or missing:
        parts = [f'{len(unknown)} unknown tensors: {_listed(unknown)}'] if unknown else []
        parts += [f'{len(missing)} tensors missing: {_listed(missing)}'] if missing else []
        raise ValueError('; '.join(parts))
    return {table[name]: value for name, value in state_dict.items()}


def _listed(names: list[str], limit: int = 5) -> str:
    return ', '.join(map(shown, names[:limit])) + (', ...' if len(names) > limit else '')
