"""Sprites: nuclei and small objects (monocytes, spindle cells, stellate cells, debris, fibres) drawn once per batch.

A sprite holds amounts of the two stains and how far it covers what lies below. Wells place each sprite many times,
turned and mirrored, which makes hundreds of small cells affordable.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from sample_cultures.fields import periodic_texture
from sample_cultures.shapes import bent_line, disc, ellipse_distance, ramp, stroke


@dataclass(frozen=True)
class Sprite:
    """A small object. All arrays are (height, width) float32, the object's middle at the array's middle.

    Attributes:
        kind: What it shows.
        red: Amount of red stain.
        blue: Amount of blue stain.
        cover: Share of the stain below that is hidden.
        area_px: Number of pixels at least half covered.
    """

    kind: str
    red: np.ndarray
    blue: np.ndarray
    cover: np.ndarray
    area_px: int


@dataclass(frozen=True)
class NucleusSprite:
    """A nucleus inside a cell. All arrays are (side, side) float32.

    Attributes:
        light: Share of the cytoplasm's stain that the nucleus displaces.
        dark: Added stain: rim, nucleolus and chromatin.
    """

    light: np.ndarray
    dark: np.ndarray


@dataclass(frozen=True)
class SpriteSet:
    """What the cells of one batch are drawn with.

    Attributes:
        grain, mottle, cloud: Textures of unit deviation with features of about 1, 4 and 14 px.
        nuclei: Nuclei to choose from.
        small: Sprites by kind.
    """

    grain: np.ndarray
    mottle: np.ndarray
    cloud: np.ndarray
    nuclei: list[NucleusSprite]
    small: dict[str, list[Sprite]]


SPRITE_COUNTS = {
    'monocyte': 80,
    'pale monocyte': 60,
    'stellate': 80,
    'spindle': 80,
    'speck': 40,
    'ghost': 24,
    'fibre': 40,
    'lacuna': 24,
    'scratch': 24,
    'pit': 32,
}


def make_sprites(seed: int) -> SpriteSet:
    """The sprites of a batch; the same seed gives the same sprites."""
    rng = np.random.default_rng(seed)
    texture_px = 768  # larger than any cell
    grain, mottle, cloud = (periodic_texture(rng, texture_px, s, s, 0.0) for s in (0.8, 2.6, 9.0))
    draw = {
        'monocyte': _monocyte,
        'pale monocyte': _pale_monocyte,
        'stellate': _stellate,
        'spindle': _spindle,
        'speck': _speck,
        'ghost': _ghost,
        'fibre': _fibre,
        'lacuna': _lacuna,
        'scratch': _scratch,
        'pit': _pit,
    }
    small = {kind: [draw[kind](rng, grain) for _ in range(count)] for kind, count in SPRITE_COUNTS.items()}
    return SpriteSet(grain, mottle, cloud, [_nucleus(rng) for _ in range(96)], small)


def texture_window(texture: np.ndarray, rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """A window of the given shape from a random place of a texture."""
    top = rng.integers(texture.shape[0] - shape[0] + 1)
    left = rng.integers(texture.shape[1] - shape[1] + 1)
    return texture[top : top + shape[0], left : left + shape[1]]


def _nucleus(rng: np.random.Generator) -> NucleusSprite:
    """A nucleus 10 to 14 px wide: light, with a darker rim and one to three nucleoli."""
    side = 25
    a = rng.uniform(5.8, 7.4)
    b = a * rng.uniform(0.8, 1.0)
    angle = rng.uniform(0, np.pi)
    inside = ellipse_distance(side, a, b, angle)
    inside = inside + cv2.GaussianBlur(rng.standard_normal((side, side)).astype(np.float32), (0, 0), 2.0) * 1.6
    light = ramp(inside, -0.6, 2.0)
    rim = np.exp(-(((inside - 0.3) / 1.0) ** 2))
    nucleoli = np.zeros((side, side), np.uint8)
    for _ in range(rng.choice([1, 1, 1, 2, 2, 3])):
        x, y = (side - 1) / 2 + rng.uniform(-0.38, 0.38, 2) * b
        disc(nucleoli, x, y, rng.uniform(1.1, 2.0))
    chromatin = cv2.GaussianBlur(rng.standard_normal((side, side)).astype(np.float32), (0, 0), 0.9) * light
    dark = (
        rng.uniform(0.1, 0.45) * rim
        + rng.uniform(0.15, 0.65) * nucleoli.astype(np.float32) / 255 * light
        + 0.10 * np.maximum(chromatin, 0)
    )
    return NucleusSprite(light.astype(np.float32), dark.astype(np.float32))


def _sprite(kind: str, red: np.ndarray, blue: np.ndarray, cover: np.ndarray) -> Sprite:
    red, blue, cover = (np.ascontiguousarray(plane, np.float32) for plane in (red, blue, cover))
    return Sprite(kind, red, blue, cover, int((cover > 0.5).sum()))


def _soft(canvas: np.ndarray, sigma_px: float = 0.7) -> np.ndarray:
    return cv2.GaussianBlur(canvas, (0, 0), sigma_px).astype(np.float32) / 255


def _depth(canvas: np.ndarray) -> np.ndarray:
    """Distance to the outside in pixels for a canvas that is drawn where it is at least half covered."""
    return cv2.distanceTransform((canvas > 127).astype(np.uint8), cv2.DIST_L2, 5)


def _centred(line: np.ndarray, side: int) -> np.ndarray:
    """The line moved so that its box has the middle of a sprite of the given side in its middle."""
    return line - (line.min(axis=0) + line.max(axis=0)) / 2 + (side - 1) / 2


def _round_body(rng: np.random.Generator, side: int, radius_px: float) -> np.ndarray:
    """A round cell body: a few overlapping discs."""
    canvas = np.zeros((side, side), np.uint8)
    centre = (side - 1) / 2
    disc(canvas, centre, centre, radius_px)
    for _ in range(rng.integers(1, 4)):
        x, y = centre + rng.normal(0, 0.22 * radius_px, 2)
        disc(canvas, x, y, radius_px * rng.uniform(0.75, 0.95))
    return canvas


def _monocyte(rng: np.random.Generator, grain: np.ndarray) -> Sprite:
    """A round cell: dark red-brown rim, lighter grey or bluish middle, at times with a short process."""
    side = 41
    radius = rng.uniform(5.6, 7.8)
    canvas = _round_body(rng, side, radius)
    centre = np.full(2, (side - 1) / 2)
    for _ in range(rng.choice([0, 0, 1, 1, 2])):
        line = bent_line(centre, rng.uniform(0, 2 * np.pi), radius + rng.uniform(2, 6), rng.normal(0, 0.3), 5)
        stroke(canvas, line, rng.uniform(6, 9), rng.uniform(0.8, 1.8))
    middle = ramp(_depth(canvas), 1.0, 5.5)
    body = _soft(canvas) * rng.uniform(0.85, 1.15) * (1 + 0.12 * texture_window(grain, rng, canvas.shape))
    # Much of both stains is brown; the middle is lighter, in some cells bluish.
    lighter = rng.uniform(0.35, 0.95)
    bluish = rng.uniform(0.1, 0.6)
    red, blue = body * (1.05 - 0.9 * lighter * middle), body * (0.75 + (bluish - 0.3) * middle)
    return _sprite('monocyte', red, blue, _soft(canvas))


def _add_small_nucleus(
    rng: np.random.Generator, red: np.ndarray, blue: np.ndarray, a_px: float, b_px: float, angle: float
) -> None:
    """Draws a small nucleus, less clear than those of large cells, into the middle of a sprite."""
    inside = ellipse_distance(red.shape[0], a_px, b_px, angle)
    light = ramp(inside, -0.5, 1.8) * rng.uniform(0.55, 0.9)
    rim = np.exp(-(((inside - 0.2) / 1.0) ** 2)) * 0.3
    speck = np.zeros(red.shape, np.uint8)
    x, y = (red.shape[0] - 1) / 2 + rng.uniform(-1.5, 1.5, 2)
    disc(speck, x, y, rng.uniform(0.9, 1.4))
    dark = rim + _soft(speck) * 0.5
    red *= 1 - light
    red += 0.7 * dark
    blue *= 1 - 0.35 * light
    blue += dark + 0.18 * light


def _pale_monocyte(rng: np.random.Generator, grain: np.ndarray) -> Sprite:
    """A rounded cell whose nucleus can be seen."""
    side = 45
    radius = rng.uniform(6.0, 8.6)
    canvas = _round_body(rng, side, radius)
    centre = np.full(2, (side - 1) / 2)
    for _ in range(rng.choice([1, 1, 2, 3])):
        line = bent_line(centre, rng.uniform(0, 2 * np.pi), radius + rng.uniform(3, 10), rng.normal(0, 0.4), 6)
        stroke(canvas, line, rng.uniform(6, 10), rng.uniform(0.8, 2.5))
    body = _soft(canvas) * rng.uniform(0.6, 0.95) * (1 + 0.2 * texture_window(grain, rng, canvas.shape))
    brown = rng.uniform(0, 1)
    red, blue = body * (0.75 + 0.3 * brown), body * (0.85 - 0.2 * brown)
    _add_small_nucleus(rng, red, blue, rng.uniform(4.4, 5.6), rng.uniform(3.8, 4.6), rng.uniform(0, np.pi))
    return _sprite('pale monocyte', red, blue, _soft(canvas))


def _stellate(rng: np.random.Generator, grain: np.ndarray) -> Sprite:
    """A small dark body with two to five tapering processes, some with a bulb at the end."""
    side = 95
    canvas = _round_body(rng, side, rng.uniform(5.0, 7.5))
    centre = np.full(2, (side - 1) / 2)
    arms = rng.integers(2, 5)
    start = rng.uniform(0, 2 * np.pi)
    for arm in range(arms):
        angle = start + 2 * np.pi * (arm + rng.uniform(-0.45, 0.45)) / arms
        length = float(np.clip(rng.lognormal(2.7, 0.5), 8, 38))
        line = bent_line(centre, angle, length, rng.normal(0, 0.6), 9)
        stroke(canvas, line, rng.uniform(5, 13), rng.uniform(1.0, 3.0))
        if rng.random() < 0.45:
            disc(canvas, *line[-1], rng.uniform(1.4, 2.8))
    middle = ramp(_depth(canvas), 1.0, 6.0)
    body = _soft(canvas) * rng.uniform(0.75, 1.2) * (1 + 0.2 * texture_window(grain, rng, canvas.shape))
    red, blue = body * (0.9 - 0.35 * middle), body * (0.6 + 0.45 * middle)
    if rng.random() < 0.5:
        _add_small_nucleus(rng, red, blue, 4.6, 4.0, rng.uniform(0, np.pi))
    return _sprite('stellate', red, blue, _soft(canvas))


def _spindle(rng: np.random.Generator, grain: np.ndarray) -> Sprite:
    """A long cell with a swelling around its nucleus and two tails."""
    side = 121
    canvas = np.zeros((side, side), np.uint8)
    centre = np.full(2, (side - 1) / 2)
    angle = rng.uniform(0, np.pi)
    width = rng.uniform(9.0, 13.0)
    for direction in (angle, angle + np.pi + rng.normal(0, 0.25)):
        line = bent_line(centre, direction, rng.uniform(12, 50), rng.normal(0, 0.5), 10)
        stroke(canvas, line, width, rng.uniform(1.0, 3.2))
        if rng.random() < 0.3:
            disc(canvas, *line[-1], rng.uniform(1.8, 3.5))
    disc(canvas, *centre, width * 0.5)
    middle = ramp(_depth(canvas), 1.0, 5.0)
    body = _soft(canvas) * rng.uniform(0.6, 1.15) * (1 + 0.25 * texture_window(grain, rng, canvas.shape))
    red, blue = body * (0.9 - 0.3 * middle), body * (0.55 + 0.3 * middle)
    if rng.random() < 0.7:
        _add_small_nucleus(rng, red, blue, rng.uniform(5.0, 6.5), width * 0.36, angle)
    return _sprite('spindle', red, blue, _soft(canvas))


def _speck(rng: np.random.Generator, grain: np.ndarray) -> Sprite:
    """A grain of dust or stain, now and then a ring."""
    side = 21
    canvas = np.zeros((side, side), np.uint8)
    radius = float(np.clip(rng.lognormal(-0.1, 0.55), 0.5, 4.5))
    x, y = (side - 1) / 2 + rng.uniform(-1, 1, 2)
    disc(canvas, x, y, radius)
    if radius > 2.5:
        disc(canvas, x, y, radius - 1.6, 90)
    for _ in range(rng.integers(0, 3)):
        disc(canvas, x + rng.normal(0, 2), y + rng.normal(0, 2), radius * rng.uniform(0.3, 0.8))
    body = _soft(canvas) * rng.uniform(0.2, 0.9)
    return _sprite('speck', body * 0.9, body * rng.uniform(0.1, 0.5), _soft(canvas) * 0.5)


def _ghost(rng: np.random.Generator, grain: np.ndarray) -> Sprite:
    """A pale remnant of a cell."""
    side = 41
    canvas = _round_body(rng, side, rng.uniform(4, 11))
    body = _soft(canvas, 1.8) * (0.14 + 0.04 * np.maximum(texture_window(grain, rng, canvas.shape), -1))
    return _sprite('ghost', body, body * rng.uniform(0.4, 1.2), _soft(canvas, 1.8) * 0.1)


def _fibre(rng: np.random.Generator, grain: np.ndarray) -> Sprite:
    """A retraction fibre: long, thin, slightly bent, with a small thickening."""
    side = 221
    canvas = np.zeros((side, side), np.uint8)
    angle = rng.uniform(0, 2 * np.pi)
    length = rng.uniform(45, 190)
    line = _centred(bent_line(np.zeros(2), angle, length, rng.normal(0.0, 0.4), 24), side)
    stroke(canvas, line, rng.uniform(0.8, 2.2), rng.uniform(0.4, 0.9))
    disc(canvas, *line[rng.integers(4, 20)], rng.uniform(0.8, 2.0))
    body = _soft(canvas) * rng.uniform(0.25, 0.7)
    return _sprite('fibre', body * 0.8, body * 0.45, body * 0.3)


def _lacuna(rng: np.random.Generator, grain: np.ndarray) -> Sprite:
    """A hole in the bone in which a bone cell sat: a small dark spindle with fine canals."""
    side = 45
    canvas = np.zeros((side, side), np.uint8)
    centre = np.full(2, (side - 1) / 2)
    angle = rng.uniform(0, np.pi)
    for direction in (angle, angle + np.pi):
        stroke(canvas, bent_line(centre, direction, rng.uniform(5, 10), 0.0, 4), rng.uniform(3, 5), 0.8)
    for _ in range(rng.integers(3, 8)):
        stroke(canvas, bent_line(centre, rng.uniform(0, 2 * np.pi), rng.uniform(7, 16), 0.4, 5), 1.0, 0.4, 110)
    body = _soft(canvas, 1.2) * rng.uniform(0.2, 0.5)
    return _sprite('lacuna', body * 0.8, body * 0.6, body * 0.0)


def _scratch(rng: np.random.Generator, grain: np.ndarray) -> Sprite:
    """A scratch in the bone: a dark line beside a light one."""
    side = 441
    canvas = np.zeros((side, side), np.uint8)
    angle = rng.uniform(0, 2 * np.pi)
    length = rng.uniform(120, 400)
    line = _centred(bent_line(np.zeros(2), angle, length, rng.normal(0, 0.08), 12), side)
    stroke(canvas, line, rng.uniform(1.0, 3.5), rng.uniform(0.5, 1.5))
    body = _soft(canvas, 0.9) * rng.uniform(0.12, 0.4) * (1 + 0.5 * texture_window(grain, rng, canvas.shape))
    offset = np.float32([[1, 0, 1.8 * np.sin(angle)], [0, 1, -1.8 * np.cos(angle)]])
    light = cv2.warpAffine(body, offset, (side, side)) * 0.7
    return _sprite('scratch', (body - light) * 0.7, (body - light) * 0.7, body * 0.0)


def _pit(rng: np.random.Generator, grain: np.ndarray) -> Sprite:
    """A shallow pit that an osteoclast left in the bone: a stained, grainy floor with a lobed rim, no nuclei."""
    side = 161
    canvas = np.zeros((side, side), np.uint8)
    x, y = np.full(2, (side - 1) / 2)
    radius = rng.uniform(11, 26)
    for _ in range(rng.integers(2, 6)):
        disc(canvas, x, y, radius * rng.uniform(0.6, 1.0))
        angle = rng.uniform(0, 2 * np.pi)
        x, y = np.clip([x + radius * np.cos(angle), y + radius * np.sin(angle)], 30, side - 31)
    floor = _soft(canvas, 2.5)
    rim = np.exp(-np.square((_depth(canvas) - 3.0) / 2.2)) * floor
    body = (floor * rng.uniform(0.14, 0.34) + rim * rng.uniform(0.0, 0.25)) * (
        1 + 0.3 * texture_window(grain, rng, canvas.shape)
    )
    return _sprite('pit', body, body * rng.uniform(0.5, 1.1), body * 0.0)
