"""Noise that is a function of seed and absolute position, so that any window of a well can be computed by itself.

Everything here is integer arithmetic, table look-up or one elementwise float operation after the other. None of it
depends on where a window begins or how large it is, to the last bit; a matrix product, for example, would.
"""

import numpy as np

_STREAMS = {
    'density': 1,
    'field_gain': 2,
    'field_focus': 3,
    'light': 4,
    'focus': 5,
    'fibres': 6,
    'lamellae': 7,
    'saw': 8,
    'thickness': 9,
    'uptake': 10,
    'regions': 11,
}


def stream(seed: int, name: str) -> int:
    """A seed for the noise called `name` of the well with this seed."""
    return int(hash_uint32(seed, np.array(_STREAMS[name], np.uint32), np.array(0, np.uint32)))


def hash_uint32(seed: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Well mixed 32-bit numbers for integer positions `x` and `y`, which are broadcast against each other.

    Two rounds of the finaliser of MurmurHash3 (Austin Appleby, public domain).
    """
    value = np.uint32(seed & 0xFFFFFFFF) ^ (x.astype(np.uint32) * np.uint32(0x9E3779B1))
    value = _mix(value) ^ (y.astype(np.uint32) * np.uint32(0x85EBCA77))
    return _mix(value)


def _mix(value: np.ndarray) -> np.ndarray:
    with np.errstate(over='ignore'):
        value = (value ^ (value >> np.uint32(16))) * np.uint32(0x85EBCA6B)
        value = (value ^ (value >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return value ^ (value >> np.uint32(16))


def hash_uniform(seed: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Numbers from -1 to 1 (float32) for integer positions `x` and `y`."""
    return (hash_uint32(seed, x, y) >> np.uint32(8)).astype(np.float32) * np.float32(2.0 / 2**24) - np.float32(1.0)


def lattice_noise(seed: int, step_px: int, xs_px: np.ndarray, ys_px: np.ndarray) -> np.ndarray:
    """Smooth noise of about unit range: random values on a lattice, joined by cubic B-splines.

    Args:
        seed: Two seeds give unrelated noise.
        step_px: Distance of lattice points; smaller features don't occur.
        xs_px: Integer columns, (width,).
        ys_px: Integer rows, (height,).

    Returns:
        Float32 array (height, width), with a standard deviation of about 0.5.
    """
    first_x, weights_x = _spline_taps(xs_px, step_px)
    first_y, weights_y = _spline_taps(ys_px, step_px)
    rows = np.arange(first_y[0], first_y[-1] + 4)  # lattice rows that the window needs
    along_x = np.zeros((len(rows), len(xs_px)), np.float32)
    for tap in range(4):
        along_x += hash_uniform(seed, (first_x + tap)[None, :], rows[:, None]) * weights_x[tap][None, :]
    noise = np.zeros((len(ys_px), len(xs_px)), np.float32)
    for tap in range(4):
        noise += along_x[first_y + tap - rows[0]] * weights_y[tap][:, None]
    return noise * np.float32(1.8)  # a spline of uniform values has a deviation of 0.28


def _spline_taps(positions_px: np.ndarray, step_px: int) -> tuple[np.ndarray, np.ndarray]:
    """First of the four lattice points that a position depends on, and their weights, (4, n) float32."""
    cell, offset = np.divmod(positions_px, step_px)
    t = (offset.astype(np.float32) + np.float32(0.5)) / np.float32(step_px)
    sixth = np.float32(1 / 6)
    weights = [
        (1 - t) ** 3 * sixth,
        (3 * t**3 - 6 * t**2 + 4) * sixth,
        (-3 * t**3 + 3 * t**2 + 3 * t + 1) * sixth,
        t**3 * sixth,
    ]
    return cell - 1, np.stack(weights).astype(np.float32)


def periodic_texture(
    rng: np.random.Generator, side_px: int, across_px: float, along_px: float, angle: float
) -> np.ndarray:
    """A periodic texture of zero mean and unit deviation, (side_px, side_px) float32.

    Args:
        rng: Source of the white noise that is filtered.
        side_px: Period on both axes.
        across_px: Deviation of the Gaussian filter across the grain.
        along_px: Deviation along the grain; as `across_px` for a texture without direction.
        angle: Direction of the grain in radians.
    """
    fx = np.fft.rfftfreq(side_px)[None, :]
    fy = np.fft.fftfreq(side_px)[:, None]
    along = fx * np.cos(angle) + fy * np.sin(angle)
    across = fy * np.cos(angle) - fx * np.sin(angle)
    response = np.exp(-2 * np.pi**2 * ((across * across_px) ** 2 + (along * along_px) ** 2))
    response[0, 0] = 0
    texture = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((side_px, side_px))) * response, s=(side_px, side_px))
    # Rounded, so that the last bits of a machine's FFT don't matter.
    return np.round(texture / texture.std() * 64).astype(np.float32) / 64


def periodic_window(texture: np.ndarray, xs_px: np.ndarray, ys_px: np.ndarray) -> np.ndarray:
    """The window of an endlessly repeated texture at integer columns `xs_px` and rows `ys_px`."""
    return texture[np.mod(ys_px, texture.shape[0])][:, np.mod(xs_px, texture.shape[1])]
