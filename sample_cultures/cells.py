"""One large cell: an osteoclast (three or more nuclei) or a pre-osteoclast (one or two).

Both are drawn by the same code with the same colours. Only the number of nuclei, decided beforehand, tells them apart;
areas overlap widely.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from sample_cultures.batches import Batch
from sample_cultures.bodies import PAD_PX, draw_body, draw_spikes
from sample_cultures.cytoplasm import draw_nuclei, draw_vacuoles, stain_cytoplasm
from sample_cultures.sprites import SpriteSet, texture_window

MAX_REACH_PX = 250  # no large cell is drawn further from its centre; windows look for cells this far outside
MIN_NUCLEI_OF_OSTEOCLAST = 3  # paper, section 2
MIN_SPACING_PX = 7.3  # distance of the two nearest nuclei in a real image
_NUCLEUS_CLEARANCE_PX = 6.5  # distance of a nucleus' centre from the edge of its cell


@dataclass(frozen=True)
class CellPlan:
    """What is decided about a large cell before it is drawn.

    Attributes:
        x_px, y_px: Centre, in well pixels.
        area_px: Area aimed at.
        nuclei: Number of nuclei aimed at; fewer where they don't fit.
        seed: Seed of the drawing.
        height: The higher of two overlapping cells hides the other.
    """

    x_px: float
    y_px: float
    area_px: float
    nuclei: int
    seed: int
    height: float

    @cached_property
    def reach_px(self) -> float:
        """The drawing, spikes included, stays within this distance from the centre on both axes."""
        return min(1.5 * math.sqrt(self.area_px) + 2 * PAD_PX, MAX_REACH_PX)


@dataclass(frozen=True)
class CellDrawing:
    """A drawn cell. All arrays are (height, width) and begin at well pixel (left, top).

    Attributes:
        left_px, top_px: Well pixel of the arrays' first element.
        inside: Bool; the cell as an annotator would outline it, without thin spikes.
        red, blue: Float32; amounts of stain.
        cover: Float32; share of the stain below that is hidden.
        nuclei_xy_px: Centres of the nuclei in well pixels (corner convention), (n, 2).
    """

    left_px: int
    top_px: int
    inside: np.ndarray
    red: np.ndarray
    blue: np.ndarray
    cover: np.ndarray
    nuclei_xy_px: np.ndarray

    @property
    def nbytes(self) -> int:
        """Memory taken by the arrays."""
        return self.inside.nbytes + self.red.nbytes + self.blue.nbytes + self.cover.nbytes

    @property
    def mean_stain(self) -> tuple[float, float]:
        """Mean amounts of red and blue stain inside the cell."""
        return float(self.red[self.inside].mean()), float(self.blue[self.inside].mean())


def draw_cell(plan: CellPlan, batch: Batch, sprites: SpriteSet) -> CellDrawing:
    """Draws one large cell; the same plan, batch and sprites give the same drawing."""
    rng = np.random.default_rng(plan.seed)
    inside = draw_body(plan.area_px, plan.reach_px, batch, sprites, rng)
    depth = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5)
    nuclei = _place_nuclei(plan.nuclei, depth, sprites, rng)
    red, blue = stain_cytoplasm(plan.area_px, depth, nuclei, batch, sprites, rng)
    draw_vacuoles(red, blue, depth, rng)
    draw_nuclei(red, blue, nuclei, batch, sprites, rng)
    spikes = draw_spikes(inside, batch, rng)
    soft_edge = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 0.9)
    red = red * soft_edge + spikes * 0.42 * (1 - soft_edge)
    blue = blue * soft_edge + spikes * 0.24 * (1 - soft_edge)
    cover = np.maximum(soft_edge, 0.6 * spikes) * 0.85
    # The middle of the array is the cell's centre, so that a plan's position doesn't depend on its shape.
    left, top = round(plan.x_px) - inside.shape[1] // 2, round(plan.y_px) - inside.shape[0] // 2
    origin = np.array([left, top], np.float64)
    return CellDrawing(left, top, inside, red * batch.stain, blue * batch.stain, cover, nuclei + origin + 0.5)


def _place_nuclei(count: int, depth: np.ndarray, sprites: SpriteSet, rng: np.random.Generator) -> np.ndarray:
    """Positions of nuclei in array pixels, (n, 2) as x, y: in clusters, or as a ring along the edge.

    Nuclei keep clear of the edge and of each other; thus a small or thin cell may get fewer than `count`.
    """
    free = np.flatnonzero(depth > _NUCLEUS_CLEARANCE_PX)
    if len(free) == 0:
        y, x = np.unravel_index(np.argmax(depth), depth.shape)
        return np.array([[x, y]], np.float64)
    free = free[rng.integers(len(free), size=150 + 60 * count)]
    ys, xs = np.divmod(free, depth.shape[1])
    inner = depth[ys, xs] + 6 * texture_window(sprites.cloud, rng, depth.shape)[ys, xs]
    crowded = count >= 10
    clusters = 1 if count < 7 or crowded else rng.integers(1, 3)
    # Far from the clusters a nucleus is rare, but possible.
    attraction = np.full(len(xs), -5.0)
    for _ in range(clusters):
        first = np.argmax(0.35 * inner + rng.gumbel(size=len(xs)))
        spread = 3.0 + (4.6 if crowded else 5.6) * np.sqrt(count / clusters) * rng.uniform(0.9, 1.4)
        squared = ((xs - xs[first]) ** 2 + (ys - ys[first]) ** 2) / (2 * spread**2)
        attraction = np.maximum(attraction, -squared)
    if count >= 6 and rng.random() < 0.15:  # the ring of nuclei of a spread osteoclast
        attraction = -(((depth[ys, xs] - 11.0) / 3.5) ** 2)
    # Sorting by weight plus Gumbel noise draws places one after the other with probability exp(attraction).
    order = np.argsort(-attraction - rng.gumbel(size=len(xs)))[: 30 * count + 20]
    spacing = rng.uniform(MIN_SPACING_PX, 10.5) if crowded else rng.uniform(9.0, 13.0)
    chosen: list[tuple[float, float]] = []
    for x, y in zip(xs[order].tolist(), ys[order].tolist(), strict=True):
        if all((x - a) ** 2 + (y - b) ** 2 >= spacing**2 for a, b in chosen):
            chosen.append((x, y))
            if len(chosen) == count:
                break
    return np.array(chosen, np.float64)
