"""The geometry of ImageJ ROIs, after ImageJ's `RoiDecoder`, `ShapeRoi` and `PolygonRoi` classes; no files."""

import numpy as np
from numpy.typing import NDArray
from roifile import ROI_OPTIONS, ROI_TYPE, ImagejRoi
from scipy.interpolate import CubicSpline
from shapely import MultiPolygon, Polygon

from noise_mm.geometry.outline import even_odd

Shape = NDArray[np.float64] | Polygon | MultiPolygon
"""Vertices (n, 2) of a ring, or the geometry of a composite."""

VERTEX_TYPES = (ROI_TYPE.POLYGON, ROI_TYPE.FREEHAND, ROI_TYPE.TRACED)
OVAL_VERTICES = 256  # area of the inscribed 256-gon: sin(2 pi / 256) / (2 pi / 256) = 0.9999 of the ellipse
CURVE_PIECES = 64  # straight pieces for each quadratic or cubic piece of a path: less than 0.1 % of its area is lost
PATH_COORDINATES = {0: 2, 1: 2, 2: 4, 3: 6, 4: 0}  # java.awt.geom.PathIterator: move, line, quadratic, cubic, close
LONGEST_SPLINE_PX = 100_000  # no cell has such an outline; damaged knots can be any number
# ImageJ stores 16-bit coordinates and takes -5000 to -1 for what they say (RoiDecoder.getShort): what was drawn at
# 60,536 to 65,535 px comes back 65,536 px too far left or too far up.
WRAP_PX = 65_536
LEAST_WRAPPED_PX = -5000


def unwrapped_shape(roi: ImagejRoi, size_px: tuple[int, int] | None) -> tuple[Shape, bool]:
    """Return the shape of a ROI without ImageJ's wrapping at 65,536 px, and whether it was moved.

    A ROI stored in whole numbers that lies wholly left of or above the image, and fits into it when 65,536 px are
    added, was wrapped. ROIs stored as floats (sub-pixel ones and composites) are never wrapped.

    Args:
        roi: The ROI.
        size_px: Width and height of the image, if known.

    Raises:
        ValueError: If it reaches over the left or upper border and may as well have been wrapped.
    """
    shape = shape_of(roi)
    has_floats = roi.composite or roi.subpixelrect or roi.subpixel_coordinates is not None
    if size_px is None or has_floats or not len(shape):
        return shape, False
    low, high = shape.min(axis=0), shape.max(axis=0)
    fits = (low < 0) & (low >= LEAST_WRAPPED_PX) & (high + WRAP_PX <= np.array(size_px))
    unclear = fits & (high > 0)
    if unclear.any():
        side = 'left' if unclear[0] else 'upper'
        raise ValueError(
            f'it reaches over the {side} border, or lies at {WRAP_PX:,} px, where ImageJ wraps coordinates; move it '
            'inside, or annotate with QuPath'
        )
    shift = np.where(fits, WRAP_PX, 0)
    return shape + shift, bool(shift.any())


def shape_of(roi: ImagejRoi) -> Shape:
    """Return the vertices (n, 2) of a ROI that is an area, or the geometry of a composite.

    Raises:
        ValueError: If the ROI's data are not complete.
    """
    if roi.composite:
        if roi.multi_coordinates is None:
            raise ValueError('a composite without a path')
        return even_odd(_path_rings(roi.multi_coordinates))
    if roi.roitype == ROI_TYPE.OVAL:
        return _ellipse(*_bounds(roi))
    if roi.roitype == ROI_TYPE.RECT:
        return _rectangle(*_bounds(roi), corner_px=max(roi.rounded_rect_arc_size, 0))
    if roi.subpixel_coordinates is not None:
        vertices = roi.subpixel_coordinates.astype(np.float64)
    else:
        vertices = roi.integer_coordinates.astype(np.float64) + np.array([roi.left, roi.top])
    return _spline(vertices) if roi.options & ROI_OPTIONS.SPLINE_FIT and len(vertices) > 2 else vertices


def _bounds(roi: ImagejRoi) -> tuple[float, float, float, float]:
    """Return left, top, width and height of a rectangle or oval."""
    if roi.subpixelrect:
        return roi.xd, roi.yd, roi.widthd, roi.heightd
    return roi.left, roi.top, roi.right - roi.left, roi.bottom - roi.top


def _ellipse(left: float, top: float, width: float, height: float) -> NDArray[np.float64]:
    """Return the vertices (n, 2) of the ellipse inscribed in a rectangle."""
    angle = np.arange(OVAL_VERTICES) * (2 * np.pi / OVAL_VERTICES)
    unit = 0.5 + 0.5 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return [left, top] + unit * [width, height]


def _rectangle(left: float, top: float, width: float, height: float, corner_px: float) -> NDArray[np.float64]:
    """Return the vertices (n, 2) of a rectangle with corners that are quarters of an ellipse of that diameter."""
    if not corner_px:
        return np.array([left, top] + np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * [width, height], dtype=np.float64)
    diameter = np.minimum(corner_px, [width, height])
    ellipse = _ellipse(0, 0, *diameter)
    # The ellipse pulled apart at its middle: what lies right of it moves right, what lies below it down.
    pulled = ellipse + np.where(ellipse > diameter / 2, [width, height] - diameter, 0)
    return np.array([left, top]) + pulled


def _spline(knots: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return vertices (n, 2) about a pixel apart on the closed centripetal spline, as `PolygonRoi.fitSpline` does."""
    closed = np.concatenate([knots, knots[:1]])
    if not np.isfinite(closed).all():
        raise ValueError('a coordinate is not a finite number')
    distances = np.hypot(*np.diff(closed, axis=0).T)
    parameter = np.concatenate([[0], np.cumsum(np.maximum(np.sqrt(distances), 1e-3))])
    if distances.sum() > LONGEST_SPLINE_PX:
        raise ValueError(f'a spline {distances.sum():g} px long')
    count = max(100, int(np.ceil(distances.sum())))
    return CubicSpline(parameter, closed, bc_type='periodic')(np.arange(count) * (parameter[-1] / count))


def _path_rings(path: NDArray[np.float32]) -> list[NDArray[np.float64]]:
    """Return the closed rings (n, 2) of a composite's path: a kind (`PATH_COORDINATES`) and its points, and so on."""
    values = path.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError('the path of the composite holds something else than finite numbers')
    rings: list[list[NDArray]] = []
    place = 0
    while place < len(values):
        kind = int(values[place])
        count = PATH_COORDINATES.get(kind)
        if count is None or place + 1 + count > len(values) or (kind != 0 and not rings):
            raise ValueError(f'the path of the composite is damaged at number {place}')
        points = values[place + 1 : place + 1 + count].reshape(-1, 2)
        place += 1 + count
        if kind == 0:
            rings.append([points[0]])
        elif kind != 4:
            rings[-1].extend(_bezier(np.concatenate([rings[-1][-1:], points])) if kind > 1 else points)
    rings = [ring for ring in rings if len(np.unique(ring, axis=0)) > 2]
    if not rings:
        raise ValueError('the composite encloses nothing')
    return [np.array(ring) for ring in rings]


def _bezier(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return `CURVE_PIECES` points on the Bezier curve with the control points (3 or 4, 2), the first left out."""
    share = np.arange(1, CURVE_PIECES + 1)[:, None, None] / CURVE_PIECES
    levels = np.broadcast_to(points, (CURVE_PIECES, *points.shape))
    while levels.shape[1] > 1:  # de Casteljau
        levels = (1 - share) * levels[:, :-1] + share * levels[:, 1:]
    return levels[:, 0]
