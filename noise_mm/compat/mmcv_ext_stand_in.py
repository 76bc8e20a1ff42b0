"""The module `mmcv._ext` of mmcv-lite: `nms` and `roi_align_forward` work, every other compiled op raises when called.

`mmcv.ops` asks for the names of all its ops when it is imported. The models of this project need only `nms`; networks
of two stages such as Mask R-CNN predict with `roi_align_forward`, but are not
trained with it. Loaded under the name `mmcv._ext` by `noise_mm.compat.mmcv_ext`.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from torch import Tensor


def nms(boxes: 'Tensor', scores: 'Tensor', iou_threshold: float, offset: int = 0) -> 'Tensor':
    """The op behind `mmcv.ops.nms`; see `noise_mm.compat.nms.nms`."""
    from noise_mm.compat import nms as module

    return module.nms(boxes, scores, iou_threshold, offset)


def roi_align_forward(
    input: 'Tensor',
    rois: 'Tensor',
    output: 'Tensor',
    argmax_y: 'Tensor',
    argmax_x: 'Tensor',
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """The op behind `mmcv.ops.roi_align` (RoIAlign, He et al. 2017, section 3): fills `output`.

    Each cell of the output is the mean of bilinear samples on a regular grid within it. Samples up to one pixel beyond
    the feature map take the value at its border, those farther out count as 0.

    Arguments are MMCV's: feature maps (images, channels, height, width), `rois` (n, 5) of image number, x1, y1, x2, y2
    in pixels of the network's input, `output` (n, channels, aligned_height, aligned_width). `sampling_ratio` 0 takes
    one sample a pixel of the feature map; `pool_mode` 1 means means; `aligned`: pixel centres lie at halves (MMCV 2).

    Raises:
        NotImplementedError: For maxima (`pool_mode` 0).
    """
    import torch
    from torch.nn import functional

    if pool_mode != 1:
        raise NotImplementedError("mmcv-lite has no roi_align with pool_mode='max'; noise_mm brings 'avg' only.")
    lengths = torch.tensor(input.shape[:1:-1], device=input.device)  # width, height
    cells = (aligned_width, aligned_height)
    for i, (image, *corners) in enumerate(rois.float().tolist()):
        low = [corner * spatial_scale - 0.5 * aligned for corner in corners[:2]]
        size = [(corners[k + 2] - corners[k]) * spatial_scale for k in (0, 1)]
        size = size if aligned else [max(length, 1.0) for length in size]
        counts = [sampling_ratio or math.ceil(size[k] / cells[k]) for k in (0, 1)]
        if min(counts) < 1:  # an empty box has no samples
            output[i] = 0
            continue
        steps = [torch.arange(cells[k] * counts[k], device=input.device) + 0.5 for k in (0, 1)]
        xs, ys = (low[k] + steps[k] * size[k] / (cells[k] * counts[k]) for k in (0, 1))
        points = torch.stack(torch.meshgrid(xs, ys, indexing='xy'), dim=-1)  # (rows, columns, 2)
        is_near = ((points >= -1) & (points <= lengths)).all(dim=-1)
        grid = ((2 * points + 1) / lengths - 1).to(input.dtype)
        features = input[int(image)][None]
        samples = functional.grid_sample(features, grid[None], padding_mode='border', align_corners=False)
        output[i] = functional.avg_pool2d(samples * is_near, counts[::-1])[0]


def get_compiler_version() -> str:
    """What `collect_env` of MMCV, MMDetection and MMYOLO reports: nothing was compiled."""
    return 'n/a'


def get_compiling_cuda_version() -> str:
    """What `collect_env` of MMCV, MMDetection and MMYOLO reports: nothing was compiled."""
    return 'n/a'


def __getattr__(name: str) -> Callable[..., NoReturn]:
    """A function for any public name, which raises NotImplementedError when it is called."""
    if name.startswith('_'):
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

    def missing_op(*args: object, **kwargs: object) -> NoReturn:
        raise NotImplementedError(
            f'mmcv-lite has no compiled ops, and the op {name!r} of mmcv._ext was called. noise_mm brings only '
            f'nms and roi_align. For models that need {name!r}, build the full mmcv 2.0.x (mmcv>=2.0.0,<2.1.0) in '
            'place of mmcv-lite.'
        )

    missing_op.__name__ = missing_op.__qualname__ = name
    return missing_op
