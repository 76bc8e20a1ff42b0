"""ImageJ multi-point selections, such as the nuclei of a well."""

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from roifile import ROI_TYPE, ImagejRoi

from noise_mm.files import replacing


def write_multi_point(path: str | Path, xy_px: ArrayLike, name: str = 'nuclei') -> None:
    """Write points as one multi-point selection (`.roi`), whole or not at all.

    Args:
        path: File to write.
        xy_px: (n, 2) x and y in pixels of the image, corners of pixels at whole numbers; at least one point.
        name: Name of the selection in the ROI manager.

    Raises:
        ValueError: If there is no point; ImageJ knows no empty selection.
    """
    points = np.asarray(xy_px, dtype=np.float32).reshape(-1, 2)
    if not len(points):
        raise ValueError('a multi-point selection needs a point')
    roi = ImagejRoi.frompoints(points, name=name)
    roi.roitype = ROI_TYPE.POINT
    with replacing(path) as temporary:
        temporary.write_bytes(roi.tobytes())
