"""What differs from one batch of sample cultures to the next, and the presets of the generator.

Colours are modelled as in colour deconvolution (Ruifrok and Johnston 2001): a stain has an optical density per channel,
amounts of stain add up, and light is dimmed by exp(-density). The two stain vectors of batch M1 were measured on a real
TRAP image: cytoplasm is an about equal mixture of both, light nuclei are blue stain without red.
"""

from dataclasses import astuple, dataclass, field, replace
from typing import Any

from noise_mm.errors import InputError


@dataclass(frozen=True)
class Bone:
    """The background of a bone chip: translucent, fibrous, sawn.

    Attributes:
        density_rgb: Optical density of the bone in red, green and blue.
        fibres: Strength of fibre bundles, as a share of the density.
        lamellae: Strength of the wide bands.
        saw: Strength of the saw marks, which run through the whole chip.
        lacunae_per_mm2: Dark spindle-shaped holes in which bone cells sat.
        scratches_per_mm2: Long scratches.
        thickness: Strength of slow changes of the chip's thickness, through which the light comes from below.
        uptake: Amount of stain that patches of bone take up: areas that look like cytoplasm without nuclei.
        pits_per_mm2: Shallow stained pits that osteoclasts left behind, as large as cells, without nuclei.
    """

    density_rgb: tuple[float, float, float]
    fibres: float
    lamellae: float
    saw: float
    lacunae_per_mm2: float
    scratches_per_mm2: float
    thickness: float
    uptake: float
    pits_per_mm2: float


@dataclass(frozen=True)
class Batch:
    """One experiment: how its cells grow, are stained and are photographed.

    Attributes:
        name: As in the publication, M1 to M5 and H1, H2.
        family: 'mouse' (clear plastic) or 'human' (bone chip).
        light_rgb: Grey levels of the empty background.
        red_rgb: Optical density of one unit of the red stain (TRAP).
        blue_rgb: Optical density of one unit of the blue stain (counterstain and dense cytoplasm).
        stain: Strength of staining; 1 as in the real image.
        large_per_mm2: Candidates for osteoclasts and pre-osteoclasts; about three in four find room.
        osteoclast_share: Share of osteoclasts among these.
        giant_share: Share of giants, with 10 to 20 clustered nuclei in pale cytoplasm, among the osteoclasts.
        small_mix: Shares of monocytes, pale monocytes, stellate and spindle cells among the small cells.
        small_per_mm2: Monocytes, spindle cells and stellate cells.
        debris_per_mm2: Specks, ghosts and fibres.
        size: Factor on the areas of osteoclasts.
        pre_size: Factor on the areas of pre-osteoclasts.
        complexity: From 0 (round) to 1 (many arms).
        roughness: Factor on the raggedness of edges.
        core: Factor on the dense stain among the nuclei.
        cytoplasm: Factor on the stain of the cytoplasm further away.
        grain: Factor on the texture of the cytoplasm.
        nucleus_blue: Share of the blue stain that stays in nuclei, from which the red stain is nearly gone.
        blur_px: Gaussian blur of the lens in focus.
        fringe: Share of medium blur in the red channel: chromatic aberration, seen as cyan fringes.
        haze: Share of wide blur in the red, green and blue channel.
        defocus: How much of the well is out of focus, 0 to 1.
        glare: Share of stray light, which lowers the contrast.
        noise: Deviation of the camera noise in grey levels.
        jpeg_quality: Quality of the JPEG file that the camera once wrote.
        vignette: Loss of light in the corners of a camera field.
        seam: Deviation of brightness from one camera field to the next.
        bone: The bone chip, or None for plastic.
    """

    name: str
    family: str = 'mouse'
    light_rgb: tuple[float, float, float] = (203.0, 206.0, 204.0)
    red_rgb: tuple[float, float, float] = (0.25, 1.00, 0.66)
    blue_rgb: tuple[float, float, float] = (1.00, 0.78, 0.40)
    stain: float = 1.0
    large_per_mm2: float = 60.0
    osteoclast_share: float = 0.27
    giant_share: float = 0.2
    small_per_mm2: float = 220.0
    small_mix: tuple[float, float, float, float] = (0.40, 0.28, 0.18, 0.14)
    debris_per_mm2: float = 260.0
    size: float = 1.0
    pre_size: float = 1.0
    complexity: float = 1.0
    roughness: float = 1.0
    core: float = 1.0
    cytoplasm: float = 1.0
    grain: float = 0.8
    nucleus_blue: float = 0.62
    blur_px: float = 0.8
    fringe: float = 0.9
    haze: tuple[float, float, float] = (0.38, 0.16, 0.18)
    defocus: float = 0.15
    glare: float = 0.0
    noise: float = 1.7
    jpeg_quality: int = 92
    vignette: float = 0.05
    seam: float = 0.008
    bone: Bone | None = None


_MOUSE = (
    # As a real TRAP image of a mouse culture: grey light, purple cells, sharp.
    Batch('M1'),
    # Pinker, bright, very sparse.
    Batch(
        'M2',
        light_rgb=(226.0, 221.0, 224.0),
        red_rgb=(0.17, 1.00, 0.55),
        blue_rgb=(0.85, 0.84, 0.36),
        stain=0.88,
        large_per_mm2=23.0,
        osteoclast_share=0.24,
        giant_share=0.25,
        small_per_mm2=130.0,
        blur_px=1.0,
        noise=1.3,
        vignette=0.03,
    ),
    # Bluish and dense, with many small cells, few giants.
    Batch(
        'M3',
        light_rgb=(190.0, 203.0, 216.0),
        red_rgb=(0.34, 0.98, 0.62),
        blue_rgb=(1.10, 0.74, 0.30),
        large_per_mm2=140.0,
        osteoclast_share=0.4,
        giant_share=0.08,
        small_per_mm2=300.0,
        size=0.85,
        pre_size=0.85,
        noise=2.2,
        jpeg_quality=85,
    ),
    # Warm and underexposed, strongly stained, strong vignetting and seams.
    Batch(
        'M4',
        light_rgb=(186.0, 176.0, 154.0),
        red_rgb=(0.26, 1.00, 0.88),
        blue_rgb=(0.92, 0.88, 0.58),
        stain=1.15,
        large_per_mm2=80.0,
        osteoclast_share=0.42,
        giant_share=0.14,
        small_per_mm2=180.0,
        debris_per_mm2=360.0,
        size=1.15,
        pre_size=1.1,
        complexity=1.15,
        vignette=0.12,
        seam=0.018,
        jpeg_quality=88,
    ),
    # Blurred throughout, with stray light.
    Batch(
        'M5',
        light_rgb=(208.0, 204.0, 210.0),
        red_rgb=(0.30, 1.00, 0.66),
        blue_rgb=(0.98, 0.80, 0.38),
        stain=0.92,
        large_per_mm2=64.0,
        osteoclast_share=0.36,
        giant_share=0.16,
        blur_px=1.7,
        haze=(0.42, 0.22, 0.24),
        defocus=0.45,
        glare=0.07,
        noise=2.0,
        jpeg_quality=80,
    ),
)

# How far the human family is from mouse is decided here, and scaled by `domain_shift`. Nuclei are drawn as in mouse;
# colours, background, focus, shapes, the stain of the cell body and the neighbours differ.
_H1 = Batch(
    name='H1',
    family='human',
    light_rgb=(232.0, 222.0, 204.0),
    red_rgb=(0.16, 0.98, 0.80),
    blue_rgb=(0.46, 0.46, 0.36),
    stain=1.05,
    large_per_mm2=85.0,
    osteoclast_share=0.42,
    giant_share=0.16,
    small_per_mm2=110.0,
    small_mix=(0.10, 0.30, 0.15, 0.45),
    debris_per_mm2=160.0,
    size=1.55,
    pre_size=1.9,
    complexity=1.7,
    roughness=1.3,
    core=0.7,
    cytoplasm=2.5,
    grain=1.1,
    nucleus_blue=0.3,
    blur_px=1.15,
    fringe=0.4,
    haze=(0.38, 0.20, 0.22),
    defocus=0.25,
    glare=0.10,
    vignette=0.10,
    seam=0.012,
    bone=Bone(
        density_rgb=(0.17, 0.27, 0.44),
        fibres=0.22,
        lamellae=0.30,
        saw=0.12,
        lacunae_per_mm2=110.0,
        scratches_per_mm2=5.0,
        thickness=0.45,
        uptake=0.14,
        pits_per_mm2=26.0,
    ),
)
_H2 = replace(
    _H1,
    name='H2',
    light_rgb=(222.0, 218.0, 206.0),
    red_rgb=(0.26, 0.92, 0.92),
    blue_rgb=(0.52, 0.48, 0.44),
    large_per_mm2=70.0,
    giant_share=0.2,
    size=1.7,
    core=0.55,
    blur_px=1.3,
    glare=0.13,
    bone=Bone(
        density_rgb=(0.24, 0.30, 0.40),
        fibres=0.26,
        lamellae=0.26,
        saw=0.18,
        lacunae_per_mm2=60.0,
        scratches_per_mm2=9.0,
        thickness=0.35,
        uptake=0.17,
        pits_per_mm2=18.0,
    ),
)

BATCHES: dict[str, Batch] = {batch.name: batch for batch in (*_MOUSE, _H1, _H2)}

DOMAIN_SHIFT = 1.0  # default of `batch_named`
MAX_DOMAIN_SHIFT = 2.0
_NO_BONE = Bone((0.0, 0.0, 0.0), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
# What `domain_shift` scales. Numbers of cells, shares of osteoclasts and giants, and the camera stay as defined.
_SHIFTED = (
    'light_rgb',
    'red_rgb',
    'blue_rgb',
    'stain',
    'small_mix',
    'size',
    'pre_size',
    'complexity',
    'roughness',
    'core',
    'cytoplasm',
    'grain',
    'nucleus_blue',
    'blur_px',
    'fringe',
    'haze',
    'defocus',
    'glare',
    'vignette',
    'seam',
)


def batch_named(name: str, domain_shift: float = DOMAIN_SHIFT) -> Batch:
    """Return the batch called `name`.

    Args:
        name: One of `BATCHES`.
        domain_shift: How far a human batch is from mouse: 0 gives the appearance of M1 on plastic, 1 the batch as
            defined; numbers in between are interpolated, up to 2 extrapolated. Mouse batches don't depend on it.

    Raises:
        InputError: If there is no such batch or `domain_shift` is out of range.
    """
    if name not in BATCHES:
        raise InputError(f'unknown batch {name!r}. Choose from {", ".join(BATCHES)}.')
    if not 0 <= domain_shift <= MAX_DOMAIN_SHIFT:
        raise InputError(f'--domain-shift must be between 0 and {MAX_DOMAIN_SHIFT:g} (got {domain_shift:g}).')
    batch, mouse = BATCHES[name], BATCHES['M1']
    if batch.bone is None or domain_shift == 1:
        return batch
    changes = {key: _between(getattr(mouse, key), getattr(batch, key), domain_shift) for key in _SHIFTED}
    changes['small_mix'] = tuple(share / sum(changes['small_mix']) for share in changes['small_mix'])
    bone = Bone(*_between(astuple(_NO_BONE), astuple(batch.bone), domain_shift))
    return replace(batch, bone=bone, **changes)


def _between(low: Any, high: Any, share: float) -> Any:
    if isinstance(low, tuple):
        return tuple(_between(a, b, share) for a, b in zip(low, high, strict=True))
    return max(low + (high - low) * share, 0.0)


@dataclass(frozen=True)
class Preset:
    """What one run of the generator writes.

    Attributes:
        wells: Number of wells for each batch.
        size_px: Side of a well.
        crowding: Factor on the density of large cells.
    """

    wells: dict[str, int] = field(default_factory=dict)
    size_px: int = 4000
    crowding: float = 1.0


PRESETS: dict[str, Preset] = {
    'tiny': Preset({'M1': 2, 'M2': 2, 'H1': 2}, size_px=704, crowding=3.0),
    'quickstart': Preset({'M1': 4}, size_px=1664, crowding=2.0),
    'study': Preset({'M1': 6, 'M2': 6, 'M3': 6, 'M4': 6, 'M5': 6, 'H1': 4, 'H2': 4}, size_px=4000),
}
