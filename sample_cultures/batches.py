"""What differs from one batch of sample cultures to the next, and the presets of the generator.

Colours are modelled as in colour deconvolution (Ruifrok and Johnston 2001): a stain has an optical density per channel,
amounts of stain add up, and light is dimmed by exp(-density). The two stain vectors of batch M1 were measured on a real
TRAP image: cytoplasm is an about equal mixture of both, light nuclei are blue stain without red.
"""

from dataclasses import dataclass, field, replace

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
    """

    density_rgb: tuple[float, float, float]
    fibres: float
    lamellae: float
    saw: float
    lacunae_per_mm2: float
    scratches_per_mm2: float


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
        small_per_mm2: Monocytes, spindle cells and stellate cells.
        debris_per_mm2: Specks, ghosts and fibres.
        size: Factor on the cells' areas.
        complexity: From 0 (round) to 1 (many arms).
        roughness: Factor on the raggedness of edges.
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
    large_per_mm2: float = 160.0
    osteoclast_share: float = 0.4
    small_per_mm2: float = 220.0
    debris_per_mm2: float = 260.0
    size: float = 1.0
    complexity: float = 0.55
    roughness: float = 1.3
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


_HUMAN = Batch(
    name='H1',
    family='human',
    light_rgb=(226.0, 222.0, 214.0),
    red_rgb=(0.22, 1.00, 0.62),
    blue_rgb=(0.95, 0.85, 0.42),
    stain=0.9,
    large_per_mm2=130.0,
    osteoclast_share=0.45,
    small_per_mm2=120.0,
    debris_per_mm2=160.0,
    size=1.45,
    complexity=1.0,
    roughness=1.6,
    blur_px=1.15,
    defocus=0.2,
    glare=0.10,
    vignette=0.08,
    seam=0.012,
    bone=Bone((0.17, 0.27, 0.44), 0.18, 0.16, 0.10, 110.0, 5.0),
)

_ALL = (
    # As a real TRAP image of a mouse culture: grey light, purple cells, sharp.
    Batch('M1'),
    # Pinker, bright, sparse.
    Batch(
        'M2',
        light_rgb=(226.0, 221.0, 224.0),
        red_rgb=(0.17, 1.00, 0.55),
        blue_rgb=(0.85, 0.84, 0.36),
        stain=0.88,
        large_per_mm2=120.0,
        small_per_mm2=130.0,
        blur_px=1.0,
        noise=1.3,
        vignette=0.03,
    ),
    # Bluish and dense, with many small cells.
    Batch(
        'M3',
        light_rgb=(190.0, 203.0, 216.0),
        red_rgb=(0.34, 0.98, 0.62),
        blue_rgb=(1.10, 0.74, 0.30),
        large_per_mm2=240.0,
        small_per_mm2=330.0,
        size=0.85,
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
        osteoclast_share=0.45,
        small_per_mm2=180.0,
        debris_per_mm2=360.0,
        size=1.15,
        complexity=0.7,
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
        blur_px=2.1,
        haze=(0.42, 0.22, 0.24),
        defocus=0.55,
        glare=0.07,
        noise=2.0,
        jpeg_quality=80,
    ),
    _HUMAN,
    replace(
        _HUMAN,
        name='H2',
        light_rgb=(214.0, 214.0, 206.0),
        stain=0.85,
        size=1.6,
        large_per_mm2=110.0,
        glare=0.14,
        blur_px=1.35,
        bone=Bone((0.22, 0.28, 0.38), 0.24, 0.22, 0.16, 60.0, 9.0),
    ),
)

BATCHES: dict[str, Batch] = {batch.name: batch for batch in _ALL}


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
    'tiny': Preset({'M1': 2, 'M2': 2, 'H1': 2}, size_px=704),
    'quickstart': Preset({'M1': 4}, size_px=1664, crowding=1.3),
    'study': Preset({'M1': 6, 'M2': 6, 'M3': 6, 'M4': 6, 'M5': 6, 'H1': 4, 'H2': 4}, size_px=4000),
}


def batch_named(name: str) -> Batch:
    """The batch called `name`.

    Raises:
        InputError: If there is none.
    """
    if name not in BATCHES:
        raise InputError(f'unknown batch {name!r}. Choose from {", ".join(BATCHES)}.')
    return BATCHES[name]
