"""The shape of a large cell: a bent body, arms, webs between them, a ragged edge, retraction spikes."""

import cv2
import numpy as np

from sample_cultures.batches import Batch
from sample_cultures.shapes import bent_line, disc, largest_blob
from sample_cultures.sprites import SpriteSet, texture_window

PAD_PX = 30  # room for retraction spikes around the cell body
_SKETCH_PX = 96  # side of the canvas on which a cell is sketched


def draw_body(
    area_px: float, reach_px: float, batch: Batch, sprites: SpriteSet, rng: np.random.Generator
) -> np.ndarray:
    """Return which pixels a cell covers, (height, width) bool: a lobed, ragged shape with room for spikes around it.

    Args:
        area_px: Area aimed at.
        reach_px: No pixel lies further than this from the middle of the array, on both axes.
        batch: Appearance.
        sprites: Textures.
        rng: Source of the shape.
    """
    discs = _skeleton(area_px, batch.complexity * rng.uniform(0.2, 1.3), rng)
    # Drawn on a small canvas first, whose area tells by how much it is to be enlarged.
    extent = float((np.abs(discs[:, :2]).max(axis=1) + discs[:, 2]).max())
    sketch = np.zeros((_SKETCH_PX, _SKETCH_PX), np.uint8)
    middle = (_SKETCH_PX - 1) / 2
    for x, y, r in (discs * ((middle - 6) / extent)).tolist():
        disc(sketch, middle + x, middle + y, r)
    # Cells hang between the points where they are attached: their edge between arms is concave.
    web = int(rng.integers(0, 3 + round(11 * min(batch.complexity, 1.2))))
    sketch = cv2.morphologyEx(sketch, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * web + 1,) * 2))
    enlarge = float(np.sqrt(area_px / max(np.count_nonzero(sketch > 127), 1)))
    enlarge = min(enlarge, 2 * (reach_px - PAD_PX - 2) / _SKETCH_PX)
    canvas = cv2.resize(sketch, None, fx=enlarge, fy=enlarge, interpolation=cv2.INTER_LINEAR)
    sigma = 1.6 + 0.04 * np.sqrt(area_px)
    smooth = cv2.GaussianBlur(canvas.astype(np.float32) * np.float32(1 / 255), (0, 0), sigma)
    rough = batch.roughness * rng.uniform(0.5, 1.6) / float(sigma)
    wobble = texture_window(sprites.mottle, rng, canvas.shape) * (0.5 * rough)
    wobble += texture_window(sprites.cloud, rng, canvas.shape) * (0.8 * rough)
    inside = largest_blob(smooth + wobble * np.minimum(smooth * 4, 1) > 0.46)
    if np.count_nonzero(inside) < 0.3 * area_px:  # thin parts can get lost in blur and wobble
        inside = largest_blob(canvas > 127)
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    return np.pad(inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], PAD_PX)


def _skeleton(area_px: float, complexity: float, rng: np.random.Generator) -> np.ndarray:
    """Discs, (n, 3) as x, y, radius, whose union is roughly the cell: a bent body, arms that end in tips or lobes."""
    radius = np.sqrt(area_px / np.pi)
    length = radius * rng.uniform(0.1, 1.2 + 1.6 * complexity)
    spine = bent_line(np.zeros(2), rng.uniform(0, 2 * np.pi), length, rng.normal(0, 0.5 + complexity), 7)
    spine -= spine.mean(axis=0)
    widths = radius * np.clip(rng.uniform(0.5, 0.85) + rng.normal(0, 0.13, 7).cumsum() * 0.7, 0.25, 0.95)
    discs = [(x, y, width) for (x, y), width in zip(spine, widths, strict=True)]
    turn = rng.uniform(0, 2 * np.pi)
    for _ in range(min(rng.poisson(1.0 + 2.4 * complexity), 6)):
        turn += rng.uniform(0.7, 2.4)
        foot = spine[rng.integers(7)]
        line = bent_line(foot, turn, radius * rng.uniform(0.8, 1.5 + complexity), rng.normal(0, 0.7), 9)
        broad, neck = radius * rng.uniform(0.35, 0.6), radius * rng.uniform(0.08, 0.3)
        end = radius * (rng.uniform(0.2, 0.5) if rng.random() < 0.4 else 0.06)
        widths = np.interp(np.arange(9), [0, 5, 8], [broad, neck, end])
        discs += [(x, y, width) for (x, y), width in zip(line, widths, strict=True)]
    return np.array(discs)


def draw_spikes(inside: np.ndarray, batch: Batch, rng: np.random.Generator) -> np.ndarray:
    """Pointed retraction spikes around the cell, (height, width) float32 from 0 to 1."""
    canvas = np.zeros(inside.shape, np.uint8)
    contours, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    border = max(contours, key=len)[:, 0].astype(np.float64)
    count = rng.poisson(len(border) / 260 * batch.roughness * rng.uniform(0, 2.2))
    foot = border[rng.integers(len(border), size=count)]
    outward = foot - border.mean(axis=0)
    angle = np.arctan2(outward[:, 1], outward[:, 0]) + rng.normal(0, 0.4, count)
    length = rng.lognormal(2.3, 0.5, count).clip(4, PAD_PX - 4)
    half_px = rng.uniform(1.2, 3.5, count) + 0.08 * length
    along = np.stack([np.cos(angle), np.sin(angle)], 1)
    across = np.stack([-along[:, 1], along[:, 0]], 1)
    sideways = across * rng.normal(0, 1.5, count)[:, None]
    root = foot - 3 * along
    waist = foot + along * (0.45 * length)[:, None] + sideways
    tip = foot + along * length[:, None] - sideways
    wide, thin = across * half_px[:, None], across * 0.7
    corners = np.stack([root + wide, waist + thin, tip, waist - thin, root - wide], axis=1)  # (count, 5, 2)
    for polygon in np.round(corners * 16).astype(np.int32):
        cv2.fillPoly(canvas, [polygon], 255, cv2.LINE_AA, 4)
    return canvas.astype(np.float32) * np.float32(1 / 255)
