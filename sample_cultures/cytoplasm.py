"""The stain of a large cell: cytoplasm, vacuoles, nuclei."""

import cv2
import numpy as np

from sample_cultures.batches import Batch
from sample_cultures.shapes import disc, ramp
from sample_cultures.sprites import SpriteSet, texture_window


def _nearness(nuclei: np.ndarray, shape: tuple[int, int], sigma_px: float) -> np.ndarray:
    """From 0 far from nuclei to 1 among them, (height, width), computed at a quarter of the resolution."""
    height, width = shape[0] // 4 + 1, shape[1] // 4 + 1
    marks = np.zeros((height, width), np.float32)
    for x, y in nuclei:
        marks[int(y) // 4, int(x) // 4] = 1
    blurred = cv2.GaussianBlur(marks, (0, 0), sigma_px / 4)
    blurred /= max(blurred.max(), 1e-6)
    return cv2.resize(blurred, (width * 4, height * 4), interpolation=cv2.INTER_LINEAR)[: shape[0], : shape[1]]


def stain_cytoplasm(
    area_px: float, depth: np.ndarray, nuclei: np.ndarray, batch: Batch, sprites: SpriteSet, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Amounts of red and blue stain: dense among the nuclei, pale and grainy outside, ruffled and red at the edge.

    Args:
        area_px: Area aimed at.
        depth: Distance to the outside in pixels, (height, width).
        nuclei: Positions of the nuclei in array pixels, (n, 2).
        batch: Appearance.
        sprites: Textures.
        rng: Source of everything that differs from cell to cell.
    """
    shape = depth.shape
    width_px = float(np.sqrt(area_px))
    # Cells that have spread are thin and pale, giants most of all.
    thin = (3000 * batch.size / area_px) ** 0.3
    density = float(np.clip(rng.lognormal(0.0, 0.34) * thin, 0.35, 1.8))
    near = _nearness(nuclei, shape, rng.uniform(7, 12) + 0.05 * width_px)
    angle = rng.uniform(0, 2 * np.pi)
    # From -1 to 1 or so, towards the side to which the cell spreads.
    x = (np.arange(shape[1], dtype=np.float32) - shape[1] / 2) * float(np.cos(angle) / width_px)
    y = (np.arange(shape[0], dtype=np.float32) - shape[0] / 2) * float(np.sin(angle) / width_px)
    forward = x + y[:, None]
    grain = texture_window(sprites.grain, rng, shape) * np.float32(0.2 * batch.grain)
    grain += texture_window(sprites.mottle, rng, shape) * np.float32(0.1 * batch.grain)
    cloud = texture_window(sprites.cloud, rng, shape)
    pale = rng.uniform(0.12, 0.32) * batch.cytoplasm * np.clip(1 - rng.uniform(0, 0.9) * forward, 0.35, 1.7)
    pale *= 1 + (0.2 * batch.grain) * cloud
    core = rng.uniform(0.35, 0.9) * batch.core * near * (near + 1) / 2
    core *= density**-0.5  # it is hardly thinner in cells that have spread
    ruffle = np.exp(np.square(depth - 3.5) * -0.11) * ramp(cloud, -0.3, 1.2) * rng.uniform(0.05, 0.42)
    # The leading edge, a lamellipodium, fades out over this distance; elsewhere the edge is thick.
    longest_px = rng.uniform(0.03, 0.3) * width_px if rng.random() < 0.7 else 1.5
    fade_px = 1.5 + longest_px * ramp(forward + 0.25 * cloud, -0.1, 0.6)
    body = (np.maximum(pale, 0.1) + core) * (1 - rng.uniform(0.45, 0.8) * np.exp(-depth / fade_px))
    ruffle *= np.minimum(6.0 / fade_px, 1)
    edge = np.exp(depth * (-1 / 3.0))
    redness = float(np.clip(rng.normal(1.0, 0.12), 0.7, 1.3))
    red = np.maximum(1 + grain, 0.3) * (body * (0.84 + 0.15 * edge) + ruffle) * (density * redness)
    blue = (1 + grain) * (body * (1.02 - 0.35 * edge) + 0.12 * core + 0.25 * ruffle) * (density / redness)
    return red, np.maximum(blue, 0.0)


def draw_vacuoles(red: np.ndarray, blue: np.ndarray, depth: np.ndarray, rng: np.random.Generator) -> None:
    """Clears a few plain round spots, which are not nuclei: lighter, no rim, no nucleolus, mostly smaller."""
    ys, xs = np.nonzero(depth > 6)
    if len(xs) == 0:
        return
    for _ in range(min(rng.poisson(len(xs) / 3500), 8)):
        spot = rng.integers(len(xs))
        radius = min(rng.lognormal(1.1, 0.4), depth[ys[spot], xs[spot]] - 2)
        hole = np.zeros(red.shape, np.uint8)
        disc(hole, float(xs[spot]), float(ys[spot]), radius)
        keep = 1 - 0.75 * hole.astype(np.float32) / 255
        red *= keep
        blue *= keep


def draw_nuclei(
    red: np.ndarray, blue: np.ndarray, nuclei: np.ndarray, batch: Batch, sprites: SpriteSet, rng: np.random.Generator
) -> None:
    """Draws the nuclei: red stain gone, blue stain thinned, rim and nucleoli added."""
    for x, y in nuclei.astype(int):
        sprite = sprites.nuclei[rng.integers(len(sprites.nuclei))]
        half = sprite.light.shape[0] // 2
        clearness = rng.uniform(0.7, 1.0)
        window = np.s_[y - half : y + half + 1, x - half : x + half + 1]
        light, dark = clearness * sprite.light, clearness * sprite.dark
        red[window] = red[window] * (1 - 0.92 * light) + 0.55 * dark
        blue[window] = blue[window] * (1 - (1 - batch.nucleus_blue) * light) + 0.85 * dark + 0.10 * light
