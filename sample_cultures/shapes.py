"""Soft drawing primitives on small 8-bit canvases: tapered strokes, ellipses, blobs."""

import cv2
import numpy as np

_SHIFT = 4  # OpenCV's fixed-point coordinates: 1/16 px
_ONE = 1 << _SHIFT


def disc(canvas: np.ndarray, x: float, y: float, radius_px: float, value: int = 255) -> None:
    """Draws a filled disc with a smooth edge; pixel centres are at whole numbers."""
    centre = (round(x * _ONE), round(y * _ONE))
    cv2.circle(canvas, centre, max(1, round(radius_px * _ONE)), value, -1, cv2.LINE_AA, _SHIFT)


def stroke(canvas: np.ndarray, points: np.ndarray, start_px: float, end_px: float, value: int = 255) -> None:
    """Draws a smooth line along `points`, (n, 2), whose width runs from `start_px` to `end_px`."""
    steps = np.gradient(points, axis=0)
    normals = np.stack([-steps[:, 1], steps[:, 0]], 1)
    normals /= np.maximum(np.hypot(normals[:, 0], normals[:, 1]), 1e-6)[:, None]
    half_px = np.linspace(start_px / 2, end_px / 2, len(points))[:, None]
    border = np.concatenate([points + normals * half_px, (points - normals * half_px)[::-1]])
    cv2.fillPoly(canvas, [np.round(border * _ONE).astype(np.int32)], value, cv2.LINE_AA, _SHIFT)


def bent_line(start: np.ndarray, angle: float, length_px: float, bend: float, points: int = 8) -> np.ndarray:
    """Points, (n, 2), of a line of the given length that leaves `start` at `angle` and turns by `bend` radians."""
    turns = angle + bend / (points - 1) * np.arange(points)
    steps = np.empty((points, 2))
    np.cos(turns, out=steps[:, 0])
    np.sin(turns, out=steps[:, 1])
    steps *= length_px / (points - 1)
    steps[0] = start
    return np.cumsum(steps, axis=0)


def ellipse_distance(side_px: int, a_px: float, b_px: float, angle: float) -> np.ndarray:
    """Distance from the rim of a centred ellipse in pixels, positive inside, about exact near the rim."""
    axis = np.arange(side_px, dtype=np.float32) - (side_px - 1) / 2
    x, y = axis[None, :], axis[:, None]
    u = (x * np.cos(angle) + y * np.sin(angle)) / a_px
    v = (y * np.cos(angle) - x * np.sin(angle)) / b_px
    return ((1 - np.sqrt(u * u + v * v)) * np.sqrt(a_px * b_px)).astype(np.float32)


def ramp(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Smooth step from 0 at `low` to 1 at `high`."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def largest_blob(mask: np.ndarray) -> np.ndarray:
    """The largest connected part of a mask with its holes filled, as bool."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    blob = np.zeros(mask.shape, np.uint8)
    if contours:
        cv2.drawContours(blob, [max(contours, key=cv2.contourArea)], -1, 1, -1)
    return blob.astype(bool)
