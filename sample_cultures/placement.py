"""Which object stands where in a well, decided plot by plot, so that a well of any size needs no more than its plots.

How it works: the plane is divided into square plots. What a plot holds follows from the well's seed and the plot's
position alone. Large cells need room, also across plot borders: each plot proposes candidates, every candidate carries
a rank, and a candidate stays if no candidate of higher rank, of its own plot or a neighbour, is too close. This is the
second hard-core process of Matérn (1960); nothing in it depends on the order in which plots are visited.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from noise_mm.scale import REFERENCE_UM_PER_PX
from sample_cultures.batches import Batch
from sample_cultures.cells import CellPlan
from sample_cultures.fields import lattice_noise, stream
from sample_cultures.sprites import SPRITE_COUNTS

PLOT_PX = 512
_PX2_PER_MM2 = (1000.0 / REFERENCE_UM_PER_PX) ** 2
# Cells are rarely round: two of them may come this much closer than two discs around them, and then touch or overlap.
_CLOSENESS = 0.74
_SMALL_KINDS = ('monocyte', 'pale monocyte', 'stellate', 'spindle')
_DEBRIS_KINDS = {'speck': 0.94, 'ghost': 0.04, 'fibre': 0.02}


@dataclass(frozen=True)
class Candidates:
    """Large cells that a plot proposes; arrays of one length."""

    x_px: np.ndarray
    y_px: np.ndarray
    area_px: np.ndarray
    nuclei: np.ndarray
    rank: np.ndarray
    seed: np.ndarray
    height: np.ndarray

    @property
    def radius_px(self) -> np.ndarray:
        """Radius of the disc that a cell claims."""
        return 1.15 * np.sqrt(self.area_px / np.pi)


@dataclass(frozen=True)
class SmallObject:
    """One placed sprite: `turn` counts quarter turns (0 to 3), plus 4 if mirrored; `gain` is a factor on its stain."""

    kind: str
    sprite: int
    turn: int
    x_px: int
    y_px: int
    gain: float


class SmallObjects(NamedTuple):
    """The small objects of a plot in the order in which they lie over each other: large cells come after `below`."""

    below: list[SmallObject]
    cells: list[SmallObject]
    debris: list[SmallObject]


def propose(batch: Batch, seed: int, crowding: float, row: int, column: int) -> Candidates:
    """The large cells that want to stand in one plot."""
    rng = _plot_rng(seed, row, column, 1)
    expected = batch.large_per_mm2 * crowding / _PX2_PER_MM2 * PLOT_PX**2 * _abundance(seed, row, column)
    count = rng.poisson(expected)
    osteoclast = rng.random(count) < batch.osteoclast_share
    giant = osteoclast & (rng.random(count) < batch.giant_share)
    area, nuclei = _sizes(batch, osteoclast, giant, rng)
    return Candidates(
        x_px=(column + rng.random(count)) * PLOT_PX,
        y_px=(row + rng.random(count)) * PLOT_PX,
        area_px=area,
        nuclei=nuclei,
        rank=rng.random(count) * np.sqrt(area),  # large cells would otherwise lose against their many neighbours
        seed=rng.integers(2**62, size=count),
        height=rng.random(count),
    )


def _sizes(
    batch: Batch, osteoclast: np.ndarray, giant: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Areas in px and numbers of nuclei of candidates; the areas of osteoclasts and pre-osteoclasts overlap widely."""
    count = len(osteoclast)
    # The paper: a small osteoclast has about 2,000 px (section 4.1). Giants: three in a real image have 11,000 to
    # 27,000 px and 13 to 18 nuclei.
    common = rng.lognormal(np.log(2900), 0.48, count).clip(1300, 12000)
    huge = rng.lognormal(np.log(13500), 0.42, count).clip(7000, 32000)
    pre = rng.lognormal(np.log(2100), 0.55, count).clip(700, 16000)
    area = np.where(giant, huge, np.where(osteoclast, common, pre))
    extra = np.where(giant, 7 + rng.poisson(area / 1800), rng.poisson(np.clip((area - 1800) / 1300, 0, 9)))
    nuclei = np.where(osteoclast, 3 + extra.clip(0, 19), 1 + (rng.random(count) < 0.38))
    factor = np.where(osteoclast, batch.size, batch.pre_size)
    return (area * factor).clip(700, 36000), nuclei


def settle(plots: list[Candidates]) -> list[CellPlan]:
    """The candidates of the first plot that keep their place against those of all `plots`: it and its neighbours."""
    own = plots[0]
    x, y, radius, rank = (
        np.concatenate([getattr(plot, name) for plot in plots]) for name in ('x_px', 'y_px', 'radius_px', 'rank')
    )
    distance = np.hypot(own.x_px[:, None] - x, own.y_px[:, None] - y)
    too_close = distance < _CLOSENESS * (own.radius_px[:, None] + radius)
    stays = ~(too_close & (rank > own.rank[:, None])).any(axis=1)
    return [
        CellPlan(
            float(own.x_px[i]),
            float(own.y_px[i]),
            float(own.area_px[i]),
            int(own.nuclei[i]),
            int(own.seed[i]),
            float(own.height[i]),
        )
        for i in np.flatnonzero(stays)
    ]


def scatter(batch: Batch, seed: int, row: int, column: int, large: list[CellPlan]) -> SmallObjects:
    """The small objects of one plot: marks in the bone, small cells, debris.

    Small cells mostly stay off the large ones given in `large`; a few lie on them, as in real cultures.
    """
    rng = _plot_rng(seed, row, column, 2)
    per_plot = PLOT_PX**2 / _PX2_PER_MM2
    marks: list[str] = []
    if batch.bone is not None:
        marks += ['lacuna'] * rng.poisson(batch.bone.lacunae_per_mm2 * per_plot)
        marks += ['pit'] * rng.poisson(batch.bone.pits_per_mm2 * per_plot)
        marks += ['scratch'] * rng.poisson(batch.bone.scratches_per_mm2 * per_plot)
    below = _objects(rng, marks, row, column)
    count = rng.poisson(batch.small_per_mm2 * per_plot * _abundance(seed + 1, row, column))
    kinds = rng.choice(_SMALL_KINDS, count, p=batch.small_mix).tolist()
    cells = _objects(rng, kinds, row, column, clumping=0.35)
    indifferent = rng.random(count) < 0.1
    if large and cells:
        large_xya = np.array([(plan.x_px, plan.y_px, plan.area_px) for plan in large])
        xy = np.array([(cell.x_px, cell.y_px) for cell in cells])
        squared = ((xy[:, None] - large_xya[:, :2]) ** 2).sum(axis=2)  # (cells, large)
        stays = (squared > 0.45 * large_xya[:, 2] + 60).all(axis=1) | indifferent
        cells = [cell for cell, stay in zip(cells, stays, strict=True) if stay]
    count = rng.poisson(batch.debris_per_mm2 * per_plot)
    kinds = rng.choice(list(_DEBRIS_KINDS), count, p=list(_DEBRIS_KINDS.values())).tolist()
    return SmallObjects(below, cells, _objects(rng, kinds, row, column))


def _plot_rng(seed: int, row: int, column: int, purpose: int) -> np.random.Generator:
    # Plots outside the well have negative positions, which a seed may not have.
    return np.random.default_rng([seed, row + 2**20, column + 2**20, purpose])


def _abundance(seed: int, row: int, column: int) -> float:
    """Factor on the number of objects in a plot: cultures are denser here and thinner there."""
    middle = [np.array([position * PLOT_PX + PLOT_PX // 2]) for position in (column, row)]
    return float(np.exp(0.7 * lattice_noise(stream(seed, 'density'), 1400, *middle)[0, 0]))


def _objects(
    rng: np.random.Generator, kinds: list[str], row: int, column: int, clumping: float = 0.0
) -> list[SmallObject]:
    """Objects of the given kinds; the share `clumping` of them lands close to the one before."""
    count = len(kinds)
    xy = rng.random((count, 2)) * PLOT_PX
    near = rng.random(count) < clumping
    for i in range(1, count):
        if near[i]:
            xy[i] = np.clip(xy[i - 1] + rng.normal(0, 26, 2), 0, PLOT_PX - 1)
    xy = (xy + np.array([column, row]) * PLOT_PX).astype(int).tolist()
    turns = rng.integers(8, size=count).tolist()
    gains = rng.uniform(0.85, 1.15, count).tolist()
    sprites = rng.integers([SPRITE_COUNTS[kind] for kind in kinds]).tolist() if kinds else []
    facts = zip(kinds, sprites, turns, xy, gains, strict=True)
    return [SmallObject(kind, sprite, turn, x, y, gain) for kind, sprite, turn, (x, y), gain in facts]
