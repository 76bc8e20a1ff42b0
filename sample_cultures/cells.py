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
from sample_cultures.shapes import bent_line, disc, largest_blob, ramp
from sample_cultures.sprites import SpriteSet, texture_window

MAX_REACH_PX = 250  # no large cell is drawn further from its centre; windows look for cells this far outside
MIN_NUCLEI_OF_OSTEOCLAST = 3  # paper, section 2
_PAD_PX = 20  # room for retraction spikes around the cell body
_SKETCH_PX = 96  # side of the canvas on which a cell is sketched
_NUCLEUS_CLEARANCE_PX = 7.0  # distance of a nucleus' centre from the edge of its cell


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
        return min(1.5 * math.sqrt(self.area_px) + 40, MAX_REACH_PX)


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
    inside = _body(plan, batch, sprites, rng)
    depth = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5)
    nuclei = _place_nuclei(plan.nuclei, depth, sprites, rng)
    red, blue = _cytoplasm(plan.area_px, depth, nuclei, batch, sprites, rng)
    _draw_vacuoles(red, blue, depth, rng)
    _draw_nuclei(red, blue, nuclei, sprites, rng)
    spikes = _spikes(inside, batch, rng)
    soft_edge = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 0.9)
    red = red * soft_edge + spikes * 0.42 * (1 - soft_edge)
    blue = blue * soft_edge + spikes * 0.24 * (1 - soft_edge)
    cover = np.maximum(soft_edge, 0.6 * spikes) * 0.85
    # The middle of the array is the cell's centre, so that a plan's position doesn't depend on its shape.
    left, top = round(plan.x_px) - inside.shape[1] // 2, round(plan.y_px) - inside.shape[0] // 2
    origin = np.array([left, top], np.float64)
    return CellDrawing(left, top, inside, red * batch.stain, blue * batch.stain, cover, nuclei + origin + 0.5)


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


def _body(plan: CellPlan, batch: Batch, sprites: SpriteSet, rng: np.random.Generator) -> np.ndarray:
    """Which pixels the cell covers: a lobed, ragged shape of about the area aimed at; room for spikes around it."""
    area_px = plan.area_px
    discs = _skeleton(area_px, batch.complexity * rng.uniform(0.2, 1.3), rng)
    # Drawn on a small canvas first, whose area tells by how much it is to be enlarged.
    extent = float((np.abs(discs[:, :2]).max(axis=1) + discs[:, 2]).max())
    sketch = np.zeros((_SKETCH_PX, _SKETCH_PX), np.uint8)
    middle = (_SKETCH_PX - 1) / 2
    for x, y, r in (discs * ((middle - 6) / extent)).tolist():
        disc(sketch, middle + x, middle + y, r)
    enlarge = float(np.sqrt(area_px / max(np.count_nonzero(sketch > 127), 1)))
    enlarge = min(enlarge, 2 * (plan.reach_px - _PAD_PX - 2) / _SKETCH_PX)
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
    return np.pad(inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], _PAD_PX)


def _place_nuclei(count: int, depth: np.ndarray, sprites: SpriteSet, rng: np.random.Generator) -> np.ndarray:
    """Positions of nuclei in array pixels, (n, 2) as x, y: in clusters, or as a ring along the edge.

    Nuclei keep clear of the edge and of each other; thus a small or thin cell may get fewer than `count`.
    """
    free = np.flatnonzero(depth > _NUCLEUS_CLEARANCE_PX)
    if len(free) == 0:
        y, x = np.unravel_index(np.argmax(depth), depth.shape)
        return np.array([[x, y]], np.float64)
    free = free[rng.integers(len(free), size=150 + 25 * count)]
    ys, xs = np.divmod(free, depth.shape[1])
    inner = depth[ys, xs] + 6 * texture_window(sprites.cloud, rng, depth.shape)[ys, xs]
    clusters = 1 if count < 7 else rng.integers(1, 3)
    attraction = np.full(len(xs), -np.inf)
    for _ in range(clusters):
        first = np.argmax(0.35 * inner + rng.gumbel(size=len(xs)))
        spread = 4.0 + 5.2 * np.sqrt(count / clusters) * rng.uniform(0.9, 1.5)
        squared = ((xs - xs[first]) ** 2 + (ys - ys[first]) ** 2) / (2 * spread**2)
        attraction = np.maximum(attraction, -squared)
    if count >= 6 and rng.random() < 0.25:  # the ring of nuclei of a spread osteoclast
        attraction = -(((depth[ys, xs] - 11.0) / 3.5) ** 2)
    # Sorting by weight plus Gumbel noise draws places one after the other with probability exp(attraction).
    order = np.argsort(-attraction - rng.gumbel(size=len(xs)))[: 14 * count + 20]
    spacing = rng.uniform(10.0, 13.5)
    chosen: list[tuple[float, float]] = []
    for x, y in zip(xs[order].tolist(), ys[order].tolist(), strict=True):
        if all((x - a) ** 2 + (y - b) ** 2 >= spacing**2 for a, b in chosen):
            chosen.append((x, y))
            if len(chosen) == count:
                break
    return np.array(chosen, np.float64)


def _nearness(nuclei: np.ndarray, shape: tuple[int, int], sigma_px: float) -> np.ndarray:
    """From 0 far from nuclei to 1 among them, (height, width), computed at a quarter of the resolution."""
    height, width = shape[0] // 4 + 1, shape[1] // 4 + 1
    marks = np.zeros((height, width), np.float32)
    for x, y in nuclei:
        marks[int(y) // 4, int(x) // 4] = 1
    blurred = cv2.GaussianBlur(marks, (0, 0), sigma_px / 4)
    blurred /= max(blurred.max(), 1e-6)
    return cv2.resize(blurred, (width * 4, height * 4), interpolation=cv2.INTER_LINEAR)[: shape[0], : shape[1]]


def _cytoplasm(
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
    # Cells that have spread are thin and pale.
    density = float(np.clip(rng.lognormal(0.0, 0.36) * (3000 * batch.size / area_px) ** 0.22, 0.4, 1.9))
    near = _nearness(nuclei, shape, rng.uniform(10, 16) + 0.05 * width_px)
    angle = rng.uniform(0, 2 * np.pi)
    tilt = rng.uniform(0, 0.9) / width_px  # one side of the cell is thicker than the other
    x = (np.arange(shape[1], dtype=np.float32) - shape[1] / 2) * float(tilt * np.cos(angle))
    y = (np.arange(shape[0], dtype=np.float32) - shape[0] / 2) * float(tilt * np.sin(angle))
    grain = 0.26 * texture_window(sprites.grain, rng, shape) + 0.14 * texture_window(sprites.mottle, rng, shape)
    cloud = texture_window(sprites.cloud, rng, shape)
    pale = rng.uniform(0.17, 0.32) * np.clip(1 + x + y[:, None], 0.35, 1.7) * (1 + 0.22 * cloud)
    core = rng.uniform(0.32, 0.68) * near * (near + 1) / 2
    ruffle = np.exp(np.square(depth - 3.5) * -0.11) * ramp(cloud, -0.3, 1.2) * rng.uniform(0.05, 0.42)
    thin_px = rng.uniform(1.5, 9.0)  # how far from the edge the cell has its full thickness
    body = (np.maximum(pale, 0.1) + core) * (1 - rng.uniform(0.3, 0.65) * np.exp(depth * (-1 / thin_px)))
    edge = np.exp(depth * (-1 / 3.0))
    redness = float(np.clip(rng.normal(1.0, 0.12), 0.7, 1.3))
    red = np.maximum(1 + grain, 0.3) * (body * (0.84 + 0.15 * edge) + ruffle) * (density * redness)
    blue = (1 + 0.25 * grain) * (body * (1.12 - 0.35 * edge) + 0.08 * core + 0.25 * ruffle) * (density / redness)
    return red, np.maximum(blue, 0.0)


def _draw_vacuoles(red: np.ndarray, blue: np.ndarray, depth: np.ndarray, rng: np.random.Generator) -> None:
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


def _draw_nuclei(
    red: np.ndarray, blue: np.ndarray, nuclei: np.ndarray, sprites: SpriteSet, rng: np.random.Generator
) -> None:
    """Draws the nuclei: red stain gone, blue stain thinned, rim and nucleoli added."""
    for x, y in nuclei.astype(int):
        sprite = sprites.nuclei[rng.integers(len(sprites.nuclei))]
        half = sprite.light.shape[0] // 2
        clearness = rng.uniform(0.7, 1.0)
        window = np.s_[y - half : y + half + 1, x - half : x + half + 1]
        light, dark = clearness * sprite.light, clearness * sprite.dark
        red[window] = red[window] * (1 - 0.92 * light) + 0.55 * dark
        blue[window] = blue[window] * (1 - 0.38 * light) + 0.85 * dark + 0.10 * light


def _spikes(inside: np.ndarray, batch: Batch, rng: np.random.Generator) -> np.ndarray:
    """Pointed retraction spikes around the cell, (height, width) float32 from 0 to 1."""
    canvas = np.zeros(inside.shape, np.uint8)
    contours, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    border = max(contours, key=len)[:, 0].astype(np.float64)
    count = rng.poisson(len(border) / 140 * batch.roughness * rng.uniform(0, 2.2))
    foot = border[rng.integers(len(border), size=count)]
    outward = foot - border.mean(axis=0)
    angle = np.arctan2(outward[:, 1], outward[:, 0]) + rng.normal(0, 0.4, count)
    length, half_px = rng.uniform(5, 17, count), rng.uniform(1.4, 5.0, count)
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
