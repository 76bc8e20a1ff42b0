"""ImageJ point selections, such as the nuclei of a well: multi-points and single points, `.roi` or `RoiSet.zip`."""

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from roifile import ROI_TYPE, ImagejRoi

from noise_mm.coco.file_issues import FileIssues
from noise_mm.files import replacing
from noise_mm.formats.imagej import DAMAGED_ROI, roi_entries
from noise_mm.formats.imagej_shapes import LEAST_WRAPPED_PX, WRAP_PX, shape_of


def read_imagej_points(path: str | Path) -> tuple[NDArray[np.float64], list[str]]:
    """Return the points (n, 2) of all point selections in a file, and notes on what was left out.

    Points are x and y in pixels of the image, corners of pixels at whole numbers. Points that are stored as whole
    numbers name pixels, and stand for their centres, where ImageJ draws them.

    Args:
        path: A `.roi` or `.zip` file.

    Raises:
        InputError: If the file or an entry is damaged, or holds no point.
    """
    issues = FileIssues(path, 'Mark nuclei with the multi-point tool and save the selection again.')
    points, slices, counters, others = [np.zeros((0, 2))], set(), set(), 0
    for entry, data in roi_entries(Path(path), issues):
        try:
            roi = ImagejRoi.frombytes(data)
            if roi.roitype != ROI_TYPE.POINT:
                others += 1
                continue
            vertices = shape_of(roi)
        except DAMAGED_ROI as error:
            issues.add(entry, f'not a whole ImageJ ROI ({error})')
            continue
        if not np.isfinite(vertices).all():
            issues.add(entry, 'a coordinate is not a finite number')
        points.append(vertices + (0.5 if roi.subpixel_coordinates is None else 0))
        slices.add((roi.position, roi.z_position, roi.t_position))
        counters |= set() if roi.counters is None else set((np.asarray(roi.counters) & 255).tolist())
    issues.raise_if_any()
    if len(points) == 1:
        raise issues.error(f'holds no point selection, but {others} other ROIs')
    if others:
        issues.note(f'{others} ROIs that are no points are left out')
    if len(slices) > 1:
        issues.note(f'points lie on {len(slices)} slices of a stack; all are taken for one image')
    if len(counters) > 1:
        issues.note(f'points of {len(counters)} counters are all taken for nuclei')
    return np.concatenate(points), issues.notes


def unwrapped_points(
    points: list[tuple[float, float]], size_px: tuple[int, int]
) -> tuple[list[tuple[float, float]], int]:
    """Return points without ImageJ's wrapping at 65,536 px, and how many were moved.

    A coordinate left of or above an image of (width, height) that fits into it when 65,536 px are added was wrapped.
    """
    moved = [
        tuple(c + WRAP_PX if LEAST_WRAPPED_PX <= c < 0 and c + WRAP_PX <= side else c for c, side in pair)
        for pair in (zip(point, size_px, strict=True) for point in points)
    ]
    return moved, sum(one != other for one, other in zip(points, moved, strict=True))


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
