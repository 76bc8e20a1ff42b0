"""From stain to pixels: light, stains, bone, lens, camera, for any window of a well.

How it works: the amounts of stain of all objects that touch a window are laid over each other; their optical density
dims the light; the lens blurs, each colour differently; camera fields add vignetting, seams and focus; noise and JPEG
come last. A window's pixels don't depend on how the well is divided into windows, to the last bit: objects are drawn
whole before they are cut, noise is a function of absolute position (fields.py), the blurs are OpenCV's integer ones for
16-bit images with a margin wide enough, and JPEG works on 8 x 8 blocks aligned to the well, without chroma subsampling.
"""

from collections.abc import Iterator

import cv2
import numpy as np

from sample_cultures.batches import Bone
from sample_cultures.cells import MAX_REACH_PX
from sample_cultures.fields import hash_uniform, lattice_noise, periodic_texture, periodic_window, stream
from sample_cultures.placement import PLOT_PX, SmallObject
from sample_cultures.sprites import Sprite
from sample_cultures.well import Well

_JPEG_BLOCK_PX = 8
_WIDE_PX = 4.2  # deviation of the blur that makes haze, and the worst defocus
_MIDDLE_PX = 1.8  # by how much fringes and moderate defocus are blurred more than what is in focus
_MARGIN_PX = 16  # a multiple of the JPEG block and more than three deviations of the widest blur
_FIELD_WIDTH_PX, _FIELD_HEIGHT_PX = 1608, 1208  # of the camera
_DENSITY_STEPS = 8192  # table entries for each unit of optical density; the table ends at 8
_TRANSMITTED = np.round(65535 * np.exp(-np.arange(65536) / _DENSITY_STEPS)).astype(np.uint16)


class Microscope:
    """Takes pictures of one well.

    Args:
        well: The well.
    """

    def __init__(self, well: Well):
        """Makes the textures of the well's noise and bone."""
        self.well = well
        rng = np.random.default_rng(well.well_seed)
        # Two periods that share no factor: their sum repeats only after 300,000 px.
        self._noise = [rng.standard_normal((3, period, period)).astype(np.float32) for period in (509, 613)]
        self._bone = _BoneTextures(rng, well.batch.bone) if well.batch.bone else None

    def window(self, left_px: int, top_px: int, width_px: int, height_px: int) -> np.ndarray:
        """The picture of a window of the well, (height, width, 3) uint8 RGB.

        The window may reach beyond the well, whose culture goes on there.
        """
        x0, y0 = _floor(left_px), _floor(top_px)
        x1, y1 = -_floor(-left_px - width_px), -_floor(-top_px - height_px)
        xs, ys = np.arange(x0 - _MARGIN_PX, x1 + _MARGIN_PX), np.arange(y0 - _MARGIN_PX, y1 + _MARGIN_PX)
        light, focus = self._light(xs, ys), self._defocus(xs, ys)
        picture = np.empty((y1 - y0, x1 - x0, 3), np.uint8)
        for channel, passed in enumerate(self._transmitted(xs, ys)):
            seen = self._through_lens(passed, focus, channel)
            inner = np.s_[_MARGIN_PX:-_MARGIN_PX, _MARGIN_PX:-_MARGIN_PX]
            noise = self._noise_window(channel, xs[inner[1]], ys[inner[0]])
            picture[:, :, channel] = self._exposed(seen[inner], light[inner], noise, channel)
        picture = _as_jpeg(picture, self.well.batch.jpeg_quality)
        return picture[top_px - y0 :][:height_px, left_px - x0 :][:, :width_px]

    def _transmitted(self, xs: np.ndarray, ys: np.ndarray) -> Iterator[np.ndarray]:
        """Share of the light that passes, (height, width) uint16 for red, green and blue in turn."""
        batch = self.well.batch
        red = np.zeros((len(ys), len(xs)), np.float32)
        blue = np.zeros_like(red)
        bone = None
        if self._bone is not None:
            bone = self._bone.relief(self.well.well_seed, xs, ys)
            uptake = self._bone.uptake(self.well.well_seed, xs, ys)
            red += uptake
            blue += uptake
        self._lay_out(red, blue, int(xs[0]), int(ys[0]))
        for channel in range(3):
            density = red * np.float32(batch.red_rgb[channel])
            density += blue * np.float32(batch.blue_rgb[channel])
            if channel == 2:  # dense precipitate of the red stain looks brown: it takes blue light away
                density += np.maximum(red - np.float32(0.6), 0)
            if bone is not None:
                density += bone * np.float32(batch.bone.density_rgb[channel])
            density *= np.float32(_DENSITY_STEPS)
            yield _TRANSMITTED[np.clip(density, 0, 65535, out=density).astype(np.uint16)]

    def _lay_out(self, red: np.ndarray, blue: np.ndarray, left: int, top: int) -> None:
        """Adds the stain of all objects that touch the window to the planes `red` and `blue`, the lowest first."""
        height, width = red.shape
        rows = range((top - MAX_REACH_PX) // PLOT_PX, (top + height + MAX_REACH_PX) // PLOT_PX + 1)
        columns = range((left - MAX_REACH_PX) // PLOT_PX, (left + width + MAX_REACH_PX) // PLOT_PX + 1)
        plots = [(row, column) for row in rows for column in columns]
        small = [self.well.small_objects(*plot) for plot in plots]
        for item in (item for objects in small for item in objects.below):
            self._lay_sprite(red, blue, item, left, top)
        large = [plan for plot in plots for plan in self.well.large_cells(*plot)]
        for plan in sorted(large, key=lambda plan: plan.height):
            reach = plan.reach_px
            if left - reach < plan.x_px < left + width + reach and top - reach < plan.y_px < top + height + reach:
                drawing = self.well.drawing(plan)
                layers = (drawing.red, drawing.blue, drawing.cover)
                _lay(red, blue, layers, drawing.left_px - left, drawing.top_px - top)
        for item in (item for objects in small for item in objects.cells + objects.debris):
            self._lay_sprite(red, blue, item, left, top)

    def _lay_sprite(self, red: np.ndarray, blue: np.ndarray, item: SmallObject, left: int, top: int) -> None:
        sprite: Sprite = self.well.sprites.small[item.kind][item.sprite]
        half = sprite.red.shape[0] // 2
        x, y = item.x_px - half - left, item.y_px - half - top
        if x >= red.shape[1] or y >= red.shape[0] or x + 2 * half < 0 or y + 2 * half < 0:
            return
        gain = np.float32(item.gain * self.well.batch.stain)
        layers = (
            _turned(sprite.red, item.turn) * gain,
            _turned(sprite.blue, item.turn) * gain,
            _turned(sprite.cover, item.turn),
        )
        _lay(red, blue, layers, x, y)

    def _through_lens(self, passed: np.ndarray, focus: np.ndarray, channel: int) -> np.ndarray:
        """Blur, haze and defocus of one channel, (height, width) float32 from 0 to 65535."""
        batch = self.well.batch
        seen = cv2.GaussianBlur(passed, (15, 15), batch.blur_px).astype(np.float32)
        wide = cv2.GaussianBlur(passed, (31, 31), _WIDE_PX)
        fringe = np.float32(batch.fringe if channel == 0 else 0.0)
        haze = np.float32(batch.haze[channel])
        blurred = focus.any()
        if blurred or fringe:
            middle = cv2.GaussianBlur(passed, (23, 23), batch.blur_px + _MIDDLE_PX)
            seen += (middle - seen) * np.maximum(np.minimum(focus * np.float32(2), np.float32(1)), fringe)
        seen += (wide - seen) * (np.maximum(focus * np.float32(2) - np.float32(1), haze) if blurred else haze)
        return seen

    def _defocus(self, xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        """How far out of focus each pixel is, (height, width) from 0 to 0.8: whole camera fields, and patches."""
        batch = self.well.batch
        of_field = hash_uniform(stream(self.well.well_seed, 'field_focus'), *_fields(xs, ys)[:2])
        field = np.maximum(of_field - np.float32(1 - 0.7 * batch.defocus), 0) * np.float32(0.8)
        patches = lattice_noise(stream(self.well.well_seed, 'focus'), 420, xs, ys)
        patches = np.maximum(patches - np.float32(0.95 - batch.defocus), 0) * np.float32(0.9)
        return np.minimum(field + patches, np.float32(0.8))

    def _light(self, xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        """Illumination, (height, width) around 1: vignetting and seams of the camera fields, slow changes."""
        batch, seed = self.well.batch, self.well.well_seed
        field_x, field_y, u, v = _fields(xs, ys)
        light = 1 - np.float32(batch.vignette) * (u * u + v * v)
        light *= 1 + np.float32(batch.seam * 1.7) * hash_uniform(stream(seed, 'field_gain'), field_x, field_y)
        light *= 1 + np.float32(0.03) * lattice_noise(stream(seed, 'light'), 2600, xs, ys)
        return light

    def _noise_window(self, channel: int, xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        """Camera noise of unit deviation, (height, width)."""
        one, other = (periodic_window(texture[channel], xs, ys) for texture in self._noise)
        return (one + other) * np.float32(np.sqrt(0.5))

    def _exposed(self, seen: np.ndarray, light: np.ndarray, noise: np.ndarray, channel: int) -> np.ndarray:
        """Grey levels of one channel, (height, width) float32 from 0 to 255 and whole; noise grows with the light."""
        batch = self.well.batch
        level = seen * np.float32((1 - batch.glare) / 65535) + np.float32(batch.glare)
        level *= light * np.float32(batch.light_rgb[channel])
        level += noise * np.sqrt(np.maximum(level, np.float32(20))) * np.float32(batch.noise / np.sqrt(200))
        return np.clip(np.rint(level), 0, 255)


class _BoneTextures:
    """The relief of a bone chip: fibre bundles in two directions, lamellae, saw marks."""

    def __init__(self, rng: np.random.Generator, bone: Bone):
        self.bone = bone
        angle = rng.uniform(0, np.pi)
        self.fibres = [
            periodic_texture(rng, period, 1.5, 11.0, angle + turn) for period, turn in ((1021, 0.0), (907, 1.1))
        ]
        self.bundles = periodic_texture(rng, 1153, 5.0, 30.0, angle + 0.3)
        self.grain = periodic_texture(rng, 701, 1.2, 1.2, 0.0)
        self.saw_angle = rng.uniform(0, np.pi)
        marks = cv2.GaussianBlur(rng.standard_normal((1, 8192)).astype(np.float32), (0, 0), 3.0)
        marks = np.round(marks / marks.std() * 64) / 64
        self.saw = np.sign(marks[0]) * np.maximum(np.abs(marks[0]) - 0.8, 0)

    def relief(self, seed: int, xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        """Factor on the bone's density, (height, width) float32 around 1."""
        bone = self.bone
        blend = lattice_noise(stream(seed, 'fibres'), 260, xs, ys)
        share = np.clip(np.float32(0.5) + blend, 0, 1)
        fibres = periodic_window(self.fibres[0], xs, ys) * share + periodic_window(self.fibres[1], xs, ys) * (1 - share)
        fibres = fibres * np.float32(0.8) + periodic_window(self.bundles, xs, ys) * np.float32(0.5)
        relief = 1 + np.float32(bone.fibres) * fibres + np.float32(0.08) * periodic_window(self.grain, xs, ys)
        relief += np.float32(bone.lamellae) * lattice_noise(stream(seed, 'lamellae'), 170, xs, ys)
        along = xs[None, :] * np.float32(np.cos(self.saw_angle)) + ys[:, None] * np.float32(np.sin(self.saw_angle))
        saw = self.saw[np.mod(np.floor(along * np.float32(2)).astype(np.int32), len(self.saw))].astype(np.float32)
        strength = np.clip(np.float32(0.5) + lattice_noise(stream(seed, 'saw'), 600, xs, ys), 0, 1)
        relief += np.float32(bone.saw) * saw * strength
        relief += np.float32(bone.thickness) * lattice_noise(stream(seed, 'thickness'), 700, xs, ys)
        return np.maximum(relief, np.float32(0.05)).astype(np.float32)

    def uptake(self, seed: int, xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        """Amount of each stain that the bone itself took up, (height, width) float32: patches as large as cells."""
        patches = lattice_noise(stream(seed, 'uptake'), 34, xs, ys)
        patches += lattice_noise(stream(seed, 'regions'), 400, xs, ys)
        patches = np.clip(patches * np.float32(1.6) - np.float32(0.7), 0, 1)
        grain = 1 + np.float32(0.3) * periodic_window(self.grain, xs, ys)
        return patches * grain * np.float32(self.bone.uptake)


def _floor(position: int) -> int:
    return position // _JPEG_BLOCK_PX * _JPEG_BLOCK_PX


def _fields(xs: np.ndarray, ys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Column and row of the camera field of each pixel, and its place in it from -1 to 1; they broadcast."""
    column, in_column = np.divmod(xs, _FIELD_WIDTH_PX)
    row, in_row = np.divmod(ys, _FIELD_HEIGHT_PX)
    u = in_column.astype(np.float32) / np.float32(_FIELD_WIDTH_PX / 2) - 1
    v = in_row.astype(np.float32) / np.float32(_FIELD_HEIGHT_PX / 2) - 1
    return column[None, :], row[:, None], u[None, :], v[:, None]


def _lay(red: np.ndarray, blue: np.ndarray, layers: tuple[np.ndarray, ...], x: int, y: int) -> None:
    """Lays an object's stain over the planes, its first element at (x, y), which may lie outside."""
    height, width = layers[0].shape
    top, left = max(0, y), max(0, x)
    bottom, right = min(red.shape[0], y + height), min(red.shape[1], x + width)
    if top >= bottom or left >= right:
        return
    target = np.s_[top:bottom, left:right]
    source = np.s_[top - y : bottom - y, left - x : right - x]
    object_red, object_blue, cover = (layer[source] for layer in layers)
    shown = 1 - cover
    red[target] = red[target] * shown + object_red
    blue[target] = blue[target] * shown + object_blue


def _turned(plane: np.ndarray, turn: int) -> np.ndarray:
    turned = np.rot90(plane, turn % 4)
    return turned[:, ::-1] if turn >= 4 else turned


def _as_jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    """The picture after JPEG compression in which every 8 x 8 block stands for itself."""
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        quality,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    _, encoded = cv2.imencode('.jpg', picture[:, :, ::-1], options)
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR)[:, :, ::-1]
