"""The module `mmcv._ext` of mmcv-lite: `nms` works, every other compiled op raises when it is called.

`mmcv.ops` asks for the names of all its ops when it is imported, MMDetection and MMYOLO call only `nms` for the models
of this project. Loaded under the name `mmcv._ext` by `noise_mm.compat.mmcv_ext`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from torch import Tensor


def nms(boxes: 'Tensor', scores: 'Tensor', iou_threshold: float, offset: int = 0) -> 'Tensor':
    """The op behind `mmcv.ops.nms`; see `noise_mm.compat.nms.nms`."""
    from noise_mm.compat import nms as bounded

    return bounded.nms(boxes, scores, iou_threshold, offset)


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
            f'mmcv-lite has no compiled ops, and the op {name!r} of mmcv._ext was called. noise_mm needs only nms; '
            f'for models that need {name!r}, build the full mmcv 2.0.x (mmcv>=2.0.0,<2.1.0) in place of mmcv-lite.'
        )

    missing_op.__name__ = missing_op.__qualname__ = name
    return missing_op
